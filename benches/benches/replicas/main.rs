//! Shards with three replicas in one process: three logs on one disk, synced, and an in-memory network. Prints what
//! `benches/README.md` has of publishers that wait for their acknowledgements, of a long queue, and of many sessions.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a benchmark may stop, and prints what it found"
)]

mod host;
mod node;
mod publishers;
mod queue;
mod sessions;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const USAGE: &str = "expected --only publishers|queue|sessions, --messages N or --sessions N";

/// What to do, and how much of it.
struct Options {
    only: Option<String>,
    messages: u64,
    sessions: u64,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = String>) -> Self {
        let mut options = Self { only: None, messages: 1_000_000, sessions: 100_000 };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                "--bench" => {}
                "--only" => options.only = Some(arguments.next().expect(USAGE)),
                "--messages" => options.messages = number(arguments.next()),
                "--sessions" => options.sessions = number(arguments.next()),
                _ => panic!("{USAGE}"),
            }
        }
        options
    }

    fn wants(&self, what: &str) -> bool {
        self.only.as_deref().is_none_or(|only| only == what)
    }
}

fn number(argument: Option<String>) -> u64 {
    argument.and_then(|argument| argument.parse().ok()).expect(USAGE)
}

#[tokio::main]
async fn main() {
    // `cargo test --benches` only sees that each of them works.
    if !std::env::args().any(|argument| argument == "--bench") {
        publishers::rows(&[(1, 1)]).await;
        queue::rows(2_000).await;
        return sessions::rows(300).await;
    }
    let options = Options::read(std::env::args().skip(1));
    if options.wants("publishers") {
        publishers::rows(&publishers::ROWS).await;
    }
    if options.wants("queue") {
        queue::rows(options.messages).await;
    }
    if options.wants("sessions") {
        sessions::rows(options.sessions).await;
    }
}
