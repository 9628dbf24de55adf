//! Opens the log: reads the segments in order, rebuilds the groups, finds the end, and decides whether what is there
//! may be trusted. Called once, by `Wal::open`. It changes the disk in two ways only: it erases a torn tail, and it
//! makes durable what it has read.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::committer::Committer;
use super::counters::{Tally, count};
use super::group::{Group, GroupState, Place, Slot};
use super::hard::Hard;
use super::header::{self, NoHeader};
use super::prepare::Preparer;
use super::queue::Queue;
use super::record::{Content, Found};
use super::scan::{self, Records, Tail};
use super::segment::{self, DIR, Segment, Segments};
use super::wake::Wake;
use super::{GroupId, Position, Shared, Wal, WalError, WalOptions};
use crate::disk::{Disk, read_whole};
use crate::floor::{self, Floor, FloorState};

const ZEROS: &[u8] = &[0; 64 << 10];

/// A torn tail that was cut: bytes of a write whose sync had not returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TornTail {
    /// Where the log ends now.
    pub at: Position,
    /// How many bytes were erased.
    pub bytes: u64,
}

/// What was found when the log was opened.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// The groups that the log has something of.
    pub groups: Vec<GroupId>,
    /// Where the log ends.
    pub end: Position,
    /// How many segments hold something.
    pub segments: u64,
    /// How many records were read.
    pub records: u64,
    /// What was cut.
    pub torn_tail: Option<TornTail>,
    /// What the floor said, before this start.
    pub floor: FloorState,
}

pub(crate) fn open(disk: Arc<dyn Disk>, options: WalOptions) -> Result<(Wal, Recovery), WalError> {
    options.check()?;
    disk.create_dir(DIR).map_err(WalError::io("creating", DIR))?;
    let files = Files::list(disk.as_ref())?;
    let mut scan = Scan::default();
    for number in &files.segments {
        scan.file(disk.as_ref(), *number)?;
    }
    let floor_found = Floor::read(disk.as_ref())?;
    let torn = scan.finish()?;
    let end = scan.end();
    let old_floor = check_floor(floor_found, end)?;
    for torn in &torn {
        scan.erase(*torn)?;
    }
    let torn_tail = torn.last().copied();
    scan.make_durable(disk.as_ref())?;
    let recovery = Recovery {
        groups: scan.groups.keys().copied().collect(),
        end,
        segments: scan.begun.len() as u64,
        records: scan.records,
        torn_tail,
        floor: old_floor,
    };
    let floor = Floor::open(disk.as_ref())?;
    let wal = build(disk, options, floor, scan, files.spares)?;
    if let Some(torn) = torn_tail {
        count(&wal.shared.tally.wal_torn_tails, 1);
        tracing::warn!(at = %torn.at, bytes = torn.bytes, "cut the torn end of the log, which was never acknowledged");
    }
    tracing::info!(end = %recovery.end, records = recovery.records, "opened the log");
    Ok((wal, recovery))
}

/// Compares the end of the log with what the floor says was synced.
fn check_floor(found: floor::Found, end: Position) -> Result<FloorState, WalError> {
    match found {
        floor::Found::Whole(state) if end < state.synced => {
            Err(WalError::BelowFloor { end, floor: state.synced })
        }
        floor::Found::Whole(state) => Ok(state),
        floor::Found::New if end == Position::default() => Ok(FloorState::default()),
        floor::Found::New => Err(WalError::Floor { what: "missing beside a log" }),
        floor::Found::Damaged => Err(WalError::Floor { what: "damaged" }),
    }
}

/// The files of the log's directory.
struct Files {
    segments: Vec<u64>,
    spares: Vec<u64>,
}

impl Files {
    fn list(disk: &dyn Disk) -> Result<Self, WalError> {
        let names = disk.list(DIR).map_err(WalError::io("listing", DIR))?;
        let numbers = |suffix: &str| {
            let mut numbers: Vec<u64> =
                names.iter().filter_map(|n| n.strip_suffix(suffix)).filter_map(|n| n.parse().ok()).collect();
            numbers.sort_unstable();
            numbers
        };
        Ok(Self { segments: numbers(".seg"), spares: numbers(".spare") })
    }
}

/// A segment in use, as far as it was read.
struct Begun {
    segment: Segment,
    bytes: Vec<u8>,
    /// Where its records end.
    end: usize,
}

#[derive(Default)]
struct Scan {
    groups: BTreeMap<GroupId, (Hard, GroupState)>,
    /// The segments in use; only the newest still has its bytes.
    begun: Vec<Begun>,
    /// Files that no record was written to, or only such as were never synced.
    unused: Vec<Begun>,
    records: u64,
    /// Whether the last record is an empty one.
    resting: bool,
}

