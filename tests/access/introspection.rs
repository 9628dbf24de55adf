//! Tokens that whoever issued them is asked about (RFC 7662): what it is asked, what its answers lead to, and that nothing gets in where it
//! gives none.

use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::packets::{auth, pingreq};
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Broker, Connect, PATIENCE, Props, RawClient, Version, pause, process};
use serde_json::{Value, json};

use crate::ca::Authority;
use crate::fixture::{BAD_CREDENTIALS, NOT_AUTHORIZED, USERS};
use crate::issuer::{Issuer, now_s, set};
use crate::jwt::{Node, by_token, patiently};
use crate::server::{Does, Server};

const UNAVAILABLE: u8 = 0x88;
const METHOD: &str = "OAUTH2-TOKEN";
const ANSWERS: &str = "quelea_introspections_total";
const REMEMBERED: &str = "quelea_introspections_remembered_total";
const FAILURES: &str = "quelea_introspections_failed_total";
const EXPIRED: &str = "quelea_tokens_expired_total";

/// A node that asks this server; without a memory for what was said, unless `more` says otherwise.
fn node_at(url: &str, more: &str, files: &[(&str, &str)]) -> Node {
    let memory =
        if more.contains("cache_active") { "" } else { "cache_active = \"0s\"\ncache_inactive = \"0s\"\n" };
    let timeout = if more.contains("timeout") { "" } else { "timeout = \"1m\"\n" };
    let own = "client_id = \"broker\"\nclient_secret_file = \"DIR/secret\"\n";
    let toml = format!("[auth.introspection]\nurl = {url:?}\n{own}{memory}{timeout}{more}\n");
    Node::new(&toml, &[files, &[("secret", "s3cret-of-ours\n")]].concat())
}

fn node(server: &Server, more: &str, files: &[(&str, &str)]) -> Node {
    node_at(&server.url("http"), more, files)
}

/// An answer about a token of a user for an hour, with more in it.
fn active(user: &str, more: Value) -> Value {
    let mut said = json!({"active": true, "username": user, "exp": now_s() + 3_600});
    said.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    said
}

fn ann() -> Value {
    active("ann", json!({}))
}

fn inactive() -> Value {
    json!({"active": false})
}

