//! What the pipeline promises: answers in order, a bounded window, an end when nothing moves. Uses no network.

use std::sync::Mutex;

use futures_util::FutureExt;
use openraft::network::{NetStreamAppend, RPCTypes, RaftNetworkFactory};
use openraft::raft::AppendEntriesRequest;
use tokio::sync::mpsc;

use super::*;
use crate::disk::SimDisk;
use crate::network::{Network, SnapshotFiles};
use crate::types::{SnapshotMeta, TokioTypes, Vote};
use crate::wal::GroupId;
use crate::wire::{Body, Request};

struct NoSnapshots;

impl SnapshotFiles for NoSnapshots {
    fn export(&self, _: GroupId, _: &str) -> std::io::Result<SnapshotMeta> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn verify(&self, _: &str) -> std::io::Result<SnapshotMeta> {
        Err(std::io::ErrorKind::NotFound.into())
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        name.into()
    }
}

/// A node that takes requests and answers when the test says so.
struct Puppet {
    /// Where requests go.
    seen: mpsc::Sender<Bytes>,
    /// What it answers.
    answers: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

impl PeerTransport for Puppet {
    async fn call(
        &self,
        to: NodeId,
        _: Channel,
        _: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        Err(TransportError::Timeout { to, within })
    }

    async fn open(
        &self,
        _: NodeId,
        channel: Channel,
        mut requests: Requests,
        _: Duration,
    ) -> Result<Answers, TransportError> {
        assert_eq!(channel, Channel::Replication);
        let seen = self.seen.clone();
        tokio::spawn(async move {
            while let Some(request) = requests.next().await {
                seen.send(request).await.unwrap();
            }
        });
        let answers = self.answers.lock().unwrap().take().unwrap();
        Ok(stream::unfold(answers, async |mut answers| Some((Ok(answers.recv().await?), answers))).boxed())
    }
}

struct Stage {
    client: crate::network::Client<Puppet>,
    seen: mpsc::Receiver<Bytes>,
    answer: mpsc::Sender<Bytes>,
}

async fn stage() -> Stage {
    let (seen, seen_end) = mpsc::channel(100);
    let (answer, answers) = mpsc::channel(100);
    let puppet = Puppet { seen, answers: Mutex::new(Some(answers)) };
    let mut network = Network::new((1, GroupId(7)), puppet, Arc::new(SimDisk::new()), Arc::new(NoSnapshots));
    let client = RaftNetworkFactory::<TokioTypes>::new_client(&mut network, 2, &openraft::EmptyNode {}).await;
    Stage { client, seen: seen_end, answer }
}

fn probe(index: u64) -> AppendEntriesRequest<TokioTypes> {
    let id = openraft::LogId::new(crate::types::LeaderId { term: 1, node_id: 1 }, index);
    AppendEntriesRequest {
        vote: Vote::new_committed(1, 1),
        prev_log_id: Some(id),
        entries: Vec::new(),
        leader_commit: None,
    }
}

fn matched(index: u64) -> Bytes {
    Response::<TokioTypes>::Append(Ok(probe(index).prev_log_id)).encode()
}

fn index(request: Bytes) -> u64 {
    match Request::<TokioTypes>::decode(request).unwrap().body {
        Body::Append(append) => append.prev_log_id.unwrap().index,
        other => panic!("{other:?}"),
    }
}

fn option() -> RPCOption {
    RPCOption::new(Duration::from_millis(40))
}

#[tokio::test]
async fn requests_do_not_wait_for_answers_and_answers_come_in_order() {
    let mut stage = stage().await;
    let input = stream::iter((0..5).map(probe)).chain(stream::pending()).boxed();
    let mut answers = NetStreamAppend::stream_append(&mut stage.client, input, option()).await.unwrap();
    for expected in 0..5 {
        assert_eq!(index(stage.seen.recv().await.unwrap()), expected);
    }
    for expected in 0..5 {
        assert!(answers.next().now_or_never().is_none(), "an answer that nobody gave");
        stage.answer.send(matched(expected)).await.unwrap();
        let answer = answers.next().await.unwrap().unwrap().unwrap();
        assert_eq!(answer.unwrap().index, expected);
    }
}

#[tokio::test]
async fn a_stream_on_which_nothing_moves_is_given_up_but_not_one_with_nothing_to_move() {
    let mut stage = stage().await;
    let (send, mut later) = mpsc::channel(1);
    let later = stream::poll_fn(move |context| later.poll_recv(context));
    let input = stream::once(std::future::ready(probe(2))).chain(later);
    let mut answers = NetStreamAppend::stream_append(&mut stage.client, input, option()).await.unwrap();
    assert_eq!(index(stage.seen.recv().await.unwrap()), 2);
    stage.answer.send(matched(2)).await.unwrap();
    assert!(answers.next().await.unwrap().is_ok());
    let idle = tokio::time::timeout(Duration::from_millis(700), answers.next()).await;
    assert!(idle.is_err(), "nothing was asked, nothing is wanting");
    send.send(probe(3)).await.unwrap();
    let error = answers.next().await.unwrap().unwrap_err();
    assert!(
        matches!(&error, RPCError::Timeout(timeout) if timeout.action == RPCTypes::AppendEntries),
        "{error}"
    );
    assert!(answers.next().await.is_none(), "an error is the last word");
}

#[tokio::test]
async fn what_waits_for_entries_goes_with_the_answers() {
    let mut stage = stage().await;
    let held = Arc::new(());
    let witness = Arc::downgrade(&held);
    let rest = stream::unfold(held, async |held| {
        std::future::pending::<()>().await;
        Some((probe(0), held))
    });
    let input = stream::once(std::future::ready(probe(0))).chain(rest).boxed();
    let answers = NetStreamAppend::stream_append(&mut stage.client, input, option()).await.unwrap();
    drop(answers);
    let gone = async {
        while witness.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap();
}

#[tokio::test]
async fn an_answer_to_another_question_ends_the_stream() {
    let mut stage = stage().await;
    let input = stream::once(std::future::ready(probe(0))).chain(stream::pending()).boxed();
    let mut answers = NetStreamAppend::stream_append(&mut stage.client, input, option()).await.unwrap();
    assert_eq!(index(stage.seen.recv().await.unwrap()), 0);
    stage.answer.send(Response::<TokioTypes>::Progress(1).encode()).await.unwrap();
    assert!(answers.next().await.unwrap().is_err());
    assert!(answers.next().await.is_none());
}
