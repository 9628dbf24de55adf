//! How many clients of one user may be connected, and what becomes of one more.

use e2e_tests::wire::kind;
use e2e_tests::{RawClient, Version};

use crate::fixture::{Fixture, USERS, answer, log_in, wait_for};

const QUOTA: u8 = 0x97;

#[test]
fn a_user_has_so_many_clients_and_takes_its_own_over() {
    let fixture = Fixture::with("[limits]\nconnections_per_user_max = 2\n", USERS, None);
    let mut first = fixture.client(Version::V5, "a", "ann");
    let second = fixture.client(Version::V3_1_1, "b", "ann");
    assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "ann")), QUOTA);
    assert_eq!(answer(&fixture.addr(), &log_in(Version::V3_1_1, "c", "ann")), 3);
    let refused = "quelea_connections_limited_total{reason=\"user_connections\"}";
    assert_eq!(fixture.metric(refused) as u32, 2);
    let _bob = fixture.client(Version::V5, "c", "bob");
    // Her own client comes back before its old connection is gone.
    let again = fixture.client(Version::V5, "a", "ann");
    assert_eq!(first.expect(kind::DISCONNECT).reasoned().reason, 0x8E);
    assert_eq!(
        answer(&fixture.addr(), &log_in(Version::V5, "d", "ann")),
        QUOTA,
        "the place is taken all the same"
    );
    again.disconnect();
    let third = fixture.client(Version::V5, "d", "ann");
    second.drop_connection();
    wait_for("a connection that was cut has no place", || {
        answer(&fixture.addr(), &log_in(Version::V5, "e", "ann")) == 0
    });
    third.disconnect();
}

#[test]
fn who_is_refused_for_a_wrong_password_takes_no_place() {
    let fixture = Fixture::with("[limits]\nconnections_per_user_max = 1\n", USERS, None);
    let strangers: Vec<RawClient> = (0..5)
        .map(|n| {
            let mut client = RawClient::open(&fixture.addr());
            let wrong = log_in(Version::V5, &format!("x{n}"), "ann").password("wrong");
            assert_eq!(client.handshake(&wrong).reason, 0x86);
            client
        })
        .collect();
    fixture.client(Version::V5, "a", "ann").ping();
    drop(strangers);
}
