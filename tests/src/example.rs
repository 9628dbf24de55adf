//! The examples of the README, as a reader would run them. Used by the tests of what they show; needs mosquitto's clients.

use std::path::Path;

use crate::process;

/// What `examples/NAME` prints, run with the broker that is tested, a port and settings in the environment; `None` where
/// mosquitto's clients are missing, which has to be no failure.
///
/// # Panics
/// The example failed, or hung for five minutes.
pub fn run(name: &str, port: u16, settings: &[(&str, &str)]) -> Option<String> {
    let Some(paths) = std::env::var_os("PATH") else { panic!("PATH is not set") };
    if !std::env::split_paths(&paths).any(|dir| dir.join("mosquitto_pub").is_file()) {
        let missing = "mosquitto_pub is not installed";
        assert!(std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"), "{missing}");
        println!("SKIPPED: {missing}");
        return None;
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package is in a workspace");
    // Ended when it hangs, whatever it waits for.
    let mut command = process::bound_to_us(Path::new("timeout"));
    command.arg("300").arg(root.join("examples").join(name)).arg(process::binary()).arg(port.to_string());
    let output = command.envs(settings.iter().copied()).output().expect("timeout is there");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    println!("{text}");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(text)
}
