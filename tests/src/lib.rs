//! What the end-to-end tests share: a broker process, raw clients, and packets written and read byte by byte.
//! Used by every test binary of this package; never by the broker, and it knows nothing of the broker's codec.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    reason = "test code: a panic with a message is how a test fails"
)]

pub mod broker;
pub mod checker;
pub mod client;
pub mod ctl;
pub mod dev;
pub mod dns;
pub mod example;
pub mod history;
mod metrics;
pub mod nodes;
pub mod packets;
pub mod parse;
pub mod process;
pub mod random;
pub mod stubborn;
pub mod table;
pub mod transport;
pub mod wire;
pub mod ws;

pub use broker::{Broker, SharedBroker, Start};
pub use client::RawClient;
pub use dev::Dev;
pub use packets::{Connect, Publish, Will};
pub use parse::Packet;
pub use wire::{Props, Version};

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long a test waits for something that must come: generous, because no test asserts speed.
pub const BOUND: Duration = Duration::from_secs(30);

/// Longer than anything takes that several processes have to do together, on a busy machine too.
pub const PATIENCE: Duration = Duration::from_secs(120);

/// How long a test listens to be reasonably sure that nothing comes.
pub const QUIET: Duration = Duration::from_millis(150);

/// A name nobody else uses in this run: client ids and topics of tests that share a broker.
/// Letters and digits only and at most 23 bytes for a prefix of up to 10, so that it is a client id every broker takes.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    format!("{prefix}x{}x{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Sleeps: for the whole seconds in which the standard counts expiry, delay and keep alive.
#[expect(clippy::disallowed_methods, reason = "the tests are threads that block; nothing here is async")]
pub fn pause(duration: Duration) {
    std::thread::sleep(duration);
}
