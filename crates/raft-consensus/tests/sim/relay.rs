//! Sends what is in the outboxes of shards, as the relays of brokers do: who takes it in shared groups is in the log first;
//! then in order, to each shard with the number of what that got before, again until it is taken, and says when all have it.

use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::join_all;
use openraft::type_config::TypeConfigExt;
use parking_lot::Mutex;
use session_store::command::{Command, GroupPick, Input, Publish, PublishItem};
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::picks::{Pick, PickedItem, Taker};
use session_store::{Request, ShardId, Source};

use crate::history::Sometimes;
use crate::home::{SHARDS, home_of};
use crate::replica::{Part, SimTypes};
use crate::world::{View, World};

/// Without an answer for so long everything is sent again.
const PATIENCE: Duration = Duration::from_millis(300);
const TOGETHER: usize = 16;

/// Up to which position each shard has what an outbox sent.
#[derive(Debug, Default)]
pub(crate) struct Answered(Mutex<BTreeMap<u16, u64>>);

impl Answered {
    pub(crate) fn tell(&self, target: u16, position: u64) {
        let mut answered = self.0.lock();
        let highest = answered.entry(target).or_default();
        *highest = position.max(*highest);
    }

    fn has(&self, target: u16, position: u64) -> bool {
        self.0.lock().get(&target).is_some_and(|highest| *highest >= position)
    }
}

/// What one leader has sent of its outbox.
struct Sending {
    view: View,
    next: u64,
    /// The last position that each shard was given.
    given: BTreeMap<u16, u64>,
}

/// Sends what a shard has to send, whoever leads it, for as long as the run lasts.
pub(crate) async fn relay(world: World, shard: u16) {
    let mut sending: Option<Sending> = None;
    loop {
        SimTypes::sleep(Duration::from_millis(10)).await;
        let Some((view, part)) = world.leader(shard) else { continue };
        let mut now = match sending.take().filter(|before| before.view == view) {
            Some(before) => before,
            // What others committed before belongs to it.
            None => match SimTypes::timeout(PATIENCE, part.group.caught_up()).await {
                Ok(Ok(())) => Sending { view, next: 1, given: BTreeMap::new() },
                _ => continue,
            },
        };
        if send(&world, (shard, &part), &mut now).await.is_some() {
            sending = Some(now);
        }
    }
}

/// `None` where another leads now.
async fn send(world: &World, (shard, part): (u16, &Part), now: &mut Sending) -> Option<()> {
    let next = now.next;
    let items = part.group.look_now(move |state| {
        let outbox = state.machine().shard.outbox();
        let items = outbox.from(next).take(TOGETHER);
        items.map(|(position, item)| (position, item.clone())).collect::<Vec<_>>()
    });
    let items = items.await.ok()?;
    let Some(last) = items.last().map(|(position, _)| *position) else { return Some(()) };
    let unpicked = items.iter().filter(|(_, item)| !item.picks.is_complete());
    let picked = unpicked.map(|(position, item)| pick(world, *position, item));
    let picked: Vec<PickedItem> = picked.filter(|item| !item.picks.is_empty()).collect();
    if !picked.is_empty() {
        part.group.room().await.ok()?.propose(Input::Picked(picked));
        // They are looked at again once that is applied, or another leads.
        return SimTypes::timeout(PATIENCE, part.group.look(|_| ())).await.ok()?.ok();
    }
    let mut requests: BTreeMap<u16, Vec<Request>> = BTreeMap::new();
    for (position, item) in items {
        for (target, item) in targets(position, &item) {
            let before = now.given.insert(target, position).unwrap_or(0);
            let command = Command::Publish(item);
            let source = Source::Outbox(ShardId(shard));
            let request = Request { source, number: position, done_below: before, command };
            requests.entry(target).or_default().push(request);
        }
    }
    let lanes =
        requests.into_iter().map(|(target, requests)| lane(world, (shard, now.view), target, requests));
    for taken in join_all(lanes).await {
        taken?;
    }
    now.next = last + 1;
    part.group.room().await.ok()?.propose(Input::Relayed(last));
    Some(())
}

/// Who takes an item in shared groups.
fn pick(world: &World, position: u64, item: &OutboxItem) -> PickedItem {
    let topic = item.message.body.topic();
    let picked = match &item.kind {
        OutboxKind::Publish => world.picks(topic, position),
        OutboxKind::Redispatch(group) => {
            world.history.saw(Sometimes::SharedRedispatch);
            world.pick(group, position).into_iter().collect()
        }
    };
    let taker = |shard| Taker::Shard(ShardId(shard), position);
    let picks = picked.into_iter().map(|(shard, pick)| Pick { group: pick.group, taker: taker(shard) });
    PickedItem { position, picks: picks.collect(), more: false }
}

/// Who gets an item.
fn targets(number: u64, item: &OutboxItem) -> Vec<(u16, Publish)> {
    let mut items: BTreeMap<u16, PublishItem> = BTreeMap::new();
    let of = |sessions| PublishItem {
        number,
        message: item.message.clone(),
        sessions,
        store_retained: false,
        groups: Vec::new(),
    };
    if item.kind == OutboxKind::Publish {
        items.extend((0..SHARDS).map(|shard| (shard, of(true))));
        let home = items.get_mut(&home_of(item.message.body.topic()));
        home.into_iter().for_each(|home| home.store_retained = item.message.retain);
    }
    for pick in item.picks.iter() {
        let Taker::Shard(shard, choice) = pick.taker else { continue };
        let pick = GroupPick { group: pick.group.clone(), choice };
        items.entry(shard.0).or_insert_with(|| of(false)).groups.push(pick);
    }
    let publisher = || item.publisher.clone();
    let publish = |item| Publish { reply_to: None, publisher: publisher(), epoch: None, items: vec![item] };
    items.into_iter().map(|(shard, item)| (shard, publish(item))).collect()
}

/// Sends to one shard until it has everything; `None` where another leads the outbox's shard now.
async fn lane(world: &World, (outbox, view): (u16, View), target: u16, requests: Vec<Request>) -> Option<()> {
    let answered = world.answered(outbox);
    let last = requests.last().map_or(0, |request| request.number);
    loop {
        world.leader(outbox).filter(|(now, _)| *now == view)?;
        if let Some((_, part)) = world.leader(target) {
            for request in &requests {
                let Ok(Ok(room)) = SimTypes::timeout(PATIENCE, part.group.room()).await else { break };
                room.propose(Input::from(request.clone()));
            }
        }
        let until = SimTypes::now() + PATIENCE;
        while SimTypes::now() < until {
            if answered.has(target, last) {
                return Some(());
            }
            SimTypes::sleep(Duration::from_millis(5)).await;
        }
    }
}
