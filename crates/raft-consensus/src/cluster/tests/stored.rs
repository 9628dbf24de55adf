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
            if checkpoint || restart {
                write(&mut records, &other.take_changes());
            }
            if restart && other.apply_level() <= APPLY_LEVEL_MAX {
                other = restore(&records).unwrap();
            }
            prop_assert_eq!(one.digest(), other.digest());
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
    let (form, level) = (2, APPLY_LEVEL_MAX + 1);
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

/// One command of each kind, and the members that come of them.
fn sample() -> Vec<Command> {
    vec![
        Command::Tick,
        Command::Found(FOUNDING),
        begin_with(run(1, 3), 0x0123_4567_89AB_CDEF, 1),
        begin_with(run(2, 1), u64::MAX, 2),
        Command::Down(run(2, 1)),
        Command::RaiseLevel(1),
    ]
}

const SAMPLE_NOW: Millis = Millis(1_790_000_000_000);

/// The debug form of a fixture is committed beside it, so that it means for ever what it meant.
#[test]
fn what_version_1_wrote_means_what_it_meant() {
    if std::env::var_os("QUELEA_WRITE_FIXTURES").is_some() {
        write_fixtures();
    }
    let entry = std::fs::read(fixture("cluster-entry-v1.bin")).unwrap();
    let (now, commands) = decode_entry(entry.into()).unwrap();
    assert_eq!(now, SAMPLE_NOW);
    let meant = std::fs::read_to_string(fixture("cluster-entry-v1.txt")).unwrap();
    let lines: Vec<String> = commands.iter().map(|command| format!("{command:?}")).collect();
    assert_eq!(lines, meant.lines().collect::<Vec<_>>());
    let checkpoint = std::fs::read(fixture("cluster-checkpoint-v1.bin")).unwrap();
    let state = restore(&unframe(&checkpoint)).unwrap();
    let meant = std::fs::read_to_string(fixture("cluster-checkpoint-v1.txt")).unwrap();
    assert_eq!(shown(&state), meant);
}

fn shown(state: &Cluster) -> String {
    let head = (state.founding(), state.now(), state.apply_level());
    let members: String = state.members().map(|member| format!("{member:?}\n")).collect();
    format!("{head:?}\n{members}")
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
fn write_fixtures() {
    let commands = sample();
    std::fs::create_dir_all(fixture("")).unwrap();
    std::fs::write(fixture("cluster-entry-v1.bin"), encode_entry(SAMPLE_NOW, &commands)).unwrap();
    let lines: String = commands.iter().map(|command| format!("{command:?}\n")).collect();
    std::fs::write(fixture("cluster-entry-v1.txt"), lines).unwrap();
    let mut state = Cluster::default();
    for command in &commands {
        state.apply(SAMPLE_NOW, command).unwrap();
    }
    let mut records = Records::new();
    write(&mut records, &state.take_changes());
    std::fs::write(fixture("cluster-checkpoint-v1.bin"), frame(&records)).unwrap();
    std::fs::write(fixture("cluster-checkpoint-v1.txt"), shown(&state)).unwrap();
}
