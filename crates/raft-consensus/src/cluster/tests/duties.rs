//! Tests of the duties of members: what may follow what, and that whoever has left is dead for good.

use super::*;

fn duty(cluster: &Cluster, node: u32) -> Duty {
    cluster.member(NodeId(node)).unwrap().duty
}

fn apply(cluster: &mut Cluster, command: &Command) {
    cluster.apply(Millis(3), command).unwrap();
}

fn of_three() -> Cluster {
    cluster(&[begin(1, 1), begin(2, 1), begin(3, 1)])
}

#[test]
fn a_duty_outlives_the_runs_of_its_node_and_can_be_called_off() {
    let mut cluster = of_three();
    apply(&mut cluster, &Command::Drain(NodeId(2)));
    apply(&mut cluster, &begin(2, 2));
    assert_eq!(duty(&cluster, 2), Duty::Drains);
    apply(&mut cluster, &Command::Leave(NodeId(2)));
    assert_eq!(refusal(&cluster, &Command::Drain(NodeId(2))), Refusal::Leaves(NodeId(2)));
    apply(&mut cluster, &Command::Undrain(NodeId(2)));
    assert_eq!(duty(&cluster, 2), Duty::Serves);
    for command in [Command::Drain, Command::Undrain, Command::Leave, Command::Left] {
        assert_eq!(refusal(&cluster, &command(NodeId(9))), Refusal::NoMember(NodeId(9)));
    }
    assert_eq!(refusal(&cluster, &Command::Left(NodeId(2))), Refusal::NotLeaving(NodeId(2)));
}

#[test]
fn whoever_has_left_has_nothing_and_does_not_come_back() {
    let mut cluster = of_three();
    apply(&mut cluster, &owners::add(Owner::Host(run(2, 1)), 1, "a"));
    apply(&mut cluster, &Command::Leave(NodeId(2)));
    assert_eq!(cluster.live().count(), 3, "it lives until it has nothing that others lack");
    apply(&mut cluster, &Command::Left(NodeId(2)));
    assert_eq!(cluster.live().collect::<Vec<_>>(), [run(1, 1), run(3, 1)]);
    assert_eq!(cluster.routes(Owner::Host(run(2, 1))).count(), 0);
    assert_eq!(lowest(&cluster, 2), 2, "shards hear that its run is dead");
    for command in [begin(2, 1), begin(2, 2), Command::Undrain(NodeId(2)), Command::Leave(NodeId(2))] {
        assert_eq!(refusal(&cluster, &command), Refusal::Left(NodeId(2)));
    }
    assert_eq!(cluster.standing(&Command::Down(run(2, 1))), Standing::InForce);
    assert!(cluster.has_left(NodeId(2)) && !cluster.has_left(NodeId(3)) && !cluster.has_left(NodeId(4)));
}

#[test]
fn somebody_stays() {
    let mut cluster = cluster(&[begin(1, 1), begin(2, 1)]);
    apply(&mut cluster, &Command::Leave(NodeId(1)));
    assert_eq!(refusal(&cluster, &Command::Leave(NodeId(2))), Refusal::LastNode);
    apply(&mut cluster, &Command::Left(NodeId(1)));
    assert_eq!(refusal(&cluster, &Command::Leave(NodeId(2))), Refusal::LastNode);
}

#[test]
fn a_node_that_lost_its_disk_has_left_once_another_of_its_name_is_there() {
    let named = |node, name: &str| {
        let (host, address) = (run(node, 1), "a:1".into());
        Command::Begin(Begin { host, token: 1, name: name.into(), address, knows_level: 1 })
    };
    let mut cluster = cluster(&[named(1, "a"), named(2, "b"), named(3, "b"), named(4, ""), named(5, "")]);
    assert_eq!(cluster.replaced_by(NodeId(2)), Some(NodeId(3)));
    for stays in [1, 3, 4, 5] {
        assert_eq!(cluster.replaced_by(NodeId(stays)), None, "{stays}");
    }
    apply(&mut cluster, &Command::Left(NodeId(2)));
    assert_eq!(refusal(&cluster, &Command::Left(NodeId(3))), Refusal::NotLeaving(NodeId(3)));
}

#[test]
fn those_that_left_are_forgotten_at_last_and_stay_dead() {
    let mut cluster = cluster(&[begin(1, 1)]);
    let many = u32::try_from(LEFT_MAX).unwrap() + 10;
    for node in 2..2 + many {
        apply(&mut cluster, &begin(node, 1));
        apply(&mut cluster, &Command::Leave(NodeId(node)));
        apply(&mut cluster, &Command::Left(NodeId(node)));
    }
    assert_eq!(cluster.members().len(), 1 + LEFT_MAX);
    assert!(cluster.member(NodeId(2)).is_none() && cluster.has_left(NodeId(2)));
    assert_eq!(refusal(&cluster, &begin(2, 2)), Refusal::Left(NodeId(2)));
    assert_eq!(cluster.standing(&Command::Down(run(2, 1))), Standing::InForce);
    assert_eq!(cluster.standing(&Command::Left(NodeId(2))), Standing::InForce);
}
