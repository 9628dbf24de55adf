//! The calls of the admin API, one function each: finds out which node is meant, has the cluster group or a leader do it, and
//! says in words why where it is not done. Called by the server of the port.

use std::time::Duration;

use raft_consensus::cluster::{AskError, Command, Roster};
use session_store::NodeId;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use super::guard::Caller;
use super::inside::HAND_OVER_WITHIN;
use super::node_proto::HandOver;
use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::proto::admin_server::Admin;
use super::proto::move_leader_request::Which;
use super::proto::{
    BanReply, BanRequest, DeleteSessionReply, DeleteSessionRequest, DrainReply, DrainRequest, JoinReply,
    JoinRequest, KickReply, KickRequest, LeaveReply, LeaveRequest, ListBansReply, ListBansRequest,
    ListClientsReply, ListClientsRequest, ListRetainedReply, ListRetainedRequest, ListSessionsReply,
    ListSessionsRequest, ListSubscriptionsReply, ListSubscriptionsRequest, MoveLeaderReply,
    MoveLeaderRequest, PublishReply, PublishRequest, PurgeRetainedReply, PurgeRetainedRequest, ReloadReply,
    ReloadRequest, Role, SetLogReply, SetLogRequest, StatusReply, StatusRequest, TraceRequest, UnbanReply,
    UnbanRequest, UndrainReply, UndrainRequest, WhyReply, WhyRequest,
};
use super::subject::{Belongs, Subject};
use super::whole::{ask, belonging, group_of, whole};
use super::{access, clients, last, publish, reload, retained, sessions, subscriptions, tokens, trace, why};

/// How long the cluster group may take to decide.
pub(super) const DECIDE_WITHIN: Duration = Duration::from_secs(10);
/// What the way to a leader takes besides what it does.
const WAY: Duration = Duration::from_secs(2);

/// Answers for a node.
#[derive(Clone)]
pub(super) struct Desk(pub(super) Subject);

impl Desk {
    /// The node's part in its cluster.
    fn belongs(&self) -> Result<&Belongs, Status> {
        let why = || match self.0.readiness().now() {
            Err(why) => Status::unavailable(format!("node {} has not joined yet: {why}", self.0.name())),
            Ok(()) => Status::unavailable("the node starts"),
        };
        self.0.belongs().ok_or_else(why)
    }

    /// Has the cluster group make it so, of the node that is meant.
    async fn decide(&self, node: &str, command: impl FnOnce(NodeId) -> Command) -> Result<NodeId, Status> {
        let belongs = self.belongs()?;
        let node = find(&belonging(&belongs.roster.borrow()), node)?;
        decided(belongs, &command(node)).await.map(|()| node)
    }

    /// Has the node ask these for a cluster too.
    fn seek(&self, via: &[String]) -> Result<Response<JoinReply>, Status> {
        let Some(seeds) = self.0.seeds() else {
            let belongs = self.0.cluster().map(|id| format!("the node belongs to cluster {id}"));
            return Err(Status::failed_precondition(belongs.unwrap_or_else(|| "the node starts".to_owned())));
        };
        seeds.add(via).map_err(Status::invalid_argument)?;
        Ok(Response::new(JoinReply {}))
    }

    /// Has the leader of a group hand that over.
    async fn hand_over(&self, asked: MoveLeaderRequest) -> Result<Response<MoveLeaderReply>, Status> {
        let MoveLeaderRequest { which, to } = asked;
        let belongs = self.belongs()?;
        let to = find(&belonging(&belongs.roster.borrow()), &to)?;
        let number = number_of(which, belongs.shards)?;
        let group = group_of(&self.0, belongs, number).await;
        let votes = |replica: &&super::proto::Replica| replica.role() != Role::Learner;
        let voters: Vec<u32> = group.replicas.iter().filter(votes).map(|replica| replica.node).collect();
        if !voters.contains(&to.0) {
            return Err(Status::failed_precondition(format!(
                "node {} has no vote in that group: its voters are {voters:?}",
                to.0
            )));
        }
        if group.leader == 0 {
            return Err(Status::unavailable("nobody leads the group now: try again"));
        }
        let question = Asked::HandOver(HandOver { group: number, to: to.0 });
        let asked = (NodeId(group.leader), question, HAND_OVER_WITHIN + WAY);
        match ask(&self.0, belongs, asked).await.map_err(Status::unavailable)? {
            Answered::HandedOver(_) => Ok(Response::new(MoveLeaderReply { leader: to.0 })),
            Answered::Refused(why) => Err(Status::unavailable(why)),
            _ => Err(Status::internal("the leader's answer makes no sense")),
        }
    }
}

