//! Subscriptions: a page of those that this node knows, of its clients with transient sessions and of the shards that it leads, and one
//! of those that all know. Called by the service, and by `inside` for other nodes.

use std::collections::BTreeMap;
use std::ops::Bound;

use futures_util::future::join_all;
use prost::Message;
use session_store::matching::Subscribed;
use session_store::{ClientId, ConnectionId, SessionSubscriptions};
use tonic::Status;
use topic_index::{Filter as TopicFilter, matches};

use super::clients::silent;
use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{Place, SubscriptionFound, SubscriptionsFound, SubscriptionsOf, SubscriptionsWanted};
use super::pages::{self, Ids, Key, Part, ROWS_MAX, SHARD_BYTES_MAX};
use super::proto::{ListSubscriptionsReply, ListSubscriptionsRequest, Subscription, Unheard};
use super::subject::{Belongs, Subject};
use super::whole::{NONSENSE, Patience, ask_each, belonging};
use crate::roll::{self, Roll};
use crate::shard::{ShardGroup, caught_up};

/// Cards, and subscriptions of sessions, that are looked at in one turn.
const SLICE: usize = 256;
/// Subscriptions and clients that a source looks at for a page.
const LOOKS_MAX: usize = 65_536;

/// Which subscriptions are wanted.
#[derive(Debug)]
struct Filter {
    ids: Ids,
    filter: String,
    topic: String,
}

impl Filter {
    /// What a request says.
    ///
    /// # Errors
    /// It makes no sense.
    fn of(request: &ListSubscriptionsRequest) -> Result<Self, String> {
        let ListSubscriptionsRequest { client_id, client_id_prefix, filter, topic, .. } = request;
        if topic.contains(['+', '#']) {
            return Err(format!("topic: {topic:?} is a filter: a topic has neither + nor #"));
        }
        let ids = Ids::of(client_id, client_id_prefix)?;
        Ok(Self { ids, filter: filter.clone(), topic: topic.clone() })
    }

    fn wants(&self, text: &str, filter: &TopicFilter) -> bool {
        let is_it = self.filter.is_empty() || self.filter == text;
        is_it && (self.topic.is_empty() || matches(filter.plain(), self.topic.as_bytes()))
    }
}

/// A client's subscriptions.
struct Holder {
    client: ClientId,
    /// Its connection, where it is another for each; 0 where it does not matter.
    number: u64,
    persistent: bool,
    /// The name of the node that it is connected to.
    node: String,
    subscriptions: Vec<(TopicFilter, Subscribed)>,
}

/// A page of one source, as it is gathered.
struct Taking<'a> {
    filter: &'a Filter,
    behind: Option<Place>,
    most: usize,
    found: Vec<SubscriptionFound>,
    bytes: usize,
    looks: usize,
    /// Behind what there may be more, once the page is full.
    next: Option<Place>,
}

impl<'a> Taking<'a> {
    fn new(filter: &'a Filter, behind: Option<Place>, most: u32) -> Self {
        let most = most.clamp(1, ROWS_MAX) as usize;
        Self { filter, behind, most, found: Vec::new(), bytes: 0, looks: 0, next: None }
    }

    /// Takes what is wanted of a client, in the order of the filters' text; `false` where that is enough.
    fn take(&mut self, holder: Holder) -> bool {
        let Holder { client, number, persistent, node, subscriptions } = holder;
        let at = |filter: &str| Place {
            client_id: client.as_str().to_owned(),
            number,
            filter: filter.to_owned(),
            ..Place::default()
        };
        let mut all: Vec<_> =
            subscriptions.into_iter().map(|(filter, of)| (filter.to_string(), filter, of)).collect();
        all.sort_unstable_by(|(one, ..), (other, ..)| one.cmp(other));
        let same = |behind: &&Place| behind.client_id == client.as_str() && behind.number == number;
        let begin = self.behind.as_ref().filter(same).map(|behind| behind.filter.clone());
        self.looks += 1;
        for (text, filter, of) in all {
            if begin.as_ref().is_some_and(|begin| text <= *begin) {
                continue;
            }
            self.looks += 1;
            if self.filter.wants(&text, &filter) {
                let subscription = Subscription {
                    client_id: client.as_str().to_owned(),
                    filter: text.clone(),
                    qos: u32::from(u8::from(of.qos)),
                    no_local: of.no_local,
                    retain_as_published: of.retain_as_published,
                    identifier: of.id.unwrap_or_default(),
                    persistent,
                    node: node.clone(),
                };
                self.bytes += subscription.encoded_len();
                self.found.push(SubscriptionFound { at: Some(at(&text)), subscription: Some(subscription) });
            }
            if self.found.len() >= self.most || self.bytes >= SHARD_BYTES_MAX || self.looks >= LOOKS_MAX {
                self.next = Some(at(&text));
                return false;
            }
        }
        true
    }

