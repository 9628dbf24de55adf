//! Logins that a server of the operator's decides: what it is asked, what its answers lead to, and that nothing gets in where it gives
//! none.

use std::net::TcpListener;

use e2e_tests::wire::kind;
use e2e_tests::{Broker, Connect, PATIENCE, Props, RawClient, Version, process};
use serde_json::{Value, json};

use crate::ca::Authority;
use crate::fixture::{BAD_CREDENTIALS, NOT_AUTHORIZED, USERS};
use crate::issuer::{Issuer, now_s, set};
use crate::jwt::{Node, patiently};
use crate::page;
use crate::server::{Does, Server};

const UNAVAILABLE: u8 = 0x88;
const FAILURES: &str = "quelea_hook_failures_total";
const ANSWERS: &str = "quelea_hook_answers_total";
const REMEMBERED: &str = "quelea_hook_answers_remembered_total";

/// A node that asks a server; without a memory for what was said, unless `more` says otherwise.
fn asking(hook: &Server, more: &str, files: &[(&str, &str)]) -> Node {
    let memory = if more.contains("cache_") { "" } else { "cache_allowed = \"0s\"\ncache_denied = \"0s\"\n" };
    let timeout = if more.contains("timeout") { "" } else { "timeout = \"1m\"\n" };
    Node::new(&format!("[auth.http]\nurl = {:?}\n{memory}{timeout}{more}\n", hook.url("http")), files)
}

fn of(user: &str, password: &str) -> Connect {
    Connect::v5("c").user(user).password(password)
}

fn allow() -> Value {
    json!({"result": "allow"})
}

#[test]
fn a_server_is_asked_who_may_log_in_and_says_what_it_may() {
    let hook = Server::start(Does::Says(allow()));
    let rules = "group readers\nallow subscribe news/# group=readers\nallow all own/%u/#\n";
    let secrets = "# what it knows us by\nAuthorization: Bearer s3cret\nX-Tenant: seven\n";
    let more = "headers_file = \"DIR/headers\"\n[acl]\nfile = \"DIR/rules\"\n[log]\nlevel = \"debug\"";
    let node = asking(&hook, more, &[("rules", rules), ("headers", secrets)]);
    let codes = |client: &mut RawClient, filters: &[&str]| {
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 1)).collect();
        client.subscribe_with(&filters, &Props::new()).codes
    };
    let (yes, no) = (1, NOT_AUTHORIZED);
    let asked = ["own/ann/#", "own/bob/#", "news/#", "extra/ann"];
    let mut plain = node.client(&of("ann", "pass-ann"));
    assert_eq!(codes(&mut plain, &asked), [yes, no, no, no]);
    hook.says(json!({"result": "allow", "groups": ["readers"], "acl": {"subscribe": ["extra/%u"]}}));
    let mut more = node.client(&of("ann", "pass-ann"));
    assert_eq!(codes(&mut more, &asked), [yes, no, yes, yes]);
    hook.says(json!({"result": "allow", "user": "bob", "expire_at": now_s() + 3_600}));
    let mut bob = node.client(&Connect::v5("").password("a key of its own"));
    assert_eq!(codes(&mut bob, &asked), [no, yes, no, no], "the answer says who it is");

    let questions = hook.asked();
    let [first, .., last] = &questions[..] else { panic!("it was asked") };
    let head = first.head.to_lowercase();
    assert!(head.starts_with("post /ask/here?tenant=7 http/1.1\r\n"), "{head}");
    for line in [
        "content-type: application/json",
        "authorization: bearer s3cret",
        "x-tenant: seven",
        &format!("host: localhost:{}", hook.port),
    ] {
        assert!(head.lines().any(|found| found == line), "{line} in {head}");
    }
    let expected = json!({
        "client_id": "c", "username": "ann", "password": "pass-ann", "address": "127.0.0.1",
        "listener": "mqtt", "version": "5.0", "certificate": null,
    });
    assert_eq!(first.json(), expected);
    let last = last.json();
    assert_eq!((&last["username"], &last["client_id"]), (&Value::Null, &json!("")));
    hook.says(allow());
    for (version, name) in [(Version::V3_1, "3.1"), (Version::V3_1_1, "3.1.1")] {
        let connect = Connect::new(version, "c").user("ann").password([0xFF, 0]);
        assert_eq!(node.answer(&connect), 0);
        let last = hook.asked().pop().unwrap().json();
        assert_eq!((&last["version"], &last["password_base64"]), (&json!(name), &json!("/wA=")));
        assert!(last.get("password").is_none());
    }
    let count = hook.asked().len();
    assert_eq!(node.answer(&Connect::v5("c")), NOT_AUTHORIZED, "who shows nothing is nobody");
    assert_eq!(hook.asked().len(), count, "and nobody is asked");
    node.wait_metric(ANSWERS, 5.0);
    let log = node.broker.log();
    for secret in ["s3cret", "pass-ann", "a key of its own", "seven"] {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}

