//! G3, G4: a message of QoS 2 reaches each session and its client once, however often it is sent.

use std::collections::BTreeSet;

use mqtt_codec::QoS;

use crate::history::{Facts, Promise};
use crate::run::assert_kept;

pub(crate) fn check(facts: &Facts) -> Result<(), String> {
    let mut got = BTreeSet::new();
    for delivery in
        facts.deliveries.iter().filter(|delivery| delivery.qos == QoS::ExactlyOnce && !delivery.repeat)
    {
        if !got.insert((&delivery.client, delivery.session, delivery.number)) {
            return Err(format!("{} got {} twice", delivery.client, delivery.number));
        }
    }
    Ok(())
}

#[test]
fn a_message_of_qos_2_reaches_a_client_once() {
    assert_kept(Promise::ExactlyOnce);
}
