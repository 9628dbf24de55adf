//! Nodes that belong to no cluster: they meet others and are given numbers, and nobody else is answered by them.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use node_routing::counters::Tally;
use node_routing::join::{Admits, Founds, MeetError, Meets, Standing, Stranger};
use node_routing::limits::Limits;
use node_routing::security::Plain;
use node_routing::server::{Front, Server};
use raft_consensus::network::{Channel, TransportError};
use raft_consensus::types::NodeId;
use tokio::net::TcpListener;

use crate::place::{Caller, Host, identity, known};

fn meets() -> Meets {
    Meets { limits: Limits::default(), security: Arc::new(Plain) }
}

fn stranger() -> Stranger {
    Stranger { name: "quelea-0".to_owned(), token: u64::MAX, founds: Founds::First }
}

/// A node that belongs to no cluster.
struct Nobody;

impl Admits for Nobody {
    fn standing(&self) -> Standing {
        Standing::Stranger(stranger())
    }

    fn admit(&self, _token: u64) -> BoxFuture<'static, Result<NodeId, String>> {
        Box::pin(std::future::ready(Err("it belongs to no cluster itself".to_owned())))
    }
}

async fn nobody(tally: &Arc<Tally>) -> (Server, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let front = Front { limits: Limits::default(), security: Arc::new(Plain), tally: Arc::clone(tally) };
    (Server::for_strangers([listener], front, Arc::new(Nobody)).unwrap(), address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_met_says_whether_it_belongs_to_a_cluster_and_where_the_others_are() {
    let (_server, alone) = nobody(&Arc::default()).await;
    assert_eq!(meets().meet(&alone).await, Ok(Standing::Stranger(stranger())));
    let member = Host::start(identity(2, 1), Limits::default()).await;
    assert_eq!(meets().meet(&member.address).await, Ok(Standing::Member(known())));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_gives_numbers_and_says_why_it_gives_none() {
    let member = Host::start(identity(2, 1), Limits::default()).await;
    assert_eq!(meets().join(&member.address, 4).await, Ok(5));
    let refused =
        |address: &str, reason: &str| Err(MeetError::Refused(address.to_owned(), reason.to_owned()));
    assert_eq!(meets().join(&member.address, 99).await, refused(&member.address, "it is full"));
    let (_server, alone) = nobody(&Arc::default()).await;
    assert_eq!(meets().join(&alone, 4).await, refused(&alone, "it belongs to no cluster itself"));
    assert_eq!(member.counters().peer_refusals, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_belongs_to_no_cluster_answers_no_member_and_is_no_misfit() {
    let tally = Arc::default();
    let (_server, address) = nobody(&tally).await;
    let caller = Caller::new(identity(1, 1), Limits::default());
    caller.place(2, &address);
    let answer = caller.ask(2, Channel::Control).await;
    assert!(
        matches!(&answer, TransportError::Unreachable { to: 2, reason } if reason.contains("no cluster")),
        "{answer}"
    );
    assert_eq!((caller.tally.read().peer_misfits, tally.read().peer_refusals), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_at_an_address_is_out_of_reach() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = closed.local_addr().unwrap().to_string();
    drop(closed);
    let met = meets().meet(&address).await;
    assert!(matches!(met, Err(MeetError::Unreachable(..))), "{met:?}");
}
