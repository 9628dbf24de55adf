//! How a part that the node cannot go on without says that it has failed: the log, from its own thread. The node hears
//! it and ends at once; nothing that waits is acknowledged.

use tokio::sync::mpsc;

/// The end that fails.
#[derive(Clone, Debug)]
pub(crate) struct Fails {
    sender: mpsc::Sender<anyhow::Error>,
}

/// The end that hears of it.
#[derive(Debug)]
pub(crate) struct Failure {
    receiver: mpsc::Receiver<anyhow::Error>,
}

/// Both ends.
pub(crate) fn failure_pair() -> (Fails, Failure) {
    let (sender, receiver) = mpsc::channel(1);
    (Fails { sender }, Failure { receiver })
}

impl Fails {
    /// Says why. The first word counts.
    pub(crate) fn say(&self, why: anyhow::Error) {
        let _said_before = self.sender.try_send(why);
    }
}

impl Failure {
    /// Waits until something fails; for ever where nothing does.
    pub(crate) async fn wait(&mut self) -> anyhow::Error {
        match self.receiver.recv().await {
            Some(why) => why,
            None => std::future::pending().await,
        }
    }
}