/// Has the cluster group make it so.
///
/// # Errors
/// It is refused, or takes too long.
pub(super) async fn decided(belongs: &Belongs, command: &Command) -> Result<(), Status> {
    match timeout(DECIDE_WITHIN, belongs.asks.ask(command)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(AskError::Refused(refusal))) => Err(Status::failed_precondition(refusal.to_string())),
        Ok(Err(AskError::Gone(_))) => Err(Status::unavailable("the node stops")),
        Err(_elapsed) => Err(Status::deadline_exceeded(
            "the cluster group did not decide in time: it has no majority, or no leader yet",
        )),
    }
}

/// The number of a group.
fn number_of(which: Option<Which>, shards: u16) -> Result<u32, Status> {
    match which {
        Some(Which::ClusterGroup(_)) => Ok(0),
        Some(Which::Shard(shard)) if shard < shards.into() => Ok(shard + 1),
        Some(Which::Shard(shard)) => {
            let last = shards.saturating_sub(1);
            Err(Status::not_found(format!("there is no shard {shard}, but 0 to {last}")))
        }
        None => Err(Status::invalid_argument("a group is to be named: a shard, or the cluster group")),
    }
}

/// The node of a name or a number. Of nodes with one name the last counts, as it does for replicas.
pub(super) fn find(roster: &Roster, text: &str) -> Result<NodeId, Status> {
    let named = roster.iter().rev().find(|(_, member)| &*member.name == text).map(|(node, _)| *node);
    let numbered = || text.parse().ok().map(NodeId).filter(|node| roster.contains_key(node));
    named.or_else(numbered).ok_or_else(|| {
        let known: Vec<String> =
            roster.iter().map(|(node, member)| format!("{} ({})", member.name, node.0)).collect();
        Status::not_found(format!("there is no node {text:?}, but {}", known.join(", ")))
    })
}

#[tonic::async_trait]
impl Admin for Desk {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusReply>, Status> {
        let digests = request.into_inner().digests;
        let cluster = match (self.0.belongs(), self.0.cluster()) {
            (Some(belongs), Some(id)) => Some(whole(&self.0, belongs, (id, digests)).await),
            _ => None,
        };
        let not_ready = self.0.readiness().now().err().unwrap_or_default();
        Ok(Response::new(StatusReply { answered_by: self.0.name().to_owned(), not_ready, cluster }))
    }

    async fn join(&self, request: Request<JoinRequest>) -> Result<Response<JoinReply>, Status> {
        let caller = Caller::of(&request)?;
        let via = request.into_inner().via;
        caller.audited("join", &via.join(","), async { self.seek(&via) }).await
    }

    async fn leave(&self, request: Request<LeaveRequest>) -> Result<Response<LeaveReply>, Status> {
        let caller = Caller::of(&request)?;
        let node = request.into_inner().node;
        let leaving = async {
            if caller.shrinks() {
                let roster = belonging(&self.belongs()?.roster.borrow());
                last::check(&roster, self.0.name(), find(&roster, &node)?)?;
            }
            self.decide(&node, Command::Leave).await
        };
        let done = caller.audited("leave", &node, leaving).await?;
        Ok(Response::new(LeaveReply { node: done.0 }))
    }

    async fn drain(&self, request: Request<DrainRequest>) -> Result<Response<DrainReply>, Status> {
        let caller = Caller::of(&request)?;
        let node = request.into_inner().node;
        let done = caller.audited("drain", &node, self.decide(&node, Command::Drain)).await?;
        Ok(Response::new(DrainReply { node: done.0 }))
    }

    async fn undrain(&self, request: Request<UndrainRequest>) -> Result<Response<UndrainReply>, Status> {
        let caller = Caller::of(&request)?;
        let node = request.into_inner().node;
        let done = caller.audited("undrain", &node, self.decide(&node, Command::Undrain)).await?;
        Ok(Response::new(UndrainReply { node: done.0 }))
    }

