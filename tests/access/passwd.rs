//! `quelea passwd`, and what it writes.

use std::fs;
use std::os::unix::fs::PermissionsExt;

use e2e_tests::{Connect, Version, process};

use crate::fixture::{BAD_CREDENTIALS, Fixture, USERS, answer, passwd, wait_for};

#[test]
fn users_are_added_changed_and_removed_and_a_running_broker_follows() {
    let fixture = Fixture::new(USERS, None);
    let file = fixture.path("users");
    let log_in = |password: &str| {
        answer(&fixture.addr(), &Connect::new(Version::V5, "c").user("new").password(password))
    };
    assert_eq!(log_in("one"), BAD_CREDENTIALS);
    for (password, said) in [("one", "added new\n"), ("two", "changed new\n")] {
        let done = passwd(&file, &["new"], &format!("{password}\n"));
        assert_eq!(String::from_utf8_lossy(&done.stdout), said);
        assert!(done.status.success());
        wait_for("the new password counts", || log_in(password) == 0);
    }
    assert_eq!(log_in("one"), BAD_CREDENTIALS, "the old password");
    let text = fs::read_to_string(&file).unwrap();
    assert!(text.starts_with(USERS) && !text.contains("two"), "{text}");
    assert!(passwd(&file, &["--delete", "new"], "").status.success());
    wait_for("the user is gone", || log_in("two") == BAD_CREDENTIALS);
    assert_eq!(fs::read_to_string(&file).unwrap(), USERS);
}

#[test]
fn a_password_comes_from_a_file_where_one_is_named() {
    let fixture = Fixture::new(USERS, None);
    let (file, secret) = (fixture.path("users"), fixture.path("secret"));
    fs::write(&secret, "from a file").unwrap();
    let from = ["--password-file", secret.to_str().unwrap(), "new"];
    assert!(passwd(&file, &from, "from standard input\n").status.success());
    let log_in =
        || answer(&fixture.addr(), &Connect::new(Version::V5, "c").user("new").password("from a file"));
    wait_for("the password counts", || log_in() == 0);
    let missing = passwd(&file, &["--password-file", "nowhere", "other"], "x\n");
    assert!(!missing.status.success());
    assert!(String::from_utf8_lossy(&missing.stderr).contains("cannot read nowhere"));
}

#[test]
fn a_new_file_is_its_owners_alone_and_mistakes_change_nothing() {
    let dir = process::fresh_dir();
    let file = dir.join("users");
    assert!(passwd(&file, &["ann"], "secret").status.success(), "a last line without an end");
    assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = fs::read_to_string(&file).unwrap();
    for (arguments, input, said) in [
        (&["bob"][..], "", "the password is empty"),
        (&["bob"], "\n", "the password is empty"),
        (&["a:b"], "x\n", "cannot be used"),
        (&["--delete", "bob"], "", "has no user"),
        (&["bob", "secret"], "", "unexpected argument"),
    ] {
        let failed = passwd(&file, arguments, input);
        let error = String::from_utf8_lossy(&failed.stderr);
        assert!(!failed.status.success() && error.contains(said), "{arguments:?}: {error}");
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), before);
    for damaged in ["", "ann:$argon2id$v=19$m=19456", "ann:plain\n"] {
        fs::write(&file, damaged).unwrap();
        assert!(!passwd(&file, &["bob"], "x\n").status.success(), "{damaged:?}");
        assert_eq!(
            fs::read_to_string(&file).unwrap(),
            damaged,
            "a file that is not understood is not written"
        );
    }
    fs::remove_dir_all(dir).unwrap();
}
