//! The chart's pods as processes, as a rendered manifest has them, and what Kubernetes, Helm and HAProxy do with them: started, asked,
//! told to end, taken apart. Used by the tests in `kubernetes.rs`; it decides nothing but what each step waits for.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use e2e_tests::client::Read;
use e2e_tests::wire::kind;
use e2e_tests::{BOUND, Connect, PATIENCE, RawClient, Version, pause};
use serde_json::Value;

use crate::compose::get_within;
use crate::container::{Container, Image};
use crate::lan::Lan;
use crate::manifest::{Pod, Probe, Release, text};
use crate::{repository, until};

/// How long a test may hold a partition.
const HOLD_MAX: Duration = Duration::from_secs(60);

/// A pod that runs.
pub(crate) struct Running {
    pub(crate) container: Container,
    pub(crate) pod: Pod,
    pub(crate) address: String,
}

/// A release in a Kubernetes of which there is only what this test does.
pub(crate) struct Kube {
    pub(crate) release: Release,
    pub(crate) pods: BTreeMap<usize, Running>,
    balancer: Option<(Container, String)>,
    pub(crate) lan: Lan,
}

impl Kube {
    pub(crate) fn new(golden: &str) -> Option<Self> {
        Self::of(Release::golden(golden))
    }

    /// No pod runs yet; nothing where there can be no network, which is said.
    pub(crate) fn of(release: Release) -> Option<Self> {
        let lan = Lan::new()?;
        Some(Self { release, pods: BTreeMap::new(), balancer: None, lan })
    }

    /// Creates a pod at a new address. Nobody knows its name until [`Kube::announce`].
    pub(crate) fn create(&mut self, number: usize) {
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
    pub(crate) fn announce(&mut self, number: usize) {
        let Running { pod, address, .. } = &self.pods[&number];
        self.lan.name(&self.release.dns_name(&pod.name), &[address]);
        // As HAProxy's example calls it.
        self.lan.name(&pod.name, &[address]);
    }

    pub(crate) fn start(&mut self, number: usize) {
        self.create(number);
        self.announce(number);
    }

    pub(crate) fn probe(&self, number: usize, probe: fn(&Pod) -> &Probe) -> bool {
        self.answers(number, probe(&self.pods[&number].pod), BOUND)
    }

    fn answers(&self, number: usize, Probe { path, port, .. }: &Probe, within: Duration) -> bool {
        let address = &self.pods[&number].address;
        let answer = get_within(&format!("{address}:{port}"), path, within);
        answer.is_some_and(|answer| answer.starts_with("HTTP/1.1 200"))
    }

    pub(crate) fn is_ready(&self, number: usize) -> bool {
        self.probe(number, |pod| &pod.readiness)
    }

    /// Whether Kubernetes lets a pod run on: what it asks does not fail too often in a row.
    fn is_alive(&self, number: usize) -> bool {
        let tries = self.pods[&number].pod.liveness.failures;
        (0..tries).any(|_| self.probe(number, |pod| &pod.liveness))
    }

    /// Waits until these pods are not ready any more; all are alive meanwhile.
    pub(crate) fn until_unready(&self, numbers: &[usize]) {
        for number in numbers {
            until(&format!("end of pod {number}'s service"), || {
                assert!(self.pods.keys().all(|number| self.is_alive(*number)), "Kubernetes restarts no pod");
                (!self.is_ready(*number)).then_some(())
            });
        }
    }

    /// As long as Kubernetes takes to find a pod dead it asks all of them as often as it would, and restarts none: it does so when all
    /// that it asks one in that time fails.
    pub(crate) fn hold_alive(&self) {
        let Probe { every, within, failures, .. } = self.pods.values().next().expect("a pod").pod.liveness;
        assert!(every * failures <= HOLD_MAX, "{every:?} {failures}");
        let mut alive = BTreeSet::new();
        for _ in 0..failures {
            let next = Instant::now() + every;
            let pods = self
                .pods
                .iter()
                .filter(|(number, running)| self.answers(**number, &running.pod.liveness, within));
            alive.extend(pods.map(|(number, _)| *number));
            pause(next.saturating_duration_since(Instant::now()));
        }
        assert!(alive.iter().eq(self.pods.keys()), "Kubernetes restarts all pods but {alive:?}");
    }

    /// From now on these pods do not hear each other, or do again. Whoever asks for their health is on their machines.
    pub(crate) fn part(&self, pairs: &[(usize, usize)], are_apart: bool) {
        for (one, other) in pairs {
            let addresses = (self.pods[one].address.as_str(), self.pods[other].address.as_str());
            self.lan.part(addresses, are_apart);
        }
    }

    /// Waits until these pods are ready; none of them has ended meanwhile.
    pub(crate) fn until_ready(&mut self, numbers: &[usize]) {
        for number in numbers {
            until(&format!("ready pod {number}"), || {
                let running = self.pods.get_mut(number)?;
                assert!(!running.container.has_ended(), "pod {number}:\n{}", running.container.log());
                self.is_ready(*number).then_some(())
            });
        }
    }

    /// Deletes a pod as Kubernetes does: it waits, is told, and has ended.
    pub(crate) fn delete(&mut self, number: usize) {
        let Running { mut container, pod, .. } = self.pods.remove(&number).unwrap();
        pause(Duration::from_secs(pod.pre_stop_s));
        let status = container.stop();
        assert!(status.success(), "{status}:\n{}", container.log());
    }

    /// What Helm runs before it changes anything, and does not go on without; what that said.
    pub(crate) fn before_upgrade(&mut self) -> String {
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
    pub(crate) fn test(&mut self) {
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

    /// What tells this cluster from all others.
    pub(crate) fn cluster_id(&self) -> String {
        text(&self.status(0)["cluster"]["id"])
    }

    /// Waits until so many nodes belong to the cluster, and every group has three voters, or as many as there are nodes.
    pub(crate) fn until_settled(&self, nodes: usize) {
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
    pub(crate) fn balance(&mut self) {
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

    pub(crate) fn mqtt(&self) -> String {
        self.balancer.as_ref().expect("it runs").1.clone()
    }

    /// Three pods that are one cluster, behind HAProxy.
    pub(crate) fn begin(&mut self) {
        (0..3).for_each(|number| self.start(number));
        self.until_ready(&[0, 1, 2]);
        self.balance();
        self.until_let_in();
        self.until_settled(3);
    }

    /// A client that gives the password of the Secret is let in, and another is not.
    pub(crate) fn until_let_in(&self) {
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
