//! Damage to the files of a node that does not run (F22, F23, F24): after SIGTERM and after kill -9, one thing is changed
//! and the node started. It has everything that was acknowledged, or it says what is damaged and does not start. It
//! never starts with less.

use std::fs;
use std::path::Path;

use e2e_tests::Broker;
use e2e_tests::random::Random;

use crate::damage::{extend, flip, places, truncate, zero_page};
use crate::filled::{Dir, Stop, assert_holds, copy, stopped};
use crate::log_file::{EMPTY, ENTRY, HEAD, LogFile, VOTE, log_files};

/// What a damaged node may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// It starts, with everything.
    Whole,
    /// It does not start.
    Refused,
    /// One or the other: which bytes of sled's file matter is sled's secret.
    Either,
}

/// Seed of the places that are damaged; `QUELEA_SEED` chooses others.
fn random(what: &str) -> Random {
    let seed = std::env::var("QUELEA_SEED").map_or(7, |seed| seed.parse().expect("QUELEA_SEED is a number"));
    println!("{what}: QUELEA_SEED={seed}");
    Random::new(seed)
}

/// Copies the directory of a stopped node, damages the copy, and starts a node on it.
#[track_caller]
fn case(stop: Stop, what: &str, outcome: Outcome, damage: impl FnOnce(&Path)) {
    let (base, held) = stopped(stop);
    let dir = Dir::copy_of(&base.0);
    damage(&dir.data());
    let what = format!("{what}, after {stop:?}");
    match dir.start() {
        Ok(broker) => {
            assert_ne!(outcome, Outcome::Refused, "{what}: it started\n{}", broker.log());
            assert_holds(&broker.mqtt(), held);
        }
        Err(first) => {
            assert_ne!(outcome, Outcome::Whole, "{what}: it did not start\n{}", first.log);
            // Neither does it the second time, whatever the first did.
            let second = dir.start().err().unwrap_or_else(|| panic!("{what}: it started the second time"));
            let mut said = Vec::new();
            for failed in [first, second] {
                assert_eq!(failed.code, Some(1), "{what}: exit code\n{}", failed.log);
                let error = error_line(&failed.log);
                // sled may panic over damaged bytes; that is caught, and what it says stays in the log.
                let panics = failed.log.lines().filter(|line| line.contains("panicked at"));
                assert_eq!(
                    panics.filter(|line| !line.contains("/sled-")).count(),
                    0,
                    "{what}: {}",
                    failed.log
                );
                let names = ["wal/", "floor", "sessions", "node.json", "checkpoint"];
                assert!(names.iter().any(|name| error.contains(name)), "{what}: no file in `{error}`");
                let todo = ["backup", "newer binary", "release that wrote it"];
                assert!(todo.iter().any(|words| error.contains(words)), "{what}: no advice in `{error}`");
                said.push(error);
            }
            assert_eq!(said[0], said[1], "{what}: the second time it says something else");
            println!("{what}: {}", said[0]);
        }
    }
}

/// The one line that says why it did not start.
fn error_line(log: &str) -> String {
    let errors: Vec<&str> = log.lines().filter(|line| line.starts_with("quelea: ")).collect();
    assert_eq!(errors.len(), 1, "one line says why: {log}");
    errors[0].to_owned()
}

/// The newest file of the log that holds something.
fn newest(data: &Path) -> LogFile {
    log_files(data).pop().expect("there is a log")
}

#[test]
fn f22_undamaged_copies_start_whole() {
    for stop in Stop::BOTH {
        let (base, _) = stopped(stop);
        let files = log_files(&base.data());
        let count: usize = files.iter().map(|file| file.records.len()).sum();
        println!("{stop:?}: {} files of the log with {count} records", files.len());
        assert_eq!(
            files.last().unwrap().records.last().unwrap().kind,
            EMPTY,
            "at rest the last record is empty"
        );
        case(stop, "nothing", Outcome::Whole, |_| {});
    }
}

