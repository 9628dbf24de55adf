//! The numbers of this host's requests to one shard, and who waits for their answers. A shard applies a request once,
//! however often it comes, and knows from these numbers what it has seen. Used by `Shards`, which sends, and by the
//! shard's delivery, which hands out the answers.

use std::collections::VecDeque;
use std::sync::Arc;

use mqtt_codec::ReasonCode;
use parking_lot::Mutex;
use session_store::command::{Command, Published, Reply};
use session_store::{Request, Source};
use tokio::sync::oneshot;

use crate::inbox::Inbox;

/// Who waits for the answer to a request.
#[derive(Debug, Default)]
pub(crate) struct Asker {
    /// The connection that asked.
    pub(crate) inbox: Option<Arc<Inbox>>,
    /// Told once the request is applied.
    pub(crate) applied: Option<oneshot::Sender<()>>,
    /// The request was the connection's last.
    pub(crate) ends: bool,
}

impl Asker {
    /// Answers a publish before it is in the log: a fault that tests must notice.
    pub(crate) fn answer_early(&self, command: &Command) {
        let reply = match command {
            Command::Publish(publish) => {
                let items = publish.items.iter();
                Reply::Published(items.map(|item| (item.number, Published::Taken)).collect())
            }
            Command::Receive(receive) => Reply::Received(receive.packet_id),
            _ => return,
        };
        if let Some(inbox) = &self.inbox {
            inbox.reply(reply);
        }
    }
}

/// A stream of requests, as its source sees it.
#[derive(Debug)]
pub(crate) struct Link {
    source: Source,
    numbers: Mutex<Numbers>,
}

#[derive(Debug)]
struct Numbers {
    /// Every request below this one is answered.
    done_below: u64,
    /// From `done_below` on: who waits; `None` where the answer has come.
    asked: VecDeque<Option<Asker>>,
}

impl Link {
    /// A stream that has not begun.
    pub(crate) fn new(source: Source) -> Self {
        Self { source, numbers: Mutex::new(Numbers { done_below: 1, asked: VecDeque::new() }) }
    }

    /// Whose stream it is.
    pub(crate) fn source(&self) -> Source {
        self.source
    }

    /// Numbers a command and sends it: requests reach `send` in the order of their numbers, which is why it must
    /// not wait.
    pub(crate) fn send(&self, command: Command, asker: Asker, send: impl FnOnce(Request)) {
        let mut numbers = self.numbers.lock();
        let done_below = numbers.done_below;
        let number = done_below + numbers.asked.len() as u64;
        numbers.asked.push_back(Some(asker));
        send(Request { source: self.source, number, done_below, command });
    }

    /// The number of the next request.
    pub(crate) fn next(&self) -> u64 {
        let numbers = self.numbers.lock();
        numbers.done_below + numbers.asked.len() as u64
    }

    /// Ends the connections that wait for the answer to a request before this number.
    pub(crate) fn end_asked_before(&self, number: u64, reason: ReasonCode) {
        let numbers = self.numbers.lock();
        let older = usize::try_from(number.saturating_sub(numbers.done_below)).unwrap_or(usize::MAX);
        for asker in numbers.asked.iter().take(older).flatten() {
            if let Some(inbox) = &asker.inbox {
                inbox.end(reason);
            }
        }
    }

    /// The answer to a request came; returns who waits for it, the first time.
    pub(crate) fn answered(&self, number: u64) -> Option<Asker> {
        let mut numbers = self.numbers.lock();
        let index = usize::try_from(number.checked_sub(numbers.done_below)?).ok()?;
        let asker = numbers.asked.get_mut(index)?.take();
        while let Some(None) = numbers.asked.front() {
            numbers.asked.pop_front();
            numbers.done_below += 1;
        }
        asker
    }
}

#[cfg(test)]
mod tests {
    use mqtt_codec::PacketId;
    use session_store::command::Release;
    use session_store::{ClientId, Epoch, Host};

    use super::*;

    fn sent(link: &Link) -> (u64, u64) {
        let release = Release {
            client: ClientId::new("c"),
            epoch: Epoch::default(),
            packet_id: PacketId::new(1).unwrap(),
        };
        let mut sent = (0, 0);
        link.send(Command::Release(release), Asker::default(), |request| {
            sent = (request.number, request.done_below);
        });
        sent
    }

    #[test]
    fn numbers_are_dense_and_what_is_done_has_no_gap() {
        let link = Link::new(Source::Host(Host::default()));
        assert_eq!([sent(&link), sent(&link), sent(&link)], [(1, 1), (2, 1), (3, 1)]);
        assert!(link.answered(2).is_some());
        assert_eq!(sent(&link), (4, 1), "the first is still open");
        assert!(link.answered(1).is_some());
        assert!(link.answered(1).is_none() && link.answered(2).is_none() && link.answered(9).is_none());
        assert_eq!(sent(&link), (5, 3));
    }
}
