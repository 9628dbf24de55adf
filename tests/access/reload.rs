//! Files that change while the broker runs: what is good counts soon, and what is bad counts not at all (Mosquitto
//! CVE-2017-7652 and CVE-2018-12551: settings that fell back to open, bad lines that let in).

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

use e2e_tests::wire::kind;
use e2e_tests::{Publish, RawClient, Version, Will};

use crate::fixture::{BAD_CREDENTIALS, Fixture, NOT_AUTHORIZED, USERS, answer, log_in, wait_for};

/// The users without one.
fn without(user: &str) -> String {
    USERS.lines().filter(|line| !line.starts_with(user)).fold(String::new(), |text, line| text + line + "\n")
}

#[test]
fn a_user_that_is_removed_is_disconnected_and_its_will_is_not_published() {
    let fixture = Fixture::new(USERS, None);
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    ann.subscribe("will/+", 1);
    let will = |version, topic| {
        let connect = log_in(version, topic, "bob").will(Will::new(format!("will/{topic}"), "x").qos(1));
        RawClient::connect(&fixture.addr(), &connect)
    };
    let (mut new, mut old) = (will(Version::V5, "new"), will(Version::V3_1_1, "old"));
    fixture.replace("users", without("bob"));
    assert_eq!(new.expect(kind::DISCONNECT).reasoned().reason, NOT_AUTHORIZED);
    assert!(new.expect_closed().is_empty() && old.expect_closed().is_empty());
    assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "bob")), BAD_CREDENTIALS);
    ann.publish("will/last", "behind the wills", 1);
    assert_eq!(ann.receive().text(), "behind the wills");
    fixture.replace("users", USERS);
    wait_for("the user is back", || answer(&fixture.addr(), &log_in(Version::V5, "c", "bob")) == 0);
}

/// A password that is changed disconnects nobody: that is how passwords are rotated.
#[test]
fn a_password_that_is_changed_counts_for_the_next_login() {
    let fixture = Fixture::new(USERS, None);
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    let bobs = USERS.lines().find_map(|line| line.strip_prefix("bob:")).unwrap();
    fixture.replace("users", format!("{}ann:{bobs}\n", without("ann")));
    let changed = e2e_tests::Connect::v5("c").user("ann").password("pass-bob");
    wait_for("the new password counts", || answer(&fixture.addr(), &changed) == 0);
    assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "ann")), BAD_CREDENTIALS);
    ann.ping();
}

/// Missing, empty, cut off, not text, wrong in one line, unreadable: what was in force stays, and it is told.
#[test]
fn a_file_that_cannot_be_used_leaves_what_was_in_force() {
    let rules = "allow all area/#\n";
    let fixture = Fixture::new(USERS, Some(rules));
    let mut ann = fixture.client(Version::V5, "ann", "ann");
    let holds = |ann: &mut RawClient| {
        ann.publish("area/x", "x", 1);
        ann.send(&Publish::v5("other", "x").qos(1, 99).bytes());
        assert_eq!(ann.expect_ack(kind::PUBACK).code(), NOT_AUTHORIZED);
        assert_eq!(answer(&fixture.addr(), &log_in(Version::V5, "c", "bob")), 0);
        assert_eq!(answer(&fixture.addr(), &e2e_tests::Connect::v5("c")), NOT_AUTHORIZED);
    };
    let files = [("users", USERS, "quelea_users_stale"), ("rules", rules, "quelea_rules_stale")];
    for (file, good, stale) in files {
        let cut = good.trim_end();
        for bad in [&b""[..], cut.as_bytes(), b"\xff\n", b"allow everything\n"] {
            fixture.replace(file, bad);
            fixture.wait_metric(stale, 1.0);
            holds(&mut ann);
            fixture.replace(file, good);
            fixture.wait_metric(stale, 0.0);
        }
        fs::remove_file(fixture.path(file)).unwrap();
        fixture.wait_metric(stale, 1.0);
        holds(&mut ann);
        fixture.replace(file, good);
        fixture.wait_metric(stale, 0.0);
        fs::set_permissions(fixture.path(file), fs::Permissions::from_mode(0o000)).unwrap();
        // Who may read everything can read it still.
        if fs::read(fixture.path(file)).is_err() {
            signal(fixture.broker().pid(), "HUP");
            fixture.wait_metric(stale, 1.0);
            holds(&mut ann);
        }
        fs::set_permissions(fixture.path(file), fs::Permissions::from_mode(0o600)).unwrap();
        signal(fixture.broker().pid(), "HUP");
        fixture.wait_metric(stale, 0.0);
        holds(&mut ann);
    }
    assert!(fixture.broker().log().contains("not reloaded, what was read before stays in force"));
    assert!(!fixture.broker().log().contains("$7$"), "nothing of a password file is logged");
}

/// At start there is nothing that could stay in force: the broker does not run, and says why.
#[test]
fn a_start_needs_files_that_can_be_used() {
    let dir = e2e_tests::process::fresh_dir();
    let file = dir.join("users");
    let config = |section: &str, key: &str| format!("[{section}]\n{key} = {file:?}\n");
    for (section, key, bad, said) in [
        ("auth.password", "file", None, "cannot read"),
        ("auth.password", "file", Some(""), "the file is empty"),
        ("auth.password", "file", Some("ann:x\n"), "line 1: expected a hash"),
        ("acl", "file", None, "cannot read"),
        ("acl", "file", Some("allow\n"), "line 1: expected \"allow\""),
        ("acl", "mosquitto_file", Some("topic read a"), "may be cut off"),
    ] {
        drop(fs::remove_file(&file));
        bad.iter().for_each(|text| fs::write(&file, text).unwrap());
        let refused = e2e_tests::Broker::try_with_config(&config(section, key)).err().expect("a bad file");
        assert_eq!(refused.code, Some(2), "{}", refused.log);
        assert!(refused.log.contains(said), "{said}: {}", refused.log);
    }
    fs::remove_dir_all(dir).unwrap();
}

fn signal(pid: u32, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &pid.to_string()]).status().unwrap().success());
}
