//! Power cuts at random points under random work: what was acknowledged is there, in order, and nothing else than a
//! prefix of what was asked for (F3, F5, F17, F18; invariant 17).

use std::collections::BTreeMap;

use bytes::Bytes;
use raft_consensus::disk::{CrashMode, SimDisk};
use raft_consensus::wal::{Durability, GroupId, GroupLog, Progress, Wal, WalOptions};

use crate::common::{Acks, Chance, all, entry, open, small};

const GROUPS: u32 = 3;
const LIVES: usize = 4;

/// One record that was asked for.
#[derive(Clone, Debug)]
enum Asked {
    Entry(u32, u64, u64, Bytes),
    Vote(u32, Bytes),
    Committed(u32, Bytes),
    Truncate(u32, u64),
    Purge(u32, u64, Bytes),
    Nothing,
}

/// What a group should hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Model {
    vote: Option<Bytes>,
    committed: Option<Bytes>,
    purged: Option<(u64, Bytes)>,
    entries: BTreeMap<u64, (u64, Bytes)>,
}

type World = BTreeMap<u32, Model>;

fn apply(world: &mut World, asked: &Asked) {
    match asked.clone() {
        Asked::Entry(group, index, term, body) => {
            world.entry(group).or_default().entries.insert(index, (term, body));
        }
        Asked::Vote(group, vote) => world.entry(group).or_default().vote = Some(vote),
        Asked::Committed(group, committed) => world.entry(group).or_default().committed = Some(committed),
        Asked::Truncate(group, from) => {
            world.entry(group).or_default().entries.split_off(&from);
        }
        Asked::Purge(group, index, meta) => {
            let model = world.entry(group).or_default();
            model.entries = model.entries.split_off(&(index + 1));
            model.purged = Some((index, meta));
        }
        Asked::Nothing => {}
    }
}

/// What the log holds.
fn observed(wal: &Wal) -> World {
    (0..GROUPS).map(|id| (id, observed_group(&wal.group(GroupId(id)).unwrap()))).collect()
}

fn observed_group(log: &GroupLog) -> Model {
    let entries = all(log).into_iter().map(|r| (r.index, (r.term, r.body))).collect();
    Model { vote: log.vote(), committed: log.committed(), purged: log.purged(), entries }
}

/// One disk through several lives; everything by chance from one seed.
struct Run {
    chance: Chance,
    disk: SimDisk,
    options: WalOptions,
    /// What is certainly in the log: what the last start found.
    base: World,
    /// What was asked for since, and the state after all of it.
    asked: Vec<Asked>,
    now: World,
    acks: Acks,
    torn: u64,
    recycled: u64,
    acked: u64,
}

impl Run {
    fn new(seed: u64, options: WalOptions) -> Self {
        let base: World = (0..GROUPS).map(|id| (id, Model::default())).collect();
        Self {
            chance: Chance(seed),
            disk: SimDisk::new(),
            options,
            now: base.clone(),
            base,
            asked: Vec::new(),
            acks: Acks::default(),
            torn: 0,
            recycled: 0,
            acked: 0,
        }
    }

    fn lives(&mut self) -> Result<(), String> {
        for life in 0..LIVES {
            let wal = self.start().map_err(|problem| format!("life {life}: {problem}"))?;
            let after = self.chance.below(120);
            self.disk.cut_power(after);
            while wal.ended().is_none() {
                self.act(&wal);
            }
            self.recycled += wal.counters().wal_segments_recycled;
            let modes = [CrashMode::Torn, CrashMode::Torn, CrashMode::LoseAll, CrashMode::KeepAll];
            let mode = modes[self.chance.below(4) as usize];
            let seed = self.chance.next();
            self.disk.crash(mode, seed);
        }
        self.start().map(|_| ())
    }

    /// Opens the log and compares: it must be the state after a prefix that holds all that was acknowledged.
    fn start(&mut self) -> Result<Wal, String> {
        let (wal, recovery) = open(&self.disk, self.options.clone()).map_err(|error| error.to_string())?;
        self.torn += u64::from(recovery.torn_tail.is_some());
        let good = self.acks.good();
        if !good.is_sorted() {
            return Err(format!("acknowledged out of order: {good:?}"));
        }
        self.acked += good.len() as u64;
        let least = good.last().map_or(0, |last| *last as usize);
        let found = observed(&wal);
        let mut world = self.base.clone();
        let mut whole = least == 0 && world == found;
        for (count, asked) in self.asked.iter().enumerate() {
            apply(&mut world, asked);
            whole |= count + 1 >= least && world == found;
        }
        if !whole {
            return Err(format!("not a prefix that holds the first {least} of {:?}: {found:?}", self.asked));
        }
        (self.base, self.now, self.asked, self.acks) = (found.clone(), found, Vec::new(), Acks::default());
        Ok(wal)
    }

