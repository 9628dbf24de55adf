//! The scenarios: from the arguments of each to the connections it is made of.
//! Called by `plan` alone. An argument that makes no sense is refused here; it opens nothing.

use std::time::Duration;

use mqtt_codec::{QoS, Text};

use super::args::{
    AbsenceArgs, ConnArgs, LoadArgs, ManyArgs, PairsArgs, Persistent, PubArgs, Scenario, SubArgs, TrafficArgs,
};
use super::plan::{ConnPlan, Hears, Load, Plan, PublisherSpec, Refusal, Role, SubscriberSpec};

/// Messages where neither a count nor a time is given.
const COUNT_DEFAULT: u64 = 100_000;
/// Numbers of messages are 32 bits in a stamp.
const COUNT_MAX: u64 = u32::MAX as u64;
/// A whole packet is at most 256 MiB; topic and header take their part.
const SIZE_MAX: usize = 268_435_455 - 70_000;
/// The connections of a scenario.
///
/// # Errors
/// What to tell the user about the first argument that makes no sense.
pub(super) fn plan(scenario: Scenario) -> Result<Plan, Refusal> {
    match scenario {
        Scenario::Pub(args) => publish(args),
        Scenario::Sub(args) => subscribe(args),
        Scenario::Conn(args) => connections(args),
        Scenario::FanIn(args) => many("fan-in", args),
        Scenario::FanOut(args) => many("fan-out", args),
        Scenario::Pairs(args) => pairs(args),
        Scenario::Shared(args) => many("shared", args),
    }
}

fn publish(args: PubArgs) -> Result<Plan, Refusal> {
    let (load, count) = load(&args.traffic.load)?;
    let publishers = some(args.publishers, "--publishers")?;
    let mut plan = Plan::start("pub", args.traffic.client, load);
    for (index, messages) in shares(count, publishers) {
        let topic = args.topic.replace("%i", &index.to_string());
        check_topic(&topic)?;
        let stamp_id = plan.run.wrapping_add(index) | 1 << 31;
        let role = PublisherSpec { index: index as usize, stamp_id, topic, messages, window: None };
        plan.add(index, index, Role::Publisher(role));
    }
    Ok(plan)
}

fn subscribe(args: SubArgs) -> Result<Plan, Refusal> {
    let subscribers = some(args.subscribers, "--subscribers")?;
    check_time(args.duration)?;
    let idle =
        Load { qos: qos(args.qos)?, size: 0, rate: 0.0, window: 1, retain: false, duration: args.duration };
    let mut plan = Plan::start("sub", args.client, idle);
    plan.deliveries_max = args.count.map(|count| some(count, "--count")).transpose()?;
    for index in 0..subscribers {
        let filter = args.filter.replace("%i", &index.to_string());
        topic_index::Filter::parse(&filter, u16::MAX)
            .map_err(|error| format!("--filter {filter:?}: {error}"))?;
        let filter = text(&filter, "--filter")?;
        let role = SubscriberSpec { filter, hears: Hears::Anything, window: None };
        plan.add(index, index, Role::Subscriber(role));
    }
    Ok(plan)
}

fn connections(args: ConnArgs) -> Result<Plan, Refusal> {
    if !matches!(args.client.persistent, None | Some(Persistent::All)) {
        return Err("--persistent: `conn` has neither publishers nor subscribers".into());
    }
    let conn = ConnPlan {
        count: some(args.count, "--count")?,
        rate: rate(args.rate)?,
        hold: args.duration,
        close: args.close,
        at_once: some(args.window, "--window")?,
    };
    let idle = Load { qos: QoS::AtMostOnce, size: 0, rate: 0.0, window: 1, retain: false, duration: None };
    let mut plan = Plan::start("conn", args.client, idle);
    plan.conn = Some(conn);
    Ok(plan)
}

/// All publishers to all subscribers: each gets everything, or in `shared` its part.
fn many(scenario: &'static str, args: ManyArgs) -> Result<Plan, Refusal> {
    let TrafficArgs { client, load: messages } = args.traffic;
    let (load, count) = load(&messages)?;
    let mut plan = Plan::start(scenario, client, load);
    away(&mut plan, args.absence)?;
    let publishers = some(args.publishers, "--publishers")?;
    let subscribers = some(args.subscribers, "--subscribers")?;
    let (filter, hears, copies) = match plan.scenario {
        "shared" => (format!("$share/bench/{}", plan.topic("+")), Hears::Part(publishers), 1),
        _ => (plan.topic("+"), Hears::All(publishers), u64::from(subscribers)),
    };
    plan.copies = copies;
    let window = plan.window(messages.flow, publishers, copies);
    let filter = text(&filter, "the topic filter")?;
    for index in 0..subscribers {
        plan.add(index, index, Role::Subscriber(SubscriberSpec { filter: filter.clone(), hears, window }));
    }
    for (index, messages) in shares(count, publishers) {
        let topic = plan.topic(index);
        let role = PublisherSpec { index: index as usize, stamp_id: index, topic, messages, window };
        plan.add(index, index, Role::Publisher(role));
    }
    Ok(plan)
}