#[test]
fn an_issuer_is_asked_about_a_token_and_says_what_it_grants() {
    let server =
        Server::start(Does::Says(active("ann", json!({"scope": "mqtt:read x", "acl": {"all": "extra/%u"}}))));
    let rules = "group mqtt:read\nallow subscribe news/# group=mqtt:read\nallow all own/%u/#\n";
    let more = "groups_claim = \"scope\"\nacl_claim = \"acl\"\naudience = [\"mqtt\"]\n[acl]\nfile = \"DIR/rules\"\n\
                [log]\nlevel = \"debug\"";
    let node = node(&server, more, &[("rules", rules)]);
    let token = "2YotnFZFEjr1zCsicMWpAA+/=";
    assert_eq!(node.answer(&by_token("c", token)), BAD_CREDENTIALS, "it is for another audience");
    server.says(active("ann", json!({"aud": "mqtt", "scope": "mqtt:read x", "acl": {"all": "extra/%u"}})));
    let filters = [("own/ann/#", 1), ("own/bob/#", 1), ("news/#", 1), ("extra/ann", 1), ("extra/bob", 1)];
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let connect = Connect::new(version, "c").user("").password(token);
        let mut client = node.client(&connect);
        let codes = client.subscribe_with(&filters, &Props::new()).codes;
        let yes: Vec<bool> = codes.iter().map(|code| *code < 0x80).collect();
        assert_eq!(yes, [true, false, true, true, false], "{version:?}");
    }
    assert_eq!(node.answer(&Connect::v5("c").user("ann").password(token)), 0);
    assert_eq!(
        node.answer(&Connect::v5("c").user("bob").password(token)),
        BAD_CREDENTIALS,
        "another one's name"
    );
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.line(), format!("POST {}", crate::server::PATH));
    assert_eq!(asked.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(asked.header("accept"), Some("application/json"));
    assert_eq!(asked.basic().as_deref(), Some("broker:s3cret-of-ours"));
    assert_eq!(asked.body, b"token=2YotnFZFEjr1zCsicMWpAA%2B%2F%3D&token_type_hint=access_token");
    let count = server.requests();
    assert_eq!(node.answer(&Connect::v5("c")), NOT_AUTHORIZED, "who shows nothing is nobody");
    for no_token in ["", "correct horse", "a&token=b", &"x".repeat(9_000)] {
        assert_eq!(node.answer(&by_token("c", no_token)), BAD_CREDENTIALS);
    }
    assert_eq!(server.requests(), count, "and nobody is shown what is no token");
    node.wait_metric(ANSWERS, 6.0);
    node.wait_metric("quelea_tokens_accepted_total", 4.0);
    let log = node.broker.log();
    for secret in ["s3cret", "2Yotn", "YnJva2Vy", "correct horse"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

#[test]
fn a_client_identifier_may_be_bound_to_the_token() {
    let server = Server::start(Does::Says(active("ann", json!({"client_id": "d-1"}))));
    let node = node(&server, "user_claim = \"client_id\"\nclient_id_claim = \"client_id\"\n", &[]);
    assert_eq!(node.answer(&by_token("d-1", "t")), 0);
    assert_eq!(node.answer(&by_token("d-2", "t")), 0x85);
    server.says(ann());
    assert_eq!(node.answer(&by_token("d-1", "t")), BAD_CREDENTIALS, "there is no client_id in it");
}

/// The first that knows a client decides, and passwords of users are shown to nobody else.
#[test]
fn an_issuer_is_asked_about_what_nobody_knows_before() {
    let server = Server::start(Does::Says(inactive()));
    let hook = Server::start(Does::Says(json!({"result": "ignore"})));
    let issuer = Issuer::new("a");
    let keys = set(&[&issuer]);
    let files = [("users", USERS), ("keys", keys.as_str())];
    let sources = format!(
        "[auth.password]\nfile = \"DIR/users\"\n[auth.jwt]\nkeys_file = \"DIR/keys\"\n[auth.http]\nurl = {:?}\n\
         timeout = \"1m\"\ncache_allowed = \"0s\"\ncache_denied = \"0s\"\n",
        hook.url("http")
    );
    let node = node(&server, &sources, &files);
    let (token, forged) = (issuer.token("carl"), Issuer::new("a").token("carl"));
    let carl = active("carl", json!({}));
    let allow = json!({"result": "allow"});
    for (says, hooks, user, password, code, asks) in [
        (inactive(), &allow, "ann", "pass-ann", 0, [0, 0]),
        (ann(), &allow, "ann", "wrong", BAD_CREDENTIALS, [0, 0]),
        (inactive(), &allow, "carl", &*token, 0, [0, 0]),
        (carl.clone(), &allow, "carl", &*forged, 0, [1, 0]),
        (carl, &allow, "carl", "opaque", 0, [1, 0]),
        (inactive(), &allow, "carl", "opaque", 0, [1, 1]),
        (inactive(), &json!({"result": "ignore"}), "carl", "opaque", BAD_CREDENTIALS, [1, 1]),
    ] {
        server.says(says.clone());
        hook.says(hooks.clone());
        let before = [server.requests(), hook.requests()];
        let connect = Connect::v5("c").user(user).password(password);
        assert_eq!(node.answer(&connect), code, "{user} {password:.20} {says}");
        let after = [server.requests(), hook.requests()];
        assert_eq!([after[0] - before[0], after[1] - before[1]], asks, "{user} {password:.20} {says}");
    }
}

/// Whatever goes wrong lets nobody in, is counted and told, and leaves those who are connected alone.
#[test]
fn where_there_is_no_answer_no_token_counts() {
    let server = Server::start(Does::Says(ann()));
    let node = node(&server, "", &[]);
    let mut stays = node.client(&by_token("stays", "t"));
    let (ok, good) = ("200 OK", ann().to_string());
    let mut failures = 0.0;
    for bad in [
        Does::Answers("401 Unauthorized", good.clone()),
        Does::Answers("500 Internal Server Error", good.clone()),
        Does::Answers("307 Temporary Redirect", good.clone()),
        Does::Answers("204 No Content", String::new()),
        Does::Answers(ok, String::new()),
        Does::Answers(ok, format!("{good}{good}")),
        Does::Answers(ok, format!("{good}{}", " ".repeat(65_536))),
        Does::Answers(ok, good.replace("true", "\"true\"")),
        Does::Answers(ok, good.replace("true", "false,\"active\":true")),
        Does::Says(json!({"username": "ann", "exp": now_s() + 3_600})),
        Does::Breaks,
        Does::Closes,
        Does::Endless,
    ] {
        server.does(bad);
        let before = server.requests();
        assert_eq!(node.answer(&by_token("c", "opaque")), UNAVAILABLE);
        assert_eq!(server.requests() - before, 1, "asked once, and nowhere else");
        failures += 1.0;
        node.wait_metric(FAILURES, failures);
    }
    assert_eq!(node.answer(&Connect::v3("c").user("ann").password("opaque")), 3);
    // What is understood and does not count is no failure.
    for refused in [
        inactive(),
        active("ann", json!({"exp": now_s() - 60})),
        active("ann", json!({"nbf": now_s() + 3_600})),
        json!({"active": true, "username": "ann"}),
        json!({"active": true, "exp": now_s() + 3_600}),
    ] {
        server.says(refused.clone());
        assert_eq!(node.answer(&by_token("c", "opaque")), BAD_CREDENTIALS, "{refused}");
    }
    node.wait_metric(FAILURES, failures + 1.0);
    stays.ping();
    server.says(ann());
    assert_eq!(node.answer(&by_token("c", "opaque")), 0);
    patiently("the log says so", || node.broker.log().contains("nobody is let in by introspection"));
    assert!(!node.broker.log().contains("opaque"));
}

#[test]
fn an_issuer_that_is_slow_not_there_or_somebody_else_lets_nobody_in() {
    let server = Server::start(Does::Nothing);
    let slow = node(&server, "timeout = \"300ms\"\n", &[]);
    assert_eq!(slow.answer(&by_token("c", "t")), UNAVAILABLE);
    drop(slow);
    let authority = Authority::new("ours");
    let (good, ca) = Server::start_tls(Does::Says(ann()), &authority, "localhost");
    let (misnamed, _) = Server::start_tls(Does::Says(ann()), &authority, "elsewhere");
    for (server, code) in [(&good, 0), (&misnamed, UNAVAILABLE)] {
        let node = node_at(&server.url("https"), "ca = \"DIR/ca\"\n", &[("ca", &ca)]);
        assert_eq!(node.answer(&by_token("c", "t")), code);
    }
    assert!(misnamed.asked().is_empty(), "nothing is shown to somebody else");
}

#[test]
fn answers_are_remembered_for_the_same_token_and_not_past_its_end() {
    let server = Server::start(Does::Says(ann()));
    let node = node(&server, "leeway = \"0s\"\ncache_active = \"1h\"\ncache_inactive = \"1h\"\n", &[]);
    let count = |token: &str, code: u8| {
        let before = server.requests();
        assert_eq!(node.answer(&by_token("c", token)), code, "{token}");
        server.requests() - before
    };
    assert_eq!([count("a", 0), count("a", 0)], [1, 0]);
    server.says(inactive());
    assert_eq!([count("a", 0), count("b", BAD_CREDENTIALS)], [0, 1]);
    server.says(ann());
    assert_eq!([count("b", BAD_CREDENTIALS), count("c", 0)], [0, 1]);
    node.wait_metric(REMEMBERED, 3.0);
    // What was no answer is not remembered.
    server.does(Does::Closes);
    assert_eq!([count("d", UNAVAILABLE), count("d", UNAVAILABLE)], [1, 1]);
    // Nor is a token longer than it counts.
    let mut round = 0;
    patiently("it is over", || {
        round += 1;
        let token = format!("soon-{round}");
        server.says(active("ann", json!({"exp": now_s() + 2})));
        let before = server.requests();
        node.answer(&by_token("soon", &token)) == 0 && server.requests() == before + 1 && {
            let until = now_s() + 3;
            while now_s() < until {
                pause(Duration::from_millis(50));
            }
            server.says(inactive());
            node.answer(&by_token("soon", &token)) == BAD_CREDENTIALS
        }
    });
}

fn props(token: &str) -> Props {
    Props::new().text(prop::AUTH_METHOD, METHOD).text(prop::AUTH_DATA, token)
}

/// Shows another token; the code of AUTH, or of DISCONNECT.
fn renew(client: &mut RawClient, token: &str) -> u8 {
    client.send(&auth(0x19, &props(token)));
    client.expect_one_of(&[kind::AUTH, kind::DISCONNECT]).reasoned().reason
}

/// The end of a token is that of its connection, unless another one follows by AUTH.
#[test]
fn a_connection_ends_with_its_token_unless_another_one_follows() {
    let server = Server::start(Does::Says(ann()));
    let node = node(&server, "leeway = \"0s\"\n", &[]);
    let ends = |seconds: u64| active("ann", json!({"exp": now_s() + seconds}));
    let by_method = Connect::v5("c").props(props("one"));
    let mut ended = false;
    for seconds in [2, 4, 8, 16, 32, 64] {
        server.says(ends(seconds));
        let mut client = RawClient::open(&node.broker.mqtt());
        client.be_patient();
        if client.handshake(&by_token("plain", "one")).reason == 0 {
            assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
            assert!(client.expect_closed_within(PATIENCE).is_empty());
            ended = true;
            break;
        }
    }
    assert!(ended, "no token lives as long as a CONNECT takes");
    let expired = node.broker.metric(EXPIRED);
    for seconds in [2, 4, 8, 16, 32, 64] {
        server.says(ends(seconds));
        let until = now_s() + seconds;
        let mut client = RawClient::open(&node.broker.mqtt());
        client.be_patient();
        if client.handshake(&by_method).reason > 0 {
            continue;
        }
        server.says(ann());
        if renew(&mut client, "two") > 0 {
            continue;
        }
        while now_s() <= until + 1 {
            pause(Duration::from_millis(100));
        }
        client.ping();
        assert!(expired >= 1.0 && node.broker.metric("quelea_reauthentications_total") > 0.5);
        return;
    }
    panic!("no token lives as long as a CONNECT and an AUTH take");
}

#[test]
fn another_token_has_to_be_the_same_users_and_count() {
    let server = Server::start(Does::Says(ann()));
    let node = node(&server, "", &[]);
    let connect = Connect::v5("c").props(props("one"));
    for (bad, token) in [
        (Does::Says(active("bob", json!({}))), "two"),
        (Does::Says(inactive()), "two"),
        (Does::Closes, "two"),
        (Does::Says(ann()), "no token"),
        (Does::Says(ann()), ""),
    ] {
        server.says(ann());
        let (mut client, ack) = RawClient::connect_ack(&node.broker.mqtt(), &connect);
        assert_eq!(ack.props.text(prop::AUTH_METHOD).as_deref(), Some(METHOD));
        client.be_patient();
        assert_eq!(renew(&mut client, "one"), 0);
        server.does(bad);
        assert_eq!(renew(&mut client, token), NOT_AUTHORIZED, "{token:?}");
    }
    server.says(inactive());
    assert_eq!(node.answer(&connect), NOT_AUTHORIZED);
    let other = Props::new().text(prop::AUTH_METHOD, "OAUTH2-JWT").text(prop::AUTH_DATA, "a.b.c");
    assert_eq!(node.answer(&Connect::v5("c").props(other)), 0x8C, "there are no keys here");
}

/// Who begins to authenticate again has as long for it as for CONNECT, and is a client meanwhile.
#[test]
fn who_is_not_done_authenticating_again_in_time_is_disconnected() {
    let server = Server::start(Does::Says(ann()));
    // How long a CONNECT takes here nobody knows.
    for seconds in [2, 8, 30, 60] {
        server.says(ann());
        let node = node(&server, &format!("[limits]\nconnect_timeout = \"{seconds}s\""), &[]);
        let mut client = RawClient::open(&node.broker.mqtt());
        client.be_patient();
        client.send(&Connect::v5("c").props(props("one")).bytes());
        let Read::Packet(answer) = client.read(PATIENCE) else { continue };
        if answer.connack(Version::V5).reason > 0 {
            continue;
        }
        server.does(Does::Nothing);
        let begun = Instant::now();
        client.send(&[auth(0x19, &props("two")), pingreq()].concat());
        let mut packets = Vec::new();
        while let Read::Packet(packet) = client.read(PATIENCE) {
            packets.push(packet);
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(seconds), "{took:?}");
        let last = packets.pop().expect("it is told");
        assert_eq!((last.kind(), last.reasoned().reason), (kind::DISCONNECT, NOT_AUTHORIZED));
        assert!(packets.iter().all(|packet| packet.kind() == kind::PINGRESP), "{packets:?}");
        node.wait_metric("quelea_reauthentications_failed_total", 1.0);
        return;
    }
    panic!("no CONNECT is done in time");
}

/// The broker's own secret is read again when its file changes.
#[test]
fn the_secret_is_the_one_that_the_file_has_now() {
    let server = Server::start(Does::Says(ann()));
    let node = node(&server, "", &[]);
    let shown = || {
        assert_eq!(node.answer(&by_token("c", "t")), 0);
        server.asked().pop().unwrap().basic().unwrap()
    };
    assert_eq!(shown(), "broker:s3cret-of-ours");
    node.replace("secret", "a\nb\n");
    node.wait_metric("quelea_users_stale", 1.0);
    assert_eq!(shown(), "broker:s3cret-of-ours");
    node.replace("secret", "another");
    patiently("the new one counts", || shown() == "broker:another");
    node.wait_metric("quelea_users_stale", 0.0);
}

/// At start there is nothing that could stay in force.
#[test]
fn a_start_needs_an_issuer_that_can_be_asked() {
    let dir = process::fresh_dir();
    let file = dir.join("file");
    std::fs::write(&file, "s3cret\nof two lines\n").unwrap();
    let by = "client_id = \"b\"\nclient_secret = \"s3cret\"";
    let url = "url = \"http://localhost/\"";
    for (toml, said) in [
        ("url = \"http://issuer.example.org/\"".to_owned(), "https (http on this machine alone)"),
        ("url = \"https://me:x@localhost/\"".to_owned(), "without a user name"),
        (format!("{url}\nclient_secret = \"s3cret\""), "auth.introspection.client_id"),
        (format!("{url}\nclient_id = \"\"\nclient_secret = \"s3cret\""), "who the broker is there"),
        (format!("{url}\nclient_id = \"b\""), "QUELEA__AUTH__INTROSPECTION__CLIENT_SECRET"),
        (format!("{url}\n{by}\nclient_secret_file = \"FILE\""), "client_secret is set"),
        (format!("{url}\nclient_id = \"b\"\nclient_secret_file = \"FILE\""), "a secret in one line"),
        (format!("{url}\n{by}\nca = \"FILE\""), "is not https"),
        (format!("{url}\n{by}\ntimeout = \"1ms\""), "auth.introspection.timeout"),
        (format!("{url}\n{by}\nuser_claim = \"\""), "the name of a claim"),
        (format!("{url}\n{by}\n[auth]\norder = [\"jwt\", \"password\", \"http\"]"), "where it is configured"),
        ("client_secret = \"s3cret\"".to_owned(), "nothing without auth.introspection.url"),
    ] {
        let config = format!("[auth.introspection]\n{}\n", toml.replace("FILE", file.to_str().unwrap()));
        let refused = Broker::try_with_config(&config).err().expect("what cannot be used");
        assert_eq!(refused.code, Some(2), "{}", refused.log);
        assert!(refused.log.contains(said) && !refused.log.contains("s3cret"), "{said}: {}", refused.log);
    }
    std::fs::remove_dir_all(dir).unwrap();
}
