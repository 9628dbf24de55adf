//! The admin API for those who show who they are: tokens with roles, TLS, what counts when their files change, and what the
//! audit log says of all that (B53).

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use e2e_tests::{Broker, process};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use crate::fixture::wait_for;

/// A node whose admin API wants tokens, and their files.
struct Api {
    broker: Option<Broker>,
    dir: PathBuf,
}

impl Api {
    /// With these tokens, by name and role, and more of the section `[admin]`.
    fn new(tokens: &[(&str, &str)], more: impl FnOnce(&PathBuf) -> String) -> Self {
        let dir = process::fresh_dir();
        let mut api = Self { broker: None, dir };
        tokens.iter().for_each(|(name, role)| api.give(name, role));
        let file = api.dir.join("tokens");
        let config = format!("[admin]\nlisten = \"127.0.0.1:0\"\ntokens_file = {file:?}\n{}", more(&api.dir));
        api.broker = Some(Broker::with_config(&config));
        api
    }

    fn log(&self) -> String {
        self.broker.as_ref().unwrap().log()
    }

    fn token(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(process::binary());
        command.arg("token").arg(self.dir.join("tokens")).args(arguments).output().unwrap()
    }

    /// Somebody has a token, in a file of its name.
    fn give(&self, name: &str, role: &str) {
        let made = self.token(&[name, role]);
        assert!(made.status.success(), "{made:?}");
        fs::write(self.dir.join(name), made.stdout).unwrap();
    }

