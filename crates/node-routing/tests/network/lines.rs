//! Ways to a node: one connection for each purpose, made again after it broke, given up when it falls silent, and never
//! to anybody else than who is meant.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{FutureExt, StreamExt, stream};
use node_routing::identity::Identity;
use node_routing::limits::{BadLimits, Limits};
use node_routing::peers::Peers;
use node_routing::reach::{Reach, Ways};
use node_routing::server::Server;
use raft_consensus::cluster::ClusterId;
use raft_consensus::network::{Channel, PeerTransport, Refusal, TransportError};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::cluster::{WITHIN, eventually};
use crate::place::{Caller, Host, answers, arrived, identity, question, ways};
use crate::proxy::Proxy;

/// Long enough to be asked, too short to wait for somebody who is silent.
const SHORT: Duration = Duration::from_millis(200);
const CHANNELS: [Channel; 3] = [Channel::Control, Channel::Replication, Channel::Snapshot];

fn limits() -> Limits {
    Limits::default()
}

#[tokio::test]
async fn bounds_that_do_not_fit_are_refused_by_either_end() {
    let (_view, peers) = watch::channel(Peers::new());
    let bad = Limits { gone_pause: Duration::ZERO, ..limits() };
    let ways = Ways { limits: bad, ..ways(identity(1, 1), peers, &Arc::default()) };
    let refused = Some(BadLimits::Zero("gone_pause"));
    assert_eq!(Reach::new(ways.clone()).err(), refused);
    let (directory, listener) =
        (tempfile::tempdir().unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap());
    let answers = answers(1, &directory, &Arc::default());
    assert_eq!(Server::start([listener], ways, answers).err(), refused);
}

#[tokio::test]
async fn each_purpose_has_one_connection_however_much_is_asked() {
    let two = Host::start(identity(2, 1), limits()).await;
    let one = Caller::new(identity(1, 1), limits());
    one.place(2, &two.address);
    for _ in 0..50 {
        for channel in CHANNELS {
            assert_eq!(one.ask(2, channel).await, arrived(2));
        }
    }
    assert_eq!(two.counters().peer_accepted, 3);
    let counters = one.tally.read();
    assert_eq!((counters.peer_calls, counters.peer_dials, counters.peer_calls_late), (150, 3, 0));
    assert!(counters.peer_sent > 0, "{counters:?}");
}

#[tokio::test]
async fn a_refusal_of_the_other_node_ends_a_stream() {
    let two = Host::start(identity(2, 1), limits()).await;
    let one = Caller::new(identity(1, 1), limits());
    one.place(2, &two.address);
    let requests = stream::once(async { question(2) }).chain(stream::pending()).boxed();
    let answers = one.transport.open(2, Channel::Replication, requests, WITHIN).await.unwrap();
    let answers: Vec<_> = timeout(WITHIN, answers.collect()).await.unwrap();
    assert_eq!(answers, [Err(arrived(2))]);
}

#[tokio::test]
async fn answers_that_are_dropped_end_their_stream_and_make_room_for_another() {
    let narrow = Limits { streams_max: 1, ..limits() };
    let two = Host::start(identity(2, 1), narrow).await;
    let one = Caller::new(identity(1, 1), limits());
    one.place(2, &two.address);
    for _ in 0..3 {
        let (ends, ended) = tokio::sync::oneshot::channel::<()>();
        // Requests of which none ever comes; they are dropped when the stream has ended.
        let held = stream::once(async move {
            let _ends = ends;
            std::future::pending().await
        });
        let open = one.transport.open(2, Channel::Replication, held.boxed(), WITHIN);
        let answers = open.await.unwrap();
        let other = one.ask_within(2, Channel::Replication, SHORT).await;
        assert_eq!(other, TransportError::Timeout { to: 2, within: SHORT }, "there is room for one");
        drop(answers);
        assert!(timeout(WITHIN, ended).await.unwrap().is_err());
        assert_eq!(one.ask(2, Channel::Replication).await, arrived(2));
    }
}

