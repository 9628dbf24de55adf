//! SCRAM over AUTH packets: who gets in by it, what strangers see of it, and that a connected client may show once more who it is
//! (B54, G18). The client's side is computed here, from RFC 5802.

use std::fs;
use std::num::NonZeroU32;
use std::os::unix::fs::symlink;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use e2e_tests::packets::auth;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{Connect, PATIENCE, Props, Publish, RawClient, Version, process};
use ring::{digest, hmac, pbkdf2};

use crate::fixture::{BAD_CREDENTIALS, Fixture, NOT_AUTHORIZED, USERS, answer, log_in, passwd, wait_for};
use crate::page;

const METHODS: [&str; 2] = ["SCRAM-SHA-256", "SCRAM-SHA-512"];
const SHA_256: &str = METHODS[0];
const NONCE: &str = "fyko+d2lbbFgONRv9qkxdawL";
const AGAIN: u8 = 0x19;
const CONTINUE: u8 = 0x18;
const PROTOCOL_ERROR: u8 = 0x82;

/// Users with keys for SCRAM, `ann` and `bob`, and one without, `eve`; the password of each is `pass-NAME`.
fn with_users(toml: &str, rules: Option<&str>) -> Fixture {
    let fixture = Fixture::with(toml, USERS, rules);
    for user in ["ann", "bob"] {
        let set = passwd(
            &fixture.path("users"),
            &["--scram", "--iterations", "4096", user],
            &format!("pass-{user}\n"),
        );
        assert!(set.status.success(), "{set:?}");
    }
    // The file has not been read until both count.
    wait_for("the keys count", || {
        let mut client = RawClient::open(&fixture.addr());
        challenge_of(&mut client, "bob").ends_with(",i=4096") && {
            let mut client = RawClient::open(&fixture.addr());
            Scram::new(SHA_256, "bob").connect(&mut client, "probe").is_ok()
        }
    });
    fixture
}

/// The client's side of an exchange.
struct Scram {
    method: &'static str,
    password: String,
    first: String,
}

impl Scram {
    fn new(method: &'static str, user: &str) -> Self {
        let first = format!("n={user},r={NONCE}");
        Self { method, password: format!("pass-{user}"), first }
    }

    fn props(&self, data: impl AsRef<[u8]>) -> Props {
        Props::new().text(prop::AUTH_METHOD, self.method).text(prop::AUTH_DATA, data)
    }

    fn begin(&self, id: &str) -> Connect {
        Connect::v5(id).props(self.props(format!("n,,{}", self.first)))
    }

    /// The last message to a challenge, and what the server has to prove itself with.
    fn finish(&self, challenge: &str) -> (String, String) {
        let part =
            |name: &str| challenge.split(',').find_map(|part| part.strip_prefix(name)).unwrap().to_owned();
        let (nonce, salt, count) = (part("r="), part("s="), part("i="));
        assert!(nonce.starts_with(NONCE) && nonce.len() >= NONCE.len() + 16, "{challenge}");
        let (derive, sign, hash) = match self.method {
            "SCRAM-SHA-256" => (pbkdf2::PBKDF2_HMAC_SHA256, hmac::HMAC_SHA256, &digest::SHA256),
            _ => (pbkdf2::PBKDF2_HMAC_SHA512, hmac::HMAC_SHA512, &digest::SHA512),
        };
        let mut salted = vec![0; hash.output_len()];
        let count: NonZeroU32 = count.parse().unwrap();
        pbkdf2::derive(derive, count, &STANDARD.decode(salt).unwrap(), self.password.as_bytes(), &mut salted);
        let signed = |key: &[u8], text: &[u8]| hmac::sign(&hmac::Key::new(sign, key), text).as_ref().to_vec();
        let client = signed(&salted, b"Client Key");
        let unproved = format!("c=biws,r={nonce}");
        let said = format!("{},{challenge},{unproved}", self.first);
        let signature = signed(digest::digest(hash, &client).as_ref(), said.as_bytes());
        let proof: Vec<u8> = client.iter().zip(signature).map(|(a, b)| a ^ b).collect();
        let server = signed(&signed(&salted, b"Server Key"), said.as_bytes());
        (format!("{unproved},p={}", STANDARD.encode(proof)), format!("v={}", STANDARD.encode(server)))
    }

