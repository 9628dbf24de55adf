//! Tokens by the method `OAUTH2-JWT` of enhanced authentication: a token that ends is followed by another one on the same connection,
//! whose end and rights count from then on (G18).

use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::packets::{auth, pingreq};
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, PATIENCE, Props, RawClient, Version, pause};
use serde_json::json;

use crate::fixture::NOT_AUTHORIZED;
use crate::issuer::{Issuer, now_s, set};
use crate::jwt::{Node, by_token, patiently};
use crate::server::{Does, Server};

const METHOD: &str = "OAUTH2-JWT";
const KEYS: &str = "[auth.jwt]\nkeys_file = \"DIR/keys\"\nleeway = \"0s\"\n";
const EXPIRED: &str = "quelea_tokens_expired_total";

fn props(token: &str) -> Props {
    Props::new().text(prop::AUTH_METHOD, METHOD).text(prop::AUTH_DATA, token)
}

fn by_method(id: &str, token: &str) -> Connect {
    Connect::v5(id).props(props(token))
}

/// Shows another token; the code of AUTH, or of DISCONNECT.
fn renew(client: &mut RawClient, token: &str) -> u8 {
    client.send(&auth(0x19, &props(token)));
    let answer = client.expect_one_of(&[kind::AUTH, kind::DISCONNECT]);
    let (is_last, answer) = (answer.kind() == kind::DISCONNECT, answer.reasoned());
    if is_last {
        assert!(answer.reason >= 0x80 && client.expect_closed_within(PATIENCE).is_empty());
    } else {
        assert_eq!((answer.reason, answer.props.text(prop::AUTH_METHOD).as_deref()), (0, Some(METHOD)));
    }
    answer.reason
}

fn node(issuer: &Issuer, more: &str) -> Node {
    Node::new(&format!("{KEYS}{more}"), &[("keys", &set(&[issuer]))])
}

#[test]
fn a_token_may_be_shown_by_its_own_method() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "");
    let token = issuer.token("ann");
    let (mut client, ack) = RawClient::connect_ack(&node.broker.mqtt(), &by_method("c", &token));
    assert_eq!(ack.props.text(prop::AUTH_METHOD).as_deref(), Some(METHOD));
    assert!(!ack.props.has(prop::AUTH_DATA));
    client.ping();
    assert_eq!(node.answer(&by_method("c", &token).user("ann")), 0);
    assert_eq!(node.answer(&by_method("c", &token).user("bob")), NOT_AUTHORIZED, "another one's name");
    let over = issuer.sign(&json!({"sub": "ann", "exp": now_s() - 60}));
    for bad in [&over, &Issuer::new("a").token("ann"), &token[..token.len() - 1], "", "x", "a.b.c"] {
        assert_eq!(node.answer(&by_method("c", bad)), NOT_AUTHORIZED, "{bad:.20}");
    }
    let unknown = Props::new().text(prop::AUTH_METHOD, "SCRAM-SHA-256").text(prop::AUTH_DATA, "n,,n=ann,r=x");
    assert_eq!(node.answer(&Connect::v5("c").props(unknown)), 0x8C, "nobody has a password here");
    assert!((node.broker.metric("quelea_tokens_accepted_total") - 2.0).abs() < 0.5);
}

/// Connects with a token that is over soon and shows one that is over when `then` says; gives also when the first is. How
/// soon that can be depends on how long all this takes here.
fn renewed(node: &Node, issuer: &Issuer, then: impl Fn(u64) -> u64) -> (RawClient, u64) {
    for seconds in [2, 4, 8, 16, 32, 64] {
        let until = now_s() + seconds;
        let token = |until: u64| issuer.sign(&json!({"sub": "ann", "exp": until}));
        let mut client = RawClient::open(&node.broker.mqtt());
        client.be_patient();
        if client.handshake(&by_method("c", &token(until))).reason > 0 {
            continue;
        }
        if renew(&mut client, &token(then(until))) == 0 {
            return (client, until);
        }
    }
    panic!("no token lives as long as a CONNECT takes");
}

#[test]
fn a_token_is_followed_by_another_one_on_the_same_connection() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "");
    let (mut client, until) = renewed(&node, &issuer, |until| until + 3_600);
    let expired = node.broker.metric(EXPIRED);
    while now_s() <= until + 1 {
        pause(Duration::from_millis(100));
    }
    client.ping();
    client.subscribe("t", 1);
    client.publish("t", "still there", 1);
    assert_eq!(client.receive().text(), "still there");
    assert!((node.broker.metric(EXPIRED) - expired).abs() < 0.5);
    assert!(node.broker.metric("quelea_reauthentications_total") > 0.5);
}

