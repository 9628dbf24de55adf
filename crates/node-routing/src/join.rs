//! How a node that belongs to no cluster meets others: whom it asks who they are, and for a number in their cluster; and the
//! end that answers. Used by the broker before a node has an identity. It decides neither who founds nor who is let in.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use futures_util::future::BoxFuture;
use http::HeaderMap;
use raft_consensus::cluster::ClusterId;
use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;
use tokio::net::TcpStream;
use tokio::time::timeout;
use tonic::{Request, Response, Status};

use crate::identity::PROTOCOL;
use crate::limits::Limits;
use crate::line::Connection;
use crate::proto::routing::join_client::JoinClient;
use crate::proto::routing::join_server::Join;
use crate::proto::routing::met::Standing as Wire;
use crate::proto::routing::{self as proto, Joined, Joining, Met, Nothing};
use crate::refusal;
use crate::security::{Secured, Security, Who};

/// What a node without a cluster is told to do where there is none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Founds {
    /// To wait for one.
    #[default]
    Never,
    /// To found one if its name is the first of all.
    First,
    /// To found one.
    Told,
}

/// A node that belongs to no cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stranger {
    /// What it is called.
    pub name: String,
    /// What it has drawn: tells it from another one of its name.
    pub token: u64,
    /// What it is told to do.
    pub founds: Founds,
}

/// A cluster, as one of its nodes knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Known {
    /// Its id.
    pub cluster: ClusterId,
    /// How many shards it has.
    pub shards: u16,
    /// Where its nodes are, as `host:port`.
    pub nodes: BTreeMap<NodeId, String>,
    /// The level of `apply` that holds in it: a binary has to know it.
    pub apply_level: u32,
}

/// Who is at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// A node without a cluster.
    Stranger(Stranger),
    /// A node of this cluster.
    Member(Known),
}

/// Who answers nodes that belong to no cluster.
pub trait Admits: Send + Sync + 'static {
    /// Who this node is.
    fn standing(&self) -> Standing;

    /// A number for a node that has drawn this; the same one for every repeat. The reason where it has none, or not now.
    fn admit(&self, token: u64) -> BoxFuture<'static, Result<NodeId, String>>;
}

/// Why somebody could not be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MeetError {
    /// Nobody is there, or nobody answers in time.
    #[error("{0} cannot be reached: {1}")]
    Unreachable(String, String),
    /// It speaks another version of what nodes say to each other.
    #[error("{0} speaks version {1} between nodes, and this one version {PROTOCOL}: run the same release")]
    Version(String, u32),
    /// It is there and does not do what it is asked.
    #[error("{0} refused: {1}")]
    Refused(String, String),
}

/// How others are met.
#[derive(Clone)]
pub struct Meets {
    /// The bounds.
    pub limits: Limits,
    /// What is put around connections.
    pub security: Arc<dyn Security>,
}

impl Meets {
    /// Asks who is at an address, `host:port`.
    ///
    /// # Errors
    /// Nobody, or nobody that is understood.
    pub async fn meet(&self, address: &str) -> Result<Standing, MeetError> {
        let (met, who) = self.ask(address, async |mut client| client.meet(Nothing {}).await).await?;
        if met.protocol != PROTOCOL {
            return Err(MeetError::Version(address.to_owned(), met.protocol));
        }
        let nonsense = || MeetError::Refused(address.to_owned(), "its answer makes no sense".to_owned());
        match read(met).ok_or_else(nonsense)? {
            Standing::Stranger(stranger) if !who.may_be(&stranger.name) => {
                let refusal = Refusal::WrongName(stranger.name);
                Err(MeetError::Refused(address.to_owned(), refusal.to_string()))
            }
            standing => Ok(standing),
        }
    }

    /// Asks the node at an address for a number in its cluster, for a node that has drawn this.
    ///
    /// # Errors
    /// It cannot be reached, or has none now: to be asked again, there or elsewhere.
    pub async fn join(&self, address: &str, token: u64) -> Result<NodeId, MeetError> {
        let joining = Joining { protocol: PROTOCOL, token };
        let (joined, _) = self.ask(address, async |mut client| client.join(joining).await).await?;
        Ok(joined.node)
    }

