//! Section 3.1.4: a second connection with the same client identifier.
//! Run against the shared broker.

use e2e_tests::{Connect, RawClient, unique};

use crate::support::{broker, client, forget, persistent};

#[test]
fn mqtt3_3_1_4_2_the_old_connection_of_a_client_id_is_closed() {
    let (_broker, addr) = broker();
    let id = unique("c");
    let mut old = RawClient::v3(&addr, &id);
    let mut new = RawClient::v3(&addr, &id);
    assert!(old.expect_closed().is_empty(), "closed without a packet");
    new.ping();
}

#[test]
fn mqtt3_3_1_4_2_the_session_goes_to_the_new_connection() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut old = RawClient::connect(&addr, &persistent(&id));
    old.subscribe(&topic, 1);
    client(&addr).publish(&topic, "unacked", 1);
    old.expect_publish();
    let (mut new, connack) = RawClient::connect_ack(&addr, &persistent(&id));
    assert!(connack.session_present);
    assert!(old.expect_closed().is_empty());
    let again = new.receive();
    assert_eq!((again.text().as_str(), again.dup), ("unacked", true));
    new.disconnect();
    forget(&addr, &id);
}

#[test]
fn mqtt3_3_1_4_2_ten_takeovers_in_a_row_leave_one_connection() {
    let (_broker, addr) = broker();
    let (id, topic) = (unique("c"), unique("t"));
    let mut clients: Vec<RawClient> =
        (0..10).map(|round| RawClient::connect(&addr, &Connect::v3(&id).clean(round % 2 == 0))).collect();
    let mut last = clients.pop().unwrap();
    clients.iter_mut().for_each(|old| drop(old.expect_closed()));
    last.subscribe(&topic, 1);
    client(&addr).publish(&topic, "one", 1);
    assert_eq!(last.receive().text(), "one");
    last.expect_nothing();
    last.disconnect();
    forget(&addr, &id);
}
