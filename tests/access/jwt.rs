//! Tokens in place of passwords: who gets in by one, what it may do, and when it has to go (B54, G18).

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::{Duration, Instant};

use e2e_tests::wire::{kind, prop};
use e2e_tests::{Broker, Connect, PATIENCE, Props, Publish, RawClient, Version, Will, pause, process};
use serde_json::{Value, json};

use crate::fixture::{BAD_CREDENTIALS, Fixture, NOT_AUTHORIZED, USERS, answer, log_in, passwd};
use crate::issuer::{Issuer, now_s, set};

const NOT_VALID: u8 = 0x85;

/// A broker with files of the test's own, which its configuration calls `DIR/NAME`.
pub(crate) struct Node {
    pub(crate) broker: Broker,
    dir: PathBuf,
}

impl Node {
    pub(crate) fn new(toml: &str, files: &[(&str, &str)]) -> Self {
        let dir = process::fresh_dir();
        for (name, text) in files {
            fs::write(dir.join(name), text).unwrap();
        }
        let toml = toml.replace("DIR", dir.to_str().unwrap());
        let limits = if toml.contains("[limits]") { "" } else { "[limits]\nconnect_timeout = \"2m\"\n" };
        let broker = Broker::with_config(&format!("{toml}\n[http]\naddress = \"127.0.0.1:0\"\n{limits}"));
        Self { broker, dir }
    }

    pub(crate) fn answer(&self, connect: &Connect) -> u8 {
        let mut client = RawClient::open(&self.broker.mqtt());
        client.be_patient();
        let code = client.handshake(connect).reason;
        if code > 0 {
            assert!(client.expect_closed_within(PATIENCE).is_empty(), "nothing behind a refusal");
        }
        code
    }

    pub(crate) fn client(&self, connect: &Connect) -> RawClient {
        RawClient::connect(&self.broker.mqtt(), connect)
    }

    pub(crate) fn replace(&self, name: &str, text: &str) {
        fs::write(self.dir.join("beside"), text).unwrap();
        fs::rename(self.dir.join("beside"), self.dir.join(name)).unwrap();
    }

    pub(crate) fn wait_metric(&self, name: &str, value: f64) {
        patiently(&format!("{name} {value}"), || (self.broker.metric(name) - value).abs() < 0.5);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ended = self.broker.stop();
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// Waits for something that may take long where the machine is busy.
#[track_caller]
pub(crate) fn patiently(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        pause(Duration::from_millis(50));
    }
}

/// A CONNECT of 5.0 with a token alone.
pub(crate) fn by_token(id: &str, token: &str) -> Connect {
    Connect::v5(id).password(token)
}

const KEYS: &str = "[auth.jwt]\nkeys_file = \"DIR/keys\"\n";

#[test]
fn a_token_stands_in_place_of_a_password_in_every_version() {
    let (issuer, other) = (Issuer::new("a"), Issuer::new("a"));
    let toml = format!("{KEYS}issuer = \"us\"\naudience = [\"mqtt\"]\n[acl]\nfile = \"DIR/rules\"\n");
    let node = Node::new(&toml, &[("keys", &set(&[&issuer])), ("rules", "allow all own/%u/#\n")]);
    let ours = json!({"iss": "us", "aud": ["mqtt", "x"]});
    let token = issuer.token_with("ann", ours.clone());
    let forged = other.token_with("ann", ours);
    let (header, rest) = token.split_once('.').unwrap();
    let none = format!("eyJhbGciOiJub25lIn0.{}.", rest.split_once('.').unwrap().0);
    let over = issuer.sign(&json!({"sub": "ann", "exp": now_s() - 3_600, "iss": "us", "aud": "mqtt"}));
    let for_others = issuer.token_with("ann", json!({"iss": "us", "aud": "http"}));
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        let (bad, nobody) = if version == Version::V5 { (BAD_CREDENTIALS, NOT_AUTHORIZED) } else { (4, 5) };
        let of = |user: &str, token: &str| Connect::new(version, "c").user(user).password(token);
        for user in ["ann", ""] {
            let mut client = node.client(&of(user, &token));
            assert_eq!(client.subscribe("own/ann/#", 1).codes, [1]);
            let others = client.subscribe_with(&[("own/eve/#", 1)], &Props::new()).code();
            assert!(others >= 0x80, "the name is that of the token");
        }
        assert_eq!(node.answer(&of("eve", &token)), bad, "another one's name");
        let cut = &token[..token.len() - 1];
        let huge = format!("{header}.{}.{}", "A".repeat(60_000), "A".repeat(86));
        for refused in [&forged, &none, &over, &for_others, cut, &huge, "", "pass-ann", "..", "a.b.c"] {
            assert_eq!(node.answer(&of("ann", refused)), bad, "{refused:.40}");
        }
        assert_eq!(node.answer(&Connect::new(version, "c").user("ann")), nobody, "no token");
        assert_eq!(node.answer(&Connect::new(version, "c")), nobody);
    }
    assert_eq!(node.answer(&by_token("c", &token)), 0, "without a name at all");
    assert_eq!(node.answer(&by_token("c", &forged)), BAD_CREDENTIALS);
    assert!(node.broker.metric("quelea_tokens_accepted_total") >= 7.0);
    let refused = node.broker.metric("quelea_logins_refused_total");
    assert!(refused >= 39.0, "{refused}");
}