    async fn ask<T>(
        &self,
        address: &str,
        ask: impl AsyncFnOnce(JoinClient<Connection>) -> Result<Response<T>, Status>,
    ) -> Result<(T, Who), MeetError> {
        let unreachable = |reason: String| MeetError::Unreachable(address.to_owned(), reason);
        let asking = async {
            let failed = |error: io::Error| unreachable(error.to_string());
            let stream = TcpStream::connect(address).await.map_err(failed)?;
            stream.set_nodelay(true).map_err(failed)?;
            let Secured { io, who } = self.security.dialed(stream).await.map_err(failed)?;
            let begun = Connection::begin(io, Arc::new(HeaderMap::new()), &self.limits).await;
            let (connection, _open) = begun.map_err(|error| unreachable(error.to_string()))?;
            let client = JoinClient::with_origin(connection.clone(), connection.origin());
            let answer = ask(client).await.map_err(|status| match status.code() {
                tonic::Code::FailedPrecondition => {
                    MeetError::Refused(address.to_owned(), status.message().to_owned())
                }
                _ => unreachable(refusal::reason(&status)),
            })?;
            Ok((answer.into_inner(), who))
        };
        let asked = timeout(self.limits.greet_within, asking).await;
        asked.unwrap_or_else(|_elapsed| Err(unreachable("it is silent".to_owned())))
    }
}

fn read(met: Met) -> Option<Standing> {
    Some(match met.standing? {
        Wire::Stranger(stranger) => {
            let founds = match stranger.founds() {
                proto::Founds::Never => Founds::Never,
                proto::Founds::First => Founds::First,
                proto::Founds::Told => Founds::Told,
            };
            Standing::Stranger(Stranger { name: stranger.name, token: stranger.token, founds })
        }
        Wire::Cluster(known) => Standing::Member(Known {
            cluster: ClusterId(known.id.as_ref().try_into().ok()?),
            shards: u16::try_from(known.shards).ok()?,
            nodes: known.nodes.into_iter().map(|place| (place.node, place.address)).collect(),
            apply_level: known.apply_level,
        }),
    })
}

fn write(standing: Standing) -> Met {
    let standing = match standing {
        Standing::Stranger(Stranger { name, token, founds }) => {
            let founds = match founds {
                Founds::Never => proto::Founds::Never,
                Founds::First => proto::Founds::First,
                Founds::Told => proto::Founds::Told,
            };
            Wire::Stranger(proto::Stranger { name, token, founds: founds.into() })
        }
        Standing::Member(Known { cluster, shards, nodes, apply_level }) => {
            let nodes = nodes.into_iter().map(|(node, address)| proto::Place { node, address }).collect();
            let id = cluster.0.to_vec().into();
            Wire::Cluster(proto::Cluster { id, shards: shards.into(), nodes, apply_level })
        }
    };
    Met { protocol: PROTOCOL, standing: Some(standing) }
}

/// Answers nodes that belong to no cluster.
#[derive(Clone)]
pub(crate) struct Door(pub(crate) Arc<dyn Admits>);

#[tonic::async_trait]
impl Join for Door {
    async fn meet(&self, _request: Request<Nothing>) -> Result<Response<Met>, Status> {
        Ok(Response::new(write(self.0.standing())))
    }

    async fn join(&self, request: Request<Joining>) -> Result<Response<Joined>, Status> {
        let Joining { protocol, token } = request.into_inner();
        if protocol != PROTOCOL {
            let reason = format!("it speaks version {PROTOCOL} between nodes, not version {protocol}");
            return Err(Status::failed_precondition(reason));
        }
        let node = self.0.admit(token).await.map_err(Status::failed_precondition)?;
        Ok(Response::new(Joined { node }))
    }
}