#[tokio::test]
async fn no_more_is_asked_at_a_time_than_this_node_allows() {
    let two = Host::start(identity(2, 1), limits()).await;
    let one = Caller::new(identity(1, 1), Limits { streams_max: 1, ..limits() });
    one.place(2, &two.address);
    let requests = stream::pending().boxed();
    let answers = one.transport.open(2, Channel::Control, requests, WITHIN).await.unwrap();
    let late = TransportError::Timeout { to: 2, within: SHORT };
    assert_eq!(one.ask_within(2, Channel::Control, SHORT).await, late);
    assert_eq!(one.ask(2, Channel::Replication).await, arrived(2), "another connection");
    drop(answers);
    assert_eq!(one.ask(2, Channel::Control).await, arrived(2));
}

#[tokio::test]
async fn a_node_that_never_answers_costs_its_deadline_and_no_more() {
    // The kernel accepts, and nobody reads.
    let deaf = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let patient = Limits { greet_within: Duration::from_secs(3_600), ..limits() };
    let one = Caller::new(identity(1, 1), patient);
    one.place(2, &deaf.local_addr().unwrap().to_string());
    let late = TransportError::Timeout { to: 2, within: SHORT };
    assert_eq!(one.ask_within(2, Channel::Control, SHORT).await, late);
    let opened = one.transport.open(2, Channel::Replication, stream::pending().boxed(), SHORT).await;
    assert_eq!(opened.map(|_| ()).unwrap_err(), late);
    // Who does not wait for ever says in the end that nobody is there.
    let one = Caller::new(identity(1, 1), Limits { greet_within: SHORT, ..limits() });
    one.place(2, &deaf.local_addr().unwrap().to_string());
    let said = eventually("word of the silence", || async {
        match one.ask_within(2, Channel::Control, SHORT).await {
            TransportError::Unreachable { reason, .. } => Some(reason),
            _ => None,
        }
    });
    assert!(said.await.contains("silent"));
    assert_eq!(one.tally.read().peer_gone, 0);
}

#[tokio::test]
async fn a_connection_that_falls_silent_is_given_up_and_made_anew_and_nobody_is_called_gone() {
    let alive = Duration::from_millis(300);
    let quick = Limits { keep_alive: alive, keep_alive_within: alive, ..limits() };
    let two = Host::start(identity(2, 1), limits()).await;
    let proxy = Proxy::new(1);
    proxy.aim(two.address.parse().unwrap());
    let mut one = Caller::new(identity(1, 1), quick);
    one.place(2, &proxy.address.to_string());
    one.reaches(2).await;
    let requests = stream::pending().boxed();
    let mut answers = one.transport.open(2, Channel::Replication, requests, WITHIN).await.unwrap();
    proxy.change(|faults| faults.silent = true);
    assert_ne!(one.ask_within(2, Channel::Control, SHORT).await, arrived(2));
    let broke = timeout(WITHIN, answers.next()).await.unwrap();
    assert!(matches!(broke, Some(Err(TransportError::Unreachable { to: 2, .. }))), "{broke:?}");
    eventually("connections that were given up", || async {
        (one.tally.read().peer_connections_silent >= 2).then_some(())
    })
    .await;
    proxy.change(|faults| faults.silent = false);
    one.reaches(2).await;
    assert!(one.gone.try_recv().is_err());
    assert_eq!(one.tally.read().peer_gone, 0);
}

#[tokio::test]
async fn a_node_whose_connections_broke_and_that_refuses_new_ones_is_gone_each_time() {
    let mut one = Caller::new(identity(1, 1), Limits { gone_pause: Duration::from_nanos(1), ..limits() });
    let mut run = 0;
    let mut start = async || {
        run += 1;
        Host::start(identity(2, run), limits()).await
    };
    for _ in 0..3 {
        let two = start().await;
        one.place(2, &two.address);
        one.reaches(2).await;
        one.ask(2, Channel::Replication).await;
        let address = two.address.clone();
        drop(two);
        // Either of its connections may say so.
        while timeout(WITHIN, one.gone.recv()).await.unwrap().unwrap().address != address {}
    }
}

#[tokio::test]
async fn who_asks_nothing_notices_as_well_that_a_node_is_gone() {
    let mut one = Caller::new(identity(1, 1), limits());
    let (two, three) =
        (Host::start(identity(2, 1), limits()).await, Host::start(identity(3, 1), limits()).await);
    one.place(2, &two.address);
    let mut heard = std::mem::replace(&mut one.gone, tokio::sync::mpsc::channel(1).1);
    let dies = async {
        eventually("a connection", || async { (two.counters().peer_accepted == 1).then_some(()) }).await;
        // One that comes later is found too.
        one.place(3, &three.address);
        eventually("a connection", || async { (three.counters().peer_accepted == 1).then_some(()) }).await;
        one.reaches(2).await;
        drop(two);
        timeout(WITHIN, heard.recv()).await.unwrap().unwrap()
    };
    let gone = tokio::select! {
        () = one.reach.keep_in_touch() => panic!("it should go on"),
        gone = dies => gone,
    };
    assert_eq!(gone.node, 2);
}