    /// Goes on behind CONNECT to its end.
    fn go_on(&self, client: &mut RawClient) -> Result<(), u8> {
        let (last, server) = self.finish(&challenge(client, self.method));
        client.send(&auth(CONTINUE, &self.props(last)));
        let ack = client.expect(kind::CONNACK).connack(Version::V5);
        if ack.reason > 0 {
            assert!(client.expect_closed_within(PATIENCE).is_empty(), "nothing behind a refusal");
            return Err(ack.reason);
        }
        assert_eq!(ack.props.text(prop::AUTH_METHOD).as_deref(), Some(self.method));
        assert_eq!(ack.props.text(prop::AUTH_DATA), Some(server), "the server knows the password too");
        Ok(())
    }

    fn connect(&self, client: &mut RawClient, id: &str) -> Result<(), u8> {
        client.be_patient();
        client.speak(Version::V5);
        client.send(&self.begin(id).bytes());
        self.go_on(client)
    }

    /// Authenticates again.
    fn again(&self, client: &mut RawClient) -> Result<(), u8> {
        client.send(&auth(AGAIN, &self.props(format!("n,,{}", self.first))));
        let (last, server) = self.finish(&challenge(client, self.method));
        client.send(&auth(CONTINUE, &self.props(last)));
        let done = client.expect_one_of(&[kind::AUTH, kind::DISCONNECT]);
        if done.kind() == kind::DISCONNECT {
            return Err(done.reasoned().reason);
        }
        let done = done.reasoned();
        assert_eq!((done.reason, done.props.text(prop::AUTH_DATA)), (0, Some(server)));
        assert_eq!(done.props.text(prop::AUTH_METHOD).as_deref(), Some(self.method));
        Ok(())
    }
}

/// The data of the AUTH that comes next.
fn challenge(client: &mut RawClient, method: &str) -> String {
    let auth = client.expect(kind::AUTH).reasoned();
    assert_eq!((auth.reason, auth.props.text(prop::AUTH_METHOD).as_deref()), (CONTINUE, Some(method)));
    auth.props.text(prop::AUTH_DATA).unwrap()
}

/// What a new connection is challenged with that says to be a user.
fn challenge_of(client: &mut RawClient, user: &str) -> String {
    client.be_patient();
    client.send(&Scram::new(SHA_256, user).begin("c").bytes());
    challenge(client, SHA_256)
}

fn client(fixture: &Fixture, id: &str, method: &'static str, user: &str) -> RawClient {
    let mut client = RawClient::open(&fixture.addr());
    assert_eq!(Scram::new(method, user).connect(&mut client, id), Ok(()));
    client
}

#[test]
fn a_client_and_the_broker_show_each_other_that_they_know_the_password() {
    let fixture = with_users("[log]\nlevel = \"debug\"\n", Some("allow all own/%u/#\n"));
    for method in METHODS {
        let mut client = client(&fixture, "c", method, "ann");
        assert_eq!(client.subscribe("own/ann/#", 1).codes, [1]);
        let codes = client.subscribe_with(&[("own/bob/#", 1)], &Props::new()).codes;
        assert_eq!(codes, [NOT_AUTHORIZED], "it is the user of the exchange");
    }
    // The same user by name and password, in every version: the password is sent then.
    for version in [Version::V3_1, Version::V3_1_1, Version::V5] {
        assert_eq!(answer(&fixture.addr(), &log_in(version, "c", "ann")), 0);
        let bad = if version == Version::V5 { BAD_CREDENTIALS } else { 4 };
        let wrong = Connect::new(version, "c").user("ann").password("pass-bob");
        assert_eq!(answer(&fixture.addr(), &wrong), bad);
    }
    let file = fs::read_to_string(fixture.path("users")).unwrap();
    let line = file.lines().find(|line| line.starts_with("ann:")).unwrap();
    assert!(line.starts_with("ann:SCRAM-SHA-256$4096:") && line.contains(" SCRAM-SHA-512$4096:"), "{line}");
    let log = fixture.broker().log();
    assert!(!file.contains("pass-ann") && !log.contains("pass-ann") && !log.contains("biws"), "{log}");
    for key in line.split(['$', ':', ' ']).filter(|part| part.len() > 16) {
        assert!(!log.contains(key), "a key is in the log");
    }
}

