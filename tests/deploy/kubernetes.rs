//! The chart's pods: whatever order they start in they are one cluster, a rolling restart loses nothing, the cluster becomes larger
//! and smaller, and heals when a pod was away or a volume is lost. No rendered value is changed; addresses come by names.

use std::fs;
use std::path::Path;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::json;

use crate::chart::{helm, render};
use crate::load::{Away, Load, assert_has_all};
use crate::manifest::Release;
use crate::pods::{Kube, Running};
use crate::slow::SlowNames;
use crate::{repository, until};

#[test]
fn pods_are_one_cluster_that_is_restarted_and_scaled_under_load() {
    let Some(mut kube) = Kube::new("processes") else { return };
    let replicas = kube.release.replicas();
    assert_eq!(replicas, 3);
    // All at once, in any order, and names come late.
    for number in [2, 0, 1] {
        kube.create(number);
    }
    for number in [1, 2, 0] {
        let alive = until("answer", || kube.probe(number, |pod| &pod.liveness).then_some(true));
        assert!(alive && !kube.is_ready(number), "alive, and not ready without the others");
    }
    (0..3).for_each(|number| kube.announce(number));
    kube.until_ready(&[0, 1, 2]);
    kube.balance();
    kube.until_let_in();
    kube.until_settled(3);
    let (mqtt, cluster) = (kube.mqtt(), kube.cluster_id());

    // An upgrade, after which there are to be as many: nobody has to leave.
    let said = kube.before_upgrade();
    assert!(said.contains("no node is behind quelea-2") && !said.contains("leaves"), "{said}");

    // A rolling update: from the last to the first, each ready before the next.
    let load = Load::begin(&mqtt, "restart");
    for number in [2, 1, 0] {
        kube.delete(number);
        // Until it is there its name leads to where it was.
        kube.start(number);
        kube.until_ready(&[number]);
    }
    let sent = load.end();
    assert!(!sent.is_empty());
    assert_has_all("keeps-restart", &sent, &mqtt);

    // 3 -> 5 -> 3. The manifest is that of three nodes: what runs before the upgrade to it has the last two leave.
    let away = Away::begin(&mqtt);
    let load = Load::begin(&mqtt, "scale");
    [3, 4].into_iter().for_each(|number| kube.start(number));
    kube.until_ready(&[3, 4]);
    kube.until_settled(5);
    let said = kube.before_upgrade();
    let order = ["quelea-4 leaves", "quelea-3 leaves"].map(|word| said.find(word).expect("it leaves"));
    assert!(order.is_sorted() && said.contains("no node is behind quelea-2"), "{said}");
    for number in [4, 3] {
        let mut left = kube.pods.remove(&number).unwrap();
        // It ends by itself; where it was taken for dead just then, its next run is told so and ends.
        left.container.until_ended();
        let log = left.container.log();
        assert!(log.contains("node has left the cluster"), "{log}");
    }
    kube.until_settled(3);
    let sent = load.end();
    assert!(!sent.is_empty());
    assert_has_all("keeps-scale", &sent, &mqtt);
    away.assert_kept();
    assert_eq!(kube.cluster_id(), cluster);
}

/// The golden manifest, but of as many nodes.
fn rendered(helm: &Path, nodes: usize) -> Release {
    let values = repository("helm/quelea/ci/processes-values.yaml");
    let count = format!("replicaCount={nodes}");
    let done = render(helm, &["--values", values.to_str().unwrap(), "--set", &count]);
    assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    Release::read(&String::from_utf8(done.stdout).unwrap())
}

#[test]
fn one_pod_becomes_three_under_load() {
    let Some(helm) = helm() else { return };
    let Some(mut kube) = Kube::of(rendered(&helm, 1)) else { return };
    assert_eq!(kube.release.replicas(), 1);
    kube.start(0);
    kube.until_ready(&[0]);
    kube.balance();
    kube.until_let_in();
    let (mqtt, cluster) = (kube.mqtt(), kube.cluster_id());
    let load = Load::begin(&mqtt, "alone");

    kube.release = rendered(&helm, 3);
    let said = kube.before_upgrade();
    assert!(!said.contains("leaves"), "{said}");
    // The new ones come all at once, and then the first hears of them.
    [2, 1].into_iter().for_each(|number| kube.start(number));
    kube.until_ready(&[1, 2]);
    kube.delete(0);
    kube.start(0);
    kube.until_ready(&[0]);
    kube.until_settled(3);
    let sent = load.end();
    assert!(!sent.is_empty());
    assert_has_all("keeps-alone", &sent, &mqtt);
    assert_eq!(kube.cluster_id(), cluster);
}

