//! The commands of `docs/kubernetes.md` and `docs/load-balancing.md`: each is run, or the reason why it is not is here. It reads the pages,
//! so that a command that is new or changed is noticed.

use std::fs;
use std::process::Command;

use e2e_tests::process::binary;

use crate::chart::{helm, render};
use crate::lan::run;
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

#[test]
fn every_command_of_the_pages_is_run_or_says_why_not() {
    let all = [commands("kubernetes.md"), commands("load-balancing.md")].concat();
    let helm = helm();
    for command in &all {
        if NOT_RUN.iter().any(|(begin, _)| command.starts_with(begin)) {
            continue;
        }
        let words: Vec<&str> = command.split_whitespace().collect();
        match words.as_slice() {
            // Without a Kubernetes the chart is rendered with the same values.
            ["helm", "install" | "upgrade", "quelea", "helm/quelea", rest @ ..] => {
                let taken = |word: &&&str| !["--create-namespace", "--reuse-values"].contains(*word);
                let rest: Vec<&str> = rest.iter().filter(taken).copied().collect();
                if let Some(helm) = &helm {
                    let done = render(helm, &rest);
                    assert!(done.status.success(), "{command}: {}", String::from_utf8_lossy(&done.stderr));
                }
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
