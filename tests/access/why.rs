//! Why a message was not delivered: each verdict of `quelea ctl why`, of real traffic.

use std::time::Duration;

use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, Props, Publish, RawClient, Version, ctl, pause};
use serde_json::Value;

use crate::fixture::{Fixture, USERS, log_in, wait_for};

const ADMIN: &str = "[admin]\nlisten = \"127.0.0.1:0\"\n[session]\nqueue_messages_max = 2\n";
/// Subscription options of 5.0: QoS 1, and No Local.
const NO_LOCAL: u8 = 0x05;

struct Asked(Fixture);

impl Asked {
    fn new(rules: Option<&str>) -> Self {
        Self(Fixture::with(ADMIN, USERS, rules))
    }

    fn why(&self, arguments: &[&str]) -> Value {
        let admin = self.0.broker().addr("admin");
        let told = ctl::says(&admin, &[&["why"], arguments, &["--json"]].concat());
        serde_json::from_str(&told).unwrap()
    }

    /// The verdict, and how many messages were dropped for it, with the topic of the last.
    fn verdict(&self, arguments: &[&str]) -> (String, u64, Option<String>) {
        let told = self.why(arguments);
        assert_eq!(told["unheard"], serde_json::json!([]));
        let first = &told["findings"][0];
        assert_eq!(told["verdict"], first["verdict"]);
        let text = |value: &Value| value.as_str().map(str::to_owned);
        (text(&first["verdict"]).unwrap(), first["count"].as_u64().unwrap(), text(&first["last_topic"]))
    }

    /// The same where nothing was dropped.
    fn says(&self, verdict: &str, arguments: &[&str]) {
        assert_eq!(self.verdict(arguments), (verdict.to_owned(), 0, None), "{arguments:?}");
    }

    fn client(&self, id: &str, user: &str) -> RawClient {
        self.0.client(Version::V5, id, user)
    }

    fn session(&self, id: &str) -> RawClient {
        RawClient::connect(&self.0.addr(), &persistent(id, "ann"))
    }
}

fn persistent(id: &str, user: &str) -> Connect {
    log_in(Version::V5, id, user).clean(false).props(Props::new().four(prop::SESSION_EXPIRY, 3_600))
}

/// The topic `a`, for a client `c`.
const A: &[&str] = &["a", "--client", "c"];

#[test]
fn nothing_is_found_where_it_was_delivered_and_no_route_where_nobody_subscribed() {
    let asked = Asked::new(None);
    let mut client = asked.client("c", "ann");
    asked.says("no route", A);
    client.subscribe("a", 1);
    let mut publisher = asked.client("p", "bob");
    publisher.publish("a", "x", 1);
    assert_eq!(client.receive().payload, b"x");
    asked.says("nothing found", A);
    asked.says("no route", &["a/b", "--client", "c"]);
    client.unsubscribe(&["a"]);
    asked.says("no route", A);
    let mut session = asked.session("s");
    session.subscribe("b/+", 0);
    let told = asked.why(&["a", "--client", "s"]);
    assert_eq!(told["findings"][0]["words"], "none of its 1 subscriptions matches the topic");
    asked.says("nothing found", &["b/1", "--client", "s"]);
}

#[test]
fn who_is_away_or_unknown_is_not_connected() {
    let asked = Asked::new(None);
    asked.says("not connected", A);
    let mut client = asked.session("c");
    client.subscribe("a", 1);
    client.disconnect();
    asked.client("p", "bob").publish("a", "x", 1);
    asked.says("not connected", A);
    let told = asked.why(A);
    let words = told["findings"][0]["words"].as_str().unwrap();
    assert!(words.starts_with("it is away, and 1 messages wait for it"), "{words}");
    let text = ctl::says(&asked.0.broker().addr("admin"), &[&["why"], A].concat());
    assert_eq!(text, format!("not connected: {words}\n"));
    assert_eq!(asked.session("c").receive().payload, b"x");
}

#[test]
fn what_a_full_queue_dropped_is_counted_for_sessions_and_for_those_who_have_none() {
    let asked = Asked::new(None);
    let mut publisher = asked.client("p", "bob");
    let mut client = asked.session("c");
    client.subscribe("a", 1);
    client.disconnect();
    (0..5).for_each(|_| publisher.publish("a", "x", 1));
    assert_eq!(asked.verdict(A), ("queue full".to_owned(), 3, None));
    let text = ctl::says(&asked.0.broker().addr("admin"), &[&["why"], A].concat());
    assert!(
        text.starts_with("queue full: 3 messages were dropped: ") && text.contains("\nnot connected: "),
        "{text}"
    );

    // One exchange at a time, which this one never ends: two messages have room, and the rest has none.
    let connect = log_in(Version::V5, "t", "ann").props(Props::new().two(prop::RECEIVE_MAXIMUM, 1));
    let mut client = RawClient::connect(&asked.0.addr(), &connect);
    client.subscribe("b/+", 1);
    for at in 0..5 {
        publisher.publish(&format!("b/{at}"), "x", 1);
        // One by one: what it has taken is no longer in its mailbox.
        client.ping();
    }
    let of = |verdict: &str| verdict == "queue full";
    let (verdict, count, _) = asked.verdict(&["b/4", "--client", "t"]);
    assert!(of(&verdict) && count == 3, "{verdict} {count}");
}

