//! The example of the README, `examples/failover.sh`, as a reader would run it, but for times that suit a busy machine.
//! Needs mosquitto's clients.

use std::path::Path;

use e2e_tests::process;

use crate::nodes;

#[test]
fn the_readme_example_finds_everything_on_another_node() {
    let Some(paths) = std::env::var_os("PATH") else { panic!("PATH is not set") };
    if !std::env::split_paths(&paths).any(|dir| dir.join("mosquitto_pub").is_file()) {
        let missing = "mosquitto_pub is not installed";
        assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{missing}");
        println!("SKIPPED: {missing}");
        return;
    }
    let _alone = nodes::alone();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("examples/failover.sh");
    // Ended when it hangs, whatever it waits for.
    let mut command = process::bound_to_us(Path::new("timeout"));
    command.arg("300").arg(script).arg(process::binary()).arg(nodes::three_free_ports().to_string());
    let output = command.env("QUELEA__CLUSTER__PROFILE", "zones").output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with("all 100 messages are there, on another node\n"), "{text}");
}
