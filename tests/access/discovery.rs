//! An issuer of tokens that says itself where its keys are (OpenID Connect Discovery 1.0): that it is believed only if it is the one that
//! was asked, that its keys may move, and that whatever goes wrong opens nothing.

use e2e_tests::wire::kind;
use e2e_tests::{Connect, RawClient};
use serde_json::{Value, json};

use crate::ca::Authority;
use crate::fixture::{BAD_CREDENTIALS, NOT_AUTHORIZED};
use crate::issuer::{Issuer, set};
use crate::jwt::{Node, by_token, patiently};
use crate::server::{Does, Server};

const DISCOVERY: &str = "/.well-known/openid-configuration";
const STALE: &str = "quelea_users_stale";

/// A server that is to be told what it is.
fn server() -> Server {
    Server::start(Does::Closes)
}

/// An issuer says this of itself, and has these keys at `/keys`.
fn says(server: &Server, of_itself: &Value, keys: &[&Issuer]) {
    server.does(Does::Has(vec![(DISCOVERY, of_itself.to_string()), ("/keys", set(keys))]));
}

fn node(issuer: &str, more: &str, files: &[(&str, &str)]) -> Node {
    let toml = format!("[auth.jwt]\nissuer_url = {issuer:?}\njwks_refresh = \"1s\"\n{more}\n");
    Node::new(&toml, files)
}

fn shows(key: &Issuer, issuer: &str) -> Connect {
    shows_as("c", key, issuer)
}

fn shows_as(id: &str, key: &Issuer, issuer: &str) -> Connect {
    by_token(id, &key.token_with("ann", json!({ "iss": issuer })))
}

#[test]
fn an_issuer_says_where_its_keys_are_and_they_may_move() {
    let [a, b] = ["a", "b"].map(Issuer::new);
    let server = server();
    let us = format!("{}/realms/devices/", server.origin("http"));
    let keys = |place: &str| format!("{}{place}", server.origin("http"));
    let path = "/realms/devices/.well-known/openid-configuration";
    let of_itself = |place: &str| json!({"issuer": us, "jwks_uri": keys(place), "more": ["x"]}).to_string();
    server.does(Does::Has(vec![(path, of_itself("/keys")), ("/keys", set(&[&a]))]));
    let node = node(&us, "", &[]);
    patiently("its keys count", || node.answer(&shows(&a, &us)) == 0);
    let mut client: RawClient = node.client(&shows_as("stays", &a, &us));
    client.be_patient();
    for other in ["us", &us[..us.len() - 1], ""] {
        assert_eq!(node.answer(&shows(&a, other)), BAD_CREDENTIALS, "{other:?} is another issuer");
    }
    assert_eq!(node.answer(&by_token("c", &a.token("ann"))), BAD_CREDENTIALS, "a token of no issuer");
    assert_eq!(node.answer(&shows(&b, &us)), BAD_CREDENTIALS, "a key that is not the issuer's");
    let lines: Vec<String> = server.asked().iter().map(|asked| asked.line().to_owned()).collect();
    assert_eq!(lines[..2], [format!("GET {path}"), "GET /keys".to_owned()]);
    // Other keys at another place; the old ones are still where they were.
    let moved = vec![(path, of_itself("/new/keys")), ("/keys", set(&[&a])), ("/new/keys", set(&[&b]))];
    server.does(Does::Has(moved));
    assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED, "its key is gone");
    patiently("the new keys count", || node.answer(&shows(&b, &us)) == 0);
    assert_eq!(node.answer(&shows(&a, &us)), BAD_CREDENTIALS);
}

/// What was fetched before stays in force, nothing that is wrong adds to it, and it is told.
#[test]
fn an_issuer_that_is_not_the_one_that_was_asked_is_not_believed() {
    let [a, b] = ["a", "b"].map(Issuer::new);
    let server = server();
    let us = server.origin("http");
    let keys = format!("{us}/keys");
    let right = json!({"issuer": us, "jwks_uri": keys});
    says(&server, &json!({"issuer": "https://issuer.example", "jwks_uri": keys}), &[&a]);
    let node = node(&us, "", &[]);
    node.wait_metric(STALE, 1.0);
    assert_eq!(node.answer(&shows(&a, &us)), BAD_CREDENTIALS, "a start without keys takes no token");
    says(&server, &right, &[&a]);
    patiently("its keys count", || node.answer(&shows(&a, &us)) == 0);
    node.wait_metric(STALE, 0.0);
    let mut client = node.client(&shows_as("stays", &a, &us));
    client.be_patient();
    for bad in [
        json!({"issuer": format!("{us}/"), "jwks_uri": keys}),
        json!({"jwks_uri": keys}),
        json!({"issuer": us}),
        json!({"issuer": us, "jwks_uri": "/keys"}),
        json!({"issuer": us, "jwks_uri": "http://keys.example.org/"}),
        json!({"issuer": us, "jwks_uri": keys, "more": " ".repeat(300_000)}),
        json!({"issuer": us, "jwks_uri": format!("{us}/nowhere")}),
        json!([]),
    ] {
        says(&server, &bad, &[&b]);
        node.wait_metric(STALE, 1.0);
        assert_eq!([node.answer(&shows(&a, &us)), node.answer(&shows(&b, &us))], [0, BAD_CREDENTIALS]);
        client.ping();
        says(&server, &right, &[&a]);
        node.wait_metric(STALE, 0.0);
    }
    for bad in [Does::Endless, Does::Closes, Does::Answers("302 Found", right.to_string())] {
        server.does(bad);
        node.wait_metric(STALE, 1.0);
        assert_eq!(node.answer(&shows(&a, &us)), 0);
        says(&server, &right, &[&a]);
        node.wait_metric(STALE, 0.0);
    }
    client.ping();
    patiently("the log says so", || node.broker.log().contains("and not auth.jwt.issuer_url"));
}

/// An issuer that has to show who it is may not send the node to one that has not.
#[test]
fn keys_of_an_issuer_over_tls_come_over_tls() {
    let a = Issuer::new("a");
    let (server, ca) = Server::start_tls(Does::Closes, &Authority::new("ours"), "localhost");
    let plain = Server::start(Does::Answers("200 OK", set(&[&a])));
    let us = server.origin("https");
    says(&server, &json!({"issuer": us, "jwks_uri": plain.url("http")}), &[&a]);
    let node = node(&us, "jwks_ca = \"DIR/ca\"", &[("ca", &ca)]);
    node.wait_metric(STALE, 1.0);
    assert_eq!(node.answer(&shows(&a, &us)), BAD_CREDENTIALS);
    assert_eq!(plain.requests(), 0);
    says(&server, &json!({"issuer": us, "jwks_uri": format!("{us}/keys")}), &[&a]);
    patiently("its keys count", || node.answer(&shows(&a, &us)) == 0);
}
