//! A firewall that refuses connections to a node that lives: groups may be led by others from then on, and nobody is taken
//! for dead. The node's client notices nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use e2e_tests::nodes::Number;
use e2e_tests::pause;
use e2e_tests::wire::Version;

use crate::probes;
use crate::run::Cluster;
use crate::subscriber::subscribe;
use crate::world::session;

/// How often it is tried: a machine that stands still takes the lease of any node.
const ATTEMPTS: u32 = 4;
/// So long connections are refused from then on that others have noticed it. Nobody who is not reached for 3 s lives on.
const REFUSES: Duration = Duration::from_millis(800);
/// How long it may take until they do.
const NOTICED: Duration = Duration::from_secs(10);
/// Longer than it takes until a node that is taken for dead begins anew.
const AFTERWARDS: Duration = Duration::from_secs(3);
const LINE: &str = "a node broke its connections and refuses new ones";

/// Fails where no attempt passes.
pub(crate) fn ends_no_lease(cluster: &Cluster) {
    let passed = (1..=ATTEMPTS).any(|number| {
        let why = refused_once(cluster, number as Number % 3 + 1, number);
        why.as_ref().into_iter().for_each(|why| println!("attempt {number}: {why}"));
        why.is_none()
    });
    assert!(passed, "a refused connection ends a lease");
}

/// Refuses connections to a node until the others notice, and for a little longer, while its client publishes; says what came
/// of it but a change of leaders.
fn refused_once(cluster: &Cluster, node: Number, number: u32) -> Option<String> {
    let (world, name) = (&cluster.world, format!("behind the firewall {number}"));
    let Some((mut client, _)) = world.try_connect(node, &session(Version::V5, &name, true)) else {
        return Some("the client was not let in".to_owned());
    };
    if subscribe(&mut client, (Version::V5, node), "firewall/#", 1, world).is_none() {
        return Some("its SUBSCRIBE was not answered".to_owned());
    }
    let (deaths, noticed) = (cluster.deaths().len(), logged(cluster, node));
    let over = AtomicBool::new(false);
    let (answered, was_noticed) = thread::scope(|scope| {
        let publishes = scope.spawn(|| {
            let mut answered = 0;
            while !over.load(Ordering::Acquire) {
                if !probes::publish(&mut client, node, ("firewall", b"passes"), world) {
                    return None;
                }
                answered += 1;
            }
            Some(answered)
        });
        cluster.network.refuse(node);
        let until = Instant::now() + NOTICED;
        while logged(cluster, node) == noticed && Instant::now() < until {
            pause(Duration::from_millis(5));
        }
        let was_noticed = logged(cluster, node) > noticed;
        pause(REFUSES);
        cluster.network.heal();
        pause(AFTERWARDS);
        over.store(true, Ordering::Release);
        (publishes.join().unwrap(), was_noticed)
    });
    let died = cluster.deaths().len() - deaths;
    println!(
        "node {node} refused, which was noticed: {was_noticed}; {answered:?} publishes answered, {died} deaths"
    );
    (answered.is_none() || !was_noticed || died > 0).then(|| "its connections or its run ended".to_owned())
}

/// How often others have said that a node refuses.
fn logged(cluster: &Cluster, node: Number) -> usize {
    let others = cluster.nodes.up.iter().filter(|(other, _)| **other != node);
    others.map(|(_, other)| other.log().matches(LINE).count()).sum()
}
