//! Keys of tokens that are fetched: how soon new ones count, and that whoever has them can fail in any way.

use std::time::Instant;

use e2e_tests::RawClient;
use e2e_tests::wire::kind;

use crate::ca::{Authority, Files, Validity};
use crate::fixture::{BAD_CREDENTIALS, NOT_AUTHORIZED};
use crate::issuer::{Issuer, set};
use crate::jwt::{Node, by_token, patiently};
use crate::server::{Does, PATH, Server};

const OK: &str = "200 OK";
const STALE: &str = "quelea_users_stale";

fn keys_of(issuers: &[&Issuer]) -> Does {
    Does::Answers(OK, set(issuers))
}

fn node(url: &str, more: &str, files: &[(&str, &str)]) -> Node {
    Node::new(&format!("[auth.jwt]\njwks_url = \"{url}\"\n{more}\n"), files)
}

impl Node {
    fn gets_in(&self, issuer: &Issuer) -> bool {
        match self.answer(&by_token("c", &issuer.token("ann"))) {
            0 => true,
            code => {
                assert_eq!(code, BAD_CREDENTIALS);
                false
            }
        }
    }

    fn client_of(&self, issuer: &Issuer) -> RawClient {
        let mut client = self.client(&by_token("client", &issuer.token("ann")));
        client.be_patient();
        client
    }
}

/// New keys count soon, without a flood of requests.
#[test]
fn keys_that_are_new_are_fetched_when_they_are_named() {
    let [a, b, never] = ["a", "b", "never"].map(Issuer::new);
    let server = Server::start(keys_of(&[&a]));
    let begun = Instant::now();
    let node = node(&server.url("http"), "jwks_refresh = \"1h\"", &[]);
    // The first login may come before the first fetch is done, and waits for it.
    patiently("the first keys count", || node.gets_in(&a));
    server.does(keys_of(&[&a, &b]));
    patiently("a key that was not there counts", || node.gets_in(&b));
    assert!(node.gets_in(&a));
    for _ in 0..30 {
        assert!(!node.gets_in(&never));
    }
    let most = 3 + begun.elapsed().as_secs() / 5;
    assert!(server.requests() as u64 <= most, "{} requests, at most {most}", server.requests());
    for asked in server.asked() {
        assert_eq!(asked.line(), format!("GET {PATH}"));
        assert_eq!(asked.header("host"), Some(&*format!("localhost:{}", server.port)));
    }
    assert!(!node.broker.log().contains("eyJ"));
}

/// Whatever becomes of the server, what it said last counts, and it is told.
#[test]
fn keys_that_cannot_be_fetched_leave_what_was_there() {
    let [a, b] = ["a", "b"].map(Issuer::new);
    let server = Server::start(keys_of(&[&a]));
    let node = node(&server.url("http"), "jwks_refresh = \"1s\"", &[]);
    patiently("the first keys count", || node.gets_in(&a));
    let mut client = node.client_of(&a);
    let mut cut = set(&[&a, &b]);
    cut.pop();
    for bad in [
        Does::Answers("500 Internal Server Error", set(&[&b])),
        Does::Answers("302 Found", set(&[&b])),
        Does::Answers(OK, cut),
        Does::Answers(OK, String::new()),
        Does::Answers(OK, "{\"keys\":[]}".into()),
        Does::Endless,
        Does::Nothing,
    ] {
        server.does(bad);
        node.wait_metric(STALE, 1.0);
        assert!(node.gets_in(&a) && !node.gets_in(&b));
        client.ping();
        server.does(keys_of(&[&a]));
        node.wait_metric(STALE, 0.0);
    }
    patiently("the log says so", || {
        node.broker.log().contains("keys of tokens not fetched, what was fetched before stays in force")
    });
    // A key that is there no more takes its connections with it.
    server.does(keys_of(&[&b]));
    assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(node.gets_in(&b) && !node.gets_in(&a));
}

/// A node starts without them, as others that it needs may, and lets nobody in by a token until they come.
#[test]
fn keys_that_are_not_there_at_the_start_may_come_later() {
    let a = Issuer::new("a");
    let server = Server::start(Does::Answers("503 Service Unavailable", String::new()));
    let node = node(&server.url("http"), "jwks_refresh = \"1s\"", &[]);
    node.wait_metric(STALE, 1.0);
    assert!(!node.gets_in(&a));
    server.does(keys_of(&[&a]));
    patiently("they have come", || node.gets_in(&a));
    node.wait_metric(STALE, 0.0);
}

#[test]
fn keys_are_fetched_from_who_has_a_certificate_of_the_authority() {
    let (authority, other) = (Authority::new("ours"), Authority::new("another"));
    let a = Issuer::new("a");
    let (server, ca) = Server::start_tls(keys_of(&[&a]), &authority, "localhost");
    let wrong = Files::write(&other.issue(1, &["x"], Validity::Now), &other, &[]);
    let wrong = std::fs::read_to_string(wrong.path("ca.pem")).unwrap();
    let more = "jwks_ca = \"DIR/ca\"\njwks_refresh = \"1s\"";
    let node = node(&server.url("https"), more, &[("ca", &wrong)]);
    node.wait_metric(STALE, 1.0);
    assert!(!node.gets_in(&a));
    assert_eq!(server.requests(), 0, "nothing is asked of somebody else");
    // Read again for each fetch.
    node.replace("ca", &ca);
    patiently("the authority counts", || node.gets_in(&a));
}
