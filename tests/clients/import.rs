//! People who move: a `mosquitto.conf` that Debian's mosquitto runs with, imported, and the same clients at both brokers.

use std::fs;
use std::process::Command;

use e2e_tests::{Broker, process};

use crate::child::Tool;
use crate::mosquitto::Mosquitto;
use crate::node::Directory;
use crate::tools::{self, need};

/// Imports a file; gives its output and what it said besides, or the latter alone where it failed.
fn import(file: &str) -> Result<(String, String), String> {
    let output = Command::new(process::binary()).args(["config", "import", file]).output().unwrap();
    let [out, said] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    if output.status.success() { Ok((out, said)) } else { Err(said) }
}

/// What ann, ann with another password, bob and nobody in particular are told, who publish where only ann may.
fn told(socket: &str) -> [bool; 4] {
    let broker =
        Mosquitto::to(&["--unix", socket, "-V", "5", "-q", "1", "-m", "21", "-t", "plant/ann/temperature"]);
    let logins: [&[&str]; 4] =
        [&["-u", "ann", "-P", "secret"], &["-u", "ann", "-P", "wrong"], &["-u", "bob", "-P", "secret"], &[]];
    logins.map(|login| {
        let finished = broker.run("mosquitto_pub", login);
        let said = finished.stderr.to_lowercase();
        let refused = ["not authori", "bad user name"].iter().any(|words| said.contains(words));
        assert!(finished.success || refused, "{finished:?}");
        !refused
    })
}

#[test]
fn an_imported_configuration_tells_the_same_clients_the_same() {
    let mosquitto = need!(tools::program("mosquitto"));
    need!(tools::program("mosquitto_pub"));
    let passwd = need!(tools::program("mosquitto_passwd"));
    let dir = Directory::new();
    let [users, rules, conf, there, here] =
        ["users", "rules", "mosquitto.conf", "there.sock", "here.sock"].map(|name| dir.file(name));
    fs::write(&users, "ann:secret\nbob:secret\n").unwrap();
    assert!(Command::new(passwd).args(["-U", &users]).status().unwrap().success());
    fs::write(&rules, "user ann\ntopic write plant/ann/#\nuser bob\ntopic write plant/bob/#\n").unwrap();
    let lines = |socket: &str| {
        format!(
            "user root\npassword_file {users}\nacl_file {rules}\nmax_queued_messages 500\nlog_timestamp false\n\
             log_dest stderr\npersistence false\nlistener 0 {socket}\nmax_connections 50\n"
        )
    };
    fs::write(&conf, lines(&there)).unwrap();
    let mut command = tools::command(&mosquitto);
    command.args(["-v", "-c", &conf]);
    let running = Tool::start(command);
    running.wait_for("mosquitto version ", 2);
    fs::write(&conf, lines(&here)).unwrap();
    let (toml, said) = import(&conf).unwrap();
    assert!(said.contains("line 7: persistence:"), "{said}");
    let _broker = Broker::with_config(&toml);
    let expected = [true, false, false, false];
    assert_eq!(told(&there), expected, "there");
    assert_eq!(told(&here), expected, "here");
}

#[test]
fn every_option_of_debians_example_is_known() {
    need!(tools::program("mosquitto"));
    let example = fs::read_to_string("/usr/share/doc/mosquitto/examples/mosquitto.conf").unwrap_or_default();
    let dir = Directory::new();
    let conf = dir.file("mosquitto.conf");
    let options = example.lines().filter_map(|line| {
        let line = line.strip_prefix('#').unwrap_or(line);
        let name = line.split_whitespace().next()?;
        let is_name = line.starts_with(name)
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || b"_.13".contains(&byte));
        is_name.then(|| name.to_owned())
    });
    for option in options {
        let bridge = if is_of_bridges(&option) { "connection far\n" } else { "" };
        fs::write(&conf, format!("{bridge}{option} 1\n")).unwrap();
        let said = import(&conf).map_or_else(|said| said, |(_, said)| said);
        assert!(!said.contains("no option"), "{said}");
    }
}

/// Those that stand behind a `connection`.
fn is_of_bridges(option: &str) -> bool {
    const OTHERS: [&str; 15] = [
        "address",
        "cleansession",
        "idle_timeout",
        "keepalive_interval",
        "local_clientid",
        "notification_topic",
        "notifications",
        "remote_clientid",
        "remote_password",
        "remote_username",
        "restart_timeout",
        "round_robin",
        "start_type",
        "threshold",
        "topic",
    ];
    option.starts_with("bridge_") || option == "try_private" || OTHERS.contains(&option)
}
