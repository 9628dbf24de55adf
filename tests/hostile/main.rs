//! Hostile input: the rows B1 to B52, each a kind of bad input, and what strangers may cost.
//! Run by `cargo xtask test` against the built broker, a process of its own for each test; speaks raw bytes only.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

mod acks;
mod bursts;
mod ca;
mod connect;
mod crowd;
mod floods;
mod frames;
mod groups;
mod guard;
mod life;
mod limits;
mod mixture;
mod properties;
mod proxy;
mod publish;
mod quotas;
mod scans;
mod strangers;
mod strings;
mod subscribe;
mod tls;
mod websocket;

#[test]
fn every_row_has_a_test() {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("hostile");
    let files =
        std::fs::read_dir(directory).unwrap().map(|entry| std::fs::read_to_string(entry.unwrap().path()));
    let source: String = files.map(Result::unwrap).collect();
    let missing: Vec<u32> =
        (1..=52).filter(|row| !source.contains(&format!("#[test]\nfn b{row:02}_"))).collect();
    assert!(missing.is_empty(), "rows without a test: {missing:?}");
}