    async fn move_leader(
        &self,
        request: Request<MoveLeaderRequest>,
    ) -> Result<Response<MoveLeaderReply>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let about = format!("{:?} to {}", asked.which, asked.to);
        caller.audited("move-leader", &about, self.hand_over(asked)).await
    }

    async fn list_clients(
        &self,
        request: Request<ListClientsRequest>,
    ) -> Result<Response<ListClientsReply>, Status> {
        Ok(Response::new(clients::list(&self.0, self.belongs()?, request.into_inner()).await?))
    }

    async fn kick(&self, request: Request<KickRequest>) -> Result<Response<KickReply>, Status> {
        let caller = Caller::of(&request)?;
        let client = request.into_inner().client_id;
        let kicking = async { clients::kick(&self.0, self.belongs()?, &client).await };
        Ok(Response::new(caller.audited("kick", &client, kicking).await?))
    }

    async fn list_sessions(
        &self,
        request: Request<ListSessionsRequest>,
    ) -> Result<Response<ListSessionsReply>, Status> {
        Ok(Response::new(sessions::list(&self.0, self.belongs()?, request.into_inner()).await?))
    }

    async fn delete_session(
        &self,
        request: Request<DeleteSessionRequest>,
    ) -> Result<Response<DeleteSessionReply>, Status> {
        let caller = Caller::of(&request)?;
        let client = request.into_inner().client_id;
        let deleting = async { sessions::delete(&self.0, self.belongs()?, &client).await };
        caller.audited("delete-session", &client, deleting).await?;
        Ok(Response::new(DeleteSessionReply {}))
    }

    async fn list_subscriptions(
        &self,
        request: Request<ListSubscriptionsRequest>,
    ) -> Result<Response<ListSubscriptionsReply>, Status> {
        Ok(Response::new(subscriptions::list(&self.0, self.belongs()?, request.into_inner()).await?))
    }

    async fn list_retained(
        &self,
        request: Request<ListRetainedRequest>,
    ) -> Result<Response<ListRetainedReply>, Status> {
        if request.get_ref().payload {
            Caller::of(&request)?.takes(tokens::Role::Operator, "payloads of retained messages")?;
        }
        Ok(Response::new(retained::list(&self.0, request.into_inner()).await?))
    }

    async fn purge_retained(
        &self,
        request: Request<PurgeRetainedRequest>,
    ) -> Result<Response<PurgeRetainedReply>, Status> {
        let caller = Caller::of(&request)?;
        let filter = request.into_inner().filter;
        let purging = retained::purge(&self.0, &filter);
        Ok(Response::new(caller.audited("purge-retained", &filter, purging).await?))
    }

    async fn publish(&self, request: Request<PublishRequest>) -> Result<Response<PublishReply>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let topic = asked.topic.clone();
        let publishing = publish::publish(&self.0, asked);
        Ok(Response::new(caller.audited("publish", &topic, publishing).await?))
    }

    async fn reload(&self, request: Request<ReloadRequest>) -> Result<Response<ReloadReply>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let node = asked.node.clone();
        let reloading = async { reload::reload(&self.0, self.belongs()?, asked).await };
        Ok(Response::new(caller.audited("reload", &node, reloading).await?))
    }

    async fn set_log(&self, request: Request<SetLogRequest>) -> Result<Response<SetLogReply>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        let about = format!("{} {}", asked.node, asked.level);
        let setting = async { reload::log(&self.0, self.belongs()?, asked).await };
        Ok(Response::new(caller.audited("log", about.trim(), setting).await?))
    }

    async fn why(&self, request: Request<WhyRequest>) -> Result<Response<WhyReply>, Status> {
        Ok(Response::new(why::why(&self.0, self.belongs()?, request.into_inner()).await?))
    }

    type TraceStream = trace::Lines;

    async fn trace(&self, request: Request<TraceRequest>) -> Result<Response<trace::Lines>, Status> {
        let caller = Caller::of(&request)?;
        let asked = request.into_inner();
        if asked.payload_bytes > 0 {
            caller.takes(tokens::Role::Admin, "payloads in a trace")?;
        }
        let about = trace::about(&asked);
        let tracing = async { trace::trace(&self.0, self.belongs()?, asked).await };
        Ok(Response::new(caller.audited("trace", &about, tracing).await?))
    }

    async fn ban(&self, request: Request<BanRequest>) -> Result<Response<BanReply>, Status> {
        let caller = Caller::of(&request)?;
        let ban = request.into_inner().ban;
        let about = access::about(ban.as_ref().and_then(|ban| ban.whom.as_ref()));
        let banning = async { access::ban(&self.0, self.belongs()?, ban).await };
        caller.audited("ban", &about, banning).await?;
        Ok(Response::new(BanReply {}))
    }

    async fn unban(&self, request: Request<UnbanRequest>) -> Result<Response<UnbanReply>, Status> {
        let caller = Caller::of(&request)?;
        let whom = request.into_inner().whom;
        let about = access::about(whom.as_ref());
        let lifting = async { access::unban(&self.0, self.belongs()?, whom).await };
        let was_banned = caller.audited("unban", &about, lifting).await?;
        Ok(Response::new(UnbanReply { was_banned }))
    }

    async fn list_bans(&self, request: Request<ListBansRequest>) -> Result<Response<ListBansReply>, Status> {
        Ok(Response::new(access::bans(self.belongs()?, request.into_inner()).await?))
    }
}
