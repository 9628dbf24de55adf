//! Section 4.7: topic names and filters.
//! Run against the shared broker.

use e2e_tests::client::Read;
use e2e_tests::{BOUND, Publish, RawClient, unique};

use crate::support::{broker, client, closed_after_connect, nothing_but_the_mark, subscribe_raw, watcher};

/// Expects a filter refused, by 0x80 or by closing, and so that it never matches anything.
fn filter_is_refused(addr: &str, filter: &[u8]) {
    let mut client = client(addr);
    client.send(&subscribe_raw(1, filter, 0));
    let shown = String::from_utf8_lossy(&filter[..filter.len().min(20)]).into_owned();
    match client.read(BOUND) {
        Read::Packet(packet) => {
            assert_eq!((packet.first, packet.body), (0x90, vec![0, 1, 0x80]), "filter {shown:?}")
        }
        Read::Closed => {}
        Read::Nothing => panic!("filter {shown:?} got no answer"),
    }
}

/// Whether each of these topics reaches a subscriber of `filter`.
fn matches(addr: &str, filter: &str, topics: &[&str]) -> Vec<bool> {
    let mut reader = watcher(addr, filter);
    let mut publisher = client(addr);
    let mut reached = |topic: &&str| {
        publisher.publish(topic, "x", 1);
        reader.ping();
        let Read::Packet(packet) = reader.read(e2e_tests::QUIET) else { return false };
        let publish = packet.publish(e2e_tests::Version::V3_1_1);
        reader.answer(&publish);
        publish.topic == **topic
    };
    topics.iter().map(&mut reached).collect()
}

#[test]
fn mqtt3_4_7_1_1_wildcards_are_for_filters_alone() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &Publish::v3("a/+/b", "x").bytes(), "topic with +");
    closed_after_connect(&addr, &Publish::v3("a/#", "x").bytes(), "topic with #");
    let root = unique("t");
    assert_eq!(matches(&addr, &format!("{root}/+/b"), &[&format!("{root}/a/b")]), [true]);
}

#[test]
fn mqtt3_4_7_1_2_the_multi_level_wildcard_stands_alone_and_last() {
    let (_broker, addr) = broker();
    for filter in ["a#", "a/b#", "#/a", "a/#/b", "##", "#a", "a/##"] {
        filter_is_refused(&addr, filter.as_bytes());
    }
    let root = unique("t");
    let topics =
        [root.clone(), format!("{root}/"), format!("{root}/a"), format!("{root}/a/b"), format!("{root}a")];
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    assert_eq!(matches(&addr, &format!("{root}/#"), &topics), [true, true, true, true, false]);
}

#[test]
fn mqtt3_4_7_1_3_the_single_level_wildcard_fills_a_level() {
    let (_broker, addr) = broker();
    for filter in ["a+", "+a", "a/+b", "a/b+/c", "++"] {
        filter_is_refused(&addr, filter.as_bytes());
    }
    let root = unique("t");
    let topics = [format!("{root}/a"), format!("{root}/"), root.clone(), format!("{root}/a/b")];
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    assert_eq!(matches(&addr, &format!("{root}/+"), &topics), [true, true, false, false]);
    let topics = [format!("{root}/a/b"), format!("{root}//b"), format!("{root}/a"), format!("/{root}")];
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    assert_eq!(matches(&addr, &format!("{root}/+/b"), &topics), [true, true, false, false]);
    assert_eq!(matches(&addr, &format!("+/{root}"), &[&format!("/{root}"), &root]), [true, false]);
}

#[test]
fn mqtt3_4_7_2_1_a_leading_wildcard_never_matches_a_dollar_topic() {
    let (_broker, addr) = broker();
    let level = unique("dollar");
    let dollar = format!("$X{level}/a");
    let mut exact = watcher(&addr, &dollar);
    let mut below = watcher(&addr, &format!("$X{level}/#"));
    let mut plus = watcher(&addr, "+/a");
    let mut hash = watcher(&addr, "#");
    client(&addr).publish(&dollar, "x", 1);
    assert_eq!(exact.receive().topic, dollar);
    assert_eq!(below.receive().topic, dollar);
    plus.ping();
    hash.ping();
    for reader in [&mut plus, &mut hash] {
        while let Read::Packet(packet) = reader.read(e2e_tests::QUIET) {
            let publish = packet.publish(e2e_tests::Version::V3_1_1);
            assert!(!publish.topic.starts_with('$'), "{}", publish.topic);
            reader.answer(&publish);
        }
    }
}

#[test]
fn mqtt3_4_7_3_1_names_and_filters_have_at_least_one_character() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &Publish::v3("", "x").bytes(), "empty topic name");
    filter_is_refused(&addr, b"");
    assert_eq!(matches(&addr, "/", &["/"]), [true]);
}

#[test]
fn mqtt3_4_7_3_2_no_nul_in_names_and_filters() {
    let (_broker, addr) = broker();
    closed_after_connect(&addr, &Publish::v3("a\0b", "x").bytes(), "topic name");
    closed_after_connect(&addr, &subscribe_raw(1, b"a\0b", 0), "filter");
}

#[test]
fn mqtt3_4_7_3_3_names_may_have_65535_bytes() {
    let (_broker, addr) = broker();
    let root = unique("long");
    let longest = format!("{root}{}", "x".repeat(65_535 - root.len()));
    assert_eq!(matches(&addr, &longest, &[&longest]), [true]);
}

#[test]
fn mqtt3_4_7_3_4_matching_normalises_nothing() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let filter = format!("{root}/\u{C5}/Temp");
    let topics = [
        filter.clone(),
        format!("{root}/A\u{30A}/Temp"),
        format!("{root}/\u{212B}/Temp"),
        format!("{root}/\u{C5}/temp"),
        format!("{root}//\u{C5}/Temp"),
        format!("{root}/\u{C5}/Temp/"),
        format!("{root}/./\u{C5}/Temp"),
    ];
    let topics: Vec<&str> = topics.iter().map(String::as_str).collect();
    assert_eq!(matches(&addr, &filter, &topics), [true, false, false, false, false, false, false]);
}

#[test]
fn mqtt3_4_7_3_4_a_name_is_sent_back_byte_by_byte() {
    let (_broker, addr) = broker();
    let root = unique("t");
    let mut reader: RawClient = watcher(&addr, &format!("{root}/#"));
    let topics =
        [" lead and trail ", "UPPER", "한국어", "e\u{301}", "\u{1F600}", "a b", "%41", "..", "\u{FEFF}"];
    for level in topics {
        let topic = format!("{root}/{level}");
        client(&addr).publish(&topic, "x", 1);
        assert_eq!(reader.receive().topic, topic);
    }
    nothing_but_the_mark(&addr, &mut reader, &format!("{root}/mark"));
}
