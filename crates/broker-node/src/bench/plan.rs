//! From arguments to a plan: which connections there are and what each of them does.
//! Made once by `bench::run`, read by everybody. Arguments without sense are refused here; it opens nothing.

use std::fmt::Display;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use mqtt_codec::{QoS, Text, Version};

use super::args::{BenchArgs, ClientArgs, Flow, Persistent, Protocol};
use super::{endpoint, scenario};

/// Client ids that every MQTT 3.1 broker takes.
const CLIENT_ID_V3_1_MAX: usize = 23;
/// Descriptors that are not connections.
const DESCRIPTORS_SPARE: u64 = 64;

/// An argument that makes no sense: what was found and what is expected.
pub(super) type Refusal = String;

/// All that a run does.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) scenario: &'static str,
    pub(super) client: ClientArgs,
    pub(super) version: Version,
    pub(super) load: Load,
    pub(super) specs: Vec<Spec>,
    /// Windows that publishers and subscribers close together: (messages, copies of each).
    pub(super) windows: Vec<(u64, u64)>,
    /// How often each message is delivered to our own subscribers; 0 where they are not ours.
    pub(super) copies: u64,
    /// Deliveries after which `sub` ends.
    pub(super) deliveries_max: Option<u64>,
    pub(super) conn: Option<ConnPlan>,
    /// Subscribers are away while messages are published.
    pub(super) absent: bool,
    pub(super) threads: usize,
    /// Tells the topics and client ids of this run from those of others: 20 bits.
    pub(super) run: u32,
}

/// What is published.
#[derive(Debug, Clone, Copy)]
pub(super) struct Load {
    pub(super) qos: QoS,
    pub(super) size: usize,
    /// Messages a second by all publishers; 0: no limit.
    pub(super) rate: f64,
    pub(super) window: u16,
    pub(super) retain: bool,
    pub(super) duration: Option<Duration>,
}

/// One connection.
#[derive(Debug)]
pub(super) struct Spec {
    /// Its number in the run: picks the broker.
    pub(super) number: usize,
    /// Connections with the same number modulo the threads share a thread.
    pub(super) affinity: usize,
    pub(super) identity: Identity,
    pub(super) role: Role,
}

/// As whom a connection is made.
#[derive(Debug)]
pub(super) struct Identity {
    pub(super) client_id: String,
    /// How long its session outlives the connection, in seconds; `None`: not at all, and it starts clean.
    pub(super) session_expiry_s: Option<u32>,
}

/// What a connection does.
#[derive(Debug)]
pub(super) enum Role {
    Publisher(PublisherSpec),
    Subscriber(SubscriberSpec),
}

/// A publisher.
#[derive(Debug, Clone)]
pub(super) struct PublisherSpec {
    /// Its place among the publishers of the run.
    pub(super) index: usize,
    /// What its stamps say.
    pub(super) stamp_id: u32,
    /// `%n` is still in it.
    pub(super) topic: String,
    /// `None`: until the time is over.
    pub(super) messages: Option<u64>,
    /// Index into [`Plan::windows`].
    pub(super) window: Option<usize>,
}

/// A subscriber.
#[derive(Debug, Clone)]
pub(super) struct SubscriberSpec {
    pub(super) filter: Text,
    pub(super) hears: Hears,
    /// Index into [`Plan::windows`].
    pub(super) window: Option<usize>,
}

impl SubscriberSpec {
    /// Whether others may get a part of what it subscribes to.
    pub(super) fn is_shared(&self) -> bool {
        [b"$share/".as_slice(), b"$queue/"].iter().any(|prefix| self.filter.as_bytes().starts_with(prefix))
    }
}

/// Which messages a subscriber is to get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hears {
    /// All of the publishers `0..n`.
    All(u32),
    /// Its part of those of the publishers `0..n`.
    Part(u32),
    /// Whatever there is.
    Anything,
}

/// The scenario `conn`.
#[derive(Debug, Clone, Copy)]
pub(super) struct ConnPlan {
    pub(super) count: u32,
    pub(super) rate: f64,
    pub(super) hold: Duration,
    pub(super) close: bool,
    pub(super) at_once: u16,
}

impl Plan {
    /// # Errors
    /// What to tell the user about the first argument that makes no sense.
    pub(super) fn new(args: BenchArgs) -> Result<Self, Refusal> {
        scenario::plan(args.scenario)?.check()
    }

    /// Connection `number` of the scenario `conn`: its client id, and how long its session is kept.
    pub(super) fn connection(&self, number: u32) -> Identity {
        Identity::new(&self.client, self.run, 'c', number)
    }

