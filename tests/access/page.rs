//! The worked examples of `docs/security.md`, run as they are written there: only the port is another, and the files are in a
//! directory of the test's own. Needs mosquitto's clients, and openssl.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Output};

use e2e_tests::{Broker, Start, process};

/// The blocks of a part of the page, by their language, in their order.
pub(crate) fn parts(heading: &str, language: &str) -> Vec<String> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/security.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, part) = page.split_once(&format!("\n{heading}\n")).expect("the page has this part");
    let part = part.split("\n##").next().unwrap();
    let blocks = part.split("\n```").skip(1).step_by(2);
    let ours = blocks.filter_map(|block| block.split_once('\n').filter(|(first, _)| *first == language));
    ours.map(|(_, text)| text.to_owned()).collect()
}

/// The blocks of an example: what makes the files, the broker, what the clients do, and what they print.
fn blocks(title: &str) -> [String; 4] {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("docs/security.md");
    let page = fs::read_to_string(page).unwrap();
    let (_, section) = page.split_once(&format!("\n## {title}\n")).expect("the page has this example");
    let (section, _) = section.split_once("\n## ").expect("and something behind it");
    let blocks: Vec<String> = section
        .split("\n```")
        .skip(1)
        .step_by(2)
        .map(|block| block.split_once('\n').unwrap().1.to_owned())
        .collect();
    blocks.try_into().expect("four blocks")
}

fn has_mosquitto() -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|dir| dir.join("mosquitto_pub").is_file());
    assert!(
        found || std::env::var_os("REQUIRE_ALL").is_none_or(|value| value != "1"),
        "mosquitto_pub is not installed"
    );
    found
}

pub(crate) fn shell(dir: &Path, script: &str) -> Output {
    let mut command: Command = process::bound_to_us(Path::new("timeout"));
    let path = format!("{}:{}", dir.display(), std::env::var("PATH").unwrap());
    command.args(["120", "bash", "-c", script]).current_dir(dir).env("PATH", path);
    command.output().unwrap()
}

/// Settings that the page shows for issuers can be used, but for the files that they name.
#[test]
fn the_settings_for_issuers_can_be_used() {
    let dir = process::fresh_dir();
    symlink(process::binary(), dir.join("quelea")).unwrap();
    fs::write(dir.join("introspection-secret"), "s3cret\n").unwrap();
    let parts = ["### By token", "### By a token that its issuer is asked about"]
        .map(|heading| parts(heading, "toml").pop().expect("the last block shows it"));
    assert!(parts[0].contains("issuer_url") && parts[1].contains("[auth.introspection]"));
    for part in parts {
        fs::write(dir.join("quelea.toml"), part).unwrap();
        let checked = shell(&dir, "exec 2>&1; quelea config check --config quelea.toml");
        assert_eq!(String::from_utf8_lossy(&checked.stdout), "the configuration is valid\n");
    }
    fs::remove_dir_all(dir).unwrap();
}

#[test]
fn the_worked_example_with_passwords_does_what_the_page_says() {
    let made = "added sensor-7\nadded dashboard\nthe configuration is valid\n";
    does_what_the_page_says("A worked example: passwords and rules", made);
}

#[test]
fn the_worked_example_with_tokens_does_what_the_page_says() {
    does_what_the_page_says("A worked example: tokens", "the configuration is valid\n");
}

fn does_what_the_page_says(title: &str, says: &str) {
    if !has_mosquitto() {
        println!("SKIPPED: mosquitto_pub is not installed");
        return;
    }
    let [files, run, clients, prints] = blocks(title);
    let dir = process::fresh_dir();
    symlink(process::binary(), dir.join("quelea")).unwrap();
    let made = shell(&dir, &format!("set -e\n{}", files.replace("localhost:1883", "127.0.0.1:0")));
    assert!(made.status.success(), "{made:?}");
    assert_eq!(String::from_utf8_lossy(&made.stdout), says);

    // The broker as the harness starts it, so that it ends with the test: with the configuration of the page.
    assert_eq!(run.trim(), "quelea run --config quelea.toml");
    let text = fs::read_to_string(dir.join("quelea.toml")).unwrap();
    let text = ["users", "rules", "issuer.pub"].iter().fold(text, |text, name| {
        text.replace(&format!("file = {name:?}"), &format!("file = {:?}", dir.join(name)))
    });
    let broker = Broker::try_start(Start { toml: text, ..Start::default() }).unwrap();
    let (_, port) =
        broker.mqtt().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();

    let script = clients.replace("-p 1883", &format!("-h 127.0.0.1 -p {port}"));
    let done = shell(&dir, &format!("exec 2>&1\n{script}"));
    let printed = String::from_utf8_lossy(&done.stdout);
    // Another version of the clients may say more; what the page has must be there, in its order.
    let mut lines = printed.lines();
    for expected in prints.lines() {
        assert!(lines.any(|line| line.trim() == expected), "expected {expected:?} in\n{printed}");
    }
    drop(broker);
    fs::remove_dir_all(dir).unwrap();
}
