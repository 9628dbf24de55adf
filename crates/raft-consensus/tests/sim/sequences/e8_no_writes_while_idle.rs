//! E8: where nothing is due nothing is written: an idle cluster does not sync.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;

use crate::clients::{Wanted, connect};
use crate::replica::{NODES, SimTypes};
use crate::run::directed;

#[test]
fn an_idle_cluster_syncs_nothing() {
    directed(4, |world| async move {
        assert!(connect(&world, &Wanted::steady("exact")).await.is_ok());
        // For checkpoints of what there was.
        SimTypes::sleep(Duration::from_secs(5)).await;
        let before = NODES.map(|node| world.disk(node).syncs());
        SimTypes::sleep(Duration::from_secs(20)).await;
        assert_eq!(NODES.map(|node| world.disk(node).syncs()), before);
    });
}
