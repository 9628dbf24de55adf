//! mqtt.js over WebSocket, plain and with TLS, in Node and in headless Chromium, in 3.1.1 and 5.0.
//! One scenario (`js/scenario.js`) serves all of them; what it must print is here.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use e2e_tests::process;

use crate::child::{Finished, Tool, run};
use crate::node::{Directory, Node};
use crate::tools::{self, need};

/// What the scenario prints in this version.
fn transcript(version: u8) -> Vec<String> {
    let mut lines: Vec<String> = ["granted 0,0", "granted 1,1", "granted 2,2"].map(str::to_owned).into();
    for topic in ["센서/NAME/온도", "/hum"] {
        for sent in 0..3 {
            let got = [0, 1, 2].map(|asked| format!("{topic} {sent} 도 at {}", sent.min(asked)));
            lines.push(format!("published at {sent}: {}", got.join("; ")));
        }
    }
    lines.push("after unsubscribe true".to_owned());
    lines.extend([0, 1, 125, 126, 256, 65535, 65536, 500_000].map(|length| format!("payload {length} true")));
    let reason = if version == 5 { "reason 142" } else { "no reason" };
    let rest = [
        "burst in order true true",
        "retained 26.70 1 true",
        "live 26.80 false",
        "cleared 0",
        "will retained/NAME/유언 떠남 1",
        "no will after DISCONNECT true",
        "session present false",
        "session present true",
        "while away",
        "while away",
        "while away",
        &format!("taken over true {reason}"),
        "clean, session present false",
    ];
    lines.extend(rest.map(str::to_owned));
    if version == 5 {
        let properties = r#"true text/plain five/답 0,255,1 {"a":["1","2"],"키":"값"} 77 true"#;
        lines.extend([1, 2, 3].map(|number| format!("five/NAME/온도 {number} {properties}")));
        lines.extend(["no local own true", "assigned true"].map(str::to_owned));
    }
    lines
}

#[test]
fn in_node_over_ws_and_wss() {
    need!(tools::node("node.js"));
    let node = Node::start();
    for listener in ["ws", "wss"] {
        for version in [4, 5] {
            let mut command = tools::node("node.js").unwrap();
            command.args([node.url(listener), version.to_string(), node.ca()]);
            assert_eq!(run(command).lines(), transcript(version), "{listener}, version {version}");
        }
    }
}

#[test]
fn in_node_a_certificate_of_another_authority_is_refused() {
    need!(tools::node("node.js"));
    let node = Node::start();
    let mut command = tools::node("node.js").unwrap();
    command.args([node.url("wss"), "5".to_owned(), node.other_ca()]);
    let refused = run(command);
    assert!(
        !refused.success && refused.stdout.contains("unable to verify the first certificate"),
        "{refused:?}"
    );
}

/// A profile of Chromium that trusts this authority as a user makes it do so: by Chromium's certificate store.
fn profile(ca: &str, certutil: &Path) -> Directory {
    let profile = Directory::new();
    let store = profile.file(".pki/nssdb");
    fs::create_dir_all(&store).unwrap();
    let database = format!("sql:{store}");
    for arguments in [&["-N", "--empty-password"][..], &["-A", "-n", "test", "-t", "C,,", "-i", ca]] {
        let mut command = tools::command(certutil);
        command.args(["-d", &database]).args(arguments);
        run(command).lines();
    }
    profile
}

/// Runs the scenario in a page, for each URL and version.
fn in_a_page(chromium: &Path, profile: &Directory, runs: &[(String, u8)]) -> Finished {
    let mut command = tools::node("chromium.js").unwrap();
    command.arg(chromium).arg(profile.file(""));
    for (url, version) in runs {
        command.args([url, &version.to_string()]);
    }
    Tool::start(command).finish()
}

#[test]
fn in_chromium_over_ws_and_wss() {
    need!(tools::node("chromium.js"));
    let chromium = need!(tools::program("chromium"));
    let certutil = need!(tools::program("certutil"));
    let node = Node::start();
    let profile = profile(&node.ca(), &certutil);
    let [ws, wss] = ["ws", "wss"].map(|listener| node.url(listener));
    let runs = [(ws.clone(), 4), (ws, 5), (wss.clone(), 4), (wss, 5)];
    let mut expected = Vec::new();
    for (url, version) in &runs {
        let protocol = url.split_once('/').unwrap().0;
        expected.push(format!("-- {protocol} {version}"));
        expected.extend(transcript(*version));
    }
    assert_eq!(in_a_page(&chromium, &profile, &runs).lines(), expected);
}

#[test]
fn in_chromium_a_certificate_of_another_authority_is_refused() {
    need!(tools::node("chromium.js"));
    let chromium = need!(tools::program("chromium"));
    let certutil = need!(tools::program("certutil"));
    let node = Node::start();
    let profile = profile(&node.other_ca(), &certutil);
    let refused = in_a_page(&chromium, &profile, &[(node.url("wss"), 5)]);
    assert!(refused.lines().iter().any(|line| line.starts_with("FAILED: Error")), "{refused:?}");
    assert!(refused.stderr.contains("net::ERR_CERT_AUTHORITY_INVALID"), "{refused:?}");
}

/// Both sides show that they know the password, as another one's code computes it.
#[test]
fn in_node_a_client_logs_in_by_scram() {
    need!(tools::node("scram.js"));
    let dir = Directory::new();
    let file = dir.file("users");
    fs::create_dir_all(dir.file("")).unwrap();
    for (user, password) in [("a,b=c", "open sesame"), ("ann", "pass")] {
        let mut command = process::bound_to_us(&process::binary());
        command.args(["passwd", "--scram", &file, user]).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut child = process::spawn(command).unwrap();
        child.stdin.take().unwrap().write_all(password.as_bytes()).unwrap();
        assert!(child.wait().unwrap().success());
    }
    let node = Node::with_config(&format!("[auth.password]\nfile = {file:?}\n"));
    let log_in = |listener: &str, method: &str, user: &str, password: &str| {
        let mut command = tools::node("scram.js").unwrap();
        command.args([&node.url(listener), method, user, password]);
        run(command).lines().join("; ")
    };
    let connected = "connected, broker proved true, got hello";
    for (listener, method) in [("mqtt", "SCRAM-SHA-256"), ("ws", "SCRAM-SHA-512")] {
        assert_eq!(log_in(listener, method, "a,b=c", "open sesame"), connected);
        assert_eq!(log_in(listener, method, "ann", "pass"), connected);
        assert_eq!(log_in(listener, method, "ann", "wrong"), "refused with 135");
        assert_eq!(log_in(listener, method, "nobody", "pass"), "refused with 135");
    }
    assert_eq!(log_in("mqtt", "SCRAM-SHA-1", "ann", "pass"), "refused with 140");
}