/// As the page has it; in a directory of the test's own.
#[test]
fn keys_are_written_as_the_page_says() {
    let script = page::parts("### By AUTH packets", "sh").join("\n");
    let dir = process::fresh_dir();
    symlink(process::binary(), dir.join("quelea")).unwrap();
    let written = page::shell(&dir, &format!("set -e\n{script}"));
    assert!(written.status.success(), "{written:?}");
    let file = fs::read_to_string(dir.join("users")).unwrap();
    let line = file.lines().last().unwrap();
    assert!(line.starts_with("sensor-7:SCRAM-SHA-256$16384:") && !file.contains("horse"), "{file}");
    let fixture = Fixture::new(&file, None);
    for method in METHODS {
        let scram = Scram { password: "correct horse".into(), ..Scram::new(method, "sensor-7") };
        assert_eq!(scram.connect(&mut RawClient::open(&fixture.addr()), "c"), Ok(()), "{method}");
        let scram = Scram { password: "battery staple".into(), ..scram };
        assert_eq!(
            scram.connect(&mut RawClient::open(&fixture.addr()), "c"),
            Err(NOT_AUTHORIZED),
            "{method}"
        );
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn who_cannot_prove_it_is_refused_whatever_is_wrong() {
    let fixture = with_users("", None);
    let addr = fixture.addr();
    let refused = fixture.metric("quelea_logins_refused_total");
    for (user, password) in [("ann", "pass-bob"), ("nobody", "pass-nobody"), ("eve", "pass-eve")] {
        for method in METHODS {
            let scram = Scram { password: password.into(), ..Scram::new(method, user) };
            assert_eq!(scram.connect(&mut RawClient::open(&addr), "c"), Err(NOT_AUTHORIZED), "{user}");
        }
    }
    assert!((fixture.metric("quelea_logins_refused_total") - refused - 6.0).abs() < 0.5);
    let begins = |method: &'static str, data: &str| {
        let props = Props::new().text(prop::AUTH_METHOD, method).text(prop::AUTH_DATA, data);
        answer(&addr, &Connect::v5("c").props(props))
    };
    let (long, nonce) = ("x".repeat(3_000), "x".repeat(257));
    for first in [
        "p=tls-exporter,,n=ann,r=x",
        "n,a=bob,n=ann,r=x",
        "n,,n=ann",
        "n,,n=,r=x",
        "n,,n=ann,r=",
        "n,,m=1,n=ann,r=x",
        &format!("n,,n=ann,r={nonce}"),
        &format!("n,,n={long},r=x"),
        "",
        "\u{0}",
    ] {
        assert_eq!(begins(SHA_256, first), NOT_AUTHORIZED, "{first:.40}");
    }
    for method in ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1", "scram-sha-256", "PLAIN", "OAUTH2-JWT"] {
        assert_eq!(begins(method, "n,,n=ann,r=x"), 0x8C, "{method}");
    }
    // A name in CONNECT as well has to be the same.
    for (name, code) in [("bob", Err(NOT_AUTHORIZED)), ("ann", Ok(())), ("", Ok(()))] {
        let scram = Scram::new(SHA_256, "ann");
        let mut client = RawClient::open(&addr);
        client.speak(Version::V5);
        client.send(&scram.begin("c").user(name).bytes());
        assert_eq!(scram.go_on(&mut client), code, "{name:?}");
    }
}

