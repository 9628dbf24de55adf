//! C2: positions of an outbox are for some shards only, so that each shard is told what it got before. One that lacks that
//! takes nothing, and takes it once it has it; one that has it leaves it out.

use mqtt_codec::QoS;
use session_store::command::{Command, Input};
use session_store::{Effect, Request, ShardId, Source};

use crate::twins::{Twins, message, pushed};

fn item(number: u64, before: u64) -> Input {
    let command = Twins::publishing(message("t", &[number as u8], QoS::ExactlyOnce), Vec::new());
    let Command::Publish(mut publish) = command else { panic!("a publish") };
    publish.items[0].number = number;
    let command = Command::Publish(publish);
    Input::from(Request { source: Source::Outbox(ShardId(1)), number, done_below: before, command })
}

#[test]
fn an_item_is_taken_after_the_one_before_it_and_once() {
    let mut twins = Twins::new();
    twins.connect("c", 60);
    twins.subscribe("c", "t");
    twins.input(item(3, 0));
    let refused = twins.input(item(9, 7));
    assert!(matches!(refused.as_slice(), [Effect::Gap { last: 3, .. }]), "{refused:?}");
    // Another leader begins anew: it names none before its first.
    let all: Vec<_> =
        [(3, 0), (7, 3), (9, 7)].map(|(number, before)| pushed(&twins.input(item(number, before)))).concat();
    assert_eq!(all.iter().map(|(_, _, payload)| payload[0]).collect::<Vec<_>>(), [7, 9]);
}
