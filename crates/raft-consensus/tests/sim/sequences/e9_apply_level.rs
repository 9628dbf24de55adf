//! E9: the level of `apply` is in a shard's log. It never falls, and a restart does not lose it.

use session_store::command::Input;

use crate::twins::Twins;

#[test]
fn a_level_counts_from_its_entry_on_and_never_falls() {
    let mut twins = Twins::new();
    assert_eq!(twins.first.apply_level(), 1);
    twins.input(Input::RaiseLevel(2));
    twins.input(Input::RaiseLevel(1));
    twins.restart_second();
    assert_eq!((twins.first.apply_level(), twins.second.apply_level()), (2, 2));
}
