//! G9: clients with wills that lose their connections, or end them as the standard says, and what a watcher is to get of
//! that: one will for each connection that was lost, and none where DISCONNECT was accepted.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::nodes::Number;
use e2e_tests::random::Random;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, Will, packets};

use crate::deaths::Death;
use crate::world::World;

/// So long after its connections ended a node is seen to have died, on a busy machine too.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

/// How many wills a connection may have brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    Once,
    Never,
    /// Nobody can tell whether it came to be, or how it ended.
    Perhaps,
}

/// A connection with a will.
#[derive(Clone, Debug)]
pub(crate) struct Life {
    /// The payload of the will.
    pub(crate) payload: String,
    pub(crate) due: Due,
    node: Number,
    /// When DISCONNECT was sent, or the connection was given up, and when that was done.
    ends: (Instant, Instant),
}

impl Life {
    /// Whether a will is due, as far as it is known of deaths: whoever dies just then may not have heard DISCONNECT.
    pub(crate) fn judged(self, deaths: &[Death]) -> Self {
        let (from, to) = (self.ends.0, self.ends.1 + SEEN_WITHIN);
        let died = deaths.iter().any(|death| death.node == self.node && (from..=to).contains(&death.at));
        let due = if died && self.due == Due::Never { Due::Perhaps } else { self.due };
        Self { due, ..self }
    }
}

/// A client with wills.
pub(crate) struct Mortal {
    number: u32,
    /// Its connections.
    pub(crate) lives: Vec<Life>,
    random: Random,
}

impl Mortal {
    pub(crate) fn new(number: u32, random: Random) -> Self {
        Self { number, lives: Vec::new(), random }
    }

    /// Lives and dies until the run is over.
    pub(crate) fn run(mut self, world: &World) -> Self {
        while !world.is_over() {
            let payload = format!("will {} {}", self.number, self.lives.len());
            let will = Will::new(format!("will/{}", self.number), &payload).qos(2);
            let connect = Connect::v5(format!("mortal{}", self.number)).keep_alive(600).will(will);
            let node = world.any(&mut self.random);
            let before = world.is_well();
            let mut ended = Instant::now();
            let due = match world.try_connect(node, &connect) {
                Some((mut client, _)) => {
                    let asks = self.random.below(3) == 0;
                    let lives = Duration::from_millis(100 + self.random.below(900));
                    let end = ends_within(&mut client, lives);
                    ended = Instant::now();
                    if end == End::SentAway {
                        // The node gives it time to come back, as it does at once: to another node, and without a will.
                        Due::Perhaps
                    } else if asks && end == End::None {
                        client.send(&packets::disconnect());
                        let answered = ends_within(&mut client, crate::world::ANSWER) != End::None;
                        // Where all is well it is closed for no other reason.
                        let well = before.is_some() && world.is_well() == before;
                        if answered && well { Due::Never } else { Due::Perhaps }
                    } else {
                        client.drop_connection();
                        Due::Once
                    }
                }
                None => Due::Perhaps,
            };
            self.lives.push(Life { payload, due, node, ends: (ended, Instant::now()) });
        }
        self
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// It is there.
    None,
    Closed,
    /// Its node said DISCONNECT.
    SentAway,
}

/// Reads until the connection ends, for so long at most.
fn ends_within(client: &mut e2e_tests::RawClient, time: Duration) -> End {
    let until = std::time::Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(std::time::Instant::now());
        match client.read(left) {
            Read::Packet(packet) if packet.kind() == kind::DISCONNECT => return End::SentAway,
            Read::Packet(_) => {}
            Read::Closed => return End::Closed,
            Read::Nothing => return End::None,
        }
    }
}

/// What is wrong with the wills that came.
pub(crate) fn check(lives: &[Life], came: &[(String, Vec<u8>)]) -> Vec<String> {
    let mut counts: HashMap<&[u8], u32> = HashMap::new();
    for (_, payload) in came {
        *counts.entry(payload).or_default() += 1;
    }
    let wrong = lives.iter().filter_map(|life| {
        let Life { payload, due, node, ends } = life;
        let count = counts.get(payload.as_bytes()).copied().unwrap_or_default();
        let right = match due {
            Due::Once => count == 1,
            Due::Never => count == 0,
            Due::Perhaps => count <= 1,
        };
        let (ago, took) = (ends.0.elapsed(), ends.1 - ends.0);
        (!right).then(|| {
            format!("G9: {payload} of node {node}, {ago:.1?} ago in {took:.1?}, is due {due:?} and came {count} times")
        })
    });
    wrong.collect()
}

/// Whether all wills that are due have come.
pub(crate) fn all_came(lives: &[Life], came: &[(String, Vec<u8>)]) -> bool {
    let came: std::collections::HashSet<&[u8]> = came.iter().map(|(_, payload)| payload.as_slice()).collect();
    lives.iter().all(|life| life.due != Due::Once || came.contains(life.payload.as_bytes()))
}

#[test]
fn wills_that_are_missing_doubled_or_too_many_are_found() {
    let now = Instant::now();
    let life = |due| Life { payload: "w".to_owned(), due, node: 2, ends: (now, now) };
    let lives = |due| vec![life(due)];
    let came = |count| vec![("will/1".to_owned(), b"w".to_vec()); count];
    for (of, counts) in [(Due::Once, [1, 0, 2]), (Due::Never, [0, 1, 2])] {
        assert!(check(&lives(of), &came(counts[0])).is_empty());
        assert_eq!(counts[1..].iter().map(|count| check(&lives(of), &came(*count)).len()).sum::<usize>(), 2);
    }
    assert!(
        check(&lives(Due::Perhaps), &came(1)).is_empty() && !check(&lives(Due::Perhaps), &came(2)).is_empty()
    );
    assert!(all_came(&lives(Due::Once), &came(1)) && !all_came(&lives(Due::Once), &came(0)));
    let judged = |due, node, after: u64| {
        let deaths = [Death { node, at: now + Duration::from_secs(after) }];
        life(due).judged(&deaths).due
    };
    assert_eq!(judged(Due::Never, 2, 1), Due::Perhaps);
    assert_eq!((judged(Due::Never, 1, 1), judged(Due::Never, 2, 9)), (Due::Never, Due::Never));
    assert_eq!(judged(Due::Once, 2, 1), Due::Once);
}