    fn done(self, (shard, term): (u32, u64)) -> SubscriptionsOf {
        SubscriptionsOf { shard, term, found: self.found, next: self.next }
    }
}

/// The page of the clients of this node whose sessions are transient.
async fn here(roll: &Roll, mut taking: Taking<'_>, node: &str) -> SubscriptionsOf {
    let first = (ClientId::new(taking.filter.ids.first()), 0);
    // The card of the place itself once more: it may have more filters. Numbers begin at 1.
    let begin = |place: &Place| (ClientId::new(&place.client_id), place.number.saturating_sub(1));
    let mut at: roll::Place = taking.behind.as_ref().map(begin).max(Some(first.clone())).unwrap_or(first);
    loop {
        let cards = roll.behind(Some(&at), SLICE);
        let is_last = cards.len() < SLICE;
        for card in cards {
            if taking.filter.ids.is_past(card.id.as_str()) {
                return taking.done((0, 0));
            }
            at = card.place();
            let all = card.subscriptions.lock();
            let subscriptions = all.iter().map(|(filter, of)| (filter.clone(), *of)).collect();
            drop(all);
            let (client, number) = at.clone();
            let holder = Holder { client, number, persistent: false, node: node.to_owned(), subscriptions };
            if !taking.take(holder) {
                return taking.done((0, 0));
            }
        }
        if is_last {
            return taking.done((0, 0));
        }
        tokio::task::yield_now().await;
    }
}

/// The page of a shard; `None` where this node does not lead it.
async fn in_shard(
    group: &ShardGroup,
    mut taking: Taking<'_>,
    (belongs, which): (&Belongs, (u32, u64)),
) -> Option<SubscriptionsOf> {
    caught_up(group).await?;
    let first = ClientId::new(taking.filter.ids.first());
    let behind = taking.behind.as_ref().map(|place| ClientId::new(&place.client_id));
    let mut from = (behind.max(Some(first.clone())).unwrap_or(first), true);
    loop {
        let (client, included) = from.clone();
        let part = group.look_now(move |state| {
            let client = client.as_str();
            let from = if included { Bound::Included(client) } else { Bound::Excluded(client) };
            state.machine().subscriptions_from(from, SLICE)
        });
        let part = part.await.ok()?;
        let Some(last) = part.last().map(|one| one.client.clone()) else { return Some(taking.done(which)) };
        for SessionSubscriptions { client, connection, subscriptions } in part {
            if taking.filter.ids.is_past(client.as_str()) {
                return Some(taking.done(which));
            }
            let node = connection.map(|at| name(belongs, at)).unwrap_or_default();
            if !taking.take(Holder { client, number: 0, persistent: true, node, subscriptions }) {
                return Some(taking.done(which));
            }
        }
        from = (last, false);
        tokio::task::yield_now().await;
    }
}

/// The name of the node that a connection is on.
pub(super) fn name(belongs: &Belongs, connection: ConnectionId) -> String {
    let node = connection.host.node;
    belongs.roster.borrow().get(&node).map_or_else(|| node.0.to_string(), |member| member.name.to_string())
}

/// Where a source begins for what comes behind a place of the whole list, in which what shards have of a client comes first.
fn behind(from: Option<Place>, source: u32) -> Option<Place> {
    let from = from?;
    match source.cmp(&from.source) {
        std::cmp::Ordering::Equal => Some(from),
        // All of this client were there before.
        std::cmp::Ordering::Less => Some(Place { number: u64::MAX, filter: String::new(), ..from }),
        std::cmp::Ordering::Greater => Some(Place { number: 0, filter: String::new(), ..from }),
    }
}

