//! Every key at its smallest and at its largest value, and beyond: it is refused with its name, or everything that follows from it can
//! be computed (CVE-2026-42209: a division by a setting that is 0). In no binary.

use super::page::leaves;
use super::*;
use crate::failure::failure_pair;
use crate::limits::{Arrivals, Flapping, Overload, Places, Throttle};
use crate::listener::Peer;
use mqtt_codec::Version;
use std::fs;
use std::net::SocketAddr;
use toml::{Table, Value};

/// What else a key could be set to: text is a size, a duration, or something that has no extremes.
fn extremes(value: &Value) -> Vec<String> {
    let texts = |texts: &[&str]| texts.iter().map(|text| format!("{text:?}")).collect();
    match value {
        Value::Integer(_) => {
            [0, 1, 2, i64::from(u16::MAX), i64::from(u32::MAX), i64::MAX].map(|n| n.to_string()).into()
        }
        Value::String(text) if text.ends_with('B') => {
            texts(&["0 B", "1 B", "4 GiB", "1024 TiB", "15000000 TiB"])
        }
        Value::String(text) if humantime::parse_duration(text).is_ok() => {
            texts(&["0s", "1ns", "1ms", "1s", "1day", "500years"])
        }
        _ => Vec::new(),
    }
}

/// Computes all that a node computes of its settings when it starts and when a client comes.
fn compute(settings: &Settings) {
    let limits = &settings.limits;
    let _sizes = (settings.codec_limits(), settings.connect_limits(), settings.queue_limits());
    let _more = (settings.inbox_limits(), settings.worker_threads(), settings.max_session_expiry_s());
    let _shares = [1, 6].map(|shards| settings.shard_limits(shards));
    let _told = [Version::V3_1_1, Version::V5].map(|version| settings.max_keep_alive_s(version));
    let _nodes = (settings.peer_limits(), settings.profile(), settings.log_options(failure_pair().0));
    let arrivals = Arrivals::new(limits);
    let peer = Peer::Ip(SocketAddr::from(([192, 0, 2, 1], 1)));
    let _turns = (arrivals.admits(peer), arrivals.turn().is_some());
    let _others = (Places::new(limits), Flapping::new(&limits.flapping), Overload::new(limits).cause());
    if let Some(mut throttle) = Throttle::new(limits, crate::clock::Clock::start()) {
        throttle.published(usize::MAX);
    }
}

#[tokio::test]
async fn no_number_size_or_duration_breaks_what_is_computed_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quelea.toml");
    let defaults = load(None, std::iter::empty(), &Flags::default()).unwrap();
    let (mut refused, mut taken) = (0, 0);
    for (key, value) in leaves(Table::try_from(defaults).unwrap()) {
        for extreme in extremes(&value) {
            fs::write(&file, format!("{key} = {extreme}\n")).unwrap();
            match load(Some(&file), std::iter::empty(), &Flags::default()) {
                Ok(settings) => {
                    compute(&settings);
                    taken += 1;
                }
                Err(error) => {
                    let error = error.to_string();
                    assert!(error.contains(&key), "{key} = {extreme}: {error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(taken > 50 && refused > 50, "{taken} values were taken, {refused} were refused");
}
