//! Tests of checkpoints: whatever happened, a shard that is restored is the one that was written, and goes on
//! like it; and only net changes are written.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;
use crate::command::{EXPIRY_NEVER, Input};
use crate::ids::{Millis, ShardId};
use crate::limits::{QueueLimits, QueuePolicy, ShardLimits};
use crate::record::RecordError;
use crate::shard::ShardNumber;

use history::{
    CLIENTS, ME, Records, Step, World, limits, policy, publish, read_stored, record, run, step,
    with_absent_subscriber,
};

mod fixture;
mod history;
mod paging;

fn restore(records: &Records, policy: QueuePolicy) -> Result<Shard, RecordError> {
    let all = records.iter().map(|(key, value)| Ok((Bytes::copy_from_slice(key), value.clone())));
    Shard::restore(ME, limits(policy), all, |key| record(records, key))
}

/// Every record that a full checkpoint of this shard would have: what is there and should not be is a leak.
fn written_anew(shard: &Shard, policy: QueuePolicy, store: &Records) -> usize {
    let restored = restore(store, policy).unwrap();
    assert_eq!(restored.digest(), shard.digest());
    let pages: usize = restored.sessions.values().map(|session| session.kept.0.pages.len()).sum();
    let sessions = restored.sessions.len();
    let with_subscriptions = store.keys().filter(|key| key.first() == Some(&b'F')).count();
    assert!(with_subscriptions <= sessions);
    1 + restored.clients.len()
        + sessions
        + with_subscriptions
        + pages
        + restored.keeper.bodies.len()
        + restored.retained.len()
        + restored.outbox.len()
        + restored.streams.len()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    #[test]
    fn a_restored_shard_is_the_one_that_was_written_and_goes_on_like_it(
        policy in policy(),
        steps in vec(step(), 1..60),
        later in vec(step(), 0..20),
    ) {
        let mut world = World::new(policy);
        for step in steps {
            match world.input(step) {
                Some(input) => { world.apply(input); }
                None => { world.checkpoint(); }
            }
        }
        world.checkpoint();
        let mut other = restore(&world.store, policy).unwrap();
        prop_assert_eq!(other.digest(), world.shard.digest());
        prop_assert_eq!(written_anew(&world.shard, policy, &world.store), world.store.len(), "a record leaks");
        prop_assert_eq!(other.take_changes().len(), 1, "nothing but the head");
        let mut store = world.store.clone();
        for step in later {
            match world.input(step) {
                Some(input) => {
                    let mut effects = Vec::new();
                    other.apply(Millis(world.now), input.clone(), &mut effects);
                    read_stored(&other, &store, &mut effects);
                    prop_assert!(format!("{:?}", world.apply(input)) == format!("{effects:?}"), "another effect");
                }
                None => {
                    let changes = other.take_changes();
                    other.leave_to_store();
                    for (key, value) in changes.iter() {
                        match value {
                            Some(value) => store.insert(key.to_vec(), value.clone()),
                            None => store.remove(key),
                        };
                    }
                    prop_assert_eq!(restore(&store, policy).unwrap().digest(), world.shard.digest());
                }
            }
        }
        prop_assert_eq!(other.digest(), world.shard.digest());
        prop_assert_eq!(world.twin.digest(), world.shard.digest());
    }

    #[test]
    fn records_that_do_not_fit_together_are_refused_and_never_panic(
        steps in vec(step(), 1..30),
        at in any::<prop::sample::Index>(),
        byte in any::<prop::sample::Index>(),
        bits in 1..=u8::MAX,
    ) {
        let mut world = World::new(QueuePolicy::DropOldest);
        for step in steps {
            if let Some(input) = world.input(step) { world.apply(input); }
        }
        world.checkpoint();
        let (key, value) = world.store.iter().nth(at.index(world.store.len())).unwrap();
        let (key, mut damaged) = (key.clone(), value.to_vec());
        let byte = byte.index(damaged.len());
        damaged[byte] ^= bits;
        world.store.insert(key.clone(), damaged.into());
        let _ = restore(&world.store, QueuePolicy::DropOldest);
        world.store.remove(&key);
        if let Ok(shard) = restore(&world.store, QueuePolicy::DropOldest) {
            prop_assert!(shard.validate().is_ok());
        }
    }
}

fn kinds(changes: &Changes) -> BTreeMap<char, usize> {
    let mut kinds = BTreeMap::new();
    for (key, value) in changes.iter() {
        if value.is_some() {
            *kinds.entry(char::from(key[0])).or_insert(0) += 1;
        }
    }
    kinds
}

