//! The arguments of `quelea bench`, one struct for each group of options that scenarios share.
//! Read by the command line; checked and turned into connections by `plan`. It opens nothing.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};

/// Generate MQTT load and measure what the broker makes of it
#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    #[command(subcommand)]
    pub(super) scenario: Scenario,
}

/// What the connections do.
#[derive(Debug, Subcommand)]
pub(super) enum Scenario {
    /// Only publish; measures the time to the acknowledgement
    Pub(PubArgs),
    /// Only subscribe; measures what arrives from `bench pub` or from anybody else
    Sub(SubArgs),
    /// Open connections, hold them, close them
    Conn(ConnArgs),
    /// Many publishers, each on its own topic, to few subscribers of all of them
    #[command(mut_arg("publishers", |arg| arg.default_value("100")))]
    #[command(mut_arg("subscribers", |arg| arg.default_value("1")))]
    FanIn(ManyArgs),
    /// Few publishers to many subscribers of one topic
    #[command(mut_arg("publishers", |arg| arg.default_value("1")))]
    #[command(mut_arg("subscribers", |arg| arg.default_value("100")))]
    FanOut(ManyArgs),
    /// Publishers and subscribers two by two, each pair on a topic of its own
    Pairs(PairsArgs),
    /// Publishers to the members of one shared subscription
    #[command(mut_arg("subscribers", |arg| arg.visible_alias("members").help("Members of the shared group")))]
    Shared(ManyArgs),
}

/// Protocol version that the clients speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Protocol {
    /// MQTT 3.1
    #[value(name = "3.1")]
    V3_1,
    /// MQTT 3.1.1
    #[value(name = "3.1.1")]
    V3_1_1,
    /// MQTT 5.0
    #[value(name = "5", alias = "5.0")]
    V5,
}

/// What takes a message out of its publisher's window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Flow {
    /// Its acknowledgement and its delivery to this process's subscribers
    Delivered,
    /// Its acknowledgement alone; at QoS 0 nothing holds the publisher back but TCP
    Acknowledged,
}

/// Whose sessions outlive their connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Persistent {
    /// Those of all clients
    All,
    /// Those of the publishers
    Publishers,
    /// Those of the subscribers
    Subscribers,
}

/// Where to connect, and as whom.
#[derive(Debug, Args)]
pub(super) struct ClientArgs {
    /// Brokers, separated by commas; connections take them in turn. The port is 1883 (8883 with --tls) where none is given
    #[arg(long, value_name = "HOST[:PORT],...", value_delimiter = ',', default_value = "localhost")]
    pub(super) host: Vec<String>,
    /// Protocol version
    #[arg(long, value_enum, default_value = "5")]
    pub(super) protocol: Protocol,
    /// User name
    #[arg(long)]
    pub(super) username: Option<String>,
    /// Password
    #[arg(long, env = "QUELEA_BENCH_PASSWORD", hide_env_values = true)]
    pub(super) password: Option<String>,
    /// Connect by TLS
    #[arg(long)]
    pub(super) tls: bool,
    /// Certificate authorities in PEM; the system's where not given
    #[arg(long, value_name = "FILE", requires = "tls")]
    pub(super) ca: Option<PathBuf>,
    /// Client certificate chain in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "key"])]
    pub(super) cert: Option<PathBuf>,
    /// Client key in PEM
    #[arg(long, value_name = "FILE", requires_all = ["tls", "cert"])]
    pub(super) key: Option<PathBuf>,
    /// Name that the broker's certificate is checked against; the host's where not given
    #[arg(long, value_name = "NAME", requires = "tls")]
    pub(super) server_name: Option<String>,
    /// What the client ids begin with
    #[arg(long, value_name = "TEXT", default_value = "quelea-bench")]
    pub(super) client_id: String,
    /// Resume sessions, and keep them after the run: clean start is off, and the client ids are the same in each run
    #[arg(long, value_name = "WHOSE", num_args = 0..=1, require_equals = true, default_missing_value = "all")]
    pub(super) persistent: Option<Persistent>,
    /// How long a persistent session outlives its connection; before MQTT 5 the broker decides
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "1h", requires = "persistent")]
    pub(super) session_expiry: Duration,
    /// Keep alive; a ping is sent at half of it
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(super) keep_alive: u16,
    /// Time for each connection to be accepted and subscribed
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "30s")]
    pub(super) connect_timeout: Duration,
    /// Without a delivery for this long, what is under way is taken for lost
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "2s")]
    pub(super) lost_after: Duration,
    /// Threads of the load generator; one a core where not given
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(super) threads: usize,
    /// A line on stderr each second also where stderr is no terminal
    #[arg(long)]
    pub(super) progress: bool,
    /// The result as JSON on stdout
    #[arg(long)]
    pub(super) json: bool,
}