#[test]
fn a_cluster_goes_on_without_a_pod_and_heals_when_that_comes_back() {
    let Some(mut kube) = Kube::new("processes") else { return };
    kube.begin();
    let mqtt = kube.mqtt();

    // Its machine is cordoned and emptied: the pod is gone, and there is no place for it.
    let load = Load::begin(&mqtt, "cordoned");
    kube.delete(2);
    kube.until_let_in();
    kube.until_ready(&[0, 1]);
    // There is one, but its name leads to where another pod is: names are older than addresses.
    let (name, taken) = (kube.release.dns_name("quelea-2"), kube.pods[&0].address.clone());
    kube.lan.name(&name, &[&taken]);
    kube.create(2);
    until("answer", || kube.probe(2, |pod| &pod.liveness).then_some(()));
    kube.until_let_in();
    kube.until_ready(&[0, 1]);
    kube.announce(2);
    kube.until_ready(&[0, 1, 2]);
    kube.until_settled(3);
    let sent = load.end();
    assert!(!sent.is_empty());
    assert_has_all("keeps-cordoned", &sent, &mqtt);

    // A machine is lost, and a volume with it: the pod comes back with an empty one. The first could found a cluster, and does not.
    let cluster = kube.cluster_id();
    for number in [1, 0] {
        let name = format!("lost-{number}");
        let load = Load::begin(&mqtt, &name);
        kube.pods.remove(&number).unwrap().container.kill();
        fs::remove_dir_all(kube.lan.dir.join(format!("volumes/data-quelea-{number}"))).unwrap();
        kube.until_let_in();
        kube.start(number);
        kube.until_ready(&[0, 1, 2]);
        kube.until_settled(3);
        let sent = load.end();
        assert!(!sent.is_empty());
        assert_has_all(&format!("keeps-{name}"), &sent, &mqtt);
        assert_eq!(kube.cluster_id(), cluster);
    }
}

#[test]
fn no_partition_has_kubernetes_restart_a_pod() {
    let Some(mut kube) = Kube::new("processes") else { return };
    kube.begin();
    // One hears nobody, and the two others are a majority.
    let one = [(2, 0), (2, 1)];
    kube.part(&one, true);
    kube.until_unready(&[2]);
    kube.until_ready(&[0, 1]);
    kube.part(&one, false);
    kube.until_ready(&[0, 1, 2]);
    // Nobody hears anybody.
    let all = [(2, 0), (2, 1), (0, 1)];
    kube.part(&all, true);
    kube.until_unready(&[0, 1, 2]);
    kube.hold_alive();
    kube.part(&all, false);
    kube.until_ready(&[0, 1, 2]);
    kube.until_let_in();
}

/// A certificate for all pods of a domain, its key, and its authority.
fn certificates(domain: &str) -> [String; 3] {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![format!("*.{domain}")]).unwrap();
    [params.signed_by(&key, &authority).unwrap().pem(), key.serialize_pem(), authority.pem()]
}

#[test]
fn pods_that_know_each_other_by_certificates_are_one_cluster_though_names_are_found_slowly() {
    let Some(mut kube) = Kube::new("certificates") else { return };
    let _slow = SlowNames::new(&kube.lan, Duration::from_millis(500));
    let [certificate, key, ca] = certificates(&kube.release.domain());
    kube.release.give(json!({
        "kind": "Secret",
        "metadata": { "name": "node-certificates" },
        "stringData": { "tls.crt": certificate, "tls.key": key, "ca.crt": ca },
    }));
    (0..3).for_each(|number| kube.start(number));
    kube.until_ready(&[0, 1, 2]);
    kube.until_settled(3);
    // What has nodes leave is let in by the same, and nobody else is.
    let said = kube.before_upgrade();
    assert!(said.contains("no node is behind quelea-2"), "{said}");
    let Running { container, address, .. } = &kube.pods[&0];
    let port = format!("{address}:9884");
    assert!(container.exec(&["ctl", "--admin", &port, "status"]).is_err());
    kube.test();
}
