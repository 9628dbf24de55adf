//! The stored form of a checkpoint: a snapshot written by an earlier version is read for ever.
//! `QUELEA_WRITE_FIXTURES` writes it anew, which is for a new version only and never for one that was released.

use std::collections::BTreeMap;

use mqtt_codec::{PacketId, QoS};

use super::super::*;
use super::history::{CLIENTS, Records, Step, publish, record, run, with_absent_subscriber};
use super::restore;
use crate::limits::QueuePolicy;
use crate::message::MessageRef;
use crate::picks::Pick;

fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn item_told(message: &MessageRef, qos: QoS, ids: &[u32]) -> String {
    let topic = String::from_utf8_lossy(message.body.topic());
    let (payload, expires) = (message.body.payload().len(), message.expires_at.map(|at| at.0));
    format!("{topic} {payload} {} {expires:?} {ids:?}", u8::from(qos))
}

/// What a shard holds, in words of its own that no change of the code changes.
fn told(shard: &Shard, store: &Records) -> String {
    let mut lines = vec![format!("now {}, outbox from {}", shard.now.0, shard.outbox.first())];
    for id in CLIENTS {
        let Some(client) = shard.clients.get(id) else { continue };
        let connected = client.connection.map(|connection| (connection.host.to_string(), connection.number));
        let dues = (client.will_due.map(|at| at.0), client.expiry_due.map(|at| at.0));
        let will = client.will.as_ref().map(|will| (will.delay_s, will.expiry_s, will.body.size()));
        lines.push(format!("{id}: {} {connected:?} {dues:?} {will:?}", client.epoch.0));
        let Some(session) = shard.session(id) else { continue };
        for (filter, subscribed) in session.subscriptions() {
            lines.push(format!("    {filter} {} {:?}", u8::from(subscribed.qos), subscribed.id));
        }
        let ids: Vec<u16> = session.inbound.ids().map(PacketId::get).collect();
        lines.push(format!("    {} in flight, received {ids:?}", session.outbound.in_flight()));
        let mut items = BTreeMap::new();
        for (serial, message, shape) in session.outbound.contents_from(0) {
            items.insert(serial, item_told(message, shape.qos(), shape.subscription_ids()));
        }
        let key = client.session.unwrap();
        for serial in (0..session.outbound.next_serial()).filter(|serial| session.outbound.is_stored(*serial))
        {
            let (at, start) = (StoredAt { session: key, serial }, session.kept.0.page_of(serial));
            let mut page = StoredPage::read(&at, start, |key| record(store, key)).unwrap();
            let item = page.take(&at).unwrap();
            let ids = item.subscription_ids.as_deref().unwrap_or_default();
            items.insert(serial, item_told(&item.message, item.qos, ids));
        }
        lines.extend(items.into_iter().map(|(serial, item)| format!("    {serial}: {item}")));
    }
    for (position, item) in shard.outbox.from(0) {
        lines.push(format!("outbox {position}: {} {}", item.publisher, item.message.body.size()));
        for Pick { group, taker } in item.picks.iter() {
            lines.push(format!("    {} {}: {taker:?}", group.group, group.filter.as_str()));
        }
        if let Some(group) = item.picks.behind() {
            lines.push(format!("    up to {} {}", group.group, group.filter.as_str()));
        }
    }
    for (source, stream) in &shard.streams {
        lines.push(format!("{source:?}: {} {}", stream.last(), stream.answers().count()));
    }
    lines.push(format!("{} retained, {} bytes", shard.retained.len(), shard.retained.bytes()));
    lines.join("\n") + "\n"
}

/// The fixture is a snapshot: its form and those of all records are read for ever.
fn means_what_it_meant(name: &str) {
    let folder = tempfile::TempDir::new().unwrap();
    let mut store = crate::store::Store::open(folder.path()).unwrap();
    let group = crate::store::GroupId(2);
    let written = store.import(group, &fixture(&format!("{name}.snapshot"))).unwrap();
    assert_eq!(written.applied, b"position 7");
    let records = store.load(group).unwrap().unwrap().map(|record| record.map_err(|e| e.to_string()));
    let records: Vec<_> = records.collect::<Result<_, _>>().unwrap();
    let records: Records = records.into_iter().map(|(key, value)| (key.to_vec(), value)).collect();
    let shard = restore(&records, QueuePolicy::DropNewest).unwrap();
    let meant = std::fs::read_to_string(fixture(&format!("{name}.txt"))).unwrap();
    assert_eq!(told(&shard, &records), meant);
}

#[test]
fn a_checkpoint_of_version_1_means_what_it_meant() {
    means_what_it_meant("checkpoint-v1");
}

#[test]
fn a_checkpoint_of_version_2_means_what_it_meant() {
    if std::env::var_os("QUELEA_WRITE_FIXTURES").is_some() {
        write_fixtures("checkpoint-v2");
    }
    means_what_it_meant("checkpoint-v2");
}

/// To be used when a version is added, never to change a fixture that was released.
fn write_fixtures(name: &str) {
    let mut world = with_absent_subscriber();
    let connect = |client, will| Step::Connect {
        client,
        node: 1,
        clean: false,
        expiry_s: 1_000,
        receive_maximum: 5,
        will,
    };
    run(
        &mut world,
        [
            connect(1, Some(7)),
            Step::Subscribe { client: 1, filter: 1, qos: 2 },
            Step::Subscribe { client: 1, filter: 3, qos: 1 },
            Step::Publish { topic: 0, count: 3, bytes: 900, qos: 2, retain: false, expiry_s: Some(60) },
            Step::Acks { client: 1, acks: vec![(1, 1), (2, 2)] },
            Step::Receive { client: 1, id: 4 },
            connect(2, Some(3)),
            Step::End { client: 2, fate: 1, unsent: Vec::new() },
            connect(1, None),
            publish(2, 40),
            Step::Receive { client: 1, id: 5 },
            Step::Picked { item: 0, groups: 2, member: false, more: false },
            Step::Picked { item: 1, groups: 1, member: true, more: true },
        ],
    );
    world.checkpoint();
    let folder = tempfile::TempDir::new().unwrap();
    let mut store = crate::store::Store::open(folder.path()).unwrap();
    let mut changes = Changes::default();
    world.store.iter().for_each(|(key, value)| changes.put(key.clone(), value.clone()));
    let group = crate::store::GroupId(2);
    store.write(group, &changes, b"position 7").unwrap();
    store.export(group, &fixture(&format!("{name}.snapshot"))).unwrap();
    std::fs::write(fixture(&format!("{name}.txt")), told(&world.shard, &world.store)).unwrap();
}