/// Every order of packets but the right one.
#[test]
fn messages_out_of_turn_and_damaged_ones_end_the_exchange() {
    let fixture = with_users("", None);
    let scram = Scram::new(SHA_256, "ann");
    let challenged = || {
        let mut client = RawClient::open(&fixture.addr());
        client.speak(Version::V5);
        let challenge = challenge_of(&mut client, "ann");
        let (last, _) = scram.finish(&challenge);
        (client, last)
    };
    for (change, code) in
        [("biws", NOT_AUTHORIZED), ("d2lbb", NOT_AUTHORIZED), (",p=", NOT_AUTHORIZED), ("c=", NOT_AUTHORIZED)]
    {
        let (mut client, last) = challenged();
        client.send(&auth(CONTINUE, &scram.props(last.replacen(change, "eSws", 1))));
        assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, code, "{change}");
        assert!(client.expect_closed().is_empty());
    }
    let other = Scram { method: METHODS[1], ..Scram::new(METHODS[1], "ann") };
    for (bytes, code) in [
        (auth(AGAIN, &scram.props(format!("n,,{}", scram.first))), PROTOCOL_ERROR),
        (auth(0x00, &scram.props("x")), PROTOCOL_ERROR),
        (auth(CONTINUE, &other.props("x")), PROTOCOL_ERROR),
        (auth(CONTINUE, &scram.props("")), NOT_AUTHORIZED),
        (auth(CONTINUE, &scram.props(vec![0xFF; 60_000])), NOT_AUTHORIZED),
        (Publish::v5("t", "x").bytes(), PROTOCOL_ERROR),
    ] {
        let (mut client, _) = challenged();
        client.send(&bytes);
        assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, code);
        assert!(client.expect_closed().is_empty());
    }
    fixture.broker().assert_well();
}

/// Whether there is a user cannot be told: not from the challenge, not by trying once more, not after a restart.
#[test]
fn strangers_are_challenged_like_users() {
    let mut fixture = with_users("", None);
    let form = |challenge: &str| {
        let parts: Vec<_> = challenge.split(',').map(|part| (part[..2].to_owned(), part.len())).collect();
        (parts, challenge.rsplit_once(',').unwrap().1.to_owned())
    };
    let salt = |challenge: &str| challenge.split(',').nth(1).unwrap().to_owned();
    let ask = |addr: &str, user: &str| challenge_of(&mut RawClient::open(addr), user);
    let users = ["ann", "nobody", "eve", "somebody else"];
    let before = users.map(|user| ask(&fixture.addr(), user));
    for (user, challenge) in users.iter().zip(&before) {
        assert_eq!(form(challenge), form(&before[0]), "{user}");
        let once_more = ask(&fixture.addr(), user);
        assert_eq!(salt(challenge), salt(&once_more), "{user}");
        assert_ne!(*challenge, once_more, "nonces are drawn anew");
    }
    assert_ne!(salt(&before[1]), salt(&before[3]));
    fixture.restart();
    for (user, challenge) in users.iter().zip(&before) {
        assert_eq!(salt(challenge), salt(&ask(&fixture.addr(), user)), "{user}");
    }
}