/// The end of the new token is that of the connection, also where it comes first.
#[test]
fn a_connection_ends_with_the_token_that_was_shown_last() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "");
    for seconds in [2, 4, 8, 16, 32, 64] {
        let mut client = node.client(&by_method("c", &issuer.token("ann")));
        client.be_patient();
        let soon = issuer.sign(&json!({"sub": "ann", "exp": now_s() + seconds}));
        if renew(&mut client, &soon) == 0 {
            assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
            assert!(client.expect_closed_within(PATIENCE).is_empty());
            assert!(node.broker.metric(EXPIRED) > 0.5);
            return;
        }
    }
    panic!("no token lives as long as an AUTH takes");
}

#[test]
fn rights_are_those_of_the_token_that_was_shown_last() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "acl_claim = \"acl\"\n");
    let token = |all: &[&str]| issuer.token_with("ann", json!({"acl": {"all": all}}));
    let mut publisher = node.client(&by_method("p", &token(&["a", "b", "c"])));
    publisher.be_patient();
    let mut client = node.client(&by_method("c", &token(&["a", "b"])));
    client.be_patient();
    client.subscribe("a", 1);
    client.subscribe("b", 1);
    assert_eq!(client.subscribe_with(&[("c", 1)], &Props::new()).codes, [NOT_AUTHORIZED]);
    assert_eq!(renew(&mut client, &token(&["b", "c"])), 0);
    assert_eq!(client.subscribe_with(&[("c", 1)], &Props::new()).codes, [1]);
    assert_eq!(client.subscribe_with(&[("a", 1)], &Props::new()).codes, [NOT_AUTHORIZED]);
    for topic in ["a", "b", "c"] {
        publisher.publish(topic, "x", 1);
    }
    assert_eq!([client.receive().topic, client.receive().topic], ["b", "c"], "nothing of what it lost");
}

#[test]
fn another_token_has_to_be_the_same_users_and_right() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "client_id_claim = \"device\"\n");
    let token = |user: &str, device: &str| issuer.token_with(user, json!({"device": device}));
    let ours = token("ann", "d-1");
    let forged = Issuer::new("a").token_with("ann", json!({"device": "d-1"}));
    let over = issuer.sign(&json!({"sub": "ann", "device": "d-1", "exp": now_s() - 60}));
    let none = issuer.token("ann");
    for bad in [&token("bob", "d-1"), &token("ann", "d-2"), &forged, &over, &none, "", "x"] {
        let mut client = node.client(&by_method("d-1", &ours));
        client.be_patient();
        assert_eq!(renew(&mut client, &ours), 0);
        assert_eq!(renew(&mut client, bad), NOT_AUTHORIZED, "{bad:.20}");
    }
    // Who showed its token in place of a password has named no method.
    let mut plain = node.client(&by_token("d-1", &ours));
    plain.be_patient();
    assert_eq!(renew(&mut plain, &ours), 0x82);
}

/// A key that is not there is fetched, and the client is served while that takes its time.
#[test]
fn a_token_of_a_new_key_waits_for_it_and_nobody_else_does() {
    let [old, new] = ["old", "new"].map(Issuer::new);
    let server = Server::start(Does::Answers("200 OK", set(&[&old])));
    let toml = format!("[auth.jwt]\njwks_url = \"{}\"\njwks_refresh = \"1h\"\n", server.url("http"));
    let node = Node::new(&toml, &[]);
    patiently("the first keys count", || node.answer(&by_method("c", &old.token("ann"))) == 0);
    server.does(Does::Answers("200 OK", set(&[&old, &new])));
    // For some seconds behind a fetch no other is made, and the answer is no.
    patiently("a key that was not there counts", || {
        let mut client = node.client(&by_method("c", &old.token("ann")));
        client.be_patient();
        renew(&mut client, &new.token("ann")) == 0
    });
    server.does(Does::Nothing);
    patiently("a fetch takes its time", || {
        let mut client = node.client(&by_method("c", &old.token("ann")));
        client.be_patient();
        let asked = server.requests();
        client.send(&auth(0x19, &props(&Issuer::new("never").token("ann"))));
        while server.requests() == asked {
            match client.read(Duration::from_millis(20)) {
                Read::Nothing => {}
                _ => return false,
            }
        }
        // Until nothing has come of it for some seconds, after which the answer is no as well.
        client.send(&pingreq());
        if client.expect_one_of(&[kind::PINGRESP, kind::DISCONNECT]).kind() == kind::DISCONNECT {
            return false;
        }
        client.send(&auth(0x18, &props("more")));
        let refused = client.expect(kind::DISCONNECT).reasoned().reason;
        assert!([0x82, NOT_AUTHORIZED].contains(&refused), "{refused:#x}");
        refused == 0x82
    });
}

/// A CONNECT of 3.1.1 has no methods, and is as it was.
#[test]
fn clients_before_5_0_are_as_they_were() {
    let issuer = Issuer::new("a");
    let node = node(&issuer, "");
    for version in [Version::V3_1, Version::V3_1_1] {
        let connect = Connect::new(version, "c").user("ann").password(issuer.token("ann"));
        assert_eq!(node.answer(&connect), 0);
    }
}
