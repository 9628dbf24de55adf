//! How a part that the node cannot go on without says that it has failed: the log, from its own thread, and groups by
//! ending. The node hears it and ends at once; nothing that waits is acknowledged.

use std::time::Duration;

use raft_consensus::proposer::Ended;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::timeout;

/// How long a group may take to say why it has ended, after something that stops with it has.
const CAUSE_WITHIN: Duration = Duration::from_secs(1);

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

/// Waits until a group or something around one has ended, and says why: what failed, where others only stopped with it.
pub(crate) async fn why_ended(groups: &mut JoinSet<Ended>) -> anyhow::Error {
    let mut ended = groups.join_next().await;
    while let Some(Ok(Ended::Stopped)) = ended {
        match timeout(CAUSE_WITHIN, groups.join_next()).await {
            Ok(next @ Some(_)) => ended = next,
            Ok(None) | Err(_) => break,
        }
    }
    match ended {
        Some(Ok(ended)) => ended.into(),
        Some(Err(panicked)) => panicked.into(),
        None => anyhow::anyhow!("no shard is left"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_failed_is_the_cause_and_not_what_stopped_with_it() {
        let mut groups = JoinSet::new();
        groups.spawn(async { Ended::Stopped });
        groups.spawn(async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Ended::Failed("the disk is gone".to_owned())
        });
        groups.spawn(std::future::pending());
        let why = why_ended(&mut groups).await;
        assert!(why.to_string().contains("the disk is gone"), "{why}");
        let mut groups = JoinSet::from_iter([async { Ended::Stopped }]);
        assert_eq!(why_ended(&mut groups).await.to_string(), Ended::Stopped.to_string());
    }
}