/// What counts first decides; who has both may use either.
#[test]
fn tokens_and_passwords_work_side_by_side() {
    let issuer = Issuer::new("a");
    let dir = process::fresh_dir();
    let keys = dir.join("keys");
    fs::write(&keys, set(&[&issuer])).unwrap();
    fs::write(dir.join("users"), USERS).unwrap();
    // A password that could be a token.
    assert!(passwd(&dir.join("users"), &["dot"], "a.b.c\n").status.success());
    let users = fs::read_to_string(dir.join("users")).unwrap();
    let fixture = Fixture::with(&format!("[auth.jwt]\nkeys_file = {keys:?}"), &users, None);
    let of =
        |user: &str, password: &str| answer(&fixture.addr(), &Connect::v5("c").user(user).password(password));
    assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "ann")), 0);
    assert_eq!(of("carl", &issuer.token("carl")), 0, "no such user in the file");
    assert_eq!(of("ann", &issuer.token("ann")), 0);
    assert_eq!(of("dot", "a.b.c"), 0, "a password after all");
    let hashes = fixture.metric("quelea_password_hashes_total");
    for (user, password) in [("ann", "a.b.c"), ("nobody", "a.b.c"), ("bob", &issuer.token("ann"))] {
        assert_eq!(of(user, password), BAD_CREDENTIALS, "{user}");
    }
    let after = fixture.metric("quelea_password_hashes_total");
    assert!((after - hashes - 3.0).abs() < 0.5, "as many hashes, whether there is such a user or not");
    assert_eq!(answer(&fixture.addr(), &by_token("c", "pass-ann")), BAD_CREDENTIALS);
    // Who came by a token does not go when the file knows the name no more.
    let mut by_token = RawClient::connect(&fixture.addr(), &by_token("t", &issuer.token("ann")));
    let mut by_password = fixture.client(Version::V5, "p", "ann");
    let without = users.lines().filter(|line| !line.starts_with("ann:"));
    fixture.replace("users", without.fold(String::new(), |text, line| text + line + "\n"));
    assert_eq!(by_password.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    by_token.ping();
    drop(fixture);
    fs::remove_dir_all(dir).unwrap();
}

/// Connects with a token that is over soon: how soon depends on how long a CONNECT takes here.
fn soon_over(node: &Node, issuer: &Issuer, connect: impl Fn(&str) -> Connect) -> RawClient {
    for seconds in [2, 4, 8, 16, 32, 64] {
        let token = issuer.sign(&json!({"sub": "ann", "exp": now_s() + seconds}));
        let mut client = RawClient::open(&node.broker.mqtt());
        if client.handshake(&connect(&token)).reason == 0 {
            client.be_patient();
            return client;
        }
    }
    panic!("no token lives as long as a CONNECT takes");
}