impl Subject {
    /// A page of the subscriptions that this node knows.
    ///
    /// # Errors
    /// It starts, or what is wanted makes no sense.
    pub(super) async fn subscriptions(
        &self,
        wanted: SubscriptionsWanted,
    ) -> Result<SubscriptionsFound, String> {
        let (Some(belongs), Some(running)) = (self.belongs(), self.running()) else {
            return Err("the node starts".to_owned());
        };
        let SubscriptionsWanted { behind: from, most, filters } = wanted;
        let filter = &Filter::of(&filters.unwrap_or_default())?;
        let taking = Taking::new(filter, behind(from.clone(), belongs.me.0), most);
        let node = here(&running.node.roll, taking, self.name());
        let groups = (0_u32..).zip(running.node.shards.groups());
        let shards = groups.map(async |(shard, group)| {
            let leadership = group.leadership().now();
            if leadership.leader != Some(belongs.me.0.into()) {
                return None;
            }
            let taking = Taking::new(filter, behind_in_shards(from.clone()), most);
            in_shard(&group, taking, (belongs, (shard, leadership.term))).await
        });
        let shards = join_all(shards).await.into_iter().flatten().collect();
        Ok(SubscriptionsFound { node: Some(node.await), shards })
    }
}

/// The same for shards: a place on a node is behind all that a shard has of its client.
fn behind_in_shards(from: Option<Place>) -> Option<Place> {
    let from = from?;
    if from.source == 0 {
        return Some(from);
    }
    // Nothing comes between a client and this one.
    Some(Place { client_id: from.client_id + "\0", ..Place::default() })
}

fn part(source: u32, of: SubscriptionsOf) -> Part<Subscription> {
    let key = |place: Place| Key { source, ..Key::from(place) };
    let rows = of.found.into_iter().filter_map(|one| Some((key(one.at?), one.subscription?)));
    Part { rows: rows.collect(), next: of.next.map(key) }
}

/// A page of all subscriptions.
///
/// # Errors
/// What is asked for makes no sense.
pub(super) async fn list(
    subject: &Subject,
    belongs: &Belongs,
    request: ListSubscriptionsRequest,
) -> Result<ListSubscriptionsReply, Status> {
    let (most, from) = pages::asked(request.page.as_ref())?;
    Filter::of(&request).map_err(Status::invalid_argument)?;
    let wanted = SubscriptionsWanted {
        behind: from.map(Place::from),
        most,
        filters: Some(ListSubscriptionsRequest { page: None, ..request }),
    };
    let shards = u32::from(belongs.shards);
    let are_heard = |heard: &Heard| (0..shards).all(|shard| heard.shards.contains_key(&shard));
    let patience = Patience::new();
    let heard = loop {
        let heard = hear(subject, belongs, &wanted).await;
        if are_heard(&heard) || !patience.again().await {
            break heard;
        }
    };
    let Heard { mut parts, shards: of_shards, mut unheard } = heard;
    unheard.extend((0..shards).filter(|shard| !of_shards.contains_key(shard)).map(unled));
    parts.extend(of_shards.into_values().map(|of| part(0, of)));
    let (subscriptions, next) = pages::merge(parts, most);
    Ok(ListSubscriptionsReply { subscriptions, next: pages::token(next), unheard })
}

/// What nodes say.
#[derive(Default)]
struct Heard {
    /// Of themselves.
    parts: Vec<Part<Subscription>>,
    /// Of each shard what the latest of its leaders says.
    shards: BTreeMap<u32, SubscriptionsOf>,
    unheard: Vec<Unheard>,
}

async fn hear(subject: &Subject, belongs: &Belongs, wanted: &SubscriptionsWanted) -> Heard {
    let roster = belonging(&belongs.roster.borrow());
    let questions = roster.keys().map(|node| (*node, Asked::Subscriptions(wanted.clone()))).collect();
    let mut heard = Heard::default();
    for (node, answer) in ask_each(subject, belongs, questions).await {
        let found = match answer {
            Ok(Answered::Subscriptions(found)) => found,
            other => {
                let why = match other {
                    Ok(Answered::Refused(why)) | Err(why) => why,
                    Ok(_) => NONSENSE.to_owned(),
                };
                heard.unheard.push(silent(&roster, node, why));
                continue;
            }
        };
        heard.parts.extend(found.node.map(|of| part(node.0, of)));
        for of in found.shards {
            match heard.shards.get(&of.shard) {
                Some(known) if known.term >= of.term => {}
                _ => drop(heard.shards.insert(of.shard, of)),
            }
        }
    }
    heard
}

