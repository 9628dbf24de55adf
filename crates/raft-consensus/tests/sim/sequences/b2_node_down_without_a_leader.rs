//! B2: a host dies together with the leader of a shard, so that nobody is there to be told. Whoever leads afterwards ends
//! what the dead host had: its wills are published.

use mqtt_codec::QoS;
use raft_consensus::disk::CrashMode;

use crate::clients::{Wanted, body, connect, consumer};
use crate::replica::SimTypes;
use crate::run::{directed, until};
use openraft::type_config::TypeConfigExt;
use session_store::command::Will;

#[test]
fn the_wills_of_a_host_that_died_with_the_leader_are_published() {
    directed(1, |world| async move {
        let _detached = SimTypes::spawn(consumer::subscriber(world.clone(), "all", QoS::ExactlyOnce));
        until(&world, || world.history.look(|facts| facts.subscribed.contains("all"))).await;
        let body = body(4_000_000, "w/willing");
        let will = Will { body, qos: QoS::ExactlyOnce, retain: false, delay_s: 0, expiry_s: None };
        let wanted = Wanted { will: Some(will), ..Wanted::steady("willing") };
        let Ok(at) = connect(&world, &wanted).await else { panic!("not connected") };
        let (leads, _) = world.leader(at.home()).unwrap();
        world.crash(leads.node, CrashMode::KeepAll);
        world.kill_host(at.host.host.node.0);
        assert!(world.leader(at.home()).is_none(), "nobody is there to be told");
        until(&world, || world.history.look(|facts| facts.positions("all", 4_000_000)) == 1).await;
    });
}
