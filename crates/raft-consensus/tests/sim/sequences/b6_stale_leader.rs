//! B6: a leader that was cut off and replaced says nothing when it hears again what was decided without it.

use session_store::command::EXPIRY_NEVER;

use crate::clients::{Wanted, connect};
use crate::run::{agree, directed, until};

#[test]
fn a_leader_that_was_replaced_carries_nothing_out() {
    directed(2, |world| async move {
        let Ok(at) = connect(&world, &Wanted::steady("exact")).await else { panic!("not connected") };
        let (stale, part) = world.leader(at.home()).unwrap();
        world.isolate(stale.node);
        until(&world, || world.leader(at.home()).is_some_and(|(view, _)| view.node != stale.node)).await;
        part.outlet.count();
        let wanted = Wanted { expiry_s: EXPIRY_NEVER, ..Wanted::steady("exact") };
        assert!(connect(&world, &wanted).await.is_ok());
        world.reconnect();
        agree(&world, at.home()).await;
        assert_eq!(part.outlet.count(), 0);
    });
}
