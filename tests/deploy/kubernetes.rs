//! The chart's pods as processes, as the golden manifest has them: whatever order they start in they are one cluster, a rolling
//! restart loses nothing, the cluster becomes larger and smaller, and heals when a pod was away or a volume is lost. No rendered
//! value is changed; addresses come by names.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, PATIENCE, RawClient, Version, pause};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose};
use serde_json::{Value, json};

use crate::compose::get;
use crate::container::{Container, Image};
use crate::lan::Lan;
use crate::load::{Away, Load, assert_has_all};
use crate::manifest::{Pod, Probe, Release, text};
use crate::slow::SlowNames;
use crate::{repository, until};

/// A pod that runs.
struct Running {
    container: Container,
    pod: Pod,
    address: String,
}

/// A release in a Kubernetes of which there is only what this test does.
struct Kube {
    release: Release,
    pods: BTreeMap<usize, Running>,
    balancer: Option<(Container, String)>,
    lan: Lan,
}

impl Kube {
    fn new(golden: &str) -> Option<Self> {
        let lan = Lan::new()?;
        Some(Self { release: Release::golden(golden), pods: BTreeMap::new(), balancer: None, lan })
    }

    /// Creates a pod at a new address. Nobody knows its name until [`Kube::announce`].
    fn create(&mut self, number: usize) {
        let pod = self.release.pod(number, &self.lan.dir.join("volumes"));
        for image in &pod.before {
            let address = self.lan.address();
            let mut first = Container::start(&self.lan, &address, image);
            let status = first.until_ended();
            assert!(status.success(), "{status}: {}", first.log());
        }
        let address = self.lan.address();
        let container = Container::start(&self.lan, &address, &pod.image);
        self.pods.insert(number, Running { container, pod, address });
    }

    /// From now on a pod's name leads to it.
    fn announce(&mut self, number: usize) {
        let Running { pod, address, .. } = &self.pods[&number];
        self.lan.name(&self.release.dns_name(&pod.name), &[address]);
        // As HAProxy's example calls it.
        self.lan.name(&pod.name, &[address]);
    }

    fn start(&mut self, number: usize) {
        self.create(number);
        self.announce(number);
    }

