//! CONNECT with and without names and passwords: what is answered, and what it costs.

use std::time::Instant;

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Broker, Connect, RawClient, Version};

use crate::fixture::{BAD_CREDENTIALS, Fixture, NOT_AUTHORIZED, USERS, answer, log_in};

const VERSIONS: [Version; 3] = [Version::V3_1, Version::V3_1_1, Version::V5];
const BUSY: u8 = 0x89;

/// The codes for wrong credentials and for none, which 3.x spells differently.
fn refusals(version: Version) -> (u8, u8) {
    if version == Version::V5 { (BAD_CREDENTIALS, NOT_AUTHORIZED) } else { (4, 5) }
}

#[test]
fn users_get_in_with_their_password_and_nobody_else_does() {
    let fixture = Fixture::new(USERS, None);
    let addr = fixture.addr();
    for version in VERSIONS {
        let (bad, none) = refusals(version);
        assert_eq!(answer(&addr, &log_in(version, "c", "ann")), 0);
        let of = |user: &str, password: &str| Connect::new(version, "c").user(user).password(password);
        for connect in [
            of("ann", "pass-bob"),
            of("ann", ""),
            of("nobody", "pass-ann"),
            of("", "pass-ann"),
            of("Ann", "pass-ann"),
        ] {
            assert_eq!(answer(&addr, &connect), bad, "{connect:?}");
        }
        assert_eq!(answer(&addr, &Connect::new(version, "c").user("ann")), bad, "no password");
        assert_eq!(answer(&addr, &Connect::new(version, "c")), none, "no name");
    }
    assert_eq!(
        answer(&addr, &Connect::v5("c").password("pass-ann")),
        NOT_AUTHORIZED,
        "a password and no name"
    );
    fixture.broker().expect_sockets_at_most(fixture.broker().open_sockets());
}

/// `auth.allow_anonymous` beside users: no name is needed, but one that is given has to be right.
#[test]
fn where_it_is_said_clients_without_a_name_get_in_beside_users() {
    let fixture = Fixture::with("[auth]\nallow_anonymous = true", USERS, None);
    let addr = fixture.addr();
    assert_eq!(answer(&addr, &Connect::v5("c")), 0);
    assert_eq!(answer(&addr, &log_in(Version::V5, "c", "ann")), 0);
    assert_eq!(
        answer(&addr, &Connect::v5("c").user("ann").password("x")),
        BAD_CREDENTIALS,
        "a wrong name is no name"
    );
}

/// Login timing does not tell whether a user exists: counted in hashes, not by the clock.
#[test]
fn a_login_costs_as_many_hashes_whether_the_user_exists_or_not() {
    let fixture = Fixture::new(USERS, None);
    let hashes = || fixture.metric("quelea_password_hashes_total");
    let mut before = hashes();
    for user in ["ann", "nobody", "", "bob", "somebody else"] {
        let connect = Connect::v5("c").user(user).password("wrong");
        assert_eq!(answer(&fixture.addr(), &connect), BAD_CREDENTIALS);
        let after = hashes();
        assert!((after - before - 1.0).abs() < 0.5, "{user:?}: {before} to {after}");
        before = after;
    }
    // A right one is remembered, so that devices which come back all at once cost little.
    for _ in 0..3 {
        assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "ann")), 0);
    }
    assert!((hashes() - before - 1.0).abs() < 0.5);
}

/// A flood of CONNECTs neither starves those who are connected nor queues without a bound.
#[test]
fn a_flood_of_logins_is_held_off_and_clients_are_served_meanwhile() {
    // Dear hashes: the queue of logins does not get shorter while this test looks.
    let hash = USERS.lines().last().unwrap().split_once(":$7$10$").unwrap().1;
    let fixture = Fixture::with("[auth]\nallow_anonymous = true", &format!("dear:$7$3000000${hash}\n"), None);
    let mut served = RawClient::v5(&fixture.addr(), "served");
    let login = Connect::v5("").user("dear").password("wrong").bytes();
    let mut flood: Vec<RawClient> = (0..300)
        .map(|_| {
            let mut client = RawClient::open(&fixture.addr());
            client.send(&login);
            client
        })
        .collect();
    let deadline = Instant::now() + BOUND;
    while fixture.metric("quelea_logins_busy_total") < 40.0 {
        assert!(Instant::now() < deadline, "more than 256 of one address wait");
        served.ping();
    }
    served.subscribe("t", 1);
    served.publish("t", "x", 1);
    assert_eq!(served.receive().text(), "x");
    let last = flood.last_mut().unwrap();
    match last.read(BOUND) {
        Read::Packet(packet) if packet.kind() == kind::CONNACK => {
            assert_eq!(packet.connack(Version::V5).reason, BUSY);
        }
        other => panic!("expected CONNACK, got {other:?}"),
    }
    assert!(last.expect_closed().is_empty());
}

/// Without authentication a node lets in whoever is on this machine, and nobody else: neither by a listener, nor through
/// a proxy that says where its client is.
#[test]
fn without_authentication_only_this_machine_gets_in() {
    let lan = "[listener.mqtt]\naddress = \"0.0.0.0:0\"\n";
    let refused = Broker::try_with_config(lan).err().expect("a listener for all, and no authentication");
    assert_eq!(refused.code, Some(2), "{}", refused.log);
    assert!(
        refused.log.contains("auth.password.file") && refused.log.contains("auth.allow_anonymous"),
        "{}",
        refused.log
    );

    let proxied = "[listener.mqtt]\naddress = \"127.0.0.1:0\"\nproxy_protocol = \"accept\"\nproxy_trusted = [\"127.0.0.1\"]\n";
    let broker = Broker::with_config(proxied);
    assert!(broker.log().contains("no authentication is configured: clients on this machine may connect"));
    for (from, code) in [("127.0.0.1", 0), ("203.0.113.7", NOT_AUTHORIZED)] {
        let mut client = RawClient::open(&broker.mqtt());
        client.send(format!("PROXY TCP4 {from} 192.0.2.1 51234 1883\r\n").as_bytes());
        assert_eq!(client.handshake(&Connect::v5("c")).reason, code, "{from}");
    }
}

/// B54: with `auth.client_ids = "user"` nobody takes over what is another one's.
#[test]
fn b54_a_client_identifier_is_its_users_own() {
    const NOT_VALID: u8 = 0x85;
    let fixture = Fixture::with("[auth]\nclient_ids = \"user\"\nallow_anonymous = true", USERS, None);
    let addr = fixture.addr();
    let mut victim = fixture.client(Version::V5, "ann:phone", "ann");
    for id in ["ann:phone", "ann", "bobby", "bobx", "b", "ann:"] {
        assert_eq!(answer(&addr, &log_in(Version::V5, id, "bob")), NOT_VALID, "{id}");
        assert_eq!(answer(&addr, &log_in(Version::V3_1_1, id, "bob")), 2, "{id}");
        assert_eq!(answer(&addr, &Connect::v5(id)), NOT_VALID, "{id} of nobody");
    }
    victim.ping();
    for id in ["bob", "bob:", "bob:phone", ""] {
        assert_eq!(answer(&addr, &log_in(Version::V5, id, "bob")), 0, "{id}");
    }
    assert_eq!(answer(&addr, &Connect::v5("")), 0, "who has no name is given an identifier");
    let _again = fixture.client(Version::V5, "ann:phone", "ann");
    assert_eq!(victim.expect(kind::DISCONNECT).reasoned().reason, 0x8E, "taken over by its own user");
}
