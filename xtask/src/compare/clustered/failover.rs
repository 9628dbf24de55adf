//! What the death of the node that leads costs the clients of the others. Called by the rows. The killed process has
//! ended, so that its connections are reset: a node that falls silent is something else.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use super::super::process::wait;
use super::beside::Report;
use super::client::Client;
use super::rows::{Setup, Sorted, WITHIN};
use super::trio::{Kind, Trio};

/// Sessions that get each message whose acknowledgement is waited for: some in every shard.
const SESSIONS: usize = 24;
/// Clients that connect after it: some in every shard.
const NEWCOMERS: usize = 24;
/// Before each trial: leaderships go to where they belong three seconds after the last change, so that whoever is killed
/// leads shards too.
const TRIAL_REST: Duration = Duration::from_secs(8);
/// What a session waits for its next message before it counts as without it.
const SILENCE: Duration = Duration::from_secs(3);
/// Between attempts to connect.
const AGAIN: Duration = Duration::from_millis(10);
const TOPIC: &str = "failover";

/// From the death of the node that leads to the acknowledgement of what is published then to sessions everywhere, and to
/// the CONNACK of the last of some new clients.
pub(super) fn failover(setup: &Setup<'_>, report: &mut Report, profile: &str) -> Result<()> {
    let trials = setup.options.trials;
    let title =
        format!("kill -9 of the leader, QoS 1 to {SESSIONS} sessions, profile {profile}, {trials} trials");
    report.note(title, trials_of(setup, profile));
    Ok(())
}

fn trials_of(setup: &Setup<'_>, profile: &str) -> Result<[(&'static str, f64); 6]> {
    let mut trio = begin(setup, profile)?;
    let (mut acknowledged, mut connected, mut kept) = (Vec::new(), Vec::new(), 0);
    for trial in 1..=setup.options.trials {
        wait(TRIAL_REST);
        let leader = trio.leader()?;
        let port = trio.port(leader + 1 + trial % 2)?;
        let mut publisher = Client::connect(port, "publisher", true, WITHIN)?;
        publisher.publish(TOPIC, b"before")?;
        let payload = format!("after {trial}");
        // The process may take a while to end.
        let begun = Instant::now();
        trio.kill(leader)?;
        publisher.publish(TOPIC, payload.as_bytes())?;
        acknowledged.push(begun.elapsed().as_secs_f64() * 1e3);
        newcomers(port, begun)?;
        connected.push(begun.elapsed().as_secs_f64() * 1e3);
        if trial == setup.options.trials {
            kept = keepers(port, payload.as_bytes());
        } else if setup.broker.kind == Kind::Quelea {
            trio.revive(leader)?;
        } else {
            // What it had is gone with it: a cluster with as many sessions as before is a new one.
            drop(trio);
            trio = begin(setup, profile)?;
        }
    }
    let (acknowledged, connected) = (Sorted::of(acknowledged)?, Sorted::of(connected)?);
    Ok([
        ("to the next PUBACK, median ms", acknowledged.at(50)),
        ("least ms", acknowledged.at(0)),
        ("most ms", acknowledged.at(100)),
        ("to the last CONNACK of 24 new clients, median ms", connected.at(50)),
        ("most ms until then", connected.at(100)),
        ("sessions that have the message, of 24", f64::from(kept)),
    ])
}

/// A cluster with absent sessions that were made by all nodes in turn.
fn begin<'a>(setup: &'a Setup<'_>, profile: &str) -> Result<Trio<'a>> {
    let trio = setup.start(profile)?;
    for number in 0..SESSIONS {
        let mut client = Client::connect(trio.port(number)?, &name(number), false, WITHIN)?;
        client.subscribe([TOPIC])?;
        client.disconnect()?;
    }
    Ok(trio)
}

fn name(session: usize) -> String {
    format!("away-{session}")
}

/// Connects them one after the other. Who is refused tries again.
fn newcomers(port: u16, begun: Instant) -> Result<()> {
    for number in 0..NEWCOMERS {
        let id = format!("new-{number}");
        while Client::connect(port, &id, true, WITHIN).is_err() {
            ensure!(
                begun.elapsed() < WITHIN,
                "new clients are not accepted a minute after the leader's death"
            );
            wait(AGAIN);
        }
    }
    Ok(())
}

/// How many of the sessions have the message.
fn keepers(port: u16, payload: &[u8]) -> u32 {
    let has = |session: usize| {
        Client::connect(port, &name(session), false, SILENCE).is_ok_and(|mut client| client.receives(payload))
    };
    (0..SESSIONS).map(|session| u32::from(has(session))).sum()
}