    fn probe(&self, number: usize, probe: fn(&Pod) -> &Probe) -> bool {
        let Running { pod, address, .. } = &self.pods[&number];
        let Probe { path, port, .. } = probe(pod);
        get(&format!("{address}:{port}"), path).is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    fn is_ready(&self, number: usize) -> bool {
        self.probe(number, |pod| &pod.readiness)
    }

    /// Whether Kubernetes lets a pod run on: what it asks does not fail too often in a row.
    fn is_alive(&self, number: usize) -> bool {
        let tries = self.pods[&number].pod.liveness.failures;
        (0..tries).any(|_| self.probe(number, |pod| &pod.liveness))
    }

    /// Waits until these pods are not ready any more; all are alive meanwhile.
    fn until_unready(&self, numbers: &[usize]) {
        for number in numbers {
            until(&format!("end of pod {number}'s service"), || {
                assert!(self.pods.keys().all(|number| self.is_alive(*number)), "Kubernetes restarts no pod");
                (!self.is_ready(*number)).then_some(())
            });
        }
    }

    /// From now on these pods do not hear each other, or do again. Whoever asks for their health is on their machines.
    fn part(&self, pairs: &[(usize, usize)], are_apart: bool) {
        for (one, other) in pairs {
            let addresses = (self.pods[one].address.as_str(), self.pods[other].address.as_str());
            self.lan.part(addresses, are_apart);
        }
    }

    /// Waits until these pods are ready; none of them has ended meanwhile.
    fn until_ready(&mut self, numbers: &[usize]) {
        for number in numbers {
            until(&format!("ready pod {number}"), || {
                let running = self.pods.get_mut(number)?;
                assert!(!running.container.has_ended(), "pod {number}:\n{}", running.container.log());
                self.is_ready(*number).then_some(())
            });
        }
    }

    /// Deletes a pod as Kubernetes does: it waits, is told, and has ended.
    fn delete(&mut self, number: usize) {
        let Running { mut container, pod, .. } = self.pods.remove(&number).unwrap();
        pause(Duration::from_secs(pod.pre_stop_s));
        let status = container.stop();
        assert!(status.success(), "{status}:\n{}", container.log());
    }

    /// What Helm runs before it changes anything, and does not go on without; what that said.
    fn before_upgrade(&mut self) -> String {
        let job = self.release.before_upgrade(&self.lan.dir.join("volumes"));
        let address = self.lan.address();
        let mut container = Container::start(&self.lan, &address, &job.image);
        let deadline = Instant::now() + job.within;
        while !container.has_ended() {
            assert!(Instant::now() < deadline, "it runs on:\n{}", container.log());
            pause(Duration::from_millis(20));
        }
        let status = container.until_ended();
        assert!(status.success(), "{status}:\n{}", container.log());
        container.log()
    }

    /// `helm test`: its pod finds all others behind the name of their Service.
    fn test(&mut self) {
        let addresses: Vec<&str> = self.pods.values().map(|pod| pod.address.as_str()).collect();
        self.lan.name("quelea", &addresses);
        let image = self.release.test(&self.lan.dir.join("volumes"));
        // Nodes that have not been running for a while send their clients away, which the test takes for a failure.
        until("success of the test", || {
            let address = self.lan.address();
            let mut container = Container::start(&self.lan, &address, &image);
            let status = container.until_ended();
            assert_ne!(status.code(), Some(2), "{}", container.log());
            status.success().then_some(())
        });
    }

    /// `quelea ctl` in a pod.
    fn ctl(&self, number: usize, arguments: &[&str]) -> String {
        self.pods[&number].container.exec(&[&["ctl"], arguments].concat()).unwrap()
    }

    fn status(&self, number: usize) -> Value {
        serde_json::from_str(&self.ctl(number, &["status", "--json"])).unwrap()
    }

    /// Waits until so many nodes belong to the cluster, and every group has three voters, or as many as there are nodes.
    fn until_settled(&self, nodes: usize) {
        until(&format!("{nodes} nodes with their replicas"), || {
            let status = self.status(0);
            let members = status["cluster"]["nodes"].as_array()?;
            let groups = status["cluster"]["groups"].as_array()?;
            let voters = |group: &Value| {
                let replicas = group["replicas"].as_array().map_or(&[][..], Vec::as_slice);
                replicas
                    .iter()
                    .filter(|replica| replica["role"] == "voter" || replica["role"] == "leader")
                    .count()
            };
            let settled = groups.iter().all(|group| voters(group) >= nodes.min(3));
            (members.len() == nodes && settled).then_some(())
        });
    }

    /// Starts HAProxy with the file of `deploy/`.
    fn balance(&mut self) {
        let image = Image {
            command: ["haproxy", "-W", "-db", "-f", "/etc/haproxy.cfg"].map(str::to_owned).to_vec(),
            mounts: vec![
                (repository("deploy/haproxy/haproxy.cfg"), "/etc/haproxy.cfg".to_owned(), false),
                ("/usr/sbin/haproxy".into(), "/usr/sbin/haproxy".to_owned(), false),
            ],
            ..Image::default()
        };
        let address = self.lan.address();
        let container = Container::start(&self.lan, &address, &image);
        self.balancer = Some((container, format!("{address}:1883")));
    }

    fn mqtt(&self) -> String {
        self.balancer.as_ref().expect("it runs").1.clone()
    }

    /// Three pods that are one cluster, behind HAProxy.
    fn begin(&mut self) {
        (0..3).for_each(|number| self.start(number));
        self.until_ready(&[0, 1, 2]);
        self.balance();
        self.until_let_in();
        self.until_settled(3);
    }

    /// A client that gives the password of the Secret is let in, and another is not.
    fn until_let_in(&self) {
        let secret = &self.release.object("Secret", "quelea-user")["stringData"];
        let (user, password) = (text(&secret["user"]), text(&secret["password"]));
        let connect =
            |password: &str| answer(&self.mqtt(), &Connect::v5("somebody").user(&user).password(password));
        until("client by way of HAProxy", || connect(&password).filter(|reason| *reason == 0));
        until("refusal", || {
            let reason = connect("another")?;
            assert_ne!(reason, 0, "whoever gives another password is refused");
            (reason == 0x86).then_some(())
        });
    }
}

/// The reason code of CONNACK, where one comes.
fn answer(mqtt: &str, connect: &Connect) -> Option<u8> {
    TcpStream::connect(mqtt).ok()?;
    let mut client = RawClient::open(mqtt);
    client.speak(Version::V5);
    client.send(&connect.bytes());
    match client.read(PATIENCE) {
        Read::Packet(packet) if packet.kind() == kind::CONNACK => Some(packet.connack(Version::V5).reason),
        _ => None,
    }
}

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
    let mqtt = kube.mqtt();

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
    assert_has_all("keeps-scale", &sent, &mqtt);
    away.assert_kept();
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

    // A machine is lost, and a volume with it: the pod comes back with an empty one.
    let load = Load::begin(&mqtt, "lost");
    kube.pods.remove(&1).unwrap().container.kill();
    fs::remove_dir_all(kube.lan.dir.join("volumes/data-quelea-1")).unwrap();
    kube.until_let_in();
    kube.start(1);
    kube.until_ready(&[0, 1, 2]);
    kube.until_settled(3);
    let sent = load.end();
    assert!(!sent.is_empty());
    assert_has_all("keeps-lost", &sent, &mqtt);
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