fn pairs(args: PairsArgs) -> Result<Plan, Refusal> {
    let (load, count) = load(&args.traffic.load)?;
    let pairs = some(args.pairs, "--pairs")?;
    let mut plan = Plan::start("pairs", args.traffic.client, load);
    away(&mut plan, args.absence)?;
    plan.copies = 1;
    for (index, messages) in shares(count, pairs) {
        let window = plan.window(args.traffic.load.flow, 1, 1);
        let topic = plan.topic(index);
        let filter = text(&topic, "the topic")?;
        // Stamps are told apart by topic: each subscriber hears publisher 0 of its own.
        let role = SubscriberSpec { filter, hears: Hears::All(1), window };
        plan.add(index, index, Role::Subscriber(role));
        let role = PublisherSpec { index: index as usize, stamp_id: 0, topic, messages, window };
        plan.add(index, index, Role::Publisher(role));
    }
    Ok(plan)
}

/// Sends the subscribers away while messages are published, where that is asked for.
fn away(plan: &mut Plan, args: AbsenceArgs) -> Result<(), Refusal> {
    plan.absent = args.absent;
    if args.absent && plan.load.qos == QoS::AtMostOnce {
        return Err("--absent: expected --qos 1 or 2, nothing else is queued".into());
    }
    if args.absent && plan.client.persistent == Some(Persistent::Publishers) {
        return Err("--absent: expected --persistent or --persistent=subscribers".into());
    }
    Ok(())
}

fn load(args: &LoadArgs) -> Result<(Load, Option<u64>), Refusal> {
    if args.size > SIZE_MAX {
        return Err(format!("--size: expected at most {SIZE_MAX} bytes, found {}", args.size));
    }
    check_time(args.duration)?;
    let count = match (args.count, args.duration) {
        (Some(count), _) if count > COUNT_MAX => {
            return Err(format!("--count: expected at most {COUNT_MAX}, found {count}"));
        }
        (Some(count), _) => Some(some(count, "--count")?),
        (None, Some(_)) => None,
        (None, None) => Some(COUNT_DEFAULT),
    };
    let load = Load {
        qos: qos(args.qos)?,
        size: args.size,
        rate: rate(args.rate)?,
        window: some(args.window, "--window")?,
        retain: args.retain,
        duration: args.duration,
    };
    Ok((load, count))
}

/// The messages of each of `publishers`, as even as they come.
fn shares(count: Option<u64>, publishers: u32) -> impl Iterator<Item = (u32, Option<u64>)> {
    let publishers_wide = u64::from(publishers);
    (0..publishers).map(move |index| {
        (
            index,
            count
                .map(|count| count / publishers_wide + u64::from(u64::from(index) < count % publishers_wide)),
        )
    })
}

fn some<N: PartialEq + From<u8>>(number: N, option: &str) -> Result<N, Refusal> {
    if number == N::from(0) { Err(format!("{option}: expected at least 1, found 0")) } else { Ok(number) }
}

fn qos(level: u8) -> Result<QoS, Refusal> {
    QoS::try_from(level).map_err(|_| format!("--qos: expected 0, 1 or 2, found {level}"))
}

fn rate(rate: f64) -> Result<f64, Refusal> {
    match rate {
        0.0 => Ok(rate),
        0.001..=1e8 => Ok(rate),
        _ => Err(format!("--rate: expected 0 or 0.001 to 100000000 a second, found {rate}")),
    }
}

fn check_time(duration: Option<Duration>) -> Result<(), Refusal> {
    match duration {
        Some(Duration::ZERO) => Err("--duration: expected more than 0".into()),
        _ => Ok(()),
    }
}

fn check_topic(topic: &str) -> Result<(), Refusal> {
    if topic.is_empty() || topic.contains(['+', '#']) {
        return Err(format!("--topic: expected a topic name without wildcards, found {topic:?}"));
    }
    // Up to ten digits take the place of each `%n`.
    text(&topic.replace("%n", "4294967295"), "--topic").map(drop)
}

