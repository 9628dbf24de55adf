//! Two nodes on one data directory (F25): the second is refused, and the first does not notice.

use e2e_tests::{Broker, RawClient, Start};

use crate::filled::{Dir, Stop, assert_holds, stopped};

#[test]
fn f25_a_second_node_on_the_directory_is_refused() {
    let (base, held) = stopped(Stop::Killed);
    let dir = Dir::copy_of(&base.0);
    let first = dir.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    for _ in 0..2 {
        let second = Broker::try_open(&dir.0, &Start::default()).err().expect("the directory is in use");
        assert_eq!(second.code, Some(1), "{}", second.log);
        let error = second.log.lines().find(|line| line.starts_with("quelea: ")).expect("a line says why");
        let path = dir.data().display().to_string();
        assert!(error.contains(&path) && error.contains("in use") && error.contains("--data-dir"), "{error}");
    }
    assert_holds(&first.mqtt(), held);
}

/// The lock goes with the process that had it, in whatever way that ends.
#[test]
fn f25_a_killed_node_leaves_no_lock() {
    let (base, held) = stopped(Stop::Killed);
    let dir = Dir::copy_of(&base.0);
    let mut first = dir.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    RawClient::v5(&first.mqtt(), "c").ping();
    first.kill();
    let second = dir.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    assert_holds(&second.mqtt(), held);
}