#[test]
fn what_was_queued_and_acknowledged_in_between_is_never_written() {
    let mut world = with_absent_subscriber();
    world.checkpoint();
    run(
        &mut world,
        [
            Step::Connect {
                client: 0,
                node: 0,
                clean: false,
                expiry_s: EXPIRY_NEVER,
                receive_maximum: 9,
                will: None,
            },
            publish(9, 10_000),
            Step::AckAll { client: 0 },
            Step::Relayed { items: 100 },
            Step::Connect { client: 1, node: 0, clean: true, expiry_s: 0, receive_maximum: 9, will: None },
            Step::End { client: 1, fate: 0, unsent: Vec::new() },
        ],
    );
    assert!(world.shard.session("a").unwrap().outbound().is_empty());
    let changes = world.checkpoint();
    assert_eq!(kinds(&changes), BTreeMap::from([('C', 1), ('H', 1), ('S', 1), ('R', 1), ('T', 2)]));
    let bytes: usize = changes.iter().filter(|(key, _)| key[0] != b'R').map(|(_, v)| v.unwrap().len()).sum();
    assert!(bytes < 10_000, "{bytes} bytes");
}

/// Small checkpoints of a long queue write each item a few times and leave few pages.
#[test]
fn a_queue_that_grows_slowly_is_not_written_again_and_again() {
    let mut world = with_absent_subscriber();
    let queue = QueueLimits { messages_max: 9_000, ..QueueLimits::default() };
    world.apply(Input::Limits(ShardLimits { queue, ..limits(QueuePolicy::DropNewest) }));
    world.checkpoint();
    let mut written = 0;
    for _ in 0..1_000 {
        run(&mut world, [publish(2, 200)]);
        let changes = world.checkpoint();
        let pages = changes.iter().filter(|(key, _)| key[0] == b'Q');
        written += pages.filter_map(|(_, value)| value).map(Bytes::len).sum::<usize>();
    }
    let queued = world.shard.session("a").unwrap().outbound().bytes();
    assert!(written < 10 * queued, "{written} bytes written for {queued} queued");
    let pages = world.store.keys().filter(|key| key[0] == b'Q').count();
    assert!(pages <= 2 * queued / pages::PAGE_BYTES + 9, "{pages} pages for {queued} bytes");
    run(
        &mut world,
        (0..9).flat_map(|_| {
            let (client, expiry_s) = (0, EXPIRY_NEVER);
            let connect =
                Step::Connect { client, node: 0, clean: false, expiry_s, receive_maximum: 199, will: None };
            [connect, Step::AckAll { client }, Step::End { client, fate: 1, unsent: Vec::new() }]
        }),
    );
    world.checkpoint();
    let left = world.shard.session("a").unwrap().outbound().len();
    let pages_left = world.store.keys().filter(|key| key[0] == b'Q').count();
    assert!(left < 2_000 && pages_left < pages, "{left} items in {pages_left} pages");
}

#[test]
fn a_large_message_for_many_sessions_is_written_once() {
    let mut world = World::new(QueuePolicy::DropNewest);
    for client in 0..CLIENTS.len() {
        run(
            &mut world,
            [
                Step::Connect {
                    client,
                    node: 0,
                    clean: false,
                    expiry_s: EXPIRY_NEVER,
                    receive_maximum: 9,
                    will: None,
                },
                Step::Subscribe { client, filter: 0, qos: 1 },
                Step::End { client, fate: 1, unsent: Vec::new() },
            ],
        );
    }
    world.checkpoint();
    run(&mut world, [publish(1, 20_000), Step::Relayed { items: 100 }]);
    let changes = world.checkpoint();
    assert_eq!(kinds(&changes).get(&'B'), Some(&1));
    let bytes: usize = changes.iter().filter_map(|(_, value)| value).map(Bytes::len).sum();
    assert!(bytes < 25_000, "{bytes} bytes");
    for client in 0..CLIENTS.len() {
        assert!(world.store.keys().any(|key| key[0] == b'B'));
        run(
            &mut world,
            [Step::Connect { client, node: 0, clean: true, expiry_s: 0, receive_maximum: 9, will: None }],
        );
        world.checkpoint();
    }
    assert!(!world.store.keys().any(|key| key[0] == b'B'), "nobody waits for it any more");
}

#[test]
fn a_shard_is_not_restored_as_another_one() {
    let mut world = with_absent_subscriber();
    world.checkpoint();
    let records = world.store.iter().map(|(key, value)| (Bytes::copy_from_slice(key), value.clone()));
    let me = ShardNumber { number: ShardId(1), of: 3 };
    let again = |key: &[u8]| record(&world.store, key);
    let restored = Shard::restore(me, ShardLimits::default(), records.map(Ok::<_, RecordError>), again);
    assert_eq!(restored.map(|_| ()), Err(RecordError::Invalid { field: "number of the shard" }));
    let nothing = std::iter::empty::<Result<_, RecordError>>();
    assert!(Shard::restore(ME, ShardLimits::default(), nothing, again).is_err());
}