/// Question and answer are those of the page, and so is the configuration, but for where the server is.
#[test]
fn the_page_says_what_is_asked_and_answered() {
    let heading = "### By a server of your own";
    let config = page::parts(heading, "toml").join("\n");
    let [question, answer] = page::parts(heading, "json").try_into().expect("two blocks of JSON");
    let [question, answer] =
        [question, answer].map(|text: String| serde_json::from_str::<Value>(&text).unwrap());
    let authority = Authority::new("ours");
    let (hook, ca) = Server::start_tls(Does::Says(answer), &authority, "localhost");
    let config = [
        ("https://auth.example.org", hook.origin("https").as_str()),
        ("\"auth-ca.pem\"", "\"DIR/ca\""),
        ("\"auth-headers\"", "\"DIR/headers\""),
        ("\":1883\"", "\"127.0.0.1:0\""),
        ("[listener", "timeout = \"1m\"\n[listener"),
    ]
    .iter()
    .fold(config, |text, (from, to)| {
        assert!(text.contains(from), "{from}");
        text.replace(from, to)
    });
    let node = Node::new(&config, &[("ca", &ca), ("headers", "Authorization: Bearer 2f7c1c\n")]);
    let mut client = node.client(&Connect::v5("sensor-7").user("sensor-7").password("correct horse"));
    client.be_patient();
    client.publish("sensors/sensor-7/temperature", "21.5", 1);
    let codes = client.subscribe_with(&[("sensors/#", 1)], &Props::new()).codes;
    assert_eq!(codes, [NOT_AUTHORIZED], "it may publish there, and nothing else");
    let mut question = question;
    question["address"] = json!("127.0.0.1");
    let asked = hook.asked().pop().unwrap();
    assert_eq!((asked.json(), asked.line()), (question, "POST /mqtt/login"));
    assert_eq!(asked.header("authorization"), Some("Bearer 2f7c1c"));
}

