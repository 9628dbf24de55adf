//! Nodes that touch each other and ask each other for something, over real sockets: who touched is known, an answer comes
//! back, and silence has a deadline.

use std::time::Duration;

use bytes::Bytes;
use node_routing::asking::Asker;
use node_routing::limits::Limits;
use node_routing::presence::{Outcome, Touch, Toucher};
use raft_consensus::network::{Refusal, TransportError};
use session_store::{Host as Run, Incarnation, NodeId};
use tokio::net::TcpListener;

use crate::cluster::{WITHIN, eventually};
use crate::place::{Caller, Host, identity};

#[tokio::test]
async fn whoever_is_touched_knows_which_run_it_was_and_answers() {
    let two = Host::start(identity(2, 5), Limits::default()).await;
    *two.ear.in_force.lock() = 3;
    let one = Caller::new(identity(1, 9), Limits::default());
    one.place(2, &two.address);
    let toucher = Toucher::new(one.reach.clone());
    let by = Run { node: NodeId(1), incarnation: Incarnation(9) };
    let touch =
        Touch { applied: 4, reached: vec![NodeId(3)], heard: vec![by], wall_ms: 8, ..Touch::default() };
    let touched = toucher.touch(2, &touch, WITHIN).await.unwrap();
    assert_eq!((touched.outcome, touched.in_force, touched.wall_ms), (Outcome::NotWanted, 3, 7));
    let wants = Touch { wants_lease: true, ..touch.clone() };
    let touched = toucher.touch(2, &wants, WITHIN).await.unwrap();
    assert_eq!(touched.outcome, Outcome::Denied("no".to_owned()));
    assert_eq!(*two.ear.touches.lock(), [(by, touch), (by, wants)]);
    toucher.announce(2, 11, WITHIN).await.unwrap();
    assert_eq!(*two.ear.in_force.lock(), 11);
}

/// What a node finds of others is no word about itself, though both have the same number.
#[tokio::test]
async fn a_run_that_is_dead_hears_so_from_whoever_it_reaches() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place_run(2, &two.address, 2);
    let (toucher, refused) = (Toucher::new(one.reach.clone()), one.reach.refused_as_dead());
    let found_dead = toucher.touch(2, &Touch::default(), WITHIN).await.unwrap_err();
    assert!(matches!(found_dead, TransportError::Refused { .. }), "{found_dead}");
    assert!(!*refused.borrow(), "that is the other one's run");
    one.place_run(2, &two.address, 1);
    eventually("way to the node", || async { toucher.touch(2, &Touch::default(), WITHIN).await.ok() }).await;
    // Word comes over the connection that is there, and to whoever connects anew.
    two.knows_run(1, 2);
    let dead = toucher.touch(2, &Touch::default(), WITHIN).await.unwrap_err();
    assert!(matches!(dead, TransportError::Refused { .. }), "{dead}");
    assert!(*refused.borrow());
    let again = Caller::new(identity(1, 1), Limits::default());
    again.place(2, &two.address);
    let mut refused = again.reach.refused_as_dead();
    let toucher = Toucher::new(again.reach.clone());
    let _refused = toucher.touch(2, &Touch::default(), WITHIN).await.unwrap_err();
    refused.wait_for(|refused| *refused).await.unwrap();
}

#[tokio::test]
async fn who_does_not_answer_is_not_waited_for() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &silent.local_addr().unwrap().to_string());
    let within = Duration::from_millis(50);
    let toucher = Toucher::new(one.reach.clone());
    let late = toucher.touch(2, &Touch::default(), within).await.unwrap_err();
    assert_eq!(late, TransportError::Timeout { to: 2, within });
    let unknown = toucher.announce(3, 1, WITHIN).await.unwrap_err();
    assert!(matches!(unknown, TransportError::Unreachable { to: 3, .. }), "{unknown}");
}

#[tokio::test]
async fn what_is_asked_of_another_node_is_answered_refused_or_late() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &two.address);
    let asker = Asker::new(one.reach.clone());
    assert_eq!(asker.ask(2, Bytes::from("it"), WITHIN).await, Ok(Bytes::from("done: it")));
    let refusal = Refusal::Malformed("it is nonsense".to_owned());
    let nonsense = asker.ask(2, Bytes::from("nonsense"), WITHIN).await;
    assert_eq!(nonsense, Err(TransportError::Refused { to: 2, refusal }));
    let within = Duration::from_millis(50);
    let late = asker.ask(2, Bytes::from("hang"), within).await;
    assert_eq!(late, Err(TransportError::Timeout { to: 2, within }));
    let huge = asker.ask(2, Bytes::from(vec![0; 2 << 20]), WITHIN).await;
    assert!(matches!(huge, Err(TransportError::Refused { refusal: Refusal::TooLarge, .. })), "{huge:?}");
}
