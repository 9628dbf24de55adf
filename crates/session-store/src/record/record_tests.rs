//! Tests of records: what is written is read back, bytes that are no record are refused, and what an earlier
//! version wrote is still read.

use std::path::PathBuf;

use bytes::Bytes;
use mqtt_codec::{QoS, SharedPublish, Text};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::*;
use crate::command::{Command, Input, Publish, PublishItem};
use crate::ids::{ClientId, Millis, ShardId};
use crate::message::Message;
use crate::stream::{Request, Source};

/// Inputs have no equality of their own; all that they hold is in their debug form.
fn shown(value: &impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

proptest! {
    #[test]
    fn an_entry_is_read_as_it_was_written(now in any::<u64>(), inputs in vec(arbitrary::input(), 0..6)) {
        let entry = decode_entry(encode_entry(Millis(now), &inputs)).unwrap();
        prop_assert_eq!(entry.now, Millis(now));
        prop_assert_eq!(shown(&entry.inputs), shown(&inputs));
    }

    #[test]
    fn an_entry_is_what_prost_would_write(now in any::<u64>(), inputs in vec(arbitrary::input(), 0..6)) {
        let picked = inputs.iter().any(|input| matches!(input, Input::Picked(_) | Input::GivenBack(_)));
        let fenced = inputs.iter().any(|input| matches!(input, Input::Fenced(..)));
        let version = if fenced { 3 } else { 1 + u32::from(picked) };
        let wire = wire::Entry { version, now_ms: now, inputs: all_to_wire(&inputs) };
        prop_assert_eq!(encode_entry(Millis(now), &inputs).to_vec(), prost::Message::encode_to_vec(&wire));
    }

    #[test]
    fn arbitrary_bytes_are_an_entry_or_an_error(bytes in vec(any::<u8>(), 0..512)) {
        let _ = decode_entry(Bytes::from(bytes));
    }

    #[test]
    fn a_damaged_entry_is_an_entry_or_an_error(
        inputs in vec(arbitrary::input(), 1..4),
        at in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = encode_entry(Millis(1), &inputs).to_vec();
        let at = at.index(bytes.len());
        bytes[at] ^= bits;
        let _ = decode_entry(Bytes::copy_from_slice(&bytes));
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode_entry(Bytes::from(bytes));
    }
}

#[test]
fn an_entry_of_a_newer_version_is_refused_by_name() {
    let entry = wire::Entry { version: ENTRY_VERSION + 1, now_ms: 0, inputs: Vec::new() };
    let refused = decode_entry(prost::Message::encode_to_vec(&entry).into()).unwrap_err();
    assert!(matches!(refused, RecordError::Version { found, .. } if found == ENTRY_VERSION + 1), "{refused}");
}

#[test]
fn an_announced_length_is_not_believed() {
    // Field 3, a message of 4 GiB - 1, and no byte of it.
    let bytes = Bytes::from_static(&[0x1A, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F]);
    assert!(matches!(decode_entry(bytes), Err(RecordError::Malformed { .. })));
}

fn publish_of(payload: usize) -> Input {
    let body = SharedPublish::new(&Text::from_static("a/b"), &Bytes::new(), &vec![7; payload].into());
    let message = Message { body, qos: QoS::AtLeastOnce, retain: false, expires_at: None }.into();
    let item = PublishItem { number: 1, message, sessions: true, store_retained: false, groups: Vec::new() };
    let command = Command::Publish(Publish {
        reply_to: None,
        publisher: ClientId::new("p"),
        epoch: None,
        items: vec![item],
    });
    Input::from(Request { source: Source::Outbox(ShardId(1)), number: 1, done_below: 1, command })
}

#[test]
fn only_a_large_payload_shares_the_bytes_of_its_entry() {
    for (payload, shares) in [(256, false), (100_000, true)] {
        let bytes = encode_entry(Millis(1), &[publish_of(payload)]);
        let entry = decode_entry(bytes.clone()).unwrap();
        assert_eq!(!bytes.is_unique(), shares, "{payload} bytes");
        drop(entry);
    }
}

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// Many inputs of each kind, the same in each run.
fn sample() -> Vec<Input> {
    let mut runner = TestRunner::deterministic();
    let strategy = arbitrary::input();
    (0..64).map(|_| strategy.new_tree(&mut runner).unwrap().current()).collect()
}

/// The debug form of a fixture is committed beside it, so that it means for ever what it meant.
fn means_what_it_meant(name: &str) {
    let bytes = std::fs::read(fixture(&format!("{name}.bin"))).unwrap();
    let entry = decode_entry(bytes.into()).unwrap();
    let meant = std::fs::read_to_string(fixture(&format!("{name}.txt"))).unwrap();
    let lines: Vec<String> = entry.inputs.iter().map(shown).collect();
    assert_eq!(lines, meant.lines().collect::<Vec<_>>());
}

#[test]
fn entries_of_version_1_mean_what_they_meant() {
    means_what_it_meant("entry-v1");
}

#[test]
fn entries_of_version_2_mean_what_they_meant() {
    means_what_it_meant("entry-v2");
}

#[test]
fn entries_of_version_3_mean_what_they_meant() {
    if std::env::var_os("QUELEA_WRITE_FIXTURES").is_some() {
        write_fixtures("entry-v3");
    }
    means_what_it_meant("entry-v3");
}

/// To be used when a version is added, never to change a fixture that was released.
fn write_fixtures(name: &str) {
    let inputs = sample();
    let entry = encode_entry(Millis(1_790_000_000_000), &inputs);
    std::fs::write(fixture(&format!("{name}.bin")), entry).unwrap();
    let lines: String = inputs.iter().map(|input| shown(input) + "\n").collect();
    std::fs::write(fixture(&format!("{name}.txt")), lines).unwrap();
}
