//! Who is banned: by address, user or client identifier, from the file on and until it says otherwise.

use std::fs;
use std::path::PathBuf;

use e2e_tests::wire::kind;
use e2e_tests::{Version, Will, process};

use crate::fixture::{Fixture, USERS, answer, log_in, wait_for};

const BANNED: u8 = 0x8A;

/// A broker with users, and a file of bans.
struct Banning {
    fixture: Fixture,
    dir: PathBuf,
}

impl Banning {
    fn new(bans: &str) -> Self {
        let dir = process::fresh_dir();
        fs::write(dir.join("bans"), bans).unwrap();
        let config = format!("[auth]\nbans_file = {:?}\n", dir.join("bans"));
        Self { fixture: Fixture::with(&config, USERS, None), dir }
    }

    fn now(&self, bans: &str) {
        fs::write(self.dir.join("new"), bans).unwrap();
        fs::rename(self.dir.join("new"), self.dir.join("bans")).unwrap();
    }

    fn answer(&self, version: Version, id: &str, user: &str) -> u8 {
        answer(&self.fixture.addr(), &log_in(version, id, user))
    }
}

impl Drop for Banning {
    fn drop(&mut self) {
        drop(fs::remove_dir_all(&self.dir));
    }
}

#[test]
fn who_is_banned_is_not_let_in_until_the_file_says_otherwise() {
    let banning = Banning::new("user eve\nclient c-7\nuser bob until=2020-01-01T00:00:00Z\n");
    assert_eq!(banning.answer(Version::V5, "a", "eve"), BANNED);
    assert_eq!(banning.answer(Version::V3_1_1, "a", "eve"), 5);
    assert_eq!(banning.answer(Version::V5, "c-7", "ann"), BANNED);
    assert_eq!(banning.answer(Version::V5, "c-8", "ann"), 0);
    assert_eq!(banning.answer(Version::V5, "a", "bob"), 0, "it is over");
    banning.now("# nobody\n");
    wait_for("eve may come again", || banning.answer(Version::V5, "a", "eve") == 0);
    banning.now("address 127.0.0.0/8\n");
    wait_for("nobody of this network may", || banning.answer(Version::V5, "a", "ann") == BANNED);
    // Who comes from there costs no hash.
    let before = banning.fixture.metric("quelea_password_hashes_total");
    assert_eq!(answer(&banning.fixture.addr(), &log_in(Version::V5, "a", "ann").password("wrong")), BANNED);
    assert!(banning.fixture.metric("quelea_password_hashes_total") <= before);
}

#[test]
fn who_is_connected_and_then_banned_has_to_go_and_leaves_no_will() {
    let banning = Banning::new("# nobody\n");
    let mut reader = banning.fixture.client(Version::V5, "r", "ann");
    reader.subscribe("will", 0);
    let mut gone = vec![];
    for (id, user) in [("a", "bob"), ("b", "eve")] {
        let connect = log_in(Version::V5, id, user).will(Will::new("will", "x"));
        gone.push(e2e_tests::RawClient::connect(&banning.fixture.addr(), &connect));
    }
    banning.now("user bob\nclient b\n");
    for client in &mut gone {
        assert_eq!(client.expect(kind::DISCONNECT).reasoned().reason, 0x98);
        assert!(client.expect_closed().is_empty());
    }
    reader.expect_nothing();
    reader.ping();
}

#[test]
fn a_file_of_bans_that_cannot_be_used_changes_nothing() {
    let banning = Banning::new("user eve\n");
    for bad in ["user eve", "", "nobody\n"] {
        fs::write(banning.dir.join("bans"), bad).unwrap();
        banning.fixture.wait_metric("quelea_rules_stale", 1.0);
        assert_eq!(banning.answer(Version::V5, "a", "eve"), BANNED, "{bad:?}");
        assert_eq!(banning.answer(Version::V5, "a", "ann"), 0, "{bad:?}");
    }
}
