//! The README's example of a kill.

use std::net::TcpListener;

use e2e_tests::example;

#[test]
fn the_readme_example_loses_nothing() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let Some(text) = example::run("kill-nine.sh", port, &[]) else { return };
    assert!(text.contains("killed in the middle") && text.ends_with("nothing was lost\n"), "{text}");
}
