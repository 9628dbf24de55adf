//! That nodes are there: each touches the others again and again, and asks whoever leads the cluster group for leases by
//! the way. Used by the broker, which decides what is said and answered. Nothing here reads a clock or remembers anything.

use std::sync::Arc;
use std::time::Duration;

use raft_consensus::network::{Channel, Refusal, TransportError};
use raft_consensus::types::NodeId as PeerId;
use session_store::{Host, Incarnation, NodeId};
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::counters::count;
use crate::lease::Grant;
use crate::proto::routing as proto;
use crate::proto::routing::presence_client::PresenceClient;
use crate::proto::routing::presence_server::Presence;
use crate::proto::routing::touched;
use crate::reach::{Purpose, Reach};
use crate::refusal;
use crate::server::Known;

/// Bytes of what a node says of itself at most: the cluster has 1,024 members at most.
pub(crate) const TOUCHING_BYTES_MAX: usize = 64 << 10;

/// What a node says when it touches another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touch {
    /// The entry up to which it has applied the cluster group's log, with its view visible to all its threads.
    pub applied: u64,
    /// Whether it asks for a lease.
    pub wants_lease: bool,
    /// Nodes that have answered it of late.
    pub reached: Vec<NodeId>,
    /// Runs that have touched it of late.
    pub heard: Vec<Host>,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// The shards' groups that it leads.
    pub leads: Vec<Led>,
    /// It leads nothing that another can lead.
    pub yields: bool,
}

/// A group, as whoever leads it says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Led {
    /// Its number.
    pub group: u32,
    /// In which term it is led.
    pub term: u64,
    /// Who has a replica.
    pub members: Vec<NodeId>,
}

/// What became of the wish for a lease.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There was none.
    NotWanted,
    /// Here it is.
    Granted(Grant),
    /// There is none, for this reason.
    Denied(String),
    /// Whoever was asked does not lead the cluster group, as far as it knows.
    NotLeading,
}

/// The answer to a [`Touch`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// What became of the wish for a lease.
    pub outcome: Outcome,
    /// Everything up to this entry of the cluster group's log is in force, as far as the node knows.
    pub in_force: u64,
    /// Its wall clock, in milliseconds since the Unix epoch.
    pub wall_ms: u64,
    /// Whoever touched it has left the cluster, as far as it knows.
    pub left: bool,
}

/// Who answers for a node. Neither may wait.
pub trait AnswersTouch: Send + Sync + 'static {
    /// A run of a node has touched this one.
    fn touched(&self, by: Host, touch: Touch) -> Touched;

    /// Another node says that everything up to this entry of the cluster group's log is in force.
    fn announced(&self, in_force: u64);
}

/// Touches other nodes, on the connections of heartbeats.
#[derive(Clone)]
pub struct Toucher {
    reach: Arc<Reach>,
}

impl Toucher {
    /// Over these lines.
    #[must_use]
    pub fn new(reach: Arc<Reach>) -> Self {
        Self { reach }
    }

    /// See [`Reach::refused_as_dead`].
    #[must_use]
    pub fn refused_as_dead(&self) -> watch::Receiver<bool> {
        self.reach.refused_as_dead()
    }

    /// Touches a node.
    ///
    /// # Errors
    /// It did not answer within so long, or refused.
    pub async fn touch(
        &self,
        to: PeerId,
        touch: &Touch,
        within: Duration,
    ) -> Result<Touched, TransportError> {
        let touching = proto::Touching::from(touch);
        let asked = async {
            let answer = self.client(to).await?.touch(touching).await;
            let answer = answer.map_err(|status| {
                refusal::read(&status).iter().for_each(|refusal| self.reach.context.refused(refusal));
                refusal::error(&status, to, within)
            });
            let answer = answer?.into_inner();
            Ok(Touched::from(answer))
        };
        self.within(to, within, asked).await
    }

    /// Tells a node what is in force.
    ///
    /// # Errors
    /// It did not answer within so long, or refused.
    pub async fn announce(&self, to: PeerId, in_force: u64, within: Duration) -> Result<(), TransportError> {
        let told = async {
            let answer = self.client(to).await?.announce(proto::Announcement { in_force }).await;
            answer.map(|_| ()).map_err(|status| refusal::error(&status, to, within))
        };
        self.within(to, within, told).await
    }

    /// Counts that a lease came after the one before had run out.
    pub fn count_lapse(&self) {
        count(&self.reach.context.tally.lease_lapses, 1);
    }

    async fn client(&self, to: PeerId) -> Result<PresenceClient<crate::line::Connection>, TransportError> {
        let line = self.reach.line(to, Purpose::Groups(Channel::Control))?;
        let connection = line.connection().await.map_err(|why| why.error(to))?;
        let client = PresenceClient::with_origin(connection.clone(), connection.origin());
        Ok(client.max_decoding_message_size(TOUCHING_BYTES_MAX))
    }

    async fn within<T>(
        &self,
        to: PeerId,
        within: Duration,
        asked: impl Future<Output = Result<T, TransportError>>,
    ) -> Result<T, TransportError> {
        count(&self.reach.context.tally.peer_touches, 1);
        timeout(within, asked).await.unwrap_or(Err(TransportError::Timeout { to, within }))
    }
}

