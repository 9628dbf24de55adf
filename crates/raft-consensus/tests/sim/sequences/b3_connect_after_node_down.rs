//! B3: a CONNECT that was on its way when its host was declared dead arrives behind that. Nobody is hosted by the dead.

use session_store::Incarnation;
use session_store::command::{Command, Input};
use session_store::{Host, Source};

use crate::twins::{HOST, Twins};

#[test]
fn a_connect_of_a_dead_run_is_not_taken_and_one_of_the_next_is() {
    let mut twins = Twins::new();
    let mut late = twins.connecting("c", 60);
    twins.input(Input::Down(HOST));
    let request = twins.request(1, Command::Connect(late.clone()));
    assert!(twins.input(request).is_empty());
    assert!(twins.first.session("c").is_none());
    let host = Host { incarnation: Incarnation(2), ..HOST };
    late.connection.host = host;
    let Input::Request(request) = twins.request(1, Command::Connect(late)) else { panic!("a request") };
    let request = session_store::Request { source: Source::Host(host), ..(*request).clone() };
    twins.input(Input::from(request));
    assert!(twins.first.session("c").is_some_and(|session| session.connection().is_some()));
}
