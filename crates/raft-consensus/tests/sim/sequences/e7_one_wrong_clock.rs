//! E7: the clock of whoever leads jumps by an hour, forward or back. No session ends by that, and what is due is done on
//! time, also after the next failover.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use raft_consensus::disk::CrashMode;
use session_store::ClientId;

use crate::clients::{Wanted, connect};
use crate::replica::SimTypes;
use crate::run::directed;

const HOUR_MS: i64 = 3_600_000;

#[test]
fn a_clock_that_is_wrong_by_an_hour_ends_no_session_and_holds_none_back() {
    for off_ms in [HOUR_MS, -HOUR_MS] {
        directed(3, move |world| async move {
            let wanted = |name: &str, expiry_s| Wanted {
                client: ClientId::new(name),
                clean_start: false,
                expiry_s,
                will: None,
            };
            for (name, expiry_s) in [("stays", 600), ("goes", 3)] {
                let Ok(at) = connect(&world, &wanted(name, expiry_s)).await else { panic!("not connected") };
                let (leads, _) = world.leader(at.home()).unwrap();
                world.set_clock(leads.node, off_ms);
                assert!(at.host.disconnect(at.connection, None).await.is_ok());
                SimTypes::sleep(Duration::from_secs(1)).await;
                world.crash(leads.node, CrashMode::KeepAll);
                SimTypes::sleep(Duration::from_secs(4)).await;
                world.start(leads.node).await;
                let Ok(back) = connect(&world, &wanted(name, expiry_s)).await else {
                    panic!("not connected")
                };
                assert_eq!(back.present, expiry_s == 600, "{name} by {off_ms}");
            }
        });
    }
}
