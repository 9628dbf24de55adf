//! What rules allow and deny, as clients see it: B39, B43, and names that look like patterns.

use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, Will, packets};

use crate::fixture::{Fixture, NOT_AUTHORIZED, USERS, answer, log_in};

const RULES: &str = "\
group staff bob
deny  all       area/secret/#
allow all       area/# user=ann
allow publish   up/%c/data
allow publish   low/# qos=0 retain=no
allow subscribe down/%u/# qos=1
allow subscribe # group=staff
allow subscribe watch
";

/// 0x87 to 5.0; 3.1.1 has no word for it, and is told what it would be told without rules.
#[test]
fn a_publish_that_no_rule_allows_is_refused_or_dropped_and_counted() {
    let fixture = Fixture::new(USERS, Some(RULES));
    let mut reader = fixture.client(Version::V5, "r", "ann");
    reader.subscribe("area/open", 2);
    let denied = || fixture.metric(r#"quelea_messages_refused_total{reason="denied"}"#);
    for (version, code) in [(Version::V5, NOT_AUTHORIZED), (Version::V3_1_1, 0)] {
        let mut client = fixture.client(version, "c", "ann");
        let before = denied();
        for topic in ["area/secret/x", "other", "up/x/data", "up/c/data/x", "$SYS/x"] {
            client.send(&Publish::new(version, topic, "x").qos(1, 1).bytes());
            assert_eq!(client.expect_ack(kind::PUBACK).code(), code, "{topic}");
            client.send(&Publish::new(version, topic, "x").qos(2, 2).bytes());
            assert_eq!(client.expect_ack(kind::PUBREC).code(), code, "{topic}");
            if version != Version::V5 {
                client.send(&packets::ack(kind::PUBREL, 2));
                client.expect_ack(kind::PUBCOMP);
            }
            client.send(&Publish::new(version, topic, "x").bytes());
            client.ping();
        }
        // The broker's own topics are counted by themselves.
        assert!((denied() - before - 12.0).abs() < 0.5);
        client.publish("area/open", "y", 1);
        assert_eq!(reader.receive().text(), "y");
    }
}

/// The topic is that behind the alias (Mosquitto #3670 to #3672).
#[test]
fn an_alias_is_checked_by_its_topic() {
    let fixture = Fixture::new(USERS, Some(RULES));
    let mut client = fixture.client(Version::V5, "c", "ann");
    let with_alias =
        |topic: &str| Publish::v5(topic, "x").props(Props::new().two(prop::TOPIC_ALIAS, 1)).qos(1, 1).bytes();
    for (topic, code) in
        [("area/open", 0x10), ("", 0x10), ("area/secret/x", NOT_AUTHORIZED), ("", NOT_AUTHORIZED)]
    {
        client.send(&with_alias(topic));
        assert_eq!(client.expect_ack(kind::PUBACK).code(), code, "{topic:?}");
    }
}

#[test]
fn quality_of_service_and_retain_are_limited() {
    let fixture = Fixture::new(USERS, Some(RULES));
    let mut client = fixture.client(Version::V5, "c", "eve");
    for (publish, code) in [
        (Publish::v5("up/c/data", "x").qos(1, 1), 0x10),
        (Publish::v5("low/x", "x").qos(1, 1), NOT_AUTHORIZED),
    ] {
        client.send(&publish.bytes());
        assert_eq!(client.expect_ack(kind::PUBACK).code(), code);
    }
    let before = fixture.metric(r#"quelea_messages_refused_total{reason="denied"}"#);
    client.send(&Publish::v5("low/x", "x").bytes());
    client.send(&Publish::v5("low/x", "x").retain().bytes());
    client.ping();
    assert!((fixture.metric(r#"quelea_messages_refused_total{reason="denied"}"#) - before - 1.0).abs() < 0.5);
    let ack = client.subscribe_with(&[("down/eve/x", 2), ("down/eve/#", 0)], &Props::new());
    assert_eq!(ack.codes, [1, 0], "less is granted than was asked for");
}

/// B39: the filter has to be covered by a grant, not merely match it (CVE-2026-49186); that of a shared group is the one
/// inside it.
#[test]
fn b39_a_filter_is_granted_only_as_a_whole() {
    let fixture = Fixture::new(USERS, Some(RULES));
    let cases = [
        ("ann", "area/open", true),
        ("ann", "area/open/+", true),
        ("ann", "watch", true),
        ("ann", "down/ann/#", true),
        ("ann", "$share/g/area/open", true),
        ("ann", "$share/area/open", false),
        ("ann", "area/#", false),
        ("ann", "#", false),
        ("ann", "+", false),
        ("ann", "area/secret/x", false),
        ("ann", "$share/g/area/secret/x", false),
        ("ann", "$share/g/#", false),
        ("ann", "$queue/other", false),
        ("ann", "down/bob/x", false),
        ("ann", "down/+/x", false),
        ("ann", "$SYS/#", false),
        ("bob", "other/#", true),
        ("bob", "#", false),
        ("bob", "area/+/x", false),
        ("bob", "$SYS/#", false),
        ("bob", "area/+", false),
        ("bob", "area/open/+", true),
    ];
    for (version, refused) in [(Version::V5, NOT_AUTHORIZED), (Version::V3_1_1, 0x80), (Version::V3_1, 0x80)]
    {
        for user in ["ann", "bob"] {
            let mut client = fixture.client(version, "c", user);
            let own: Vec<_> = cases.iter().filter(|(of, ..)| *of == user).collect();
            let filters: Vec<(&str, u8)> = own.iter().map(|(_, filter, _)| (*filter, 0)).collect();
            let ack = client.subscribe_with(&filters, &Props::new());
            let found: Vec<_> =
                own.iter().zip(&ack.codes).map(|((_, filter, _), code)| (*filter, *code)).collect();
            let expected: Vec<_> =
                own.iter().map(|(_, filter, may)| (*filter, if *may { 0 } else { refused })).collect();
            assert_eq!(found, expected);
            // What was refused was not subscribed to.
            client.ping();
        }
    }
    assert!(fixture.metric("quelea_denied_subscribes_total") > 30.0);
}

/// RabbitMQ CVE-2026-44838 and Mosquitto CVE-2017-7650: a name in a rule stands for itself, whatever is in it.
#[test]
fn names_that_look_like_patterns_open_nothing() {
    let rules = "allow all own/%c/#\nallow all own-%u/#\nallow subscribe mine\n";
    let users = USERS.replace("eve:", "+:").replace("bob:", "#:");
    let fixture = Fixture::new(&users, Some(rules));
    for id in ["+", "#", "a/b", "+/+", "/", "victim/#", "%u", ".*"] {
        // The hash is another's: who is called `+` has the password of `eve`.
        let connect = Connect::v5(id).user("+").password("pass-eve");
        let mut client = RawClient::connect(&fixture.addr(), &connect);
        let filters = ["own/#", "own/+/#", "own/victim/x", "own/a/b", "own-+/x", "own-victim/x"];
        let asked: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 0)).collect();
        let codes = client.subscribe_with(&asked, &Props::new()).codes;
        // No filter can spell `own-+`; all else is refused.
        assert!(codes.iter().all(|code| *code >= 0x80), "{id}: {codes:02x?}");
        for topic in ["own/victim/x", "own/a/b/x", "own-victim/x"] {
            client.send(&Publish::v5(topic, "x").qos(1, 1).bytes());
            assert_eq!(client.expect_ack(kind::PUBACK).code(), NOT_AUTHORIZED, "{id} {topic}");
        }
        assert_eq!(client.subscribe("mine", 0).codes, [0]);
    }
}

/// B43: a will whose topic is denied is refused with its CONNECT (mochi #503, moquette #689), and so is one whose QoS or
/// RETAIN is.
#[test]
fn b43_a_will_needs_the_right_to_publish_it() {
    let fixture = Fixture::new(USERS, Some(RULES));
    let mut reader = fixture.client(Version::V5, "r", "ann");
    reader.subscribe("area/open", 1);
    for (version, refused) in [(Version::V5, NOT_AUTHORIZED), (Version::V3_1_1, 5), (Version::V3_1, 5)] {
        let with = |will: Will| log_in(version, "c", "ann").will(will);
        for will in [
            Will::new("area/secret/x", "x"),
            Will::new("other", "x"),
            Will::new("up/other/data", "x"),
            Will::new("low/x", "x").qos(1),
            Will::new("low/x", "x").retain(),
        ] {
            assert_eq!(answer(&fixture.addr(), &with(will)), refused);
        }
        let client = RawClient::connect(&fixture.addr(), &with(Will::new("area/open", "will").qos(1)));
        client.drop_connection();
        assert_eq!(reader.receive().text(), "will");
    }
}

/// Rules are about people too who have no name, where these are let in.
#[test]
fn rules_hold_for_clients_without_a_name() {
    let rules = "allow publish in anonymous\nallow subscribe in user=ann\n";
    let fixture = Fixture::with("[auth]\nallow_anonymous = true", USERS, Some(rules));
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    ann.subscribe("in", 1);
    // A name that nobody checked would be none; here a wrong one does not get in at all.
    let mut nobody = RawClient::v5(&fixture.addr(), "nobody");
    nobody.publish("in", "x", 1);
    assert_eq!(ann.receive().text(), "x");
    for client in [&mut ann, &mut nobody] {
        client.send(&Publish::v5("out", "x").qos(1, 9).bytes());
        assert_eq!(client.expect_ack(kind::PUBACK).code(), NOT_AUTHORIZED);
    }
}
