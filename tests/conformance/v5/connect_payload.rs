//! Section 3.1.3: client identifier, will, user name and password in their order.

use std::collections::BTreeSet;

use e2e_tests::packets::{Connect, Will, disconnect};
use e2e_tests::wire::{Props, Version, kind, packet, prop, string};
use e2e_tests::{RawClient, unique};

use crate::common::{BAD_UTF8, MALFORMED, World, expiry, persistent, topic};

#[test]
fn mqtt5_3_1_3_1_the_payload_fields_are_read_in_their_order() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let will_props = Props::new().text(prop::CONTENT_TYPE, "type").user("a", "1");
    let will = Will::new(&topic, "payload of the will").props(will_props);
    let connect = Connect::v5(unique("c")).will(will).user("user").password([0, 255, 0]);
    world.connect(&connect).drop_connection();
    let got = subscriber.expect_publish();
    assert_eq!((got.topic, got.payload), (topic, b"payload of the will".to_vec()));
    assert_eq!(got.props.text(prop::CONTENT_TYPE).unwrap(), "type");
}

#[test]
fn mqtt5_3_1_3_1_another_order_is_read_as_this_order_and_refused() {
    let world = World::new();
    // Will topic and payload before the will properties: their length bytes make no sense as properties.
    let mut body = string("MQTT");
    body.extend([5, 0x06, 0, 60, 0]);
    for field in ["client", "will/topic", "payload"] {
        body.extend(string(field));
    }
    body.push(0);
    world.refused_first(&packet(kind::CONNECT << 4, &body), MALFORMED);
}

#[test]
fn mqtt5_3_1_3_2_the_client_id_names_the_session() {
    let world = World::new();
    let (one, two, topic) = (unique("c"), unique("c"), topic());
    world.absent(&one, &topic, 1);
    let (_other, connack) = world.connect_ack(&persistent(&two));
    assert!(!connack.session_present, "another id has another session");
    world.client().publish(&topic, "for one", 1);
    let (mut back, connack) = world.connect_ack(&persistent(&one));
    assert!(connack.session_present);
    assert_eq!(back.receive().text(), "for one");
}

#[test]
fn mqtt5_3_1_3_2_client_ids_differ_by_a_single_character_and_case() {
    let world = World::new();
    let id = unique("case");
    world.absent(&id, "t", 0);
    for other in [id.to_uppercase(), format!("{id}x"), format!(" {id}"), id[1..].to_owned()] {
        let (client, connack) = world.connect_ack(&persistent(&other).props(expiry(0)));
        assert!(!connack.session_present, "{other} is not {id}");
        client.disconnect();
    }
}

#[test]
fn mqtt5_3_1_3_3_a_connect_without_a_client_id_is_malformed() {
    let world = World::new();
    let mut body = string("MQTT");
    body.extend([5, 0x02, 0, 60, 0]);
    world.refused_first(&packet(kind::CONNECT << 4, &body), MALFORMED);
}

#[test]
fn mqtt5_3_1_3_4_a_client_id_is_utf8() {
    let world = World::new();
    for bad in BAD_UTF8.into_iter().chain([&b"\0"[..]]) {
        world.refused_first(&Connect::v5(bad).bytes(), &[0x81, 0x82, 0x85]);
    }
    world.connect(&Connect::v5("클라이언트-é-😀")).disconnect();
}

#[test]
fn mqtt5_3_1_3_5_ids_of_1_to_23_letters_and_digits_are_accepted() {
    let world = World::new();
    const ALLOWED: &str = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    for length in 1..=23 {
        world.connect(&Connect::v5(&ALLOWED[..length])).disconnect();
        world.connect(&Connect::v5(&ALLOWED[ALLOWED.len() - length..])).disconnect();
    }
    world.connect(&Connect::v5(&ALLOWED[20..43])).disconnect();
}

#[test]
fn mqtt5_3_1_3_6_an_empty_id_gets_a_unique_one() {
    let world = World::new();
    let mut seen = BTreeSet::new();
    let mut open = Vec::new();
    for clean in [true, false, true, false] {
        let (client, connack) = world.connect_ack(&Connect::v5("").clean(clean));
        let assigned = connack.props.text(prop::ASSIGNED_CLIENT_ID).expect("an id is assigned");
        assert!(!assigned.is_empty() && seen.insert(assigned), "assigned twice: {seen:?}");
        open.push(client);
    }
    open.iter_mut().for_each(RawClient::ping);
}

#[test]
fn mqtt5_3_1_3_7_an_assigned_id_works_as_if_it_had_been_supplied() {
    let world = World::new();
    let topic = topic();
    let (mut client, connack) = world.connect_ack(&persistent(""));
    let assigned = connack.props.text(prop::ASSIGNED_CLIENT_ID).expect("an id is assigned");
    assert!(!connack.session_present);
    client.subscribe(&topic, 1);
    client.drop_connection();
    world.client().publish(&topic, "kept", 1);
    let (mut back, connack) = world.connect_ack(&persistent(&assigned));
    assert!(connack.session_present && !connack.props.has(prop::ASSIGNED_CLIENT_ID));
    assert_eq!(back.receive().text(), "kept");
}

#[test]
fn mqtt5_3_1_3_8_an_id_is_accepted_or_refused_with_0x85() {
    let world = World::new();
    for id in [vec![b'x'; 65_535], vec![b'y'; 1024], b"a/b+c#d%e.*[f]$g\x01\x7f".to_vec()] {
        let mut client = RawClient::open(&world.addr());
        client.send(&[Connect::v5(&id).bytes(), disconnect()].concat());
        // CONNACK, whatever it says, is the only answer, and may be left out for an id that is refused.
        if let [connack] = client.expect_closed().as_slice() {
            let reason = connack.connack(Version::V5).reason;
            assert!(reason == 0 || reason == 0x85, "client identifier not valid: {reason:#04x}");
        }
    }
}

#[test]
fn mqtt5_3_1_3_10_user_properties_of_a_will_keep_their_order() {
    let world = World::new();
    let topic = topic();
    let mut subscriber = world.subscriber(&topic, 0);
    let props = Props::new().user("b", "1").user("a", "2").user("b", "3").user("", "");
    world.connect(&Connect::v5(unique("c")).will(Will::new(&topic, "w").props(props))).drop_connection();
    let pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("", "")].map(|(n, v)| (n.to_owned(), v.to_owned()));
    assert_eq!(subscriber.expect_publish().props.user(), pairs);
}

#[test]
fn mqtt5_3_1_3_11_a_will_topic_is_a_topic_name_in_utf8() {
    let world = World::new();
    for bad in BAD_UTF8.into_iter().chain([&b"w\0"[..], b"", b"w/#", b"+/w"]) {
        let connect = Connect::v5(unique("c")).will(Will::new(bad, "w"));
        world.refused_first(&connect.bytes(), &[0x81, 0x82, 0x90]);
    }
}

#[test]
fn mqtt5_3_1_3_12_a_user_name_is_utf8() {
    let world = World::new();
    for bad in BAD_UTF8.into_iter().chain([&b"u\0"[..]]) {
        world.refused_first(&Connect::v5(unique("c")).user(bad).bytes(), &[0x81, 0x82, 0x86]);
    }
    world.connect(&Connect::v5(unique("c")).user("이름")).disconnect();
    world.connect(&Connect::v5(unique("c")).password([0xC3, 0x28, 0])).disconnect();
}