/// What is published.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// Messages to publish, by all publishers together; 100,000 where no --duration is given
    #[arg(long, visible_alias = "messages", value_name = "N")]
    pub(super) count: Option<u64>,
    /// Stop publishing after this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) duration: Option<Duration>,
    /// Payload bytes; from 16 on a message carries its time and number, and latency, order and repeats are measured
    #[arg(long, value_name = "BYTES", default_value_t = 64)]
    pub(super) size: usize,
    /// Quality of service
    #[arg(long, value_name = "0|1|2", default_value_t = 0)]
    pub(super) qos: u8,
    /// Messages a second, evenly spaced, by all publishers together; 0: as fast as the window allows
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub(super) rate: f64,
    /// Messages a publisher has under way at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) window: u16,
    /// What takes a message out of the window
    #[arg(long, value_enum, default_value = "delivered")]
    pub(super) flow: Flow,
    /// Publish with the retain flag
    #[arg(long)]
    pub(super) retain: bool,
}

/// Who publishes what.
#[derive(Debug, Args)]
pub(super) struct TrafficArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    #[command(flatten)]
    pub(super) load: LoadArgs,
}

/// `bench pub`
#[derive(Debug, Args)]
pub(super) struct PubArgs {
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
    /// Publishers
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) publishers: u32,
    /// Topic; %i is the publisher's number, %n the number of its message
    #[arg(long, value_name = "TOPIC", default_value = "bench/%i")]
    pub(super) topic: String,
}

/// `bench sub`
#[derive(Debug, Args)]
pub(super) struct SubArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Subscribers
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub(super) subscribers: u32,
    /// Topic filter; %i is the subscriber's number
    #[arg(long, value_name = "FILTER", default_value = "bench/#")]
    pub(super) filter: String,
    /// Quality of service asked for
    #[arg(long, value_name = "0|1|2", default_value_t = 0)]
    pub(super) qos: u8,
    /// Stop after this many messages, over all subscribers
    #[arg(long, visible_alias = "messages", value_name = "N")]
    pub(super) count: Option<u64>,
    /// Stop after this time
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration)]
    pub(super) duration: Option<Duration>,
}

/// `bench conn`
#[derive(Debug, Args)]
pub(super) struct ConnArgs {
    #[command(flatten)]
    pub(super) client: ClientArgs,
    /// Connections
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(super) count: u32,
    /// Connections a second, evenly spaced; 0: as fast as they are accepted
    #[arg(long, value_name = "N", default_value_t = 0.0)]
    pub(super) rate: f64,
    /// How long all of them stay open once the last is accepted
    #[arg(long, value_name = "TIME", value_parser = humantime::parse_duration, default_value = "0s")]
    pub(super) duration: Duration,
    /// Close each as soon as it is accepted, instead of holding all of them
    #[arg(long, conflicts_with = "duration")]
    pub(super) close: bool,
    /// Connections that are being opened at once
    #[arg(long, value_name = "N", default_value_t = 100)]
    pub(super) window: u16,
}

/// Whether subscribers are there while messages are published.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct AbsenceArgs {
    /// Subscribers subscribe and leave, and come back for what was queued when all is published and acknowledged
    #[arg(long, requires = "persistent")]
    pub(super) absent: bool,
}

/// `bench fan-in`, `bench fan-out` and `bench shared`, which differ in how many of each they have by default
#[derive(Debug, Args)]
pub(super) struct ManyArgs {
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
    /// Publishers
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) publishers: u32,
    /// Subscribers, each of which gets everything
    #[arg(long, value_name = "N", default_value_t = 4)]
    pub(super) subscribers: u32,
    #[command(flatten)]
    pub(super) absence: AbsenceArgs,
}

/// `bench pairs`
#[derive(Debug, Args)]
pub(super) struct PairsArgs {
    #[command(flatten)]
    pub(super) traffic: TrafficArgs,
    /// Pairs of one publisher and one subscriber
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(super) pairs: u32,
    #[command(flatten)]
    pub(super) absence: AbsenceArgs,
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn many(line: &[&str]) -> (u32, u32) {
        match Line::try_parse_from([&["bench"], line].concat()).unwrap().bench.scenario {
            Scenario::FanIn(args) | Scenario::FanOut(args) | Scenario::Shared(args) => {
                (args.publishers, args.subscribers)
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn each_scenario_has_numbers_of_its_own_by_default() {
        assert_eq!(many(&["fan-in"]), (100, 1));
        assert_eq!(many(&["fan-out"]), (1, 100));
        assert_eq!(many(&["shared"]), (10, 4));
        assert_eq!(many(&["fan-in", "--subscribers", "3"]), (100, 3));
        assert_eq!(many(&["shared", "--members", "7", "--publishers", "2"]), (2, 7));
        assert!(Line::try_parse_from(["bench", "fan-out", "--members", "7"]).is_err());
    }
}
