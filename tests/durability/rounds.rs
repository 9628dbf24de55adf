//! Rounds of kill -9 under load (G1, G3, G5, F5 on one node): at least 1,000 acknowledgements before it and at least one
//! publish unanswered, else a round does not count. `QUELEA_KILL_ROUNDS` and `QUELEA_SEED` set how many and which.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use e2e_tests::random::Random;
use e2e_tests::{Broker, Start, pause};

use crate::load::{Load, Outcome};

/// Rounds of the normal run.
const ROUNDS: u64 = 5;
/// Acknowledgements before the kill, at least.
const ACKNOWLEDGED_MIN: u64 = 1_000;
/// How long the load may take to get there.
const LOAD_MAX: Duration = Duration::from_secs(120);
/// Attempts at most for each round that counts.
const ATTEMPTS: u64 = 5;

/// What the broker of a round is configured with: as it comes; with a log whose files are soon full; synced ten times a
/// second, which the death of the process does not touch either.
const CONFIGURATIONS: [&str; 3] = [
    "[session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"4 GiB\"\n",
    "[session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"4 GiB\"\n\
     [storage]\nsegment_size = \"1 MiB\"\n[mqtt]\nmax_packet_size = \"4 KiB\"\n",
    "[session]\nqueue_messages_max = 10000000\nqueue_bytes_max = \"4 GiB\"\n[storage]\ndurability = \"interval\"\n",
];

/// A number from the environment.
fn setting(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name} is not a number: {text}")))
}

/// Kills the broker once so many publishes were acknowledged, a moment later; in any case in the end.
pub(crate) fn kill_after(target: u64, moment: Duration) -> impl FnOnce(&mut Broker, &AtomicU64) {
    move |broker, answered| {
        let deadline = Instant::now() + LOAD_MAX;
        while answered.load(Ordering::Relaxed) < target && Instant::now() < deadline {
            pause(Duration::from_millis(1));
        }
        pause(moment);
        broker.kill();
    }
}

/// One round, which counts or not.
fn round(seed: u64) -> Outcome {
    let mut random = Random::new(seed);
    // Checkpoints come every second: in one round of four the load goes on for several.
    let longer = if random.below(4) == 0 { 5_000 } else { 0 };
    let target = ACKNOWLEDGED_MIN + random.below(1_000) + longer;
    let moment = Duration::from_micros(random.below(20_000));
    // In one round of three the broker is killed once more while it recovers, or just has.
    let restarts = u64::from(random.below(3) == 0);
    let toml = CONFIGURATIONS[random.below(CONFIGURATIONS.len() as u64) as usize].to_owned();
    Load::new(Start { toml, ..Start::default() }).run(kill_after(target, moment), (restarts, &mut random))
}

#[test]
fn nothing_acknowledged_is_lost_by_kill_9_under_load() {
    if std::env::var_os("BROKER_UNDER_TEST").is_some() {
        return;
    }
    let rounds = setting("QUELEA_KILL_ROUNDS").unwrap_or(ROUNDS);
    let mut seed = setting("QUELEA_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    let (mut counted, mut attempts) = (0, 0);
    let mut seen = Outcome::default();
    while counted < rounds {
        attempts += 1;
        assert!(attempts <= rounds * ATTEMPTS, "only {counted} rounds of {attempts} counted");
        println!("round {} of {rounds}: QUELEA_SEED={seed}", counted + 1);
        let outcome = round(seed);
        outcome.assert_good();
        counted += u64::from(outcome.acknowledged as u64 >= ACKNOWLEDGED_MIN && outcome.unanswered > 0);
        seen.released += outcome.released;
        seen.received.1 += outcome.received.1;
        seed = Random::new(seed).number();
    }
    // Else the rounds were void: there was nothing to resume.
    assert!(seen.released > 0, "no exchange was ever between PUBREC and PUBCOMP");
    assert!(seen.received.1 > 0, "nothing was ever sent again");
}