/// Section 4.12.1: all else goes on meanwhile, and whoever fails, or is somebody else, is disconnected.
#[test]
fn a_connected_client_shows_once_more_who_it_is() {
    let fixture = with_users("", None);
    let mut other = client(&fixture, "other", METHODS[1], "bob");
    let mut ann = client(&fixture, "ann", SHA_256, "ann");
    ann.subscribe("t", 1);
    let scram = Scram::new(SHA_256, "ann");
    for _ in 0..3 {
        assert_eq!(scram.again(&mut ann), Ok(()));
    }
    ann.send(&auth(AGAIN, &scram.props(format!("n,,{}", scram.first))));
    let (last, _) = scram.finish(&challenge(&mut ann, SHA_256));
    other.publish("t", "meanwhile", 1);
    assert_eq!(ann.receive().text(), "meanwhile");
    ann.ping();
    ann.send(&auth(CONTINUE, &scram.props(last)));
    assert_eq!(ann.expect(kind::AUTH).reasoned().reason, 0);
    other.publish("t", "behind", 1);
    assert_eq!(ann.receive().text(), "behind");
    assert!((fixture.metric("quelea_reauthentications_total") - 4.0).abs() < 0.5);

    let as_bob = Scram::new(SHA_256, "bob");
    assert_eq!(as_bob.again(&mut ann), Err(NOT_AUTHORIZED), "a right proof of somebody else");
    assert!(ann.expect_closed_within(PATIENCE).is_empty());
    let mut ann = client(&fixture, "ann", SHA_256, "ann");
    let wrong = Scram { password: "wrong".into(), ..Scram::new(SHA_256, "ann") };
    assert_eq!(wrong.again(&mut ann), Err(NOT_AUTHORIZED));
    let mut ann = client(&fixture, "ann", SHA_256, "ann");
    let changed = Scram::new(METHODS[1], "ann");
    ann.send(&auth(AGAIN, &changed.props(format!("n,,{}", changed.first))));
    assert_eq!(ann.expect(kind::DISCONNECT).reasoned().reason, PROTOCOL_ERROR, "another method");
    // Who came by name and password has no method.
    let mut plain = fixture.client(Version::V5, "plain", "ann");
    plain.send(&auth(AGAIN, &scram.props(format!("n,,{}", scram.first))));
    assert_eq!(plain.expect(kind::DISCONNECT).reasoned().reason, PROTOCOL_ERROR);
    other.ping();
    assert!((fixture.metric("quelea_reauthentications_failed_total") - 4.0).abs() < 0.5);
}

/// G18: a user who is removed goes, and with its old keys nobody authenticates again once they are replaced.
#[test]
fn a_user_who_is_removed_or_has_another_password_shows_nothing_any_more() {
    let fixture = with_users("", None);
    let (mut ann, mut bob) =
        (client(&fixture, "ann", SHA_256, "ann"), client(&fixture, "bob", SHA_256, "bob"));
    assert!(passwd(&fixture.path("users"), &["--delete", "ann"], "").status.success());
    assert_eq!(ann.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(passwd(&fixture.path("users"), &["--scram", "bob"], "another\n").status.success());
    wait_for("the new password counts", || {
        let new = Scram { password: "another".into(), ..Scram::new(SHA_256, "bob") };
        new.connect(&mut RawClient::open(&fixture.addr()), "c").is_ok()
    });
    bob.ping();
    assert_eq!(Scram::new(SHA_256, "bob").again(&mut bob), Err(NOT_AUTHORIZED));
}

#[test]
fn passwd_writes_no_keys_that_clients_could_not_make() {
    let fixture = Fixture::new(USERS, None);
    let file = fixture.path("users");
    for (arguments, input, said) in [
        (&["--scram", "ann"][..], "pässword\n", "printable ASCII"),
        (&["--scram", "--iterations", "4095", "ann"], "x\n", "4096"),
        (&["--scram", "--iterations", "1000001", "ann"], "x\n", "1000000"),
        (&["--iterations", "5000", "ann"], "x\n", "--scram"),
        (&["--scram", "--delete", "ann"], "", "cannot be used with"),
    ] {
        let failed = passwd(&file, arguments, input);
        let error = String::from_utf8_lossy(&failed.stderr);
        assert!(!failed.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), USERS);
    assert!(passwd(&file, &["--scram", "ann"], "x\n").status.success());
    assert!(fs::read_to_string(&file).unwrap().contains("ann:SCRAM-SHA-256$16384:"));
}