#[test]
fn a_connection_ends_with_its_token() {
    let issuer = Issuer::new("a");
    let node = Node::new(&format!("{KEYS}leeway = \"0s\"\n"), &[("keys", &set(&[&issuer]))]);
    let mut watcher = node.client(&by_token("watcher", &issuer.token("watcher")));
    watcher.be_patient();
    watcher.subscribe("will/+", 1);
    let persistent = |token: &str, clean: bool| {
        let expiry = Props::new().four(prop::SESSION_EXPIRY, 3_600);
        let will = Will::new("will/new", "x").qos(1);
        by_token("new", token).clean(clean).props(expiry).will(will).keep_alive(600)
    };
    let mut first = node.client(&persistent(&issuer.token("ann"), true));
    first.subscribe("kept", 1);
    first.disconnect();
    let mut new = soon_over(&node, &issuer, |token| persistent(token, false));
    assert_eq!(new.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(new.expect_closed_within(PATIENCE).is_empty());
    assert_eq!(watcher.receive().topic, "will/new", "as at any end that the client did not announce");
    let mut old = soon_over(&node, &issuer, |token| Connect::v3("old").user("ann").password(token));
    assert!(old.expect_closed_within(PATIENCE).is_empty());
    // Its session is there still, and takes a new token.
    watcher.publish("kept", "x", 1);
    let (mut again, ack) =
        RawClient::connect_ack(&node.broker.mqtt(), &persistent(&issuer.token("ann"), false));
    assert!(ack.session_present);
    assert_eq!(again.receive().topic, "kept");
    again.ping();
    node.wait_metric("quelea_tokens_expired_total", 2.0);
}

/// Whoever sends all the time cannot outlive its token either.
#[test]
fn a_client_that_never_rests_goes_with_its_token_too() {
    let issuer = Issuer::new("a");
    let node = Node::new(&format!("{KEYS}leeway = \"0s\"\n"), &[("keys", &set(&[&issuer]))]);
    let mut busy = soon_over(&node, &issuer, |token| by_token("busy", token));
    let publishes: Vec<u8> = (0..200).flat_map(|_| Publish::v5("t", "x").bytes()).collect();
    let sent_until = Instant::now() + PATIENCE;
    while node.broker.metric("quelea_tokens_expired_total") < 0.5 {
        assert!(Instant::now() < sent_until, "it outlives its token");
        busy.send(&publishes);
    }
}

/// G18: a key that is removed takes with it who is connected by its tokens, and a file that cannot be used does not.
#[test]
fn a_key_that_is_removed_ends_its_connections_and_no_others() {
    let (a, b) = (Issuer::new("a"), Issuer::new("b"));
    let node = Node::new(KEYS, &[("keys", &set(&[&a, &b]))]);
    let will = |id: &str, token: &str| by_token(id, token).will(Will::new(format!("will/{id}"), "x").qos(1));
    let mut stays = node.client(&by_token("b", &b.token("b")));
    stays.be_patient();
    stays.subscribe("will/+", 1);
    let mut goes = node.client(&will("a", &a.token("a")));
    goes.be_patient();
    for bad in ["", "{", "{\"keys\":[]}", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"] {
        node.replace("keys", bad);
        node.wait_metric("quelea_users_stale", 1.0);
        assert_eq!(node.answer(&by_token("c", &a.token("c"))), 0, "{bad}");
        node.replace("keys", &set(&[&a, &b]));
        node.wait_metric("quelea_users_stale", 0.0);
    }
    goes.ping();
    node.replace("keys", &set(&[&b]));
    assert_eq!(goes.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(goes.expect_closed_within(PATIENCE).is_empty());
    assert_eq!(node.answer(&by_token("a", &a.token("a"))), BAD_CREDENTIALS);
    stays.publish("will/last", "behind the will", 1);
    assert_eq!(stays.receive().topic, "will/last", "the will of who was sent away is not published");
    // A new key under the same name is another key.
    let new = Issuer::new("b");
    node.replace("keys", &set(&[&new]));
    assert_eq!(stays.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert_eq!(node.answer(&by_token("c", &new.token("c"))), 0);
}

#[test]
fn b54_a_token_is_for_the_client_identifier_that_it_names() {
    let issuer = Issuer::new("a");
    let toml = format!("{KEYS}client_id_claim = \"device\"\n");
    let node = Node::new(&toml, &[("keys", &set(&[&issuer]))]);
    let token = issuer.token_with("ann", json!({"device": "d-1"}));
    let mut victim = node.client(&by_token("d-1", &token));
    let thief = issuer.token_with("ann", json!({"device": "d-2"}));
    for id in ["d-1", "", "d-22"] {
        assert_eq!(node.answer(&by_token(id, &thief)), NOT_VALID, "{id:?}");
    }
    assert_eq!(node.answer(&Connect::v3("d-1").user("ann").password(&thief)), 2);
    assert_eq!(node.answer(&by_token("d-1", &issuer.token("ann"))), BAD_CREDENTIALS, "it names none");
    victim.ping();
    assert_eq!(node.answer(&by_token("d-2", &thief)), 0);
}

#[test]
fn groups_and_rights_come_with_the_token_after_the_rules_of_the_file() {
    let issuer = Issuer::new("a");
    let toml =
        format!("{KEYS}groups_claim = \"realm.roles\"\nacl_claim = \"acl\"\n[acl]\nfile = \"DIR/rules\"\n");
    let rules = "group readers bob\ndeny all secret/#\nallow subscribe news/# group=readers\n";
    let node = Node::new(&toml, &[("keys", &set(&[&issuer])), ("rules", rules)]);
    let client = |id: &str, more: Value| node.client(&by_token(id, &issuer.token_with("ann", more)));
    let codes = |client: &mut RawClient, filters: &[&str]| {
        let filters: Vec<(&str, u8)> = filters.iter().map(|filter| (*filter, 1)).collect();
        client.subscribe_with(&filters, &Props::new()).codes
    };
    let (yes, no) = (1, NOT_AUTHORIZED);
    let asked = ["news/#", "dev/d-1/#", "dev/#", "secret/x"];
    let mut nothing = client("d-0", json!({}));
    assert_eq!(codes(&mut nothing, &asked), [no, no, no, no]);
    let mut reader = client("d-0", json!({"realm": {"roles": ["x", "readers"]}}));
    assert_eq!(codes(&mut reader, &asked), [yes, no, no, no]);
    let acl = json!({"subscribe": ["dev/%c/#", "secret/#"], "publish": "up/%u/%c", "all": ["both"]});
    let mut device = client("d-1", json!({ "acl": acl }));
    assert_eq!(codes(&mut device, &asked), [no, yes, no, no]);
    assert_eq!(codes(&mut device, &["both", "up/ann/d-1"]), [yes, no]);
    for (topic, code) in
        [("up/ann/d-1", 0), ("both", 0), ("up/ann/d-2", no), ("dev/d-1/x", no), ("secret/x", no)]
    {
        device.send(&Publish::v5(topic, "x").qos(1, 9).bytes());
        let got = device.expect_among(kind::PUBACK).ack(Version::V5).code();
        assert_eq!(got >= 0x80, code >= 0x80, "{topic}: {got:#x}");
        if topic == "both" {
            assert_eq!(device.receive().topic, "both");
        }
    }
    for bad in [json!({"deny": "x"}), json!("x"), json!({"publish": ["a/#/b"]})] {
        let token = issuer.token_with("ann", json!({ "acl": bad }));
        assert_eq!(node.answer(&by_token("d-1", &token)), BAD_CREDENTIALS, "{bad}");
    }
    // Rules that change count for who came by a token too.
    node.replace("rules", "group readers\ndeny all both\n");
    patiently("the rules are in force", || {
        device.send(&Publish::v5("both", "x").qos(1, 9).bytes());
        device.expect_among(kind::PUBACK).ack(Version::V5).code() == no
    });
}

fn mosquitto(program: &str, node: &Node, arguments: &[&str]) -> Output {
    let address = node.broker.mqtt();
    let (host, port) = address.rsplit_once(':').unwrap();
    let mut command = process::bound_to_us(Path::new("timeout"));
    command.args(["120", program, "-h", host, "-p", port]).args(arguments);
    command.output().unwrap()
}

/// Other people's clients, and a log that tells nothing that could be used.
#[test]
fn mosquitto_pub_shows_a_token_and_no_log_has_it() {
    let issuer = Issuer::new("a");
    let toml = format!("{KEYS}\n[log]\nlevel = \"debug\"\n");
    let node = Node::new(&toml, &[("keys", &set(&[&issuer]))]);
    let good = issuer.token_with("ann", json!({"email": "ann@example.org"}));
    let bad = Issuer::new("a").token("ann");
    let publish = |token: &str| {
        mosquitto("mosquitto_pub", &node, &["-u", "ann", "-P", token, "-t", "t", "-m", "x", "-q", "1"])
    };
    match publish(&good) {
        // Without the program there is a log to look at all the same.
        output if output.status.code() == Some(127) => {
            assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "no mosquitto_pub");
            println!("SKIPPED: mosquitto_pub is not installed");
        }
        output => {
            assert!(output.status.success(), "{output:?}");
            let refused = publish(&bad);
            let said = String::from_utf8_lossy(&refused.stderr).into_owned();
            assert!(!refused.status.success() && said.contains("bad user name or password"), "{said}");
        }
    }
    assert_eq!(node.answer(&by_token("c", &good)), 0);
    assert_eq!(node.answer(&by_token("c", &bad)), BAD_CREDENTIALS);
    // The log comes through a pipe; with its last line all others are there.
    patiently("the refusal is in the log", || {
        let log = node.broker.log();
        log.lines().any(|line| {
            line.contains("a token does not count")
                && line.contains("client=c ")
                && line.contains("signature is wrong")
        })
    });
    let log = node.broker.log();
    for part in good.split('.').chain(bad.split('.').skip(1)) {
        assert!(!log.contains(part), "a part of a token is in the log");
    }
    assert!(!log.contains("example.org"), "so is what it claims");
}

/// At start there is nothing that could stay in force.
#[test]
fn a_start_needs_settings_and_keys_that_can_be_used() {
    let dir = process::fresh_dir();
    let file = dir.join("keys");
    for (keys, text, said) in [
        ("keys_file = \"FILE\"", None, "cannot read"),
        ("keys_file = \"FILE\"", Some("{}"), "it has no list \"keys\""),
        ("secret_file = \"FILE\"", Some("short\n"), "fewer than 32 bytes"),
        ("keys_file = \"\"", None, "\"auth.jwt.keys_file\" has the value \"\""),
        ("issuer = \"us\"", None, "auth.jwt.jwks_url or auth.jwt.issuer_url"),
        ("jwks_url = \"ftp://localhost/\"", None, "http or https"),
        ("jwks_url = \"https://me:secret@localhost/\"", None, "without a user name"),
        ("jwks_url = \"http://localhost/\"\njwks_ca = \"FILE\"", Some("x"), "is not https"),
        ("jwks_url = \"https://localhost/\"\njwks_ca = \"FILE\"", Some("x\n"), "keys:"),
        ("issuer_url = \"http://issuer.example.org/\"", None, "https (http on this machine alone)"),
        ("issuer_url = \"https://localhost/?a\"", None, "\"?\" and \"#\""),
        ("issuer_url = \"https://localhost/\"\nissuer = \"us\"", None, "auth.jwt.issuer_url is set"),
        ("issuer_url = \"https://a.b/\"\njwks_url = \"https://a.b/\"", None, "auth.jwt.issuer_url is set"),
        ("keys_file = \"FILE\"\nuser_claim = \"\"", None, "the name of a claim"),
        ("keys_file = \"FILE\"\nleeway = \"1h\"", None, "\"0s\" to \"5m\""),
    ] {
        drop(fs::remove_file(&file));
        text.iter().for_each(|text| fs::write(&file, text).unwrap());
        let config = format!("[auth.jwt]\n{}\n", keys.replace("FILE", file.to_str().unwrap()));
        let refused = Broker::try_with_config(&config).err().expect("what cannot be used");
        assert_eq!(refused.code, Some(2), "{}", refused.log);
        assert!(refused.log.contains(said) && !refused.log.contains("short"), "{said}: {}", refused.log);
    }
    fs::remove_dir_all(dir).unwrap();
}