#[test]
fn f22_a_flipped_bit_in_a_record_is_refused() {
    for stop in Stop::BOTH {
        let mut random = random("flipped bit");
        let files = log_files(&stopped(stop).0.data());
        let entries = files.iter().flat_map(|file| file.of_kind(ENTRY).into_iter().map(move |r| (file, r)));
        let entries: Vec<_> = entries.collect();
        let mut chosen = vec![0, entries.len() - 1];
        chosen.extend((0..4).map(|_| random.below(entries.len() as u64) as usize));
        for index in chosen {
            let (file, record) = entries[index];
            let at = record.at + random.below(record.len as u64 + 24) as usize;
            let name = file.path.file_name().unwrap();
            case(stop, &format!("bit at {at} of {name:?}, entry {index}"), Outcome::Refused, |data| {
                flip(&data.join("wal").join(name), at);
            });
        }
    }
}

#[test]
fn f22_a_flipped_bit_in_a_vote_or_the_last_record_is_refused() {
    for stop in Stop::BOTH {
        let files = log_files(&stopped(stop).0.data());
        let last = files.last().unwrap();
        let name = |file: &LogFile| file.path.file_name().unwrap().to_owned();
        if let Some((file, vote)) = files.iter().find_map(|f| Some((f, *f.of_kind(VOTE).first()?))) {
            case(stop, "a vote", Outcome::Refused, |data| {
                flip(&data.join("wal").join(name(file)), vote.at + 26)
            });
        }
        let at = last.records.last().unwrap().at;
        case(stop, "the last record", Outcome::Refused, |data| {
            flip(&data.join("wal").join(name(last)), at + 21)
        });
    }
}

#[test]
fn f22_a_damaged_header_of_a_log_file_is_refused() {
    for stop in Stop::BOTH {
        let files = log_files(&stopped(stop).0.data());
        for file in [files.first().unwrap(), files.last().unwrap()] {
            let name = file.path.file_name().unwrap();
            // Magic, checksum, version, length, number, the end of the one before.
            for at in [0, 8, 12, 16, 24, 32, file.records[0].at - 1] {
                case(stop, &format!("header of {name:?} at {at}"), Outcome::Refused, |data| {
                    flip(&data.join("wal").join(name), at);
                });
            }
        }
    }
}

#[test]
fn f22_one_damaged_slot_of_the_floor_is_enough_and_two_are_refused() {
    for stop in Stop::BOTH {
        for slot in [0, 64 << 10] {
            case(stop, "one slot of the floor", Outcome::Whole, |data| flip(&data.join("floor"), slot + 25));
        }
        case(stop, "both slots of the floor", Outcome::Refused, |data| {
            for slot in [0, 64 << 10] {
                flip(&data.join("floor"), slot + 25);
            }
        });
    }
}

#[test]
fn f24_a_floor_that_is_gone_is_refused() {
    for stop in Stop::BOTH {
        case(stop, "no floor", Outcome::Refused, |data| fs::remove_file(data.join("floor")).unwrap());
        case(stop, "empty floor", Outcome::Refused, |data| truncate(&data.join("floor"), 0));
        case(stop, "zeroed floor", Outcome::Refused, |data| {
            fs::write(data.join("floor"), vec![0; 128 << 10]).unwrap();
        });
        case(stop, "cut floor", Outcome::Refused, |data| truncate(&data.join("floor"), 20));
        case(stop, "longer floor", Outcome::Whole, |data| extend(&data.join("floor"), 9_000));
    }
}

#[test]
fn f23_a_torn_end_is_cut_and_nothing_acknowledged_with_it() {
    for stop in Stop::BOTH {
        case(stop, "torn write behind the end", Outcome::Whole, |data| newest(data).tear());
    }
}

#[test]
fn f23_a_truncated_log_is_refused() {
    for stop in Stop::BOTH {
        let mut random = random("truncated");
        for file in log_files(&stopped(stop).0.data()) {
            let name = file.path.file_name().unwrap();
            let last = file.records.last().unwrap();
            let mut lengths = places(&mut random, 1, last.at + HEAD + last.len, 2);
            lengths.extend([0, last.at]);
            for len in lengths {
                case(stop, &format!("{name:?} cut at {len}"), Outcome::Refused, |data| {
                    truncate(&data.join("wal").join(name), len);
                });
            }
        }
    }
}

#[test]
fn f23_what_lies_behind_the_end_of_the_log_does_not_matter() {
    for stop in Stop::BOTH {
        case(stop, "cut behind the end", Outcome::Whole, |data| {
            let file = newest(data);
            truncate(&file.path, file.end);
        });
        case(stop, "zeros behind the file", Outcome::Whole, |data| extend(&newest(data).path, 5_000));
        case(stop, "a page of zeros behind the end", Outcome::Whole, |data| {
            let file = newest(data);
            zero_page(&file.path, file.end + 4096);
        });
    }
}

