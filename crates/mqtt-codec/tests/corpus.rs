//! Runs the corpus of the fuzz targets on stable Rust: every committed file, and mutations of it
//! from fixed seeds, through the functions that the targets in `fuzz/` run.
//!
//! The files are the packets below and the bad ones of `tests/hostile`. After adding one, write it:
//! `QUELEA_WRITE_CORPUS=1 cargo test -p mqtt-codec --test corpus`.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic is how a test fails"
)]

mod fuzzing;
mod hostile;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use hostile::{V3_1, V3_1_1, V5, carriers, carry, connect, field, packet};
use mqtt_codec::Version;

type Target = (&'static str, fn(&[u8]));

/// The targets: the folder of its corpus, and what it runs.
const TARGETS: [Target; 4] = [
    ("connect", fuzzing::connect),
    ("decode_v311", fuzzing::decode_v311),
    ("decode_v5", fuzzing::decode_v5),
    ("split", fuzzing::split),
];

/// Mutations of each file; a fuzzer does the rest.
const MUTATIONS: u64 = 64;

/// Larger cases of the table show a limit, not a form: they stay out of the corpus.
const FILE_BYTES_MAX: usize = 256;

fn folder(target: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus").join(target)
}

/// Packets as they should be.
fn valid() -> Vec<(&'static str, Version, Vec<u8>)> {
    let will = [field(b"c"), field(b"w/t"), field(b"gone"), field(b"user"), field(b"word")].concat();
    let mut all = vec![
        ("connect", V3_1, connect(b"MQIsdp", 3, 2, &field(b"c"))),
        ("connect", V3_1_1, connect(b"MQTT", 4, 2, &field(b"c"))),
        ("connect_will", V3_1_1, connect(b"MQTT", 4, 0xEE, &will)),
        ("connect_empty_id", V5, connect(b"MQTT", 5, 0, &[0, 0, 0])),
        ("connack", V3_1_1, packet(0x20, &[1, 0])),
        ("connack_refused", V3_1_1, packet(0x20, &[0, 5])),
        ("publish_qos0", V3_1_1, packet(0x31, &[&field(b"a/b")[..], b"payload"].concat())),
        ("publish_qos2", V3_1_1, packet(0x3C, &[&field(b"a/b")[..], b"\0\x07payload"].concat())),
        ("publish_empty", V3_1_1, packet(0x31, &field(b"/"))),
        ("publish_alias", V5, packet(0x30, b"\0\0\x03\x23\0\x01x")),
        ("publish_ids", V5, packet(0x30, b"\0\x01t\x07\x0b\x01\x0b\xff\xff\xff\x7fx")),
        ("subscribe", V3_1_1, packet(0x82, b"\0\x01\0\x03a/#\x01\0\x01+\x02")),
        ("subscribe_options", V5, packet(0x82, b"\0\x01\x02\x0b\x07\0\x03a/#\x2e\0\x0a$share/g/t\x01")),
        ("suback", V3_1_1, packet(0x90, b"\0\x01\0\x01\x02\x80")),
        ("unsubscribe", V3_1_1, packet(0xA2, b"\0\x01\0\x03a/#\0\x01+")),
        ("unsuback", V3_1_1, packet(0xB0, b"\0\x01")),
        ("pings", V3_1_1, [packet(0xC0, &[]), packet(0xD0, &[])].concat()),
        ("disconnect", V3_1_1, packet(0xE0, &[])),
        ("disconnect_code", V5, packet(0xE0, &[0x8E])),
        ("auth_short", V5, packet(0xF0, &[])),
    ];
    for (name, first_byte) in [("puback", 0x40), ("pubrec", 0x50), ("pubrel", 0x62), ("pubcomp", 0x70)] {
        all.push((name, V3_1_1, packet(first_byte, &[0, 7])));
        all.push((name, V5, packet(first_byte, &[0, 7, if first_byte < 0x60 { 0x10 } else { 0x92 }])));
    }
    for carrier in carriers() {
        all.push((carrier.0, V5, carry(&carrier, every_property_of(carrier.0))));
    }
    all
}

fn every_property_of(carrier: &str) -> &'static [u8] {
    match carrier {
        "CONNECT" => {
            b"\x11\0\0\0\x01\x21\0\x01\x27\0\0\x01\0\x22\0\x01\x19\x01\x17\x01\x15\0\x01m\x16\0\x01d\x26\0\x01n\0\x01v"
        }
        "Will" => b"\x18\0\0\0\x01\x01\x01\x02\0\0\0\x01\x03\0\x01c\x08\0\x01r\x09\0\x01d\x26\0\x01n\0\x01v",
        "CONNACK" => {
            b"\x11\0\0\0\x01\x21\0\x01\x24\x01\x25\0\x27\0\0\x01\0\x12\0\x01i\x22\0\x01\x1f\0\x01r\x28\0\x29\0\x2a\0\x13\0\x01\x1a\0\x01i\x1c\0\x01s\x15\0\x01m\x16\0\x01d"
        }
        "PUBLISH" => {
            b"\x01\x01\x26\0\x01n\0\x01v\x02\0\0\0\x01\x23\0\x01\x08\0\x01r\x09\0\x01d\x26\0\x01n\0\x01w\x03\0\x01c"
        }
        "SUBSCRIBE" => b"\x0b\x80\x01\x26\0\x01n\0\x01v",
        "UNSUBSCRIBE" => b"\x26\0\x01n\0\x01v\x26\0\x01n\0\x01v",
        "DISCONNECT" => b"\x11\0\0\0\x01\x1f\0\x01r\x1c\0\x01s\x26\0\x01n\0\x01v",
        "AUTH" => b"\x15\0\x01m\x16\0\x01d\x1f\0\x01r\x26\0\x01n\0\x01v",
        _ => b"\x1f\0\x01r\x26\0\x01n\0\x01v",
    }
}

