//! What lies in the cluster of who may connect, on a node by itself: told by `quelea ctl`, in force at once, and there again after
//! a crash.

use e2e_tests::wire::kind;
use e2e_tests::{RawClient, Version, Will, ctl};
use serde_json::{Value, json};

use crate::fixture::{Fixture, USERS, answer, log_in};

const BANNED: u8 = 0x8A;

/// A broker with users in a file and an admin port.
struct Stored {
    fixture: Fixture,
}

impl Stored {
    fn new() -> Self {
        Self { fixture: Fixture::with("[admin]\nlisten = \"127.0.0.1:0\"\n", USERS, None) }
    }

    fn says(&self, arguments: &[&str]) -> String {
        ctl::says(&self.fixture.broker().addr("admin"), arguments)
    }

    fn refuses(&self, arguments: &[&str]) -> (i32, String) {
        ctl::refuses(&self.fixture.broker().addr("admin"), arguments)
    }

    fn bans(&self) -> Value {
        serde_json::from_str::<Value>(&self.says(&["bans", "--json"])).unwrap()["bans"].clone()
    }

    fn answer(&self, version: Version, id: &str, user: &str) -> u8 {
        answer(&self.fixture.addr(), &log_in(version, id, user))
    }
}

#[test]
fn who_is_banned_by_the_admin_api_is_not_let_in_until_that_is_taken_back() {
    let stored = Stored::new();
    assert_eq!(stored.bans(), json!([]));
    assert_eq!(stored.says(&["ban", "--user", "eve", "--why", "harm"]), "user eve is banned on all nodes\n");
    // From the answer on, not a while later.
    assert_eq!(stored.answer(Version::V5, "a", "eve"), BANNED);
    assert_eq!(stored.answer(Version::V3_1_1, "a", "eve"), 5);
    assert_eq!(stored.answer(Version::V5, "a", "ann"), 0);
    stored.says(&["ban", "--client-id", "c-7", "--for", "1h"]);
    assert_eq!(
        (stored.answer(Version::V5, "c-7", "ann"), stored.answer(Version::V5, "c-8", "ann")),
        (BANNED, 0)
    );
    assert_eq!(stored.says(&["unban", "--user", "eve"]), "user eve is not banned any more\n");
    assert_eq!(stored.answer(Version::V5, "a", "eve"), 0);
    assert_eq!(stored.says(&["unban", "--user", "eve"]), "user eve was not banned\n");
    stored.says(&["ban", "--address", "127.0.0.9/8"]);
    assert_eq!(stored.answer(Version::V5, "a", "ann"), BANNED);
    let bans = stored.bans();
    assert_eq!(
        bans[0],
        json!({ "kind": "address", "banned": "127.0.0.0/8", "until": "for good", "why": null })
    );
    assert_eq!((&bans[1]["kind"], &bans[1]["banned"]), (&"client_id".into(), &"c-7".into()));
    assert!(bans[1]["until"].as_str().unwrap().ends_with('Z') && bans.as_array().unwrap().len() == 2);
    stored.says(&["unban", "--address", "127.0.0.0/8"]);
    assert_eq!(stored.answer(Version::V5, "a", "ann"), 0);
}

#[test]
fn who_is_connected_and_then_banned_has_to_go_and_leaves_no_will() {
    let stored = Stored::new();
    let addr = stored.fixture.addr();
    let mut reader = stored.fixture.client(Version::V5, "r", "ann");
    reader.subscribe("will", 0);
    for (id, user, ban) in [("a", "bob", ["--user", "bob"]), ("b", "eve", ["--client-id", "b"])] {
        let mut gone =
            RawClient::connect(&addr, &log_in(Version::V5, id, user).will(Will::new("will", "x").qos(1)));
        gone.be_patient();
        gone.subscribe("t", 1);
        stored.says(&[["ban"].as_slice(), &ban].concat());
        reader.publish("t", "denied", 1);
        assert_eq!(gone.expect(kind::DISCONNECT).reasoned().reason, 0x98, "and nothing before it");
        assert!(gone.expect_closed().is_empty());
    }
    reader.expect_nothing();
    reader.ping();
}

#[test]
fn bans_outlive_a_crash_and_end_when_they_say() {
    let mut stored = Stored::new();
    stored.says(&["ban", "--user", "eve"]);
    stored.says(&["ban", "--user", "bob", "--for", "1s"]);
    stored.fixture.crash();
    assert_eq!(stored.answer(Version::V5, "a", "eve"), BANNED);
    ctl::until("bob", || (stored.answer(Version::V5, "a", "bob") == 0).then_some(()));
    assert_eq!(stored.bans().as_array().unwrap().len(), 1, "what is over is not shown");
    // Again, so that it comes from a checkpoint and from the log.
    stored.fixture.restart();
    assert_eq!((stored.answer(Version::V5, "a", "eve"), stored.answer(Version::V5, "a", "ann")), (BANNED, 0));
}

#[test]
fn a_ban_that_makes_no_sense_is_refused_and_nothing_changes() {
    let stored = Stored::new();
    let (long, wordy) = ("n".repeat(1_025), "w".repeat(257));
    let asked: [(&[&str], i32, &str); 9] = [
        (&["ban", "--address", "10.0.0.0/33"], 1, "neither an address nor a network"),
        (&["ban", "--user", ""], 1, "whom.user"),
        (&["ban", "--client-id", &long], 1, "1025 bytes"),
        (&["ban", "--user", "eve", "--why", &wordy], 1, "256 bytes at most"),
        (&["ban", "--user", "eve", "--until", "2020-01-01T00:00:00Z"], 1, "over already"),
        (&["ban", "--user", "eve", "--until", "tomorrow"], 2, "2027-01-31T12:00:00Z"),
        (
            &["ban", "--user", "eve", "--for", "1h", "--until", "2100-01-01T00:00:00Z"],
            2,
            "cannot be used with",
        ),
        (&["ban"], 2, "required"),
        (&["unban", "--user", "eve", "--client-id", "c"], 2, "cannot be used with"),
    ];
    for (arguments, code, words) in asked {
        let (found, said) = stored.refuses(arguments);
        assert!(found == code && said.contains(words), "{arguments:?}: {found} {said}");
    }
    assert_eq!(stored.bans(), json!([]));
}

/// More than fit on a page, in their order, each once.
#[test]
fn all_bans_are_listed() {
    let stored = Stored::new();
    let names: Vec<String> = (0..25).map(|at| format!("user-{at:02}")).collect();
    for name in &names {
        stored.says(&["ban", "--user", name]);
    }
    let shown = |limit: &str| stored.says(&["bans", "--columns", "banned", "--limit", limit]);
    let lines: Vec<String> = shown("0").lines().skip(1).map(str::to_owned).collect();
    assert_eq!(lines, names);
    assert!(shown("10").contains("10 are shown, there are more"));
}
