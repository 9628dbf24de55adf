//! B4: a request is committed, its leader dies before it answers, and the host repeats it to the next one. The answer is
//! that of the first time: no session is present that was not there, no will is published, retained messages come.

use session_store::Effect;
use session_store::command::{Command, Reply, RetainedWanted};

use crate::twins::{Twins, replies, will};

fn scans(effects: &[Effect]) -> usize {
    effects.iter().filter(|effect| matches!(effect, Effect::Scan(..))).count()
}

#[test]
fn a_repeated_connect_finds_no_session_that_it_made_itself_and_publishes_no_will() {
    let mut twins = Twins::new();
    let mut connect = twins.connecting("c", 60);
    connect.will = Some(will(0));
    let request = twins.request(1, Command::Connect(connect));
    let told = replies(&twins.input(request.clone()));
    twins.restart_second();
    let (_, second) = twins.both(request);
    assert_eq!(replies(&second), told);
    assert!(matches!(told.as_slice(), [Reply::Connected(Ok(told))] if !told.session_present));
    assert!(twins.second.outbox().is_empty(), "it did not take itself over");
}

#[test]
fn a_repeated_subscribe_is_told_once_more_that_it_is_new() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    let request = twins.request(2, Twins::subscribing("c", "r/#", RetainedWanted::IfNew));
    let first = twins.input(request.clone());
    assert_eq!(scans(&first), 1);
    twins.restart_second();
    let (_, second) = twins.both(request);
    assert_eq!(replies(&second), replies(&first));
    let mut again = Vec::new();
    twins.second.ask_again(&mut again);
    assert_eq!(scans(&again), 1, "the new leader asks for the page that died with the old one");
}