    /// Somebody asks.
    fn ask(&self, who: Option<&str>, arguments: &[&str]) -> (Option<i32>, String) {
        let mut command = Command::new(process::binary());
        command.args(["ctl", "--admin", &self.broker.as_ref().unwrap().addr("admin")]);
        if let Some(name) = who {
            command.arg("--token-file").arg(self.dir.join(name));
        }
        let output = command.args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    fn may(&self, who: &str, arguments: &[&str]) -> bool {
        let (_, said) = self.ask(Some(who), arguments);
        !said.contains("may not do this") && !said.contains("a token is needed")
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.broker = None;
        drop(fs::remove_dir_all(&self.dir));
    }
}

const TOKENS: &[(&str, &str)] = &[("eve", "viewer"), ("otto", "operator"), ("ada", "admin")];

#[test]
fn each_role_may_what_it_is_for_and_every_change_is_in_the_audit_log() {
    let api = Api::new(TOKENS, |_| String::new());
    let (code, said) = api.ask(None, &["status"]);
    assert!(code == Some(1) && said.contains("a token is needed"), "{said}");
    fs::write(api.dir.join("made-up"), "x".repeat(43)).unwrap();
    assert!(!api.may("made-up", &["status"]));
    let asked: [(&[&str], [bool; 3]); 21] = [
        (&["status"], [true, true, true]),
        (&["clients"], [true, true, true]),
        (&["sessions"], [true, true, true]),
        (&["subscriptions"], [true, true, true]),
        (&["retained"], [true, true, true]),
        (&["why", "a", "--client", "nobody"], [true, true, true]),
        (&["retained", "--columns", "topic,payload"], [false, true, true]),
        (&["retained", "purge", "none/#"], [false, false, true]),
        (&["kick", "nobody"], [false, true, true]),
        (&["publish", "-t", "a", "-m", "a secret word"], [false, true, true]),
        (&["reload"], [false, true, true]),
        (&["log", "info"], [false, true, true]),
        (&["trace", "--client", "nobody", "--for", "10ms"], [false, true, true]),
        (&["trace", "--client", "nobody", "--for", "10ms", "--payload", "9"], [false, false, true]),
        (&["sessions", "delete", "nobody"], [false, false, true]),
        (&["drain", "quelea-0"], [false, true, true]),
        (&["move-leader", "0", "--to", "quelea-0"], [false, true, true]),
        (&["leave", "nobody"], [false, false, true]),
        (&["bans"], [true, true, true]),
        (&["ban", "--user", "nobody"], [false, false, true]),
        (&["unban", "--user", "nobody"], [false, false, true]),
    ];
    for (arguments, expected) in asked {
        let may = ["eve", "otto", "ada"].map(|who| api.may(who, arguments));
        assert_eq!(may, expected, "{arguments:?}");
    }
    let told = |words: &[&str]| {
        let has = |line: &str| line.contains(" audit: ") && words.iter().all(|word| line.contains(word));
        wait_for(&format!("{words:?} in the log"), || api.log().lines().any(has));
    };
    told(&["WARN", "who=\"-\"", "127.0.0.1", "no token", "refused"]);
    told(&["WARN", "who=eve", "/quelea.admin.v1.Admin/Drain", "may not do this"]);
    told(&["WARN", "who=otto", "\"kick\"", "\"nobody\"", "refused", "no client"]);
    told(&["WARN", "who=ada", "\"delete-session\"", "\"nobody\"", "refused", "no persistent session"]);
    told(&["WARN", "who=eve", "payloads of retained messages", "may not do this"]);
    told(&["INFO", "who=ada", "\"purge-retained\"", "\"none/#\"", "done"]);
    told(&["INFO", "who=otto", "\"publish\"", "\"a\"", "done"]);
    told(&["INFO", "who=otto", "\"reload\"", "done"]);
    told(&["INFO", "who=otto", "\"log\"", "\"info\"", "done"]);
    told(&["INFO", "who=otto", "\"trace\"", "\"client nobody\"", "done"]);
    told(&["WARN", "who=otto", "payloads in a trace", "may not do this"]);
    told(&["INFO", "who=ada", "\"trace\"", "\"client nobody, with payloads\"", "done"]);
    told(&["INFO", "who=otto", "\"drain\"", "\"quelea-0\"", "done"]);
    told(&["WARN", "who=ada", "\"leave\"", "\"nobody\"", "refused", "there is no node"]);
    told(&["INFO", "who=ada", "\"ban\"", "\"user nobody\"", "done"]);
    told(&["INFO", "who=ada", "\"unban\"", "\"user nobody\"", "done"]);
    told(&["WARN", "who=otto", "/quelea.admin.v1.Admin/Ban", "may not do this"]);
    let log = api.log();
    assert!(!log.contains("a secret word"), "a payload is in the log");
    for (name, _) in TOKENS {
        let token = fs::read_to_string(api.dir.join(name)).unwrap();
        assert!(!log.contains(token.trim()), "the token of {name} is in the log");
        assert!(!fs::read_to_string(api.dir.join("tokens")).unwrap().contains(token.trim()));
    }
}

#[test]
fn a_token_that_is_removed_is_good_for_nothing_and_a_bad_file_changes_nothing() {
    let api = Api::new(TOKENS, |_| String::new());
    assert!(api.may("eve", &["status"]) && api.may("ada", &["status"]));
    assert!(api.token(&["--delete", "eve"]).status.success());
    wait_for("eve has no token", || !api.may("eve", &["status"]));
    let good = fs::read_to_string(api.dir.join("tokens")).unwrap();
    for bad in ["", "ada admin", "ada admin nothing\n"] {
        fs::write(api.dir.join("tokens"), bad).unwrap();
        wait_for("word of the bad file", || api.log().matches("not reloaded").count() > 0);
        assert!(api.may("ada", &["status"]), "{bad:?}");
    }
    fs::write(api.dir.join("tokens"), good).unwrap();
    api.give("new", "viewer");
    wait_for("the new token", || api.may("new", &["status"]));
}

#[test]
fn over_tls_node_and_client_show_who_they_are() {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let issue = |dir: &PathBuf, name: &str| {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned(), "127.0.0.1".to_owned()]).unwrap();
        fs::write(dir.join(format!("{name}.pem")), params.signed_by(&key, &ca).unwrap().pem()).unwrap();
        fs::write(dir.join(format!("{name}.key")), key.serialize_pem()).unwrap();
    };
    let api = Api::new(&[("eve", "viewer")], |dir| {
        issue(dir, "node");
        issue(dir, "client");
        fs::write(dir.join("ca.pem"), ca.pem()).unwrap();
        let file = |name: &str| dir.join(name);
        let (pem, key, ca) = (file("node.pem"), file("node.key"), file("ca.pem"));
        format!("[admin.tls]\ncertificate = {pem:?}\nkey = {key:?}\nclient_ca = {ca:?}\n")
    });
    let path = |name: &str| api.dir.join(name).display().to_string();
    let (ca, pem, key) = (path("ca.pem"), path("client.pem"), path("client.key"));
    let certified = ["--ca", &ca, "--certificate", &pem, "--key", &key, "status"];
    let (code, said) = api.ask(Some("eve"), &certified);
    assert!(code == Some(0), "{said}");
    let (code, said) = api.ask(None, &certified);
    assert!(code == Some(1) && said.contains("a token is needed"), "{said}");
    for refused in [&["status"][..], &["--ca", &ca, "status"], &["--ca", &pem, "status"]] {
        let (code, said) = api.ask(Some("eve"), refused);
        assert!(code != Some(0) && !said.contains("serve"), "{refused:?}: {said}");
    }
}

