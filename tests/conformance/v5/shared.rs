//! Section 4.8: shared subscriptions.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::packets;
use e2e_tests::parse::ReceivedPublish;
use e2e_tests::wire::{Props, Version, kind};
use e2e_tests::{BOUND, RawClient, unique};

use crate::common::{World, persistent, topic};

#[track_caller]
fn refused(filter: &str) {
    let world = World::new();
    let mut client = world.client();
    client.send(&packets::subscribe(Version::V5, 1, &[(filter, 0)], &Props::new()));
    if let Some(suback) = client.expect_suback_or_end() {
        assert!(suback.code() >= 0x80, "{filter}: {suback:?}");
    }
}

/// Two persistent members of a group, one of which holds an unanswered message: (holder, its id, the other, topic).
fn one_holds(world: &World, qos: u8) -> (RawClient, String, RawClient, String) {
    let topic = topic();
    let filter = format!("$share/{}/{topic}", unique("g"));
    let ids = [unique("m"), unique("m")];
    let mut members = ids.clone().map(|id| world.connect(&persistent(&id)));
    for member in &mut members {
        member.subscribe(&filter, 2);
    }
    world.client().publish(&topic, "for one of us", qos);
    let [mut first, mut second] = members;
    let [first_id, second_id] = ids;
    let (at, publish) = whoever_gets_it(&mut [&mut first, &mut second]);
    assert_eq!(publish.qos, qos);
    if at == 0 { (first, first_id, second, topic) } else { (second, second_id, first, topic) }
}

/// The next message, and which of these clients got it.
#[track_caller]
fn whoever_gets_it(clients: &mut [&mut RawClient]) -> (usize, ReceivedPublish) {
    let deadline = Instant::now() + BOUND;
    while Instant::now() < deadline {
        for (at, client) in clients.iter_mut().enumerate() {
            if let Read::Packet(packet) = client.read(Duration::from_millis(5)) {
                return (at, packet.publish(Version::V5));
            }
        }
    }
    panic!("nobody got the message");
}

#[test]
fn mqtt5_4_8_2_1_a_shared_filter_has_a_share_name() {
    refused("$share/");
    refused("$share//t");
    let mut client = World::new().client();
    client.subscribe("$share/n/t", 0);
}

#[test]
fn mqtt5_4_8_2_2_a_share_name_has_no_wildcard_and_a_filter_follows() {
    for bad in
        ["$share/a+/t", "$share/#/t", "$share/+/t", "$share/g#/t", "$share/g", "$share/g/", "$share/g/a#"]
    {
        refused(bad);
    }
    let world = World::new();
    let base = topic();
    let mut member = world.subscriber(&format!("$share/한국 $/{base}/+/#"), 0);
    world.client().publish(&format!("{base}/a/b"), "p", 0);
    assert_eq!(member.expect_publish().topic, format!("{base}/a/b"));
}

#[test]
fn mqtt5_4_8_2_2_each_message_goes_to_one_member_and_to_plain_subscribers() {
    let world = World::new();
    let topic = topic();
    let groups = [unique("g"), unique("g")];
    let mut members: Vec<Vec<RawClient>> = groups
        .iter()
        .map(|group| (0..3).map(|_| world.subscriber(&format!("$share/{group}/{topic}"), 1)).collect())
        .collect();
    let mut plain = world.subscriber(&topic, 1);
    let mut publisher = world.client();
    for number in 0..30 {
        publisher.publish(&topic, number.to_string(), 1);
    }
    for number in 0..30 {
        assert_eq!(plain.receive().text(), number.to_string());
    }
    for group in &mut members {
        let mut got: Vec<u32> = Vec::new();
        for _ in 0..30 {
            let (at, publish) = whoever_gets_it(&mut group.iter_mut().collect::<Vec<_>>());
            group[at].answer(&publish);
            got.push(publish.text().parse().unwrap());
        }
        group.iter_mut().for_each(RawClient::expect_nothing);
        got.sort_unstable();
        assert_eq!(got, (0..30).collect::<Vec<_>>(), "each message once in each group");
    }
}

#[test]
fn mqtt5_4_8_2_2_unsubscribing_ends_the_membership_alone() {
    let world = World::new();
    let topic = topic();
    let filter = format!("$share/{}/{topic}", unique("g"));
    let mut leaving = world.subscriber(&filter, 0);
    leaving.subscribe(&topic, 0);
    let mut staying = world.subscriber(&filter, 0);
    assert_eq!(leaving.unsubscribe(&[&filter]).codes, [0]);
    for number in 0..4 {
        world.client().publish(&topic, number.to_string(), 0);
        assert_eq!(staying.expect_publish().text(), number.to_string());
        assert_eq!(leaving.expect_publish().text(), number.to_string(), "by its plain subscription");
    }
}

#[test]
fn mqtt5_4_8_2_3_the_granted_qos_is_respected() {
    let world = World::new();
    for granted in 0..3 {
        let topic = topic();
        let mut member = world.subscriber(&format!("$share/{}/{topic}", unique("g")), granted);
        for published in 0..3 {
            world.client().publish(&topic, "p", published);
            assert_eq!(member.receive().qos, granted.min(published));
        }
    }
}

#[test]
fn mqtt5_4_8_2_4_qos_2_is_completed_to_the_chosen_client_on_its_return() {
    let world = World::new();
    let (holder, id, mut other, _topic) = one_holds(&world, 2);
    holder.drop_connection();
    other.expect_nothing();
    let mut back = world.connect(&persistent(&id));
    let again = back.receive();
    assert!(again.dup && again.text() == "for one of us");
    other.expect_nothing();
}

#[test]
fn mqtt5_4_8_2_5_qos_2_goes_to_nobody_else_when_the_session_ends() {
    let world = World::new();
    let (holder, id, mut other, topic) = one_holds(&world, 2);
    holder.drop_connection();
    world.connect(&persistent(&id).clean(true)).disconnect();
    other.expect_nothing();
    world.client().publish(&topic, "the next", 2);
    assert_eq!(other.receive().text(), "the next");
}

#[test]
fn mqtt5_4_8_2_6_an_ack_of_failure_discards_the_message() {
    let world = World::new();
    for (qos, ack_kind) in [(1, kind::PUBACK), (2, kind::PUBREC)] {
        let topic = topic();
        let filter = format!("$share/{}/{topic}", unique("g"));
        let mut members = [world.subscriber(&filter, 2), world.subscriber(&filter, 2)];
        let mut publisher = world.client();
        for _ in 0..4 {
            publisher.publish(&topic, "refused by whoever gets it", qos);
        }
        for _ in 0..4 {
            let [one, two] = &mut members;
            let (at, publish) = whoever_gets_it(&mut [one, two]);
            members[at].send(&packets::ack_v5(ack_kind, publish.packet_id, 0x80, &Props::new()));
        }
        // No message was given to the other member.
        members.iter_mut().for_each(RawClient::expect_nothing);
    }
}

#[test]
fn mqtt5_4_8_2_2_a_shared_subscription_gets_no_retained_messages() {
    let world = World::new();
    let topic = topic();
    let retained = packets::Publish::v5(&topic, "kept").retain();
    world.client().publish_packet(retained, 1);
    let mut member = world.subscriber(&format!("$share/{}/{topic}", unique("g")), 1);
    member.expect_nothing();
    world.client().publish_packet(packets::Publish::v5(&topic, "").retain(), 1);
}
