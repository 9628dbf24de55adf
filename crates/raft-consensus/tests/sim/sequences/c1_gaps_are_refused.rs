//! C1: an entry with requests 1 to 3 is rejected, the next one with 4 to 6 is appended by a leader that was elected again,
//! and the host repeats 1 to 3. Nothing is taken for a repeat that was never applied.

use mqtt_codec::QoS;
use session_store::Effect;

use crate::twins::{Twins, message, pushed};

#[test]
fn a_request_before_which_others_are_missing_is_refused_and_lost_ones_are_taken_later() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    let request = |twins: &Twins, number: u64| {
        let publish = Twins::publishing(message("t", &[number as u8], QoS::AtLeastOnce), Vec::new());
        twins.request(number, publish)
    };
    for number in 6..9 {
        let input = request(&twins, number);
        let effects = twins.input(input);
        assert!(matches!(effects.as_slice(), [Effect::Gap { last: 2, .. }]), "{effects:?}");
    }
    let mut got = Vec::new();
    for number in 3..9 {
        let input = request(&twins, number);
        got.extend(pushed(&twins.input(input)).into_iter().map(|(_, _, payload)| payload[0]));
    }
    assert_eq!(got, [3, 4, 5, 6, 7, 8]);
}