#[tokio::test]
async fn who_was_never_there_is_not_gone_and_is_tried_with_pauses() {
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let mut one = Caller::new(identity(1, 1), limits());
    one.place(2, &nobody.to_string());
    let begun = Instant::now();
    while one.tally.read().peer_dials_refused < 5 {
        let error = one.ask(2, Channel::Control).await;
        let TransportError::Unreachable { reason, .. } = error else { panic!("{error}") };
        assert!(reason.contains("refuses connections"), "{reason}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    // Pauses of 50, 100, 200 and 350 ms lie between five attempts.
    assert!(begun.elapsed() >= Duration::from_millis(700), "{:?}", begun.elapsed());
    assert!(one.gone.try_recv().is_err());
}

#[tokio::test]
async fn a_node_that_moves_is_found_at_once_and_one_that_is_forgotten_is_not_asked() {
    let first = Host::start(identity(2, 1), limits()).await;
    let second = Host::start(identity(2, 2), limits()).await;
    let one = Caller::new(identity(1, 1), limits());
    let unknown = |error: TransportError| {
        assert!(error.to_string().contains("address is not known"), "{error}");
    };
    unknown(one.ask(2, Channel::Control).await);
    one.place(2, &first.address);
    assert_eq!(one.ask(2, Channel::Control).await, arrived(2));
    // Although the first is still there.
    one.place(2, &second.address);
    eventually("a connection to the new place", || async {
        one.ask(2, Channel::Control).await;
        (second.counters().peer_accepted == 1).then_some(())
    })
    .await;
    one.forget(2);
    eventually("a node that is not asked", || async {
        one.ask(2, Channel::Control).await.to_string().contains("address is not known").then_some(())
    })
    .await;
    one.place(2, &first.address);
    assert_eq!(one.ask(2, Channel::Control).await, arrived(2));
}

#[tokio::test]
async fn a_node_never_speaks_to_itself() {
    let host = Host::start(identity(1, 1), limits()).await;
    let one = Caller::new(identity(1, 1), limits());
    one.place(1, &host.address);
    let error = one.ask(1, Channel::Control).now_or_never().unwrap();
    assert!(error.to_string().contains("it is this node"), "{error}");
    assert_eq!(one.tally.read().peer_dials, 0);
    // An address that leads back here.
    one.place(2, &host.address);
    let wrong = Refusal::WrongNode { expected: 2, found: 1 };
    assert_eq!(one.ask(2, Channel::Control).await, TransportError::Refused { to: 2, refusal: wrong });
}

#[tokio::test]
async fn who_does_not_belong_is_refused_by_name_at_either_end() {
    let two = Host::start(identity(2, 5), limits()).await;
    let refused = async |identity: Identity, lowest_live: u32| {
        let caller = Caller::new(identity, limits());
        caller.place_run(2, &two.address, lowest_live);
        match caller.ask(2, Channel::Control).await {
            TransportError::Refused { refusal, .. } => refusal,
            error => panic!("{error}"),
        }
    };
    let stranger = Identity { cluster: ClusterId([8; 16]), ..identity(1, 1) };
    assert_eq!(refused(stranger, 0).await, Refusal::WrongCluster);
    // The address of a node that has moved leads to a run that is dead by now.
    let dead = Refusal::DeadRun { found: 5, lowest_live: 6 };
    assert_eq!(refused(identity(1, 1), 6).await, dead);
    let peer = node_routing::peers::Peer {
        address: String::new(),
        name: Box::default(),
        lowest_live: session_store::Incarnation(4),
    };
    two.view.send_modify(|peers| drop(peers.insert(1, peer)));
    let dead = Refusal::DeadRun { found: 3, lowest_live: 4 };
    assert_eq!(refused(identity(1, 3), 0).await, dead);
    assert_eq!(refused(identity(1, 4), 0).await, Refusal::UnknownGroup(9), "this one lives");
    assert!(two.counters().peer_refusals >= 2);
}