/// The first that knows a client decides, in the order of the configuration.
#[test]
fn the_first_that_knows_a_client_decides() {
    let hook = Server::start(Does::Says(json!({"result": "ignore"})));
    let issuer = Issuer::new("a");
    let keys = set(&[&issuer]);
    let files = [("users", USERS), ("keys", keys.as_str())];
    let sources = "[auth.password]\nfile = \"DIR/users\"\n[auth.jwt]\nkeys_file = \"DIR/keys\"\n";
    let node = asking(&hook, sources, &files);
    let token = issuer.token("carl");
    let (deny, ignore) = (json!({"result": "deny"}), json!({"result": "ignore"}));
    for (says, user, password, code, asks) in [
        (&ignore, "ann", "pass-ann", 0, 0),
        (&ignore, "carl", token.as_str(), 0, 0),
        (&allow(), "ann", "wrong", BAD_CREDENTIALS, 0),
        (&allow(), "carl", "x", 0, 1),
        (&deny, "carl", "x", BAD_CREDENTIALS, 1),
        (&ignore, "carl", "x", BAD_CREDENTIALS, 1),
    ] {
        hook.says(says.clone());
        let before = hook.asked().len();
        assert_eq!(node.answer(&of(user, password)), code, "{user} {password:.20} {says}");
        assert_eq!(hook.asked().len() - before, asks, "{user} {password:.20}");
    }
    drop(node);
    let first = format!("[auth]\norder = [\"http\", \"password\", \"jwt\"]\n{sources}");
    let node = asking(&hook, &first, &files);
    for (says, user, password, code) in [
        (&deny, "ann", "pass-ann", BAD_CREDENTIALS),
        (&ignore, "ann", "pass-ann", 0),
        (&ignore, "ann", "wrong", BAD_CREDENTIALS),
        (&ignore, "carl", token.as_str(), 0),
        (&ignore, "carl", "x", BAD_CREDENTIALS),
        (&allow(), "ann", "wrong", 0),
    ] {
        hook.says(says.clone());
        assert_eq!(node.answer(&of(user, password)), code, "{user} {password:.20} {says}");
    }
    assert_eq!(hook.asked().len(), 9, "a question for each");
}

/// Whatever goes wrong lets nobody in, is counted and told, and leaves those who are connected alone.
#[test]
fn where_there_is_no_answer_nobody_gets_in() {
    let hook = Server::start(Does::Says(allow()));
    let node = asking(&hook, "", &[]);
    let mut stays = node.client(&of("stays", "x"));
    let ok = "200 OK";
    let good = allow().to_string();
    let mut failures = 0.0;
    for bad in [
        Does::Answers("500 Internal Server Error", good.clone()),
        Does::Answers("401 Unauthorized", good.clone()),
        Does::Answers("204 No Content", String::new()),
        Does::Answers("302 Found", good.clone()),
        Does::Answers("307 Temporary Redirect", good.clone()),
        Does::Answers(ok, String::new()),
        Does::Answers(ok, "allow".into()),
        Does::Answers(ok, format!("{good}{good}")),
        Does::Answers(ok, "{\"result\":\"deny\",\"result\":\"allow\"}".into()),
        Does::Answers(ok, format!("{good}{}", " ".repeat(65_536))),
        Does::Says(json!({"result": "allow", "acl": [{"permission": "deny"}]})),
        Does::Says(json!({"result": "allow", "expire_at": now_s() - 60})),
        Does::Says(json!({"result": "allow", "user": 7})),
        Does::Says(json!({"result": true})),
        Does::Breaks,
        Does::Closes,
        Does::Endless,
    ] {
        hook.does(bad);
        let before = hook.asked().len();
        assert_eq!(node.answer(&of("ann", "s3cret")), UNAVAILABLE);
        assert_eq!(hook.asked().len() - before, 1, "asked once, and nowhere else");
        failures += 1.0;
        node.wait_metric(FAILURES, failures);
    }
    assert_eq!(node.answer(&Connect::v3("c").user("ann").password("s3cret")), 3);
    stays.ping();
    hook.says(allow());
    assert_eq!(node.answer(&of("ann", "s3cret")), 0);
    patiently("the log says so", || node.broker.log().contains("nobody is let in by the HTTP hook"));
    assert!(!node.broker.log().contains("s3cret"));
}

#[test]
fn a_server_that_is_slow_or_not_there_lets_nobody_in() {
    let hook = Server::start(Does::Nothing);
    let node = asking(&hook, "timeout = \"300ms\"\n", &[]);
    assert_eq!(node.answer(&of("ann", "x")), UNAVAILABLE);
    node.wait_metric(FAILURES, 1.0);
    drop(node);
    // Nobody listens there any more.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let node = Node::new(&format!("[auth.http]\nurl = \"http://127.0.0.1:{port}/\"\n"), &[]);
    assert_eq!(node.answer(&of("ann", "x")), UNAVAILABLE);
    node.wait_metric(FAILURES, 1.0);
}

