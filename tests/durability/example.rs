//! The example of the README, `examples/kill-nine.sh`, as a reader would run it.
//! Needs mosquitto's clients.

use std::net::TcpListener;
use std::path::Path;

use e2e_tests::process;

#[test]
fn the_readme_example_loses_nothing() {
    let Some(paths) = std::env::var_os("PATH") else { panic!("PATH is not set") };
    if !std::env::split_paths(&paths).any(|dir| dir.join("mosquitto_pub").is_file()) {
        let missing = "mosquitto_pub is not installed";
        assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{missing}");
        println!("SKIPPED: {missing}");
        return;
    }
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/kill-nine.sh");
    // Ended when it hangs, whatever it waits for.
    let mut command = process::bound_to_us(Path::new("timeout"));
    command.arg("300").arg(script).arg(process::binary()).arg(port.to_string());
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.contains("killed in the middle") && text.ends_with("nothing was lost\n"), "{text}");
}
