//! Section 4.7: topic names, filters, wildcards and the $-rule.

use e2e_tests::packets::{self, Publish};
use e2e_tests::unique;
use e2e_tests::wire::{Props, Version, kind, packet, string};

use crate::common::{World, topic};

/// The filter is refused: by its code in SUBACK, or by the end of the connection.
#[track_caller]
fn filter_refused(filter: &str) {
    let mut client = World::new().client();
    client.send(&packets::subscribe(Version::V5, 1, &[(filter, 0)], &Props::new()));
    if let Some(suback) = client.expect_suback_or_end() {
        assert!(suback.codes.len() == 1 && suback.code() >= 0x80, "{filter:?}: {suback:?}");
    }
}

/// Which of these topics a filter matches, both under a base of their own.
fn matched(filter: &str, topics: &[&str]) -> Vec<String> {
    let world = World::new();
    let base = topic();
    let mut subscriber = world.subscriber(&format!("{base}/{filter}"), 0);
    // The end comes by a topic of its own.
    let end = format!("end/{base}");
    subscriber.subscribe(&end, 0);
    let mut publisher = world.client();
    for topic in topics {
        publisher.publish(&format!("{base}/{topic}"), topic, 0);
    }
    publisher.publish(&end, "end", 0);
    crate::common::texts(&crate::common::until_end(&mut subscriber))
}

#[test]
fn mqtt5_4_7_0_1_wildcards_are_for_filters_only() {
    let world = World::new();
    for name in ["+", "#", "a/+", "a/#", "+/b"] {
        world.refused(&Publish::v5(name, "p").bytes(), &[0x81, 0x82, 0x90]);
        let mut client = world.client();
        client.subscribe(name, 0);
    }
}

#[test]
fn mqtt5_4_7_1_1_the_multi_level_wildcard_stands_alone_and_last() {
    for bad in ["a#", "#a", "a/#/b", "#/", "##", "a/b#", "#/#"] {
        filter_refused(bad);
    }
    let topics = ["", "a", "a/", "a/b", "a/b/c", "b", "ab"];
    assert_eq!(matched("#", &topics), topics);
    assert_eq!(matched("a/#", &topics), ["a", "a/", "a/b", "a/b/c"]);
    assert_eq!(matched("a/b/#", &topics), ["a/b", "a/b/c"]);
}

#[test]
fn mqtt5_4_7_1_2_the_single_level_wildcard_fills_a_level() {
    for bad in ["a+", "+a", "a/+b", "a+/b", "++", "a/b+/#"] {
        filter_refused(bad);
    }
    let topics = ["", "a", "a/", "/a", "a/b", "a/b/c", "a//c"];
    assert_eq!(matched("+", &topics), ["", "a"]);
    assert_eq!(matched("+/+", &topics), ["a/", "/a", "a/b"]);
    assert_eq!(matched("a/+", &topics), ["a/", "a/b"]);
    assert_eq!(matched("a/+/c", &topics), ["a/b/c", "a//c"]);
    assert_eq!(matched("+/b/#", &topics), ["a/b", "a/b/c"]);
    assert_eq!(matched("/+", &topics), ["/a"]);
}

#[test]
fn mqtt5_4_7_2_1_a_leading_wildcard_does_not_match_a_dollar_topic() {
    let world = World::new();
    let name = format!("$x{}", unique("d"));
    let mut all = world.client();
    for filter in ["#", "+/#", "+", "+/one"] {
        // Retained messages of others would be noise: handling 2.
        all.subscribe(filter, 0x20);
    }
    let mut own = world.subscriber(&format!("{name}/#"), 0);
    let mut publisher = world.client();
    // Whether clients may publish below `$` is the broker's choice: it may not reach these filters in any case.
    publisher.publish_packet(Publish::v5(format!("{name}/one"), "p"), 0);
    publisher.ping();
    drop(own.read(e2e_tests::QUIET));
    let mut sys = world.subscriber("$SYS/#", 0);
    // Published in intervals: it may take one for the first to come.
    assert!(
        matches!(sys.read(3 * e2e_tests::BOUND), e2e_tests::client::Read::Packet(_)),
        "nothing under $SYS"
    );
    let deadline = std::time::Instant::now() + e2e_tests::QUIET;
    while std::time::Instant::now() < deadline {
        if let e2e_tests::client::Read::Packet(packet) = all.read(e2e_tests::QUIET) {
            let topic = packet.publish(Version::V5).topic;
            assert!(!topic.starts_with('$'), "{topic} reached a leading wildcard");
        }
    }
}

#[test]
fn mqtt5_4_7_3_1_names_and_filters_have_a_character_at_least() {
    let world = World::new();
    filter_refused("");
    world.refused(&Publish::v5("", "p").bytes(), &[0x81, 0x82, 0x90]);
    let unsubscribe = packets::unsubscribe(Version::V5, 1, &[""], &Props::new());
    let mut client = world.client();
    client.send(&unsubscribe);
    if let e2e_tests::client::Read::Packet(answer) = client.read(e2e_tests::BOUND) {
        let failed = match answer.kind() {
            kind::UNSUBACK => answer.ack(Version::V5).code(),
            _ => answer.reasoned().reason,
        };
        assert!(failed >= 0x80);
    }
    // A slash alone is a topic of two empty levels.
    let mut slash = world.subscriber("/", 0x20);
    world.client().publish("/", "slash", 0);
    assert_eq!(slash.expect_publish().topic, "/");
}

#[test]
fn mqtt5_4_7_3_2_names_and_filters_have_no_null_character() {
    let world = World::new();
    world.refused(&Publish::v5("a\0b", "p").bytes(), &[0x81, 0x82, 0x90]);
    for packet_kind in [kind::SUBSCRIBE, kind::UNSUBSCRIBE] {
        let options: &[u8] = if packet_kind == kind::SUBSCRIBE { &[0] } else { &[] };
        let body = [&[0, 1, 0][..], &string("a\0b"), options].concat();
        world.refused(&packet(packet_kind << 4 | 2, &body), &[0x81, 0x82, 0x8F]);
    }
}

#[test]
fn mqtt5_4_7_3_3_names_and_filters_may_have_65535_bytes() {
    let world = World::new();
    let start = topic();
    let name = format!("{start}{}", "x".repeat(65_535 - start.len()));
    let mut subscriber = world.subscriber(&name, 1);
    let mut publisher = world.client();
    publisher.publish(&name, "long", 1);
    let got = subscriber.receive();
    assert_eq!((got.topic.len(), got.text().as_str()), (65_535, "long"));
    publisher.publish(&name[..65_534], "another", 1);
    subscriber.expect_nothing();
}

#[test]
fn mqtt5_4_7_3_4_matching_normalises_nothing() {
    let topics =
        ["Case", "case", "caf\u{e9}", "cafe\u{301}", " case", "case ", "case/", "/case", "case//", "a%2Fb"];
    for filter in topics {
        assert_eq!(matched(filter, &topics), [filter]);
    }
    assert_eq!(matched("a/b", &topics), Vec::<String>::new());
}
