//! Many clients at once: a thousand that come back together when their node is gone, and one client id that two connections
//! take from each other.

use std::sync::Arc;
use std::thread;

use e2e_tests::nodes::Number;
use e2e_tests::random::Random;
use e2e_tests::{RawClient, Version, packets};

use crate::run::Cluster;
use crate::world::{World, session};

/// How many come back.
const CROWD: usize = 1_000;
/// How many threads they are.
const THREADS: usize = 20;
/// How often each of two takes a client id over.
const TAKES: usize = 15;

/// F30: sessions of a thousand clients lose their node, and every one of them is found on the others.
pub(crate) fn comes_back(cluster: &mut Cluster, random: &mut Random) {
    let node = 1 + random.below(3) as Number;
    let sessions = connect_all(&cluster.world, Some(node), random);
    cluster.kill(node);
    drop(sessions);
    connect_all(&cluster.world, None, random)
        .into_iter()
        .for_each(|mut client| client.send(&packets::disconnect_v5(0, &ends())));
    cluster.start(&[node]);
}

/// The session ends with its connection after all.
fn ends() -> e2e_tests::Props {
    e2e_tests::Props::new().four(e2e_tests::wire::prop::SESSION_EXPIRY, 0)
}

/// Connects all of the crowd, first to this node; where there is none their sessions are there already.
fn connect_all(world: &Arc<World>, node: Option<Number>, random: &mut Random) -> Vec<RawClient> {
    let some = |random: &mut Random| node.unwrap_or_else(|| world.any(random));
    let threads: Vec<_> = (0..THREADS)
        .map(|of| {
            let (world, mut random) = (Arc::clone(world), Random::new(random.number()));
            let first = some(&mut random);
            thread::spawn(move || {
                let connect = |number: usize| {
                    let name = format!("crowd{number}");
                    let connect = session(Version::V5, &name, true);
                    let (client, connack, _) = world.connect(first, &connect, &mut random);
                    if node.is_none() && !connack.session_present {
                        world.fault(format!("G7: the session of {name} is gone"));
                    }
                    client
                };
                (of..CROWD).step_by(THREADS).map(connect).collect::<Vec<_>>()
            })
        })
        .collect();
    threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
}

/// F31: every take-over is answered, and the session is there each time.
pub(crate) fn flaps(cluster: &mut Cluster, random: &mut Random) {
    let connect = session(Version::V5, "flaps", true);
    let first = cluster.world.any(random);
    let (_before, ..) = cluster.world.connect(first, &connect, random);
    let takers: Vec<_> = [first, first % 3 + 1]
        .into_iter()
        .map(|node| {
            let (world, connect) = (Arc::clone(&cluster.world), connect.clone());
            let mut random = Random::new(random.number());
            thread::spawn(move || {
                let mut held = None;
                for _ in 0..TAKES {
                    let (client, connack, _) = world.connect(node, &connect, &mut random);
                    if !connack.session_present {
                        world.fault("G7: the session of a client that flaps is gone".to_owned());
                    }
                    held.replace(client).into_iter().for_each(RawClient::drop_connection);
                }
                held
            })
        })
        .collect();
    let mut held: Vec<RawClient> = takers.into_iter().filter_map(|taker| taker.join().unwrap()).collect();
    held.iter_mut().for_each(|client| client.send(&packets::disconnect_v5(0, &ends())));
}
