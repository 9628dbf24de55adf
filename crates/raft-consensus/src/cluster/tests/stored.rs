//! Tests of entries and checkpoints: read as they were written, refused by name where they are newer, and what an
//! earlier version wrote still means what it meant.

use std::collections::BTreeMap;
use std::path::PathBuf;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use prost::Message;
use session_store::Millis;
use session_store::record::RecordError;
use session_store::store::Changes;

use super::super::record::{VERSION, decode_entry, encode_entry, wire};
use super::owners::{add, fence_of, filter, route};
use super::*;

/// The records of a checkpoint, as the store would have them.
pub(super) type Records = BTreeMap<Vec<u8>, Bytes>;

pub(super) fn write(records: &mut Records, changes: &Changes) {
    for (key, value) in changes.iter() {
        match value {
            Some(value) => records.insert(key.to_vec(), value.clone()),
            None => records.remove(key),
        };
    }
}

pub(super) fn restore(records: &Records) -> Result<Cluster, RecordError> {
    Cluster::restore(records.iter().map(|(key, value)| Ok((Bytes::copy_from_slice(key), value.clone()))))
}

proptest! {
    #[test]
    fn replicas_are_equal_whatever_they_went_through(
        entries in vec((0..9_u64, vec(command(), 0..4), any::<bool>(), any::<bool>()), 0..30),
    ) {
        let (mut one, mut other) = (Cluster::default(), Cluster::default());
        let mut records = Records::new();
        for (now, commands, checkpoint, restart) in entries {
            for command in &commands {
                let _answer = one.apply(Millis(now), command);
            }
            // The other one reads the log, and now and then its own checkpoint.
            let (now, commands) = decode_entry(encode_entry(Millis(now), &commands)).unwrap();
            for command in &commands {
                let _answer = other.apply(now, command);
            }
            // Replicas clean up when they come to it.
            other.clean_up(usize::from(checkpoint), &mut |_| ());
            if checkpoint || restart {
                write(&mut records, &other.take_changes());
            }
            if restart && other.apply_level() <= APPLY_LEVEL_MAX {
                other = restore(&records).unwrap();
            }
            prop_assert_eq!(one.digest(), other.digest());
            prop_assert_eq!(other.validate(), Ok(()));
        }
    }

    #[test]
    fn an_entry_is_read_as_it_was_written(now in any::<u64>(), commands in vec(command(), 0..8)) {
        let read = decode_entry(encode_entry(Millis(now), &commands)).unwrap();
        prop_assert_eq!(read, (Millis(now), commands));
    }

    #[test]
    fn arbitrary_bytes_are_an_entry_or_an_error(bytes in vec(any::<u8>(), 0..128)) {
        let _ = decode_entry(Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_record_is_a_state_that_holds_or_an_error(
        commands in vec(command(), 0..20),
        at in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let mut cluster = cluster(&[]);
        for command in &commands {
            let _answer = cluster.apply(Millis(3), command);
        }
        let mut records = Records::new();
        write(&mut records, &cluster.take_changes());
        for value in records.values_mut() {
            let mut bytes = value.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= bits;
            *value = bytes.into();
        }
        if let Ok(read) = restore(&records) {
            prop_assert_eq!(read.validate(), Ok(()));
        }
    }
}

#[test]
fn what_is_newer_is_refused_by_name() {
    let entry = wire::Entry { version: VERSION + 1, now_ms: 0, commands: Vec::new() };
    let error = decode_entry(entry.encode_to_vec().into()).unwrap_err();
    assert!(matches!(error, RecordError::Version { found: 2, .. }), "{error}");
    let unknown = wire::Entry { version: VERSION, now_ms: 0, commands: vec![wire::Command { kind: None }] };
    let error = decode_entry(unknown.encode_to_vec().into()).unwrap_err();
    assert!(matches!(error, RecordError::Missing { .. }), "a command of which nothing is known: {error}");
    let mut records = Records::new();
    write(&mut records, &cluster(&[begin(1, 1)]).take_changes());
    let head = wire::Head::decode(records[b"H".as_slice()].clone()).unwrap();
    let member = wire::Member::decode(records[b"M\0\0\0\x01".as_slice()].clone()).unwrap();
    let newer = |key: &[u8], bytes: Vec<u8>| {
        let mut records = records.clone();
        records.insert(key.to_vec(), bytes.into());
        restore(&records).unwrap_err()
    };
    let (form, level) = (3, APPLY_LEVEL_MAX + 1);
    for (error, newer) in [
        (newer(b"H", wire::Head { version: form, ..head.clone() }.encode_to_vec()), form),
        (newer(b"M\0\0\0\x01", wire::Member { version: form, ..member.clone() }.encode_to_vec()), form),
        (newer(b"H", wire::Head { apply_level: level, ..head }.encode_to_vec()), level),
    ] {
        assert!(matches!(error, RecordError::Version { found, .. } if found == newer), "{error}");
    }
    for key in [b"".as_slice(), b"?", b"HH", b"M123"] {
        assert!(matches!(newer(key, Vec::new()), RecordError::Invalid { .. }), "{key:?}");
    }
    let ruined = wire::Member { lowest_live: member.begun + 2, ..member }.encode_to_vec();
    assert!(matches!(newer(b"M\0\0\0\x01", ruined), RecordError::Invalid { .. }));
    records.remove(b"H".as_slice());
    assert!(matches!(restore(&records), Err(RecordError::Missing { .. })));
}

#[test]
fn routes_and_fences_that_are_of_nobody_or_newer_are_refused_by_name() {
    let host = Owner::Host(run(1, 1));
    let fence = Command::Fence(fence_of("c", 1, run(1, 1)));
    let mut state = cluster(&[begin(1, 1), add(host, 1, "a"), add(Owner::Shard(ShardId(2)), 1, "b"), fence]);
    let mut records = Records::new();
    write(&mut records, &state.take_changes());
    let (head, routes, fences) =
        (b"Oh\0\0\0\x01\0\0\0\x01", b"Rh\0\0\0\x01\0\0\0\x01\0\0\0\0", b"Fh\0\0\0\x01\0\0\0\x01\0\0\0\0");
    assert_eq!(restore(&records).unwrap().digest(), state.digest());
    let with = |key: &[u8], bytes: Vec<u8>| {
        let mut records = records.clone();
        records.insert(key.to_vec(), bytes.into()).expect("a record that is there");
        restore(&records).unwrap_err()
    };
    let read = wire::OwnerHead::decode(records[head.as_slice()].clone()).unwrap();
    for error in [
        with(head, wire::OwnerHead { version: 2, ..read }.encode_to_vec()),
        with(routes, wire::RouteChunk { version: 2, routes: vec![] }.encode_to_vec()),
        with(fences, wire::FenceChunk { version: 2, fences: vec![] }.encode_to_vec()),
    ] {
        assert!(matches!(error, RecordError::Version { found: 2, .. }), "{error}");
    }
    let dead = wire::OwnerHead { dead: true, ..read }.encode_to_vec();
    let one = |qos, text: &str| wire::RouteChunk {
        version: 1,
        routes: vec![wire::Route { filter: text.into(), qos }],
    };
    let twice = wire::RouteChunk { version: 1, routes: [one(0, "a").routes, one(1, "a").routes].concat() };
    for error in [
        with(head, dead.clone()),
        with(b"Os\0\x02", dead),
        with(routes, one(3, "a").encode_to_vec()),
        with(routes, one(1, "a#").encode_to_vec()),
        with(routes, twice.encode_to_vec()),
    ] {
        assert!(matches!(error, RecordError::Invalid { .. }), "{error}");
    }
    for key in
        [b"R".as_slice(), b"Rx\0\0", b"Rs\0\x02", b"Os\0\x02\0", b"Os\0\x06", b"Oh\0\0\0\x01\0\0\0\x02"]
    {
        let mut records = records.clone();
        records.insert(key.to_vec(), records[head.as_slice()].clone());
        assert!(matches!(restore(&records), Err(RecordError::Invalid { .. })), "{key:?}");
    }
    records.remove(head.as_slice());
    assert!(matches!(restore(&records), Err(RecordError::Missing { .. })), "chunks of nobody");
}

#[test]
fn a_checkpoint_holds_what_changed_and_no_more() {
    let mut cluster = cluster(&[begin(1, 1), begin(2, 1)]);
    assert_eq!(cluster.take_changes().len(), 3);
    assert_eq!(cluster.take_changes().len(), 1, "the head, with the log's time");
    cluster.apply(Millis(9), &Command::Down(run(2, 1))).unwrap();
    let changes = cluster.take_changes();
    let keys: Vec<&[u8]> = changes.iter().map(|(key, _)| key).collect();
    assert_eq!(keys, [b"H".as_slice(), b"M\0\0\0\x02"]);
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A fixture: its name, and one command of each kind there was when it was written.
type Sample = (&'static str, Vec<Command>);

fn samples() -> [Sample; 5] {
    let members = vec![
        Command::Tick,
        Command::Found(FOUNDING),
        begin_with(run(1, 3), 0x0123_4567_89AB_CDEF, 1),
        begin_with(run(2, 1), u64::MAX, 2),
        Command::Down(run(2, 1)),
        Command::RaiseLevel(1),
    ];
    let host = Owner::Host(run(1, 3));
    let adds = vec![route("a/+/#", 2), route("$share/g/a/b", 1), route("$queue/q", 0), route("a//", 0)];
    let removes = vec![filter("a//")];
    let routes = [
        Command::Found(FOUNDING),
        begin(1, 3),
        begin(2, 1),
        Command::Routes(Routes { owner: host, number: 7, predecessor: 0, removes: Vec::new(), adds }),
        Command::Routes(Routes { owner: host, number: 9, predecessor: 7, removes, adds: Vec::new() }),
        add(Owner::Shard(ShardId(5)), 1, "s/#"),
        add(Owner::Host(run(2, 1)), 1, "gone"),
        Command::Fence(fence_of("c", 4, run(1, 3))),
        Command::Fence(fence_of("d", u64::MAX, run(1, 3))),
        Command::Unfence(fence_of("c", 4, run(1, 3))),
        Command::Down(run(2, 1)),
    ];
    let first = Begin {
        host: run(1, 1),
        token: 1,
        name: "a".into(),
        address: "a.example:7883".into(),
        knows_level: 1,
    };
    let duties = vec![
        Command::Found(FOUNDING),
        begin(1, 1),
        begin(2, 1),
        begin(3, 4),
        begin(4, 1),
        Command::Drain(NodeId(2)),
        Command::Leave(NodeId(3)),
        Command::Left(NodeId(3)),
        Command::Leave(NodeId(4)),
        Command::Undrain(NodeId(1)),
    ];
    let numbers =
        vec![Command::Found(FOUNDING), Command::Begin(first), Command::Admit(u64::MAX), Command::Admit(7)];
    let [members, routes, numbers, duties] =
        [("v1", members), ("routes-v1", routes.into()), ("numbers-v1", numbers), ("duties-v2", duties)];
    [members, routes, numbers, duties, ("bans-v1", super::bans::sample())]
}

const SAMPLE_NOW: Millis = Millis(1_790_000_000_000);

/// The debug form of a fixture is committed beside it, so that it means for ever what it meant.
#[test]
fn what_version_1_wrote_means_what_it_meant() {
    for (name, commands) in samples() {
        if std::env::var("QUELEA_WRITE_FIXTURES").is_ok_and(|wanted| wanted == name) {
            write_fixtures(name, &commands);
        }
        let entry = std::fs::read(fixture(&format!("cluster-entry-{name}.bin"))).unwrap();
        let (now, commands) = decode_entry(entry.into()).unwrap();
        assert_eq!(now, SAMPLE_NOW);
        let meant = std::fs::read_to_string(fixture(&format!("cluster-entry-{name}.txt"))).unwrap();
        let lines: Vec<String> = commands.iter().map(|command| format!("{command:?}")).collect();
        assert_eq!(lines, meant.lines().collect::<Vec<_>>());
        let checkpoint = std::fs::read(fixture(&format!("cluster-checkpoint-{name}.bin"))).unwrap();
        let state = restore(&unframe(&checkpoint)).unwrap();
        let meant = std::fs::read_to_string(fixture(&format!("cluster-checkpoint-{name}.txt"))).unwrap();
        assert_eq!(shown(&state), meant);
    }
}

fn shown(state: &Cluster) -> String {
    let head = (state.founding(), state.now(), state.apply_level());
    // What was always so before there was another duty is not said.
    let member = |member| format!("{member:?}\n").replace(", duty: Serves", "");
    let members: String = state.members().map(member).collect();
    let owner = |owner| {
        let routes: String = state.routes(owner).map(|route| format!("{route:?}\n")).collect();
        format!("{owner} {}\n{routes}", state.last_routes(owner))
    };
    let owners: String = state.owners().map(owner).collect();
    let hosts = state.members().map(|(node, member)| Host { node, incarnation: member.begun });
    let fences: String =
        hosts.flat_map(|host| state.fences(host)).map(|fence| format!("{fence:?}\n")).collect();
    let bans: String = state.bans().map(|ban| format!("{ban:?}\n")).collect();
    format!("{head:?}\n{members}{owners}{fences}{bans}")
}

/// Records one behind the other, each part with its length in front.
fn frame(records: &Records) -> Vec<u8> {
    let parts = records.iter().flat_map(|(key, value)| [key.as_slice(), value]);
    parts.flat_map(|part| [&[u8::try_from(part.len()).unwrap()], part].concat()).collect()
}

fn unframe(mut bytes: &[u8]) -> Records {
    let mut next = || {
        let (length, rest) = bytes.split_first()?;
        let (part, rest) = rest.split_at(usize::from(*length));
        bytes = rest;
        Some(part.to_vec())
    };
    std::iter::from_fn(|| Some((next()?, next()?.into()))).collect()
}

/// To be used when a version is added, never to change a fixture that was released.
fn write_fixtures(name: &str, commands: &[Command]) {
    std::fs::create_dir_all(fixture("")).unwrap();
    let file = |kind: &str, end: &str| fixture(&format!("cluster-{kind}-{name}.{end}"));
    std::fs::write(file("entry", "bin"), encode_entry(SAMPLE_NOW, commands)).unwrap();
    let lines: String = commands.iter().map(|command| format!("{command:?}\n")).collect();
    std::fs::write(file("entry", "txt"), lines).unwrap();
    let mut state = Cluster::default();
    for command in commands {
        state.apply(SAMPLE_NOW, command).unwrap();
    }
    let mut records = Records::new();
    write(&mut records, &state.take_changes());
    std::fs::write(file("checkpoint", "bin"), frame(&records)).unwrap();
    std::fs::write(file("checkpoint", "txt"), shown(&state)).unwrap();
}