/// A shard that is not heard.
pub(super) fn unled(shard: u32) -> Unheard {
    let why = "nobody leads it, or its leader does not answer".to_owned();
    Unheard { node: String::new(), shard: Some(shard), why }
}

#[cfg(test)]
mod tests {
    use mqtt_codec::QoS;

    use super::*;
    use crate::roll::{Card, Entry};

    fn roll() -> (Roll, Vec<Entry>) {
        let roll = Roll::default();
        let of = Subscribed { qos: QoS::AtLeastOnce, no_local: false, retain_as_published: false, id: None };
        let entries = (0..100).map(|at| {
            let entry = roll.enter(Card::test(&format!("c-{at:02}"), at + 1, None, ""));
            for filter in ["t/#", "$share/g/t/+", &format!("own/{at}")] {
                entry.card.subscriptions.lock().insert(TopicFilter::parse(filter, 9).unwrap(), of);
            }
            entry
        });
        let entries = entries.collect();
        (roll, entries)
    }

    async fn pages(request: ListSubscriptionsRequest, most: u32) -> Vec<(String, String)> {
        let (roll, _entries) = roll();
        let filter = Filter::of(&request).unwrap();
        let (mut all, mut from) = (Vec::new(), None);
        loop {
            let of = here(&roll, Taking::new(&filter, from, most), "n").await;
            assert!(of.found.len() <= most as usize);
            let rows = of.found.into_iter().filter_map(|one| one.subscription);
            all.extend(rows.map(|one| (one.client_id, one.filter)));
            from = of.next;
            if from.is_none() {
                return all;
            }
        }
    }

    #[tokio::test]
    async fn all_pages_together_have_each_subscription_once_in_order() {
        let expected: Vec<(String, String)> = (0..100)
            .flat_map(|at| {
                let filters = ["$share/g/t/+".to_owned(), format!("own/{at}"), "t/#".to_owned()];
                filters.map(|filter| (format!("c-{at:02}"), filter))
            })
            .collect();
        for most in [1, 2, 3, 7, 299, 300, 1_000] {
            assert_eq!(pages(ListSubscriptionsRequest::default(), most).await, expected, "{most}");
        }
    }

    #[tokio::test]
    async fn a_subscription_is_found_by_its_client_its_filter_and_what_matches() {
        let of = |topic: &str| ListSubscriptionsRequest { topic: topic.into(), ..Default::default() };
        for (topic, count) in [("t/1", 200), ("t/1/2", 100), ("own/7", 1), ("own", 0), ("t", 100)] {
            assert_eq!(pages(of(topic), 11).await.len(), count, "{topic}");
        }
        let own = ListSubscriptionsRequest { filter: "own/42".into(), ..Default::default() };
        assert_eq!(pages(own, 3).await, [("c-42".to_owned(), "own/42".to_owned())]);
        let one = ListSubscriptionsRequest { client_id: "c-42".into(), ..Default::default() };
        assert_eq!(pages(one, 2).await.len(), 3);
        let wrong = Filter::of(&of("t/#")).unwrap_err();
        assert!(wrong.contains("topic: \"t/#\" is a filter"), "{wrong}");
    }

    #[test]
    fn what_shards_have_of_a_client_comes_before_what_nodes_have() {
        let place = |source| Some(Place { client_id: "c".into(), source, number: 7, filter: "f".into() });
        assert_eq!(behind_in_shards(place(0)), place(0));
        assert_eq!(behind_in_shards(place(2)).map(|at| at.client_id), Some("c\0".to_owned()));
        let at = |source| behind(place(2), source).map(|at| (at.number, at.filter));
        assert_eq!(at(1), Some((u64::MAX, String::new())));
        assert_eq!(at(2), Some((7, "f".to_owned())));
        assert_eq!(at(3), Some((0, String::new())));
        assert_eq!(behind(None, 1), None);
    }
}