    /// Notes a record; returns its number, from 1 on.
    fn ask(&mut self, asked: Asked) -> u64 {
        apply(&mut self.now, &asked);
        self.asked.push(asked);
        self.asked.len() as u64
    }

    /// Does something. Requests that the log refuses were not asked for: it only does that when it has ended.
    fn act(&mut self, wal: &Wal) {
        let id = self.chance.below(GROUPS.into()) as u32;
        let log = wal.group(GroupId(id)).unwrap();
        let text = Bytes::from(format!("{}", self.chance.next()));
        let model = self.now[&id].clone();
        let end = model.entries.last_key_value().map(|(i, _)| i + 1);
        let end = end.or(model.purged.as_ref().map(|p| p.0 + 1)).unwrap_or(0);
        match self.chance.below(20) {
            0..7 => self.append(&log, id, end),
            7 => {
                let number = self.ask(Asked::Vote(id, text.clone()));
                let _ = log.save_vote(text, self.acks.note(number));
            }
            8 => {
                self.ask(Asked::Committed(id, text.clone()));
                let _ = log.save_committed(text);
            }
            9 if !model.entries.is_empty() => {
                let from = end - 1 - self.chance.below(model.entries.len() as u64);
                self.ask(Asked::Truncate(id, from));
                let _ = log.truncate_after(from.checked_sub(1));
            }
            10 if end > 0 => {
                let index = (end - 1).saturating_sub(self.chance.below(20)) + self.chance.below(2);
                if model.purged.is_none_or(|p| p.0 < index) {
                    self.ask(Asked::Purge(id, index, text.clone()));
                    let _ = log.purge(index, text);
                }
            }
            11 => {
                wal.quiet();
            }
            12 => wal.write_floor(),
            13 => {
                let number = self.ask(Asked::Nothing);
                let _ = log.append(Vec::new(), self.acks.note(number));
            }
            _ => {
                if wal.step() == Progress::Blocked || self.chance.below(3) == 0 {
                    wal.prepare();
                }
            }
        }
    }

    fn append(&mut self, log: &GroupLog, id: u32, end: u64) {
        let mut records = Vec::new();
        let mut number = 0;
        let count = self.chance.below(8) + 1;
        for index in end..end + count {
            let record = entry(index, self.chance.below(9), self.chance.below(900) as usize);
            number = self.ask(Asked::Entry(id, index, record.term, record.body.clone()));
            records.push(record);
        }
        let _ = log.append(records, self.acks.note(number));
    }
}

fn options() -> WalOptions {
    WalOptions { segment_bytes: 8 << 10, log_bytes_max: 1 << 20, queue_bytes_max: 1 << 30, ..small() }
}

#[test]
fn a_power_cut_at_any_point_loses_nothing_that_was_acknowledged() {
    let (mut torn, mut recycled, mut acked) = (0, 0, 0);
    for seed in 0..200 {
        let mut run = Run::new(seed, options());
        if let Err(problem) = run.lives() {
            panic!("seed {seed}: {problem}");
        }
        torn += run.torn;
        recycled += run.recycled;
        acked += run.acked;
    }
    println!("seeds 0..200: {acked} acknowledged, {torn} torn tails cut, {recycled} segments recycled");
    assert!(
        torn >= 20 && recycled >= 20 && acked >= 2_000,
        "{torn} torn tails, {recycled} recycled, {acked} acked"
    );
}

/// With a sync now and then, what was acknowledged may be lost, but what is left is a prefix, and opens.
#[test]
fn without_a_sync_for_each_write_a_power_cut_leaves_a_prefix() {
    for seed in 0..100 {
        let options = WalOptions { durability: Durability::Interval(std::time::Duration::MAX), ..options() };
        let mut run = Run::new(seed, options);
        for life in 0..LIVES {
            run.acks = Acks::default();
            let wal = run.start().unwrap_or_else(|problem| panic!("seed {seed}, life {life}: {problem}"));
            run.disk.cut_power(run.chance.below(120));
            while wal.ended().is_none() {
                run.act(&wal);
            }
            let power = run.chance.next();
            run.disk.crash(CrashMode::Torn, power);
        }
    }
}

/// The same test, with a log that calls back without having synced: it has to fail, else it shows nothing.
#[cfg(feature = "failpoints")]
#[test]
fn a_log_that_does_not_sync_is_caught() {
    let mutant = Some(raft_consensus::wal::WalMutant::SkipSync);
    let caught = |seed: &u64| Run::new(*seed, WalOptions { mutant, ..options() }).lives().is_err();
    let caught = (0..50).filter(caught).count();
    assert!(caught >= 25, "only {caught} of 50 seeds noticed");
}