/// Over https the server has to have the name in the URL, of an authority that is trusted; the file is read for each request.
#[test]
fn the_server_has_to_show_who_it_is() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let start = |authority: &Authority, name: &str| Server::start_tls(Does::Says(allow()), authority, name);
    let (good, ca) = start(&authority, "localhost");
    let (misnamed, _) = start(&authority, "elsewhere");
    let (strange, strange_ca) = start(&other, "localhost");
    let node = |hook: &Server| {
        let toml = format!("[auth.http]\nurl = {:?}\nca = \"DIR/ca\"\ntimeout = \"1m\"\n", hook.url("https"));
        Node::new(&toml, &[("ca", &ca)])
    };
    assert_eq!(node(&good).answer(&of("ann", "x")), 0);
    for hook in [&misnamed, &strange] {
        assert_eq!(node(hook).answer(&of("ann", "x")), UNAVAILABLE);
        assert!(hook.asked().is_empty(), "nothing is shown to somebody else");
    }
    let node = node(&strange);
    node.replace("ca", &strange_ca);
    assert_eq!(node.answer(&of("ann", "x")), 0);
}

#[test]
fn answers_are_remembered_for_the_same_login_alone() {
    let hook = Server::start(Does::Says(allow()));
    let node = asking(&hook, "cache_allowed = \"1h\"\ncache_denied = \"1h\"\n", &[]);
    let count = |connect: &Connect, code: u8| {
        let before = hook.asked().len();
        assert_eq!(node.answer(connect), code, "{connect:?}");
        hook.asked().len() - before
    };
    assert_eq!([count(&of("ann", "a"), 0), count(&of("ann", "a"), 0)], [1, 0]);
    hook.says(json!({"result": "deny"}));
    assert_eq!(count(&of("ann", "a"), 0), 0, "what was said is remembered");
    for other in [of("ann", "b"), of("bob", "a"), of("ann", ""), Connect::v5("d").user("ann").password("a")] {
        assert_eq!([count(&other, BAD_CREDENTIALS), count(&other, BAD_CREDENTIALS)], [1, 0], "{other:?}");
    }
    // What was no answer is not remembered.
    hook.does(Does::Closes);
    assert_eq!([count(&of("eve", "x"), UNAVAILABLE), count(&of("eve", "x"), UNAVAILABLE)], [1, 1]);
    // Nor is what was said longer than it holds.
    patiently("it is over", || {
        hook.says(json!({"result": "allow", "expire_at": now_s() + 2}));
        let before = hook.asked().len();
        node.answer(&of("soon", "x")) == 0 && hook.asked().len() == before + 1 && {
            let until = now_s() + 3;
            while now_s() < until {
                e2e_tests::pause(std::time::Duration::from_millis(50));
            }
            hook.says(json!({"result": "deny"}));
            node.answer(&of("soon", "x")) == BAD_CREDENTIALS
        }
    });
    node.wait_metric(REMEMBERED, 6.0);
}

/// As many requests at once as may be: the others wait for their turn, and have it.
#[test]
fn requests_at_once_are_bounded() {
    let hook = Server::start(Does::Waits);
    let node = asking(&hook, "requests_max = 2\n", &[]);
    let mut clients: Vec<RawClient> = (0..5)
        .map(|n| {
            let mut client = RawClient::open(&node.broker.mqtt());
            client.be_patient();
            client.send(&Connect::v5(format!("c{n}")).user("ann").password("x").bytes());
            client
        })
        .collect();
    patiently("two are asked about", || hook.asked().len() == 2);
    e2e_tests::pause(e2e_tests::QUIET);
    assert_eq!(hook.asked().len(), 2);
    hook.says(allow());
    for client in &mut clients {
        assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, 0);
    }
    assert_eq!(hook.asked().len(), 5);
}

