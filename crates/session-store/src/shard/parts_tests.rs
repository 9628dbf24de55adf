//! Tests of outbox items that come in parts: an item for many groups is cut, taken once, and completed however it is cut.

use super::*;

fn pick(name: &str) -> GroupPick {
    let Filter::Shared { group, filter } = Filter::parse(name, 9).unwrap() else { panic!("not shared") };
    GroupPick { group: Arc::new(GroupName { group, filter }), choice: 0 }
}

/// Names of groups, `count` of them, that all match `t`.
fn long_names(count: usize) -> Vec<String> {
    (0..count).map(|n| format!("$share/{n:05}{}/t", "g".repeat(60_000))).collect()
}

#[test]
fn an_item_for_many_groups_is_cut_into_parts_that_together_are_the_item() {
    let names = long_names(30);
    let groups = names.iter().rev().map(|name| pick(name)).collect();
    let item = PublishItem { store_retained: true, groups, ..qos_1("t", None) };
    let mut parts = Vec::new();
    item.clone().into_parts(|part| parts.push(part));
    let picked: Vec<usize> = parts.iter().map(|part| part.groups.len()).collect();
    assert_eq!(picked, [4, 4, 4, 4, 4, 4, 4, 2]);
    assert!(parts.iter().all(|part| part.size() <= PICKS_BYTES_MAX + qos_1("t", None).size()));
    let told = |part: &PublishItem| (part.number, part.sessions, part.store_retained);
    assert_eq!(told(&parts[0]), (7, true, true));
    assert!(parts[1..].iter().all(|part| told(part) == (7, false, false)));
    let all = parts.iter().flat_map(|part| &part.groups).map(|pick| pick.group.group.to_string());
    assert!(
        all.eq(names.iter().map(|name| name["$share/".len()..name.len() - 2].to_owned())),
        "by their names"
    );
    let mut whole = Vec::new();
    PublishItem { groups: item.groups[..4].to_vec(), ..item }
        .into_parts(|part| whole.push(part.groups.len()));
    assert_eq!(whole, [4]);
}

/// A world with a client in every group, and one that subscribes to `t` besides.
fn with_groups(names: &[String]) -> World {
    let mut world = World::new();
    world.connect("c", false, 100);
    world.subscribe("c", "t", RetainedWanted::Never);
    world.end("c", WillFate::Keep);
    world.connect("g", false, 100);
    names.iter().for_each(|name| drop(world.subscribe("g", name, RetainedWanted::Never)));
    world.end("g", WillFate::Keep);
    world
}

fn of_outbox((number, done_below): (u64, u64), items: Vec<PublishItem>) -> Input {
    let publish = Publish { reply_to: None, publisher: ClientId::new("p"), epoch: None, items };
    let (source, command) = (Source::Outbox(ShardId(3)), Command::Publish(publish));
    Input::from(Request { source, number, done_below, command })
}

fn queued(world: &World) -> (usize, usize) {
    let queued = |client| world.shard.session(client).map_or(0, |session| session.outbound.len());
    (queued("c"), queued("g"))
}

/// The requests for one position: each part but the last says that there is more.
fn in_parts(number: u64, names: &[String]) -> Vec<Input> {
    let groups = names.iter().map(|name| pick(name)).collect();
    let mut parts: Vec<PublishItem> = Vec::new();
    PublishItem { number, groups, ..qos_1("t", None) }.into_parts(|mut part| {
        part.groups.splice(..0, parts.last().and_then(|before| before.groups.last().cloned()));
        parts.push(part);
    });
    let last = parts.len() - 1;
    let numbers = |at| (if at < last { number - 1 } else { number }, if at > 0 { number } else { 0 });
    parts.into_iter().enumerate().map(|(at, part)| of_outbox(numbers(at), vec![part])).collect()
}

#[test]
fn an_outbox_is_taken_once_when_a_position_comes_in_parts() {
    let names = long_names(10);
    let mut world = with_groups(&names);
    let parts = in_parts(1, &names);
    assert_eq!(parts.len(), 3);
    parts.iter().for_each(|part| drop(world.input(part.clone())));
    assert_eq!(queued(&world), (1, 10));
    // A new leader sends what was not yet reported as sent, in the same parts.
    parts.iter().for_each(|part| drop(world.input(part.clone())));
    in_parts(1, &names[..2]).into_iter().for_each(|part| drop(world.input(part)));
    assert_eq!(queued(&world), (1, 10), "all of it was seen");
    in_parts(2, &names).into_iter().for_each(|part| drop(world.input(part)));
    assert_eq!(queued(&world), (2, 20));
}

#[test]
fn a_position_of_which_a_part_came_is_completed_by_parts_that_are_cut_otherwise() {
    let names = long_names(10);
    for came in 1..=2 {
        let mut world = with_groups(&names);
        in_parts(4, &names).into_iter().take(came).for_each(|part| drop(world.input(part)));
        assert_eq!(queued(&world), (1, 4 * came));
        // Written down and read again, as by a checkpoint.
        let source = Source::Outbox(ShardId(3));
        let stream = Stream::from_wire(world.shard.streams[&source].to_wire()).unwrap();
        world.shard.streams.insert(source, stream);
        // The first group has no member any more and the others are sent in other parts, one behind an older item.
        world.input(of_outbox((2, 0), vec![PublishItem { number: 2, ..qos_1("t", None) }]));
        in_parts(4, &names[1..]).into_iter().for_each(|part| drop(world.input(part)));
        assert_eq!(queued(&world), (1, 10), "what came is left out, the rest is taken, {came} parts came");
        world.input(of_outbox((5, 4), vec![PublishItem { number: 5, ..qos_1("t", None) }]));
        assert_eq!(queued(&world), (2, 10));
    }
}

#[test]
fn a_part_before_which_another_is_missing_is_refused() {
    let names = long_names(10);
    let mut world = with_groups(&names);
    let parts = in_parts(2, &names);
    let refused = |effects: Vec<Effect>| matches!(effects.as_slice(), [Effect::Gap { .. }]);
    assert!(refused(world.input(parts[1].clone())) && refused(world.input(parts[2].clone())));
    world.input(parts[0].clone());
    assert!(refused(world.input(parts[2].clone())));
    assert_eq!(queued(&world), (1, 4));
    parts[1..].iter().for_each(|part| drop(world.input(part.clone())));
    assert_eq!(queued(&world), (1, 10));
    assert!(!refused(world.input(parts[1].clone())), "a repeat");
    assert_eq!(queued(&world), (1, 10));
}