    /// Connections that are open at once.
    pub(super) fn connections(&self) -> u64 {
        self.conn.map_or(self.specs.len() as u64, |conn| {
            u64::from(if conn.close { u32::from(conn.at_once) } else { conn.count })
        })
    }

    pub(super) fn publishers(&self) -> usize {
        self.specs.iter().filter(|spec| matches!(spec.role, Role::Publisher(_))).count()
    }

    /// A plan without connections yet.
    pub(super) fn start(scenario: &'static str, client: ClientArgs, load: Load) -> Self {
        let version = match client.protocol {
            Protocol::V3_1 => Version::V3_1,
            Protocol::V3_1_1 => Version::V3_1_1,
            Protocol::V5 => Version::V5,
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = if client.threads == 0 { cores } else { client.threads };
        let run = (RandomState::new().build_hasher().finish() >> 44) as u32;
        Self {
            scenario,
            client,
            version,
            load,
            specs: Vec::new(),
            windows: Vec::new(),
            copies: 0,
            deliveries_max: None,
            conn: None,
            absent: false,
            threads,
            run,
        }
    }

    /// A topic of this run alone.
    pub(super) fn topic(&self, last: impl Display) -> String {
        format!("quelea-bench/{:05x}/{last}", self.run)
    }

    /// A window that publishers close together with their subscribers, where `flow` wants one and they are there.
    pub(super) fn window(&mut self, flow: Flow, publishers: u32, copies: u64) -> Option<usize> {
        (flow == Flow::Delivered && !self.absent).then(|| {
            self.windows.push((u64::from(self.load.window) * u64::from(publishers), copies));
            self.windows.len() - 1
        })
    }

    /// Adds connection `index` of its role.
    pub(super) fn add(&mut self, affinity: u32, index: u32, role: Role) {
        let kind = if matches!(role, Role::Publisher(_)) { 'p' } else { 's' };
        let identity = Identity::new(&self.client, self.run, kind, index);
        self.specs.push(Spec { number: self.specs.len(), affinity: affinity as usize, identity, role });
    }

    fn check(mut self) -> Result<Self, Refusal> {
        let connections = self.connections();
        self.threads = self.threads.min(usize::try_from(connections).unwrap_or(usize::MAX)).max(1);
        if self.threads > 1024 {
            return Err(format!("--threads: expected at most 1024, found {}", self.threads));
        }
        let files = connections + DESCRIPTORS_SPARE;
        // Where the system does not tell its limit, the connections will.
        if let Some(limit) = rlimit::increase_nofile_limit(files).ok().filter(|limit| *limit < files) {
            return Err(format!(
                "{connections} connections need {files} open files, and {limit} are allowed: raise the hard limit \
                 of `ulimit -n` or share them among several processes"
            ));
        }
        if self.client.persistent.is_some() && self.client.session_expiry.as_secs() == 0 {
            return Err("--session-expiry: expected at least 1s".into());
        }
        if self.version != Version::V5 && self.client.password.is_some() && self.client.username.is_none() {
            return Err("--password needs --username before MQTT 5".into());
        }
        let longest = self.specs.iter().map(|spec| spec.identity.client_id.len()).max().unwrap_or_default();
        if self.version == Version::V3_1 && longest > CLIENT_ID_V3_1_MAX {
            return Err(format!(
                "MQTT 3.1 allows {CLIENT_ID_V3_1_MAX} bytes of client id and these have {longest}: give a shorter --client-id"
            ));
        }
        for host in &self.client.host {
            endpoint::split(host, 1883).map_err(|error| error.to_string())?;
        }
        Text::new(&self.client.client_id).map_err(|error| format!("--client-id: {error}"))?;
        if self.client.client_id.len() > 1000 {
            return Err(format!(
                "--client-id: expected at most 1000 bytes, found {}",
                self.client.client_id.len()
            ));
        }
        Ok(self)
    }
}

impl Identity {
    /// The client `index` of a `kind`: `p`ublisher, `s`ubscriber or mere `c`onnection.
    fn new(client: &ClientArgs, run: u32, kind: char, index: u32) -> Self {
        let kept = match client.persistent {
            None => false,
            Some(Persistent::All) => true,
            Some(Persistent::Publishers) => kind == 'p',
            Some(Persistent::Subscribers) => kind == 's',
        };
        let seconds = u32::try_from(client.session_expiry.as_secs()).unwrap_or(u32::MAX);
        let client_id = match kept {
            true => format!("{}-{kind}{index}", client.client_id),
            false => format!("{}-{run:05x}-{kind}{index}", client.client_id),
        };
        Self { client_id, session_expiry_s: kept.then_some(seconds) }
    }
}