#[test]
fn f23_a_zeroed_page_of_the_log_is_refused() {
    for stop in Stop::BOTH {
        let mut random = random("zeroed page");
        for file in log_files(&stopped(stop).0.data()) {
            let name = file.path.file_name().unwrap();
            for at in places(&mut random, 0, file.end, 2) {
                case(stop, &format!("page of {name:?} at {at}"), Outcome::Refused, |data| {
                    zero_page(&data.join("wal").join(name), at);
                });
            }
        }
    }
}

#[test]
fn f24_a_lost_file_of_the_log_is_refused() {
    for stop in Stop::BOTH {
        let files = log_files(&stopped(stop).0.data());
        for file in &files {
            let name = file.path.file_name().unwrap();
            // What lies in an older one may all be in checkpoints.
            let newest = file.number == files.last().unwrap().number;
            let outcome = if newest { Outcome::Refused } else { Outcome::Either };
            case(stop, &format!("without {name:?}"), outcome, |data| {
                fs::remove_file(data.join("wal").join(name)).unwrap();
            });
        }
        case(stop, "without wal/", Outcome::Refused, |data| fs::remove_dir_all(data.join("wal")).unwrap());
        case(stop, "without wal/ and floor", Outcome::Refused, |data| {
            fs::remove_dir_all(data.join("wal")).unwrap();
            fs::remove_file(data.join("floor")).unwrap();
        });
    }
}

/// Whether the node has made checkpoints: then they are part of what must be there.
fn has_checkpoints(stop: Stop) -> bool {
    // The floor's newest slot counts those it knows.
    let bytes = fs::read(stopped(stop).0.data().join("floor")).unwrap();
    let slots = [0, 64 << 10].map(|at: usize| {
        let number = |at: usize| u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap());
        (number(at + 24), bytes[at + 20])
    });
    slots.iter().max().unwrap().1 > 0
}

#[test]
fn f24_lost_checkpoints_are_refused() {
    for stop in Stop::BOTH {
        // Before the first checkpoint everything is in the log.
        let outcome = if has_checkpoints(stop) { Outcome::Refused } else { Outcome::Whole };
        case(stop, "without sessions/", outcome, |data| fs::remove_dir_all(data.join("sessions")).unwrap());
        case(stop, "without sessions/db", outcome, |data| {
            fs::remove_file(data.join("sessions/db")).unwrap();
        });
        let outcome = if has_checkpoints(stop) { Outcome::Refused } else { Outcome::Either };
        case(stop, "empty sessions/db", outcome, |data| truncate(&data.join("sessions/db"), 0));
    }
}

#[test]
fn f22_damaged_checkpoints_are_noticed_where_they_matter() {
    for stop in Stop::BOTH {
        let mut random = random("checkpoints");
        let len = fs::metadata(stopped(stop).0.data().join("sessions/db")).unwrap().len() as usize;
        println!("{stop:?}: sled's file has {len} bytes");
        if len == 0 {
            continue;
        }
        let mut flips = places(&mut random, 0, len, 6);
        flips.extend([20, 100, 1000].into_iter().filter(|at| *at < len));
        for at in flips {
            case(stop, &format!("bit at {at} of sessions/db"), Outcome::Either, |data| {
                flip(&data.join("sessions/db"), at);
            });
        }
        for keep in [len / 2, len - len / 10] {
            case(stop, &format!("sessions/db cut at {keep}"), Outcome::Either, |data| {
                truncate(&data.join("sessions/db"), keep);
            });
        }
        for at in places(&mut random, 0, len, 2) {
            case(stop, &format!("page of sessions/db at {at}"), Outcome::Either, |data| {
                zero_page(&data.join("sessions/db"), at);
            });
        }
    }
}