/// What the answer says of its end is the end of the connection.
#[test]
fn a_connection_ends_when_the_answer_says() {
    let hook = Server::start(Does::Says(allow()));
    let node = asking(&hook, "", &[]);
    for seconds in [2, 4, 8, 16, 32, 64] {
        hook.says(json!({"result": "allow", "expire_at": now_s() + seconds}));
        let mut client = RawClient::open(&node.broker.mqtt());
        client.be_patient();
        if client.handshake(&of("ann", "x")).reason == 0 {
            assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
            assert!(client.expect_closed_within(PATIENCE).is_empty());
            node.wait_metric("quelea_tokens_expired_total", 1.0);
            return;
        }
    }
    panic!("no answer holds as long as a CONNECT takes");
}

#[test]
fn headers_are_those_that_the_file_has_now() {
    let hook = Server::start(Does::Says(allow()));
    let node = asking(&hook, "headers_file = \"DIR/headers\"\n", &[("headers", "X-Key: one\n")]);
    let key = || {
        assert_eq!(node.answer(&of("ann", "x")), 0);
        let head = hook.asked().pop().unwrap().head.to_lowercase();
        head.lines().find_map(|line| line.strip_prefix("x-key: ").map(str::to_owned))
    };
    assert_eq!(key().as_deref(), Some("one"));
    for bad in ["", "X-Key two\n", "Host: two\n", "X-Key: two"] {
        node.replace("headers", bad);
        node.wait_metric("quelea_users_stale", 1.0);
        assert_eq!(key().as_deref(), Some("one"), "{bad:?}");
        node.replace("headers", "X-Key: one\n");
        node.wait_metric("quelea_users_stale", 0.0);
    }
    node.replace("headers", "X-Key: two\n");
    patiently("the new one counts", || key().as_deref() == Some("two"));
}

/// At start there is nothing that could stay in force.
#[test]
fn a_start_needs_a_server_that_can_be_asked() {
    let dir = process::fresh_dir();
    let file = dir.join("file");
    for (toml, text, said) in [
        ("url = \"ftp://localhost/\"", None, "http or https"),
        ("url = \"https://me:secret@localhost/\"", None, "without a user name"),
        ("url = \"http://localhost/\"\nca = \"FILE\"", Some("x"), "is not https"),
        ("url = \"https://localhost/\"\nca = \"FILE\"", Some("x\n"), "file:"),
        ("url = \"https://localhost/\"\nca = \"FILE\"", None, "file"),
        ("url = \"http://localhost/\"\nheaders_file = \"FILE\"", None, "cannot read"),
        (
            "url = \"http://localhost/\"\nheaders_file = \"FILE\"",
            Some("short\n"),
            "line 1: expected NAME: VALUE",
        ),
        ("url = \"http://localhost/\"\ntimeout = \"1ms\"", None, "auth.http.timeout"),
        ("url = \"http://localhost/\"\nrequests_max = 0", None, "auth.http.requests_max"),
        ("requests_max = 7", None, "nothing without auth.http.url"),
        ("url = \"http://localhost/\"\n[auth]\norder = [\"http\"]", None, "each once"),
        ("url = \"http://localhost/\"\n[auth]\norder = [\"http\", \"http\", \"jwt\"]", None, "each once"),
    ] {
        drop(std::fs::remove_file(&file));
        text.iter().for_each(|text| std::fs::write(&file, text).unwrap());
        let config = format!("[auth.http]\n{}\n", toml.replace("FILE", file.to_str().unwrap()));
        let refused = Broker::try_with_config(&config).err().expect("what cannot be used");
        assert_eq!(refused.code, Some(2), "{}", refused.log);
        assert!(refused.log.contains(said) && !refused.log.contains("short"), "{said}: {}", refused.log);
    }
    std::fs::remove_dir_all(dir).unwrap();
}