fn file_name(name: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_lowercase() } else { '_' };
    name.chars().map(plain).collect()
}

/// One of each kind of a row: the other types' flags and the other strings are a mutation away.
fn is_seed(case: &hostile::Case) -> bool {
    let repeated = case.name.starts_with("B7 ") && !case.name.ends_with('1');
    let other_string = case.name.starts_with("B15 ") && !case.name.ends_with("surrogate");
    !repeated && !other_string && case.wire.len() <= FILE_BYTES_MAX
}

/// The files of all targets by folder and name.
fn files() -> BTreeMap<(&'static str, String), Vec<u8>> {
    let bad = hostile::cases().into_iter().filter(is_seed).map(|case| (case.name, case.version, case.wire));
    let good = valid().into_iter().map(|(name, version, wire)| (format!("{name} {version}"), version, wire));
    let mut files = BTreeMap::new();
    for (at, (name, version, wire)) in good.chain(bad).enumerate() {
        let name = file_name(&name);
        if wire[0] == 0x10 && wire.len() > 5 {
            files.insert(("connect", name.clone()), wire[2..].to_vec());
        }
        if at % 3 == 0 {
            let stream = [&[version as u8, at as u8 % 7][..], &wire, &[0xC0, 0], &wire].concat();
            files.insert(("split", name.clone()), stream);
        }
        files.insert((if version == V5 { "decode_v5" } else { "decode_v311" }, name), wire);
    }
    files
}

#[test]
fn corpus_is_the_one_described_here() {
    for ((target, name), bytes) in files() {
        let path = folder(target).join(name);
        if std::env::var_os("QUELEA_WRITE_CORPUS").is_some() {
            fs::create_dir_all(folder(target)).unwrap();
            fs::write(&path, &bytes).unwrap();
        }
        let found = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        assert_eq!(found, bytes, "{}", path.display());
    }
}

#[test]
fn corpus_and_its_mutations_break_no_promise() {
    for (target, run) in TARGETS {
        let mut paths: Vec<_> =
            fs::read_dir(folder(target)).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        assert!(paths.len() >= 24, "{target} has {} files", paths.len());
        let inputs: Vec<Vec<u8>> = paths.iter().map(|path| fs::read(path).unwrap()).collect();
        let mut random = Random(0x5DEE_CE66);
        for input in &inputs {
            run(input);
            for _ in 0..MUTATIONS {
                let other = &inputs[random.below(inputs.len())];
                run(&mutate(input, other, &mut random));
            }
        }
    }
}

/// A change, a cut, a repeat or a splice, one to four of them.
fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    const TELLING: [u8; 8] = [0x00, 0x01, 0x7F, 0x80, 0xFF, 0x26, 0xC0, 0x02];
    let mut bytes = input.to_vec();
    for _ in 0..=random.below(4) {
        let at = random.below(bytes.len() + 1);
        match random.below(6) {
            0 => bytes.insert(at, TELLING[random.below(TELLING.len())]),
            1 => bytes.truncate(at),
            2 => bytes.extend_from_slice(&other[random.below(other.len() + 1)..]),
            3 => {
                let copy = bytes[at..].to_vec();
                bytes.splice(at..at, copy);
            }
            kind if at < bytes.len() => {
                bytes[at] =
                    if kind == 4 { random.below(256) as u8 } else { TELLING[random.below(TELLING.len())] };
            }
            _ => {}
        }
    }
    bytes
}

/// xorshift64*: small, and the same everywhere.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) as usize % bound.max(1)
    }
}
