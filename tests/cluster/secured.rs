//! Three nodes that know each other by a secret or by certificates, while both are replaced: they stay one cluster, and who has
//! neither is kept out.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e_tests::{Broker, Start, process};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};

use crate::nodes::{Founding, Nodes, Setup};
use crate::stubborn::{Publisher, drain, subscribe};

/// Lines of a file of secrets.
fn secrets(of: &[char]) -> String {
    of.iter().map(|one| one.to_string().repeat(40) + "\n").collect()
}

/// A file in another's place, as Kubernetes and editors put it.
fn put(path: &Path, text: &str) {
    let beside = path.with_extension("new");
    fs::write(&beside, text).unwrap();
    fs::rename(beside, path).unwrap();
}

/// What is published at one node arrives at another one.
fn assert_one(nodes: &Nodes, from: usize, to: usize) {
    nodes.assert_one_cluster();
    let name = format!("sub-{from}-{to}");
    subscribe(&name, "secured/#", &[nodes.mqtt(to)]);
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(from)]);
    publisher.publish("secured/topic", b"arrives", 1);
    assert!(drain(&name, 1, &[nodes.mqtt(to)]).contains(&b"arrives".to_vec()));
}

/// Where other nodes reach one, as its configuration says.
fn cluster_address(nodes: &Nodes, number: usize) -> String {
    let config = fs::read_to_string(nodes.dir(number).join("quelea.toml")).unwrap();
    let (_, behind) = config.split_once("advertise = \"").unwrap();
    behind.split('"').next().unwrap().to_owned()
}

#[test]
fn nodes_that_share_a_secret_are_one_cluster_while_it_is_replaced() {
    let dir = process::fresh_dir();
    let file = dir.join("secret");
    put(&file, &secrets(&['a']));
    let mut nodes = Nodes::of(|| {
        let env = vec![("QUELEA__CLUSTER__SECRET_FILE", file.display().to_string())];
        Setup { start: Start { env, ..Start::default() }, ..Setup::new(Founding::Expected) }
    });
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    assert_one(&nodes, 1, 2);
    for (step, next) in [&['a', 'b'][..], &['b', 'a'], &['b']].into_iter().enumerate() {
        put(&file, &secrets(next));
        nodes.until_logged("what nodes are known by was reloaded", 3 * (step + 1));
    }
    // A file that cannot be used changes nothing.
    put(&file, "short\n");
    nodes.until_logged("what nodes are known by was not reloaded", 3);
    put(&file, &secrets(&['b']));
    nodes.kill(3);
    nodes.start(&[3], Duration::ZERO);
    assert_one(&nodes, 3, 1);
    let seed = cluster_address(&nodes, 1);
    let stranger =
        format!("[node]\nname = \"stranger\"\n[cluster]\nlisten = \"127.0.0.1:0\"\nseeds = [{seed:?}]\n");
    let env = vec![("QUELEA__CLUSTER__SECRET", secrets(&['a']))];
    let within = Some(Duration::from_secs(12));
    let failed = Broker::try_start(Start { toml: stranger, env, within, ..Start::default() }).err();
    let log = failed.expect("it is no node of this cluster").log;
    assert!(log.contains("does not have the secret of this cluster"), "{log}");
    let all: Vec<String> = nodes.up.values().map(Broker::log).chain([log]).collect();
    assert!(all.iter().all(|log| !log.contains(&"a".repeat(40)) && !log.contains(&"b".repeat(40))));
    drop(fs::remove_dir_all(dir));
}

type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::<String>::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate and its key in one file, so that there is never one with another one's key.
fn certify(number: usize, by: &Authority) -> String {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![format!("node-{number}.cluster.example")]).unwrap();
    params.signed_by(&key, by).unwrap().pem() + &key.serialize_pem()
}

fn trust(authorities: &[&Authority]) -> String {
    authorities.iter().map(|authority| authority.pem()).collect()
}

#[test]
fn nodes_with_certificates_are_one_cluster_while_their_authority_is_replaced() {
    let mut nodes = Nodes::down(Founding::Expected);
    let (old, new) = (authority(), authority());
    let dirs: Vec<PathBuf> = (1..=3).map(|number| nodes.dir(number).to_owned()).collect();
    let each = |name: &str, text: &dyn Fn(usize) -> String| {
        dirs.iter().enumerate().for_each(|(at, dir)| put(&dir.join(name), &text(at + 1)));
    };
    each("node.pem", &|number| certify(number, &old));
    each("ca.pem", &|_| trust(&[&old]));
    for dir in &dirs {
        let (pem, ca) = (dir.join("node.pem"), dir.join("ca.pem"));
        let mut config = OpenOptions::new().append(true).open(dir.join("quelea.toml")).unwrap();
        let tls = "[cluster.tls]\ndomain = \"cluster.example\"";
        writeln!(config, "{tls}\ncertificate = {pem:?}\nkey = {pem:?}\nca = {ca:?}").unwrap();
    }
    nodes.start(&[1, 2, 3], Duration::ZERO);
    nodes.until_replicated();
    assert_one(&nodes, 1, 2);
    let reloaded = |times: usize| nodes.until_logged("what nodes are known by was reloaded", 3 * times);
    each("ca.pem", &|_| trust(&[&old, &new]));
    reloaded(1);
    each("node.pem", &|number| certify(number, &new));
    reloaded(2);
    each("ca.pem", &|_| trust(&[&new]));
    reloaded(3);
    nodes.kill(2);
    nodes.start(&[2], Duration::ZERO);
    assert_one(&nodes, 2, 3);
}
