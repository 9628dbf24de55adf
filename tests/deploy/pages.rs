//! The commands of `docs/kubernetes.md` and `docs/load-balancing.md`: each is run, or the reason why it is not is here. It reads the pages,
//! so that a command that is new or changed is noticed.

use std::fs;
use std::path::Path;
use std::process::Command;

use e2e_tests::process::binary;

use crate::chart::{helm, render};
use crate::lan::run;
use crate::manifest::documents;
use crate::repository;

/// What begins a command that is not run, and why not.
const NOT_RUN: [(&str, &str); 16] = [
    ("cargo xtask dist", "a release build takes minutes; what it writes is tested in xtask"),
    ("skopeo copy ", "there is no registry; the layout is tested in xtask"),
    ("helm test ", "there is no Kubernetes; `kubernetes.rs` runs what its pod does"),
    (
        "kubectl --namespace mqtt rollout ",
        "there is no Kubernetes; `kubernetes.rs` restarts pods in that order",
    ),
    (
        "kubectl --namespace mqtt get secret quelea-user ",
        "there is no Kubernetes; the Secret is in the manifest",
    ),
    ("kubectl --namespace mqtt create secret ", "there is no Kubernetes"),
    (
        "kubectl --namespace mqtt delete ",
        "there is no Kubernetes; `kubernetes.rs` deletes a pod and its volume",
    ),
    ("nginx -t ", "it looks names up that are a network's; `balanced.rs` runs NGINX with the file"),
    ("head -c 18 ", "it writes a password into the repository"),
    ("openssl rand ", "likewise"),
    ("chmod 644 ", "likewise"),
    ("docker compose ", "there is no container engine; `balanced.rs` runs what the file says"),
    ("mosquitto_sub -u quelea ", "it connects to compose's port"),
    ("install -D ", "it changes the system; `unit.rs` looks at the unit"),
    ("systemctl ", "likewise"),
    ("haproxy -c ", "run below, where there is HAProxy"),
];

/// The commands of a page.
fn commands(page: &str) -> Vec<String> {
    let text = fs::read_to_string(repository("docs").join(page)).unwrap();
    let blocks = text.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next());
    blocks.flat_map(str::lines).map(str::to_owned).collect()
}

/// What Helm is told on the way: each install begins another release, and each upgrade is one of all of them.
#[derive(Default)]
struct Releases(Vec<Vec<String>>);

impl Releases {
    /// Without a Kubernetes the chart is rendered, with all values that were set so far.
    fn take(&mut self, helm: Option<&Path>, words: &[&str], command: &str) {
        let (flags, rest) = match words {
            ["install", rest @ ..] => {
                self.0.push(Vec::new());
                (["--create-namespace"].as_slice(), rest)
            }
            ["upgrade", rest @ ..] => (["--reset-then-reuse-values", "--reuse-values"].as_slice(), rest),
            _ => panic!("nobody runs `{command}`"),
        };
        let is_flag = |word: &&&str| flags.contains(*word);
        assert_eq!(rest.iter().filter(is_flag).count(), 1, "{command}: it needs one of {flags:?}");
        let values: Vec<String> =
            rest.iter().filter(|word| !is_flag(word)).map(|word| (*word).to_owned()).collect();
        let begun = if words[0] == "install" { self.0.len() - 1 } else { 0 };
        for release in &mut self.0[begun..] {
            release.extend(values.iter().cloned());
            assert!(
                release.iter().any(|value| value.contains("image.repository=")),
                "{command}: which image?"
            );
            let Some(helm) = helm else { continue };
            let done = render(helm, &release.iter().map(String::as_str).collect::<Vec<_>>());
            assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
        }
    }
}

/// What is installed is there, unless it is built first, and goes to where the unit expects it.
fn assert_installs(source: &str, target: &str) {
    assert!(source.starts_with("target/dist/") || repository(source).is_file(), "{source}");
    let unit = "deploy/systemd/quelea.service";
    let text = fs::read_to_string(repository(unit)).unwrap();
    assert!(source == unit || text.contains(&format!("{target} ")), "the unit knows no {target}");
}

#[test]
fn every_command_of_the_pages_is_run_or_says_why_not() {
    let all = [commands("kubernetes.md"), commands("load-balancing.md")].concat();
    let helm = helm();
    let mut releases = Releases::default();
    for command in &all {
        let words: Vec<&str> = command.split_whitespace().collect();
        if let ["install", "-D", "-m", _, source, target] = words.as_slice() {
            assert_installs(source, target);
        }
        if NOT_RUN.iter().any(|(begin, _)| command.starts_with(begin)) {
            continue;
        }
        match words.as_slice() {
            ["helm", verb @ ("install" | "upgrade"), "quelea", "helm/quelea", rest @ ..] => {
                releases.take(helm.as_deref(), &[&[*verb], rest].concat(), command);
            }
            // What the node on a machine of its own begins with.
            ["quelea", "config", "check", "--config", "/etc/quelea/quelea.toml"] => {
                let config = repository("deploy/quelea.example.toml");
                let binary = binary().display().to_string();
                run(&binary, &["config", "check", "--config", config.to_str().unwrap()]).unwrap();
            }
            // What a container is told is understood, though nobody answers here.
            ["kubectl", _, _, "exec", "quelea-0", "-c", "quelea", "--", "quelea", rest @ ..] => {
                let mut command_line = Command::new(binary());
                let code =
                    command_line.args(rest).env("QUELEA_ADMIN", "127.0.0.1:1").output().unwrap().status;
                assert_eq!(code.code(), Some(3), "{command}");
            }
            _ => panic!("nobody runs `{command}`, and nobody says why not"),
        }
    }
    for (begin, why) in NOT_RUN {
        assert!(
            all.iter().any(|command| command.starts_with(begin)),
            "`{begin}` is in no page any more: {why}"
        );
    }
    // Names of nodes are not known here, which is no more than a warning.
    let config = repository("deploy/haproxy/haproxy.cfg");
    run("haproxy", &["-c", "-f", config.to_str().unwrap()]).unwrap();
}

#[test]
fn from_three_nodes_on_scaling_restarts_nobody() {
    let Some(helm) = helm() else { return };
    // Whose template stays the same stays as it is.
    let template = |replicas: &str| {
        let done = render(&helm, &["--set", &format!("replicaCount={replicas}")]);
        let mut objects = documents(&String::from_utf8(done.stdout).unwrap()).into_iter();
        let set = objects.find(|object| object["kind"] == "StatefulSet").expect("there is one");
        assert_eq!(set["spec"]["replicas"].to_string(), replicas);
        set["spec"]["template"].clone()
    };
    assert_eq!(template("3"), template("5"));
    // One node to three: the first has to hear of the others.
    assert_ne!(template("1"), template("3"));
}
