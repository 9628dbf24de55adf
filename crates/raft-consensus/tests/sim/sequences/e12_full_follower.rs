//! E12: the disk of one follower is full. It ends nothing: the others go on, and it catches up once there is space.

use mqtt_codec::QoS;

use crate::clients::{Outbound, Wanted, connect, message};
use crate::replica::NODES;
use crate::run::{agree, directed, until};

#[test]
fn a_follower_without_space_holds_nobody_up_and_ends_nothing() {
    directed(5, |world| async move {
        let Ok(at) = connect(&world, &Wanted::steady("plain")).await else { panic!("not connected") };
        let leads: Vec<_> = world.views().into_iter().flatten().map(|view| view.node).collect();
        // Two shards have two leaders at most.
        let full = NODES.into_iter().find(|node| !leads.contains(node)).unwrap();
        world.set_full(full, true);
        // More than the log of a node without space can take.
        for number in 0..200 {
            let sent = Outbound { number, message: message(number, "t/1", QoS::AtLeastOnce, None) };
            assert!(at.publish(&world, &[sent]).await.is_ok());
        }
        let replica = world.replica(full).unwrap();
        assert!(!replica.has_room() && !replica.has_ended());
        world.set_full(full, false);
        until(&world, || replica.has_room()).await;
        agree(&world, 0).await;
    });
}
