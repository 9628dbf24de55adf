//! Power cuts with `storage.durability = "interval"` (F17): what is lost is the end of what was acknowledged, from after
//! the last sync on, and nothing older; the order is kept, and the node starts and goes on. Cut as in `power.rs`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use e2e_tests::random::Random;
use e2e_tests::{BOUND, Broker, Start, pause};

use crate::filled::CONFIG;
use crate::load::{Load, Message, missing, received, subscribe};
use crate::mounted::Mounted;
use crate::power::{number, signal};
use crate::shim::shim;

/// Rounds of the normal run; `QUELEA_POWER_CUTS` sets another number.
const ROUNDS: u64 = 3;
/// Rounds in which a missing sync must show.
const CHANCES: u64 = 6;

fn config() -> String {
    format!("{CONFIG}durability = \"interval\"\n[http]\naddress = \"127.0.0.1:0\"\n")
}

/// What a round found.
#[derive(Debug)]
struct Outcome {
    /// Acknowledged before a sync that has returned, and after it.
    synced: usize,
    later: usize,
    /// How much of the latter is gone; or what must not be.
    lost: Result<usize, String>,
}

/// One power cut at a moment of the seed. `None` where it cannot be tried.
fn round(seed: u64, env: Vec<(&'static str, String)>) -> Option<Outcome> {
    let mut random = Random::new(seed);
    let disk = Mounted::ext4(Broker::prepare(&config()))?;
    let start = Start { env, ..Start::default() };
    let mut broker = Broker::try_open(&disk.dir, &start).unwrap_or_else(|failed| panic!("{}", failed.log));
    subscribe(&broker.mqtt());
    let load = Load::begin(&broker.mqtt(), 50 + random.below(500) as usize);
    load.wait_for(300 + random.below(700) as usize);
    // Long enough that checkpoints are made, which is once a second.
    pause(Duration::from_millis(random.below(2_500)));
    let synced = load.acknowledged();
    wait_for_sync(&broker);
    // The next sync comes a tenth of a second after the last one.
    pause(Duration::from_millis(random.below(200)));
    signal(broker.pid(), "STOP");
    // What was sent before is read by now.
    pause(Duration::from_millis(500));
    let later = &load.acknowledged() - &synced;
    let after = disk.cut(Broker::prepare(&config()))?;
    broker.kill();
    load.end();
    let (synced_count, later_count) = (synced.len(), later.len());
    let lost = match Broker::try_open(&after.dir, &Start::default()) {
        Ok(broker) => look(&broker, &synced, &later),
        Err(failed) => Err(failed.log),
    };
    Some(Outcome { synced: synced_count, later: later_count, lost })
}

/// Waits until a sync has returned that began after this was called: the one that was under way may have, and so the
/// second counts.
fn wait_for_sync(broker: &Broker) {
    let syncs = || broker.metric("quelea_wal_syncs_total");
    let (before, deadline) = (syncs(), Instant::now() + 6 * BOUND);
    while syncs() < before + 2.0 {
        assert!(Instant::now() < deadline, "the log is not synced");
        pause(Duration::from_millis(5));
    }
}

/// Whether a node has what was synced, and of each publisher the beginning and nothing behind a gap; and whether it goes
/// on. Says how much is gone of what was acknowledged later.
fn look(broker: &Broker, synced: &BTreeSet<Message>, later: &BTreeSet<Message>) -> Result<usize, String> {
    let found = received(&broker.mqtt());
    let has = |(publisher, number): &&Message| found[*publisher as usize].contains(number);
    if let Some(gone) = synced.iter().find(|message| !has(message)) {
        return Err(format!("{gone:?} was acknowledged before the last sync"));
    }
    for numbers in &found {
        let last = numbers.last().copied().unwrap_or_default();
        if numbers.len() != last as usize {
            return Err(format!("something before {last} is missing: {} messages", numbers.len()));
        }
    }
    let more = Load::begin(&broker.mqtt(), 50);
    more.wait_for(100);
    let gone = missing(&broker.mqtt(), more.end());
    if !gone.is_empty() {
        return Err(format!("{} messages are gone that were published afterwards", gone.len()));
    }
    Ok(later.iter().filter(|message| !has(message)).count())
}

#[test]
fn f17_with_an_interval_a_power_cut_takes_nothing_that_is_older() {
    let mut seed = number("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let rounds = number("QUELEA_POWER_CUTS").unwrap_or(ROUNDS);
    for round_number in 1..=rounds {
        println!("power cut {round_number} of {rounds}: QUELEA_SEED={seed}");
        let Some(outcome) = round(seed, Vec::new()) else { return };
        println!("  {outcome:?}");
        assert!(outcome.synced >= 300);
        assert!(outcome.lost.is_ok_and(|lost| lost <= outcome.later), "QUELEA_SEED={seed}");
        seed = Random::new(seed).number();
    }
}

/// If the rig did not notice that nothing is ever synced, it would prove nothing.
#[test]
fn f17_an_interval_that_never_syncs_is_noticed() {
    let mut seed = number("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    for chance in 1..=CHANCES {
        let Some(env) = shim("skip:/wal/:1", None) else { return };
        let Some(outcome) = round(seed, env) else { return };
        println!("chance {chance}, QUELEA_SEED={seed}: {outcome:?}");
        if outcome.lost.is_err() {
            return;
        }
        seed = Random::new(seed).number();
    }
    panic!("nothing was lost in {CHANCES} power cuts");
}
