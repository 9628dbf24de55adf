//! B40 and B42 to B44: subscriptions, retained messages, wills and sessions without end.
//! Each test has a broker of its own with small limits, see `guard`.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{BOUND, Connect, Props, Publish, RawClient, Version, Will, unique};

use crate::guard::Guard;

const TOO_LARGE: u8 = 0x95;
const QUOTA: u8 = 0x97;

/// Subscribes to `count` filters in one SUBSCRIBE; gives the codes.
fn subscribe_many(client: &mut RawClient, prefix: &str, count: usize) -> Vec<u8> {
    let filters: Vec<String> = (0..count).map(|n| format!("{prefix}/{n}")).collect();
    let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (filter.as_str(), 1)).collect();
    client.subscribe_with(&filters, &Props::new()).codes
}

#[test]
fn b40_ten_thousand_filters_in_one_subscribe_meet_the_quota() {
    let guard = Guard::with_config("[mqtt]\nsubscriptions_per_client_max = 100\n");
    for (version, refusal) in [(Version::V5, QUOTA), (Version::V3_1_1, 0x80)] {
        let mut client = guard.client(version);
        let codes = subscribe_many(&mut client, "b40", 10_000);
        assert_eq!(codes.len(), 10_000);
        let granted = codes.iter().filter(|code| **code == 1).count();
        assert_eq!((granted, codes[99], codes[100]), (100, 1, refusal));
        assert_eq!(
            client.subscribe_with(&[("b40/5", 2)], &Props::new()).codes,
            [2],
            "replacing needs no room"
        );
        client.unsubscribe(&["b40/7"]);
        assert_eq!(
            client.subscribe_with(&[("b40/new", 1), ("b40/newer", 1)], &Props::new()).codes,
            [1, refusal]
        );
        client.publish("b40/5", "on", 1);
        assert_eq!(client.receive().text(), "on");
    }
}

#[test]
fn b40_a_client_cannot_subscribe_without_end() {
    let guard = Guard::new();
    let mut client = guard.v5();
    let mut granted = 0;
    for round in 0..20 {
        let codes = subscribe_many(&mut client, &format!("b40/{round}"), 1_000);
        assert!(codes.iter().all(|code| [1, QUOTA].contains(code)));
        granted += codes.iter().filter(|code| **code == 1).count();
    }
    assert_eq!(granted, 10_000, "the default quota");
}

/// Publishes retained at QoS 1 and gives the code of the PUBACK.
fn retain(client: &mut RawClient, topic: &str, payload: &[u8]) -> u8 {
    let id = client.fresh_id();
    client.send(&Publish::v5(topic, payload).retain().qos(1, id).bytes());
    client.expect_ack(kind::PUBACK).code()
}

#[test]
fn b42_retained_messages_on_ever_new_topics_meet_the_quota() {
    let guard = Guard::with_config("[retained]\nmessages_max = 500\n");
    let mut client = guard.v5();
    let kept: Vec<u32> =
        (0..1_000).filter(|n| retain(&mut client, &format!("b42/{n}"), b"x") != QUOTA).collect();
    assert!((300..=510).contains(&kept.len()), "{} of 1,000 were kept", kept.len());
    let first = format!("b42/{}", kept[0]);
    assert_ne!(retain(&mut client, &first, b"replaced"), QUOTA, "replacing needs no room");
    let mut v3 = guard.v3();
    v3.send(&Publish::v3("b42/more", "x").retain().qos(1, 1).bytes());
    assert!(matches!(v3.read(BOUND), Read::Packet(_) | Read::Closed), "dropped by policy, or closed");
    let mut late = guard.v5();
    late.subscribe("b42/more", 1);
    late.expect_nothing();
    (0..1_000).for_each(|n| assert_ne!(retain(&mut client, &format!("b42/{n}"), b""), QUOTA));
    assert_ne!(retain(&mut client, &first, b"x"), QUOTA, "what was removed made room");
    retain(&mut client, &first, b"");
}

#[test]
fn b42_large_retained_messages_all_reach_a_late_subscriber() {
    let guard = Guard::new();
    let mut client = guard.v5();
    let large = vec![b'x'; 4_000];
    (0..600).for_each(|n| assert_ne!(retain(&mut client, &format!("b42/late/{n}"), &large), QUOTA));
    for qos in [0, 1] {
        let mut late = guard.v5();
        late.subscribe("b42/late/#", qos);
        for n in 0..600 {
            assert_eq!(late.receive().payload.len(), large.len(), "message {n} at QoS {qos}");
        }
        late.disconnect();
    }
    (0..600).for_each(|n| assert_ne!(retain(&mut client, &format!("b42/late/{n}"), b""), QUOTA));
}