/// What a node answers to those who touch it.
#[derive(Clone)]
pub(crate) struct Touchable(pub(crate) Arc<dyn AnswersTouch>);

#[tonic::async_trait]
impl Presence for Touchable {
    async fn touch(&self, request: Request<proto::Touching>) -> Result<Response<proto::Touched>, Status> {
        let Some(Known(sender)) = request.extensions().get::<Known>().copied() else {
            return Err(Status::internal("nobody knows who asks"));
        };
        let node = u32::try_from(sender.node).ok().filter(|node| *node != 0).map(NodeId);
        let Some(node) = node else {
            return Err(refusal::status(&Refusal::Malformed("no node has that number".to_owned())));
        };
        let by = Host { node, incarnation: sender.incarnation };
        Ok(Response::new(self.0.touched(by, request.into_inner().into()).into()))
    }

    async fn announce(
        &self,
        request: Request<proto::Announcement>,
    ) -> Result<Response<proto::Nothing>, Status> {
        self.0.announced(request.into_inner().in_force);
        Ok(Response::new(proto::Nothing {}))
    }
}

impl From<&Touch> for proto::Touching {
    fn from(touch: &Touch) -> Self {
        let sender = |host: &Host| proto::Sender { node: host.node.0, incarnation: host.incarnation.0 };
        Self {
            applied: touch.applied,
            wants_lease: touch.wants_lease,
            reached: touch.reached.iter().map(|node| node.0).collect(),
            heard: touch.heard.iter().map(sender).collect(),
            wall_ms: touch.wall_ms,
            leads: touch.leads.iter().map(proto::Led::from).collect(),
            yields: touch.yields,
        }
    }
}

impl From<&Led> for proto::Led {
    fn from(led: &Led) -> Self {
        let members = led.members.iter().map(|node| node.0).collect();
        Self { group: led.group, term: led.term, members }
    }
}

impl From<proto::Led> for Led {
    fn from(led: proto::Led) -> Self {
        let members = led.members.into_iter().map(NodeId).collect();
        Self { group: led.group, term: led.term, members }
    }
}

impl From<proto::Touching> for Touch {
    fn from(touching: proto::Touching) -> Self {
        let host = |sender: &proto::Sender| Host {
            node: NodeId(sender.node),
            incarnation: Incarnation(sender.incarnation),
        };
        Self {
            applied: touching.applied,
            wants_lease: touching.wants_lease,
            reached: touching.reached.into_iter().map(NodeId).collect(),
            heard: touching.heard.iter().map(host).collect(),
            wall_ms: touching.wall_ms,
            leads: touching.leads.into_iter().map(Led::from).collect(),
            yields: touching.yields,
        }
    }
}

impl From<Touched> for proto::Touched {
    fn from(touched: Touched) -> Self {
        let lease = match touched.outcome {
            Outcome::NotWanted => None,
            Outcome::Granted(Grant { index, remains }) => {
                let remains_us = u64::try_from(remains.as_micros()).unwrap_or(u64::MAX);
                Some(touched::Lease::Granted(proto::Granted { index, remains_us }))
            }
            Outcome::Denied(why) => Some(touched::Lease::Denied(why)),
            Outcome::NotLeading => Some(touched::Lease::NotLeading(proto::Nothing {})),
        };
        Self { lease, in_force: touched.in_force, wall_ms: touched.wall_ms, left: touched.left }
    }
}

impl From<proto::Touched> for Touched {
    fn from(answer: proto::Touched) -> Self {
        let outcome = match answer.lease {
            None => Outcome::NotWanted,
            Some(touched::Lease::Granted(proto::Granted { index, remains_us })) => {
                Outcome::Granted(Grant { index, remains: Duration::from_micros(remains_us) })
            }
            Some(touched::Lease::Denied(why)) => Outcome::Denied(why),
            Some(touched::Lease::NotLeading(_)) => Outcome::NotLeading,
        };
        Self { outcome, in_force: answer.in_force, wall_ms: answer.wall_ms, left: answer.left }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_and_answered_comes_out_as_it_went_in() {
        let host = |node, incarnation| Host { node: NodeId(node), incarnation: Incarnation(incarnation) };
        let touch = Touch {
            applied: 7,
            wants_lease: true,
            reached: vec![NodeId(2), NodeId(3)],
            heard: vec![host(2, 9), host(3, 1)],
            wall_ms: 1_790_000_000_000,
            leads: vec![Led { group: 4, term: 9, members: vec![NodeId(2), NodeId(7)] }],
            yields: true,
        };
        assert_eq!(Touch::from(proto::Touching::from(&touch)), touch);
        let grant = Grant { index: 5, remains: Duration::from_micros(299_999) };
        let outcomes = [
            Outcome::NotWanted,
            Outcome::Granted(grant),
            Outcome::Denied("late".into()),
            Outcome::NotLeading,
        ];
        for outcome in outcomes {
            let touched = Touched { outcome, in_force: 4, wall_ms: 3, left: true };
            assert_eq!(Touched::from(proto::Touched::from(touched.clone())), touched);
        }
    }
}