#[test]
fn what_expired_before_it_could_be_sent_is_counted() {
    let asked = Asked::new(None);
    let mut client = asked.session("c");
    client.subscribe("a", 1);
    client.disconnect();
    let mut publisher = asked.client("p", "bob");
    let expiring = Publish::v5("a", "old").props(Props::new().four(prop::MESSAGE_EXPIRY, 2));
    publisher.publish_packet(expiring, 1);
    publisher.publish("a", "new", 1);
    asked.says("not connected", A);
    pause(Duration::from_millis(2_500));
    let mut client = asked.session("c");
    assert_eq!(client.receive().payload, b"new");
    assert_eq!(asked.verdict(A), ("expired".to_owned(), 1, None));
}

#[test]
fn no_local_is_told_of_who_publishes_itself() {
    let asked = Asked::new(None);
    let mut client = asked.client("c", "ann");
    client.subscribe("a", NO_LOCAL);
    client.publish("a", "x", 1);
    client.expect_nothing();
    asked.says("no local", &["a", "--client", "c", "--publisher", "c"]);
    asked.says("nothing found", &["a", "--client", "c", "--publisher", "p"]);
    client.subscribe("+", 1);
    asked.says("nothing found", &["a", "--client", "c", "--publisher", "c"]);
}

#[test]
fn what_a_rule_denies_is_told_of_publishers_and_of_those_who_have_lost_the_right() {
    let rules = "deny publish a user=bob\nallow all # user=bob\nallow all a\n";
    let asked = Asked::new(Some(rules));
    let mut client = asked.session("c");
    client.subscribe("a", 1);
    let mut bob = asked.client("bob", "bob");
    bob.send(&Publish::v5("a", "x").qos(1, 1).bytes());
    assert_eq!(bob.expect_ack(kind::PUBACK).code(), 0x87);
    asked.says("denied", &["a", "--client", "c", "--publisher", "bob"]);
    asked.says("nothing found", &["a", "--client", "c", "--publisher", "c"]);
    asked.says("denied", &["$SYS/x", "--client", "c"]);

    // A session keeps its subscription, and gets nothing by it.
    asked.0.replace("rules", "deny subscribe a user=ann\nallow all a\n");
    wait_for("the right is gone", || asked.why(A)["verdict"] == "denied");
    wait_for("the other may publish now", || {
        bob.send(&Publish::v5("a", "x").qos(1, 1).bytes());
        bob.expect_ack(kind::PUBACK).code() < 0x80
    });
    client.expect_nothing();
    wait_for("the message is counted", || {
        let told = asked.why(A);
        let counted =
            |one: &Value| one["verdict"] == "denied" && one["count"] == 1 && one["last_topic"] == "a";
        told["findings"].as_array().unwrap().iter().any(counted)
    });
}

#[test]
fn what_is_too_large_for_a_client_is_counted() {
    let asked = Asked::new(None);
    let connect = log_in(Version::V5, "c", "ann").props(Props::new().four(prop::MAXIMUM_PACKET_SIZE, 100));
    let mut client = RawClient::connect(&asked.0.addr(), &connect);
    client.subscribe("a", 1);
    let mut publisher = asked.client("p", "bob");
    publisher.publish("a", "x".repeat(200), 1);
    publisher.publish("a", "small", 1);
    assert_eq!(client.receive().payload, b"small");
    assert_eq!(asked.verdict(A), ("too large".to_owned(), 1, Some("a".to_owned())));
}

#[test]
fn a_question_that_makes_no_sense_is_refused() {
    let asked = Asked::new(None);
    let admin = asked.0.broker().addr("admin");
    for (arguments, code, words) in [
        (["why", "a/#", "--client", "c"].as_slice(), 1, "topic: \"a/#\""),
        (&["why", "", "--client", "c"], 1, "topic: \"\""),
        (&["why", "a", "--client", ""], 1, "client_id: expected"),
        (&["why", "a"], 2, "--client"),
    ] {
        let (status, said) = ctl::refuses(&admin, arguments);
        assert!(status == code && said.contains(words), "{arguments:?}: {said}");
    }
}