#[test]
fn b42_large_retained_messages_meet_the_quota() {
    let guard = Guard::with_config("[retained]\nbytes_max = \"16 MiB\"\n");
    let mut client = guard.v5();
    let large = vec![b'x'; 300_000];
    let kept = (0..150).filter(|n| retain(&mut client, &format!("b42/{n}"), &large) != QUOTA).count();
    assert!((16..=60).contains(&kept), "{kept} messages of 300 KB were kept in 16 MiB");
    (0..150).for_each(|n| assert_ne!(retain(&mut client, &format!("b42/{n}"), b""), QUOTA));
    assert_ne!(retain(&mut client, "b42/0", &large), QUOTA);
    retain(&mut client, "b42/0", b"");
}

#[test]
fn b43_a_will_larger_than_a_packet_may_be() {
    let guard = Guard::with_config("[mqtt]\nmax_packet_size = \"4 KiB\"\n");
    for version in [Version::V5, Version::V3_1_1] {
        let connect = Connect::new(version, unique("c")).will(Will::new("b43", vec![b'x'; 8_000]));
        let codes: &[u8] = if version == Version::V5 { &[TOO_LARGE] } else { &[] };
        guard.no_entry(version, &connect.bytes(), codes, "a will of 8,000 bytes");
    }
}

fn expiry(seconds: u32) -> Props {
    Props::new().four(prop::SESSION_EXPIRY, seconds)
}

#[test]
fn b43_a_will_delay_above_the_session_expiry_ends_with_the_session() {
    let guard = Guard::new();
    let mut reader = guard.v3();
    reader.subscribe("b43", 1);
    let will = Will::new("b43", "fired").qos(1).props(Props::new().four(prop::WILL_DELAY, 3_600));
    for (seconds, least) in [(0, 0), (1, 800)] {
        let connect = Connect::v5(unique("c")).will(will.clone()).props(expiry(seconds));
        let client = RawClient::connect(guard.addr(), &connect);
        let dropped = Instant::now();
        client.drop_connection();
        assert_eq!(reader.receive().text(), "fired", "at the end of the session");
        assert!(dropped.elapsed() >= Duration::from_millis(least));
    }
}

#[test]
fn b43_a_will_whose_message_expiry_is_zero() {
    let guard = Guard::new();
    let mut reader = guard.v5();
    reader.subscribe("b43", 1);
    let will = Will::new("b43", "x").qos(1).retain().props(Props::new().four(prop::MESSAGE_EXPIRY, 0));
    RawClient::connect(guard.addr(), &Connect::v5(unique("c")).will(will)).drop_connection();
    guard.v5().publish("b43", "mark", 1);
    while reader.receive().text() != "mark" {}
    let mut late = guard.v5();
    late.subscribe("b43", 1);
    late.expect_nothing();
}

#[test]
fn b44_the_operators_maximum_of_session_expiry_is_told() {
    let guard = Guard::with_config("[mqtt]\nmax_session_expiry = \"1h\"\n");
    for (asked, told) in [(u32::MAX, Some(3_600)), (7_200, Some(3_600))] {
        let id = unique("c");
        let connect = Connect::v5(&id).props(expiry(asked));
        let (client, connack) = RawClient::connect_ack(guard.addr(), &connect);
        assert_eq!(connack.props.number(prop::SESSION_EXPIRY), told, "asked for {asked}");
        client.disconnect();
        RawClient::v5(guard.addr(), &id).disconnect();
    }
}

#[test]
fn b44_sessions_without_end_meet_the_quota() {
    let guard = Guard::with_config("[session]\nsessions_max = 20\n");
    let ids: Vec<String> = (0..200).map(|_| unique("c")).collect();
    let accepted: Vec<&String> = ids
        .iter()
        .filter(|id| {
            let mut client = RawClient::open(guard.addr());
            let reason = client.handshake(&Connect::v5(id).props(expiry(u32::MAX))).reason;
            assert!([0, QUOTA].contains(&reason), "{reason:02x}");
            if reason == 0 {
                client.disconnect()
            } else {
                drop(client.expect_closed())
            }
            reason == 0
        })
        .collect();
    assert!((10..=40).contains(&accepted.len()), "{} sessions where 20 are allowed", accepted.len());
    guard.no_entry(Version::V3_1_1, &Connect::v3(unique("c")).clean(false).bytes(), &[3], "3.1.1");
    let known = Connect::v5(accepted[0]).clean(false).props(expiry(60));
    assert!(RawClient::connect_ack(guard.addr(), &known).1.session_present, "who has a session comes back");
    for id in accepted {
        RawClient::v5(guard.addr(), id).disconnect();
    }
}