#[test]
fn who_shows_what_nodes_show_may_make_a_cluster_smaller_and_nobody_else_anything() {
    let dir = process::fresh_dir();
    // The configuration of a node with this secret.
    let config = |secret: &str| {
        let (file, secret_file) = (dir.join(format!("{secret}.toml")), dir.join(secret));
        fs::write(&secret_file, secret.repeat(40)).unwrap();
        let cluster = format!("listen = \"127.0.0.1:0\"\nbootstrap = true\nsecret_file = {secret_file:?}");
        let text = format!("[cluster]\n{cluster}\n[admin]\ncluster_listen = \"127.0.0.1:0\"\n");
        fs::write(&file, &text).unwrap();
        (file, text)
    };
    let broker = Broker::with_config(&format!("[node]\nname = \"quelea-0\"\n{}", config("a").1));
    let ask = |secret: Option<&str>, arguments: &[&str]| {
        let mut command = Command::new(process::binary());
        command.args(["ctl", "--admin", &broker.addr("admin-nodes")]);
        if let Some(secret) = secret {
            command.arg("--as-node").arg(config(secret).0);
        }
        let output = command.args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    };
    let (code, said) = ask(Some("a"), &["status"]);
    assert!(code == Some(0) && said.contains("1 of 1 nodes"), "{said}");
    let (code, said) = ask(Some("a"), &["leave", "nobody"]);
    assert!(code == Some(1) && said.contains("there is no node"), "{said}");
    let (code, said) = ask(Some("a"), &["leave", "quelea-0"]);
    assert!(code == Some(1) && said.contains("no other node can be told to leave"), "{said}");
    for more in [&["drain", "quelea-0"][..], &["clients"], &["retained"], &["publish", "-t", "a", "-m", "b"]]
    {
        let (code, said) = ask(Some("a"), more);
        assert!(
            code == Some(1) && said.contains("nothing but what makes a cluster smaller"),
            "{more:?}: {said}"
        );
    }
    wait_for("who it was", || broker.log().lines().any(|line| line.contains("who=cluster")));
    for stranger in [Some("b"), None] {
        let (code, said) = ask(stranger, &["status"]);
        assert!(code != Some(0) && !said.contains("serve"), "{said}");
    }
    // Of a StatefulSet that is to have one node nobody has to go; whoever cannot find that out says so.
    let (code, said) = ask(Some("a"), &["shrink", "quelea", "--to", "1"]);
    assert!(code == Some(0) && said.contains("no node is behind quelea-0"), "{said}");
    let (code, said) = ask(Some("b"), &["shrink", "quelea", "--to", "1", "--within", "0s"]);
    assert!(code == Some(3) && said.contains("does not have the secret of this cluster"), "{said}");
    drop(broker);
    fs::remove_dir_all(dir).unwrap();
}