impl Scan {
    fn file(&mut self, disk: &dyn Disk, number: u64) -> Result<(), WalError> {
        let name = segment::name(number);
        let file = disk.open(&name).map_err(WalError::io("opening", &name))?;
        let bytes = read_whole(file.as_ref()).map_err(WalError::io("reading", &name))?;
        let segment = Segment { number, file, capacity: bytes.len() };
        match header::decode(&bytes) {
            Ok((header, first)) if header.segment == number => self.begun(segment, bytes, &header, first),
            Err(NoHeader::Version(found)) => {
                Err(WalError::Version { file: name, found, known: header::VERSION })
            }
            // Zeros, or what the file was used for before, or a first write that was cut.
            Ok(_) | Err(NoHeader::Blank | NoHeader::Damaged) => self.unused(segment, bytes),
        }
    }

    fn unused(&mut self, segment: Segment, bytes: Vec<u8>) -> Result<(), WalError> {
        let tail = scan::tail(&bytes, segment.number, 0);
        if tail.synced_beyond {
            return Err(corrupt(segment.number, 0, "the header is damaged, but records follow it"));
        }
        self.unused.push(Begun { segment, bytes, end: 0 });
        Ok(())
    }

    fn begun(
        &mut self,
        segment: Segment,
        bytes: Vec<u8>,
        header: &header::Header,
        first: usize,
    ) -> Result<(), WalError> {
        self.check_follows(segment.number, header.before_end)?;
        if self.begun.is_empty() {
            let group = |(id, hard): (&GroupId, &Hard)| (*id, (hard.clone(), GroupState::of(hard)));
            self.groups = header.groups.iter().map(group).collect();
        }
        if !self.agrees_with(header) {
            return Err(corrupt(
                segment.number,
                0,
                "the header does not say what the records before it amount to",
            ));
        }
        let mut end = first;
        for (at, found) in Records::new(&bytes, segment.number, first) {
            self.record(segment.number, at, &found)?;
            end = found.end;
        }
        if let Some(before) = self.begun.last_mut() {
            before.bytes = Vec::new();
        }
        self.begun.push(Begun { segment, bytes, end });
        Ok(())
    }

    /// A segment is begun when the one before is full and synced; so nothing of that can be missing.
    fn check_follows(&self, number: u64, before_end: u64) -> Result<(), WalError> {
        if let Some(unused) = self.unused.first() {
            return Err(corrupt(unused.segment.number, 0, "the header is damaged, but segments follow it"));
        }
        let Some(before) = self.begun.last() else { return Ok(()) };
        if before.segment.number + 1 != number {
            return Err(corrupt(before.segment.number + 1, 0, "the segment is missing between others"));
        }
        if before.end as u64 != before_end {
            let what = "a record's checksum does not hold, but a segment follows that was begun after it";
            return Err(corrupt(before.segment.number, before.end as u64, what));
        }
        Ok(())
    }

    /// Whether the records that were read amount to what a header says of them.
    fn agrees_with(&self, header: &header::Header) -> bool {
        let agrees =
            |(id, hard): (&GroupId, &Hard)| self.groups.get(id).is_some_and(|own| own.0.agrees_with(hard));
        self.groups.len() == header.groups.len() && header.groups.iter().all(agrees)
    }

    fn record(&mut self, segment: u64, at: usize, found: &Found<'_>) -> Result<(), WalError> {
        self.records += 1;
        self.resting = found.group == super::NO_GROUP;
        if self.resting {
            return Ok(());
        }
        let (hard, state) = self.groups.entry(found.group).or_default();
        if hard.apply(segment, &found.content).is_err() {
            return Err(corrupt(segment, at as u64, "an entry does not follow the one before it"));
        }
        match &found.content {
            Content::Entry { index, term, body } => {
                let place = Place::At { segment, offset: u32::try_from(at).unwrap_or(u32::MAX) };
                let len = u32::try_from(body.len()).unwrap_or(u32::MAX);
                state.restore(*index, Slot { term: *term, place, len });
            }
            Content::Vote(_) => state.vote.clone_from(&hard.vote),
            Content::Committed(_) => state.committed.clone_from(&hard.committed),
            Content::Truncate { from } => {
                state.truncate(*from);
            }
            Content::Purge { .. } => {
                if let Some((index, meta)) = hard.purged.clone() {
                    state.purge(index, meta);
                }
            }
            Content::Empty => {}
        }
        Ok(())
    }