#[test]
fn f24_a_node_that_lost_its_identity_is_refused() {
    for stop in Stop::BOTH {
        let file = |data: &Path| data.join("node.json");
        case(stop, "no node.json", Outcome::Refused, |data| fs::remove_file(file(data)).unwrap());
        case(stop, "empty node.json", Outcome::Refused, |data| truncate(&file(data), 0));
        case(stop, "cut node.json", Outcome::Refused, |data| truncate(&file(data), 20));
        case(stop, "node.json of a newer format", Outcome::Refused, |data| {
            let text = fs::read_to_string(file(data)).unwrap();
            let newer = text.replace("\"format\": 1", "\"format\": 99");
            assert_ne!(text, newer);
            fs::write(file(data), newer).unwrap();
        });
        case(stop, "node.json of another cluster", Outcome::Refused, |data| {
            change_identity(&file(data), "cluster", "\"0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f0f\"");
        });
        case(stop, "node.json with another number of shards", Outcome::Refused, |data| {
            change_identity(&file(data), "shards", "5");
        });
    }
}

/// Gives a field of `node.json` another value.
fn change_identity(file: &Path, field: &str, value: &str) {
    let text = fs::read_to_string(file).unwrap();
    let line = text.lines().find(|line| line.trim_start().starts_with(&format!("\"{field}\":"))).unwrap();
    let comma = if line.ends_with(',') { "," } else { "" };
    let changed = text.replace(line, &format!("  \"{field}\": {value}{comma}"));
    assert_ne!(text, changed);
    fs::write(file, changed).unwrap();
}

#[test]
fn f24_a_new_directory_is_a_new_node() {
    let (base, _) = stopped(Stop::Asked);
    let dir = Dir::copy_of(&base.0);
    fs::remove_dir_all(dir.data()).unwrap();
    let broker = dir.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    let (mut client, connack) = e2e_tests::RawClient::connect_ack(
        &broker.mqtt(),
        &crate::filled::persistent(e2e_tests::Version::V5, "held1"),
    );
    assert!(!connack.session_present);
    client.expect_nothing();
}

/// An older copy of the whole directory is what a restored backup is: it is whole as of then. A part of it beside newer
/// parts is refused.
#[test]
fn f24_an_older_copy_is_whole_as_of_then_and_a_mixture_is_refused() {
    let (base, held) = stopped(Stop::Asked);
    let now = Dir::copy_of(&base.0);
    let mut broker = now.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    add_more(&broker);
    assert!(broker.stop().is_some_and(|status| status.success()));
    drop(broker);
    let older = Dir::copy_of(&base.0);
    let broker = older.start().unwrap_or_else(|failed| panic!("{}", failed.log));
    assert_holds(&broker.mqtt(), held);
    drop(broker);
    for old in
        [&["wal"][..], &["sessions"], &["wal", "sessions"], &["node.json"], &["wal", "floor"], &["floor"]]
    {
        let mixed = Dir::copy_of(&now.0);
        for name in old {
            replace(&mixed.data().join(name), &base.data().join(name));
        }
        match mixed.start() {
            Ok(broker) => {
                assert!(*old == ["floor"] || !has_checkpoints(Stop::Asked), "{old:?}: {}", broker.log());
                assert_added(&broker);
            }
            Err(failed) => {
                assert_eq!(failed.code, Some(1), "{old:?}: {}", failed.log);
                println!("older {old:?}: {}", error_line(&failed.log));
            }
        }
    }
}

fn replace(at: &Path, with: &Path) {
    if with.is_dir() {
        fs::remove_dir_all(at).unwrap();
        copy(with, at);
    } else {
        fs::copy(with, at).unwrap();
    }
}

const ADDED: usize = 200;

/// A session that the older copy does not know, with its messages.
fn add_more(broker: &Broker) {
    let connect = crate::filled::persistent(e2e_tests::Version::V5, "added");
    let mut client = e2e_tests::RawClient::connect(&broker.mqtt(), &connect);
    client.subscribe("added", 1);
    client.disconnect();
    let mut client = e2e_tests::RawClient::v5(&broker.mqtt(), "adds");
    for number in 0..ADDED {
        client.publish("added", number.to_string(), 1);
    }
    client.disconnect();
}

fn assert_added(broker: &Broker) {
    let connect = crate::filled::persistent(e2e_tests::Version::V5, "added");
    let (mut client, connack) = e2e_tests::RawClient::connect_ack(&broker.mqtt(), &connect);
    assert!(connack.session_present, "{}", broker.log());
    for number in 0..ADDED {
        assert_eq!(client.receive().text(), number.to_string());
    }
    // And the node still takes what comes.
    let mut client = e2e_tests::RawClient::v5(&broker.mqtt(), "adds");
    client.publish("added", "one more", 1);
}