fn text(text: &str, option: &str) -> Result<Text, Refusal> {
    Text::new(text).map_err(|error| format!("{option}: {error}"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::bench::args::BenchArgs;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        bench: BenchArgs,
    }

    fn plan(line: &str) -> Result<Plan, Refusal> {
        let words = std::iter::once("bench").chain(line.split_whitespace());
        Plan::new(Line::try_parse_from(words).expect("known options").bench)
    }

    fn messages(plan: &Plan) -> Vec<Option<u64>> {
        plan.specs
            .iter()
            .filter_map(|spec| match &spec.role {
                Role::Publisher(publisher) => Some(publisher.messages),
                Role::Subscriber(_) => None,
            })
            .collect()
    }

    #[test]
    fn messages_are_shared_out_evenly() {
        assert_eq!(messages(&plan("pub --publishers 3 --count 10").unwrap()), [Some(4), Some(3), Some(3)]);
        assert_eq!(messages(&plan("pairs --pairs 2 --duration 1s").unwrap()), [None, None]);
        assert_eq!(messages(&plan("fan-out").unwrap()), [Some(100_000)]);
    }

    #[test]
    fn scenarios_know_what_to_expect() {
        let fan_out = plan("fan-out --subscribers 7 --publishers 2 --window 5").unwrap();
        assert_eq!((fan_out.copies, fan_out.windows.as_slice()), (7, [(10, 7)].as_slice()));
        assert_eq!(fan_out.connections(), 9);
        let shared = plan("shared --members 3").unwrap();
        assert_eq!((shared.copies, shared.connections()), (1, 13));
        let pairs = plan("pairs --flow acknowledged").unwrap();
        assert!(pairs.windows.is_empty());
        assert_eq!(plan("conn --count 10 --close --window 3").unwrap().connections(), 3);
    }

    #[test]
    fn sessions_are_kept_of_those_who_are_meant() {
        let kept = |line: &str| {
            let plan = plan(line).unwrap();
            plan.specs.iter().map(|spec| spec.identity.session_expiry_s).collect::<Vec<_>>()
        };
        assert_eq!(kept("pairs --pairs 1"), [None, None]);
        assert_eq!(kept("pairs --pairs 1 --persistent"), [Some(3600), Some(3600)]);
        assert_eq!(kept("pairs --pairs 1 --persistent=subscribers --session-expiry 2m"), [Some(120), None]);
        assert_eq!(kept("pairs --pairs 1 --persistent=publishers"), [None, Some(3600)]);
        let plan = plan("pairs --pairs 1 --persistent=subscribers --absent --qos 1").unwrap();
        assert!(plan.absent && plan.windows.is_empty());
        assert_eq!(plan.specs[0].identity.client_id, "quelea-bench-s0");
        assert_ne!(plan.specs[1].identity.client_id, "quelea-bench-p0");
    }

    #[test]
    fn nonsense_is_refused_with_the_option_that_is_meant() {
        for (line, option) in [
            ("pub --publishers 0", "--publishers"),
            ("pub --count 0", "--count"),
            ("pub --count 5000000000", "--count"),
            ("pub --qos 3", "--qos"),
            ("pub --rate NaN", "--rate"),
            ("pub --rate=-1", "--rate"),
            ("pub --window 0", "--window"),
            ("pub --size 300000000", "--size"),
            ("pub --topic a/#", "--topic"),
            ("pub --duration 0s", "--duration"),
            ("sub --filter a/#/b", "--filter"),
            ("sub --subscribers 0", "--subscribers"),
            ("sub --qos 9", "--qos"),
            ("conn --count 0", "--count"),
            ("conn --count 4000000000", "ulimit"),
            ("conn --persistent=subscribers", "--persistent"),
            ("pairs --pairs 0", "--pairs"),
            ("pairs --absent --persistent", "--qos"),
            ("pairs --absent --persistent=publishers --qos 1", "--persistent=subscribers"),
            ("pairs --persistent --session-expiry 0s", "--session-expiry"),
            ("pairs --host host:0", "--host"),
            ("pairs --threads 5000 --pairs 3000", "--threads"),
            ("pairs --protocol 3.1.1 --password x", "--password"),
            ("pairs --protocol 3.1 --client-id a-name-that-is-too-long", "--client-id"),
        ] {
            let refusal = plan(line).expect_err(line);
            assert!(refusal.contains(option), "{line}: {refusal}");
        }
    }

    #[test]
    fn options_of_other_scenarios_are_refused() {
        for line in [
            "pub --pairs 3",
            "pub --absent",
            "pairs --absent",
            "sub --rate 3",
            "conn --qos 1",
            "pairs --ca x.pem",
            "pairs --topic t",
        ] {
            let words = std::iter::once("bench").chain(line.split_whitespace());
            assert!(Line::try_parse_from(words).is_err(), "{line}");
        }
    }
}