    /// Looks behind the end for what should not be there, and says what is to be cut.
    fn finish(&self) -> Result<Vec<TornTail>, WalError> {
        let oldest = self.begun.first().map_or(0, |b| b.segment.number);
        if self.groups.values().any(|(hard, _)| hard.oldest_segment().is_some_and(|s| s < oldest)) {
            return Err(corrupt(
                oldest.saturating_sub(1),
                0,
                "the segment is missing, though entries in it are needed",
            ));
        }
        let mut torn = Vec::new();
        for last in self.unused.iter().chain(self.begun.last()) {
            let tail = scan::tail(&last.bytes, last.segment.number, last.end);
            let Tail { synced_beyond, remnants_end } = tail;
            if synced_beyond {
                let what = "a record's checksum does not hold, but later ones show that it was synced";
                return Err(corrupt(last.segment.number, last.end as u64, what));
            }
            if remnants_end > last.end {
                let at = Position { segment: last.segment.number, offset: last.end as u64 };
                torn.push(TornTail { at, bytes: (remnants_end - last.end) as u64 });
            }
        }
        Ok(torn)
    }

    fn end(&self) -> Position {
        let end = |last: &Begun| Position { segment: last.segment.number, offset: last.end as u64 };
        self.begun.last().map(end).unwrap_or_default()
    }

    /// Overwrites what was cut, so that it cannot come back behind what is written next.
    fn erase(&self, torn: TornTail) -> Result<(), WalError> {
        let torn_one = |b: &&Begun| b.segment.number == torn.at.segment;
        let Some(Begun { segment, .. }) = self.begun.iter().chain(&self.unused).find(torn_one) else {
            return Ok(());
        };
        let end = torn.at.offset + torn.bytes;
        let mut at = torn.at.offset;
        while at < end {
            let piece = usize::try_from(end - at).unwrap_or(usize::MAX).min(ZEROS.len());
            let zeros = ZEROS.get(..piece).unwrap_or(ZEROS);
            segment
                .file
                .write_at(zeros, at)
                .map_err(WalError::io("erasing the torn end of", &segment.name()))?;
            at += piece as u64;
        }
        segment.file.fdatasync().map_err(WalError::io("syncing", &segment.name()))?;
        Ok(())
    }

    /// What a process wrote before it died may be there to read, and still not be on the disk.
    fn make_durable(&self, disk: &dyn Disk) -> Result<(), WalError> {
        if let Some(Begun { segment, .. }) = self.begun.last() {
            segment.file.fdatasync().map_err(WalError::io("syncing", &segment.name()))?;
        }
        disk.sync_dir(DIR).map_err(WalError::io("syncing", DIR))
    }
}

fn corrupt(number: u64, offset: u64, what: &'static str) -> WalError {
    WalError::Corrupt { file: segment::name(number), offset, what }
}

/// Puts the parts together, with a segment to write to and, where there is space, the one after it.
fn build(
    disk: Arc<dyn Disk>,
    options: WalOptions,
    floor: Floor,
    scan: Scan,
    spares: Vec<u64>,
) -> Result<Wal, WalError> {
    let segments = Arc::new(Segments::new(spares));
    let tally = Arc::new(Tally::default());
    let preparer = Preparer {
        disk,
        options: options.clone(),
        segments: Arc::clone(&segments),
        tally: Arc::clone(&tally),
        wake: Wake::default(),
    };
    let mut hards = BTreeMap::new();
    let mut groups = BTreeMap::new();
    for (id, (hard, state)) in scan.groups {
        hards.insert(id, hard);
        groups.insert(id, Arc::new(Group { id, state: Mutex::new(state), pinned: AtomicU64::new(0) }));
    }
    if groups.len() > options.groups_max() {
        let found = options.segment_bytes;
        return Err(WalError::Options {
            key: "segment_bytes",
            found,
            allowed: "large enough for the groups it has",
        });
    }
    let mut last = None;
    for Begun { segment, end, .. } in scan.begun {
        let segment = Arc::new(segment);
        segments.add(Arc::clone(&segment));
        last = Some((segment, end));
    }
    let committer = match last {
        Some((segment, end)) => Committer::resume(segment, end, hards, scan.resting),
        None => {
            let segment = Arc::new(preparer.create(1)?);
            segments.add(Arc::clone(&segment));
            Committer::begin(segment)
        }
    };
    let queue = Queue::new(options.queue_bytes_max);
    let groups = Mutex::new(groups);
    let pinned = AtomicU64::new(0);
    let shared = Arc::new(Shared { options, queue, segments, groups, tally, floor, preparer, pinned });
    committer.release(&shared);
    // A log that was only just begun has nothing that could be lost.
    if committer.position().offset > 0 {
        shared.floor.reached(committer.position());
    }
    shared.preparer.step(&shared.queue)?;
    Ok(Wal { shared, committer: Arc::new(Mutex::new(committer)) })
}
