//! E12: the disk of one member is full. It ends nothing: where it leads, another takes over; the others go on, and it
//! catches up once there is space.

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

#[test]
fn a_leader_without_space_gives_way_and_loses_nothing() {
    directed(6, |world| async move {
        let Ok(at) = connect(&world, &Wanted::steady("plain")).await else { panic!("not connected") };
        let full = world.leader(0).unwrap().0.node;
        world.set_full(full, true);
        // More than the log of a node without space can take, and nobody is cut off from anybody.
        for number in 0..200 {
            let sent = Outbound { number, message: message(number, "t/1", QoS::AtLeastOnce, None) };
            assert!(at.publish(&world, &[sent]).await.is_ok());
        }
        assert!(!world.replica(full).unwrap().has_room());
        until(&world, || world.leader(0).is_some_and(|(view, _)| view.node != full)).await;
        world.set_full(full, false);
        let replica = world.replica(full).unwrap();
        until(&world, || replica.has_room()).await;
        agree(&world, 0).await;
    });
}
