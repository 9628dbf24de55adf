//! B7: a node with very many clients dies. Its death is one step, and its clients end a thousand at a time.

use session_store::command::{EXPIRY_NEVER, Input};

use crate::twins::{HOST, Twins};

#[test]
fn the_clients_of_a_dead_node_end_a_part_at_a_time() {
    let mut twins = Twins::new();
    let names: Vec<String> = (0..2_500).map(|number| format!("c{number}")).collect();
    for name in &names {
        twins.connect(name, EXPIRY_NEVER);
    }
    let connected = |twins: &Twins| {
        let of = |name: &&String| twins.first.session(name).is_some_and(|s| s.connection().is_some());
        names.iter().filter(of).count()
    };
    assert!(twins.input(Input::Down(HOST)).is_empty());
    let mut left = vec![connected(&twins)];
    while twins.first.next_due().is_some() {
        twins.input(Input::Tick);
        left.push(connected(&twins));
    }
    assert_eq!(left, [2_500, 1_500, 500, 0]);
}
