//! What this node answers to others for whoever administers the cluster: what only it knows, and what only it can do, as who
//! leads a group. Called by the port for nodes, and by the admin API for this node itself.

use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use node_routing::asking::AnswersQuestions;
use prost::Message;
use raft_consensus::group::Group;
use raft_consensus::machine::Machine;
use raft_consensus::network::Refusal;
use raft_consensus::types::{NodeId, TokioTypes};
use tokio::time::timeout;

use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{AboutYou, Answer, HandOver, HandedOver, Kick, Question};
use super::reload;
use super::subject::Subject;

/// How long another node may take to lead a group that is handed over to it.
pub(super) const HAND_OVER_WITHIN: Duration = Duration::from_secs(5);
/// Before it is offered again: it may have lagged, or the word was lost.
const OFFER_AGAIN: Duration = Duration::from_millis(500);

impl Subject {
    /// The answer to a question that was put to this node.
    pub(super) async fn answer(&self, question: Asked) -> Answered {
        match question {
            Asked::AboutYou(AboutYou { digests }) => Answered::AboutMe(self.about_me(digests).await),
            Asked::HandOver(HandOver { group, to }) => match self.hand_over(group, to.into()).await {
                Ok(()) => Answered::HandedOver(HandedOver {}),
                Err(why) => Answered::Refused(why),
            },
            Asked::Clients(wanted) => {
                self.clients(wanted).await.map_or_else(Answered::Refused, Answered::Clients)
            }
            Asked::Sessions(wanted) => {
                self.sessions(wanted).await.map_or_else(Answered::Refused, Answered::Sessions)
            }
            Asked::Subscriptions(wanted) => {
                self.subscriptions(wanted).await.map_or_else(Answered::Refused, Answered::Subscriptions)
            }
            Asked::Why(wanted) => self.why(&wanted).map_or_else(Answered::Refused, Answered::Why),
            Asked::Trace(wanted) => self.trace(wanted).map_or_else(Answered::Refused, Answered::Trace),
            Asked::Reload(_) => self.reload().await.map_or_else(Answered::Refused, Answered::Reloaded),
            Asked::SetLog(wanted) => {
                reload::set_log(&wanted.level).map_or_else(Answered::Refused, Answered::LogSet)
            }
            Asked::Kick(Kick { client_id }) => {
                self.kick(&client_id).map_or_else(Answered::Refused, Answered::Kicked)
            }
        }
    }

    async fn hand_over(&self, group: u32, to: NodeId) -> Result<(), String> {
        let (Some(belongs), Some(running)) = (self.belongs(), self.running()) else {
            return Err("the node starts".to_owned());
        };
        if belongs.group.id().0 == group {
            return hand_over(&belongs.group, to).await;
        }
        match running.node.shards.groups().find(|known| known.id().0 == group) {
            Some(known) => hand_over(&known, to).await,
            None => Err("it has no replica of that group".to_owned()),
        }
    }
}

/// Hands a group over, and waits until the other node leads it.
async fn hand_over<M: Machine>(group: &Group<TokioTypes, M>, to: NodeId) -> Result<(), String> {
    let ended = |_gone| "the node stops".to_owned();
    let mut leadership = group.leadership();
    let handing = async {
        loop {
            match leadership.now().leader {
                Some(leader) if leader == to => return Ok(()),
                Some(leader) if leader != group.me() => {
                    return Err(format!("node {leader} leads it by now"));
                }
                _ => {}
            }
            group.hand_over(to).await.map_err(ended)?;
            if let Ok(changed) = timeout(OFFER_AGAIN, leadership.changed()).await {
                changed.map_err(ended)?;
            }
        }
    };
    let late =
        || Err("the other node did not take it in time: it cannot be reached, or lags behind".to_owned());
    timeout(HAND_OVER_WITHIN, handing).await.unwrap_or_else(|_elapsed| late())
}

impl AnswersQuestions for Subject {
    fn questioned(&self, question: Bytes) -> BoxFuture<'static, Result<Bytes, Refusal>> {
        let this = self.clone();
        Box::pin(async move {
            let malformed = |why: String| Refusal::Malformed(why);
            let question = Question::decode(question).map_err(|error| malformed(error.to_string()))?;
            let Some(asked) = question.kind else {
                return Err(malformed("this node does not know the question".to_owned()));
            };
            let answer = Answer { kind: Some(this.answer(asked).await) };
            Ok(answer.encode_to_vec().into())
        })
    }
}
