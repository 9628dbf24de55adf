//! Who matches: the set of subscribers of one filter, and the merging of overlapping subscriptions.
//! Used by a shard for its persistent sessions and by the broker for its transient ones; knows
//! nothing of how a filter is found, which is topic-index's part.

use std::sync::Arc;

use hashbrown::HashMap;
use mqtt_codec::QoS;
use topic_index::{PlainFilter, Slot};

/// The subscription identifiers to send with a message; `None` where there are none.
pub type SubscriptionIds = Option<Arc<[u32]>>;

/// A shared group: its name and its filter.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupName {
    /// The share name; `$queue` for filters that start with `$queue/`.
    pub group: Arc<str>,
    /// The filter without its `$share/NAME/`.
    pub filter: PlainFilter,
}

/// A shared group, spoken of by many messages.
pub type GroupRef = Arc<GroupName>;

/// How one subscription wants its messages (section 3.8.3.1 of MQTT 5.0).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subscribed {
    /// The granted QoS.
    pub qos: QoS,
    /// Messages of the subscriber itself are left out (`[MQTT-3.8.3-3]`).
    pub no_local: bool,
    /// RETAIN is passed on as published (`[MQTT-3.3.1-13]`).
    pub retain_as_published: bool,
    /// The identifier to send along (`[MQTT-3.3.4-3]`); never 0.
    pub id: Option<u32>,
}

impl Subscribed {
    /// The copy that this subscription alone comes to.
    #[must_use]
    pub fn copy(&self) -> Copied {
        let ids = self.id.map(|id| [id].into());
        Copied { qos: self.qos, retain_as_published: self.retain_as_published, ids }
    }
}

/// Subscribers above this number move from a vector to a hash map.
const FEW: usize = 16;

/// The subscribers of one filter.
#[derive(Debug)]
pub enum SubscriberSet<K, V> {
    /// A short list, searched from its start.
    Few(Vec<(K, V)>),
    /// Many, so that adding and removing one does not depend on their number.
    Many(HashMap<K, V>),
}

impl<K, V> Default for SubscriberSet<K, V> {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> SubscriberSet<K, V> {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Few(list) => list.len(),
            Self::Many(map) => map.len(),
        }
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Adds or replaces a subscriber; the one replaced comes back.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self {
            Self::Few(list) => {
                if let Some(found) = list.iter_mut().find(|(k, _)| *k == key) {
                    return Some(std::mem::replace(&mut found.1, value));
                }
                if list.len() < FEW {
                    list.push((key, value));
                } else {
                    let mut map: HashMap<K, V> = std::mem::take(list).into_iter().collect();
                    map.insert(key, value);
                    *self = Self::Many(map);
                }
                None
            }
            Self::Many(map) => map.insert(key, value),
        }
    }

    /// Removes a subscriber.
    #[expect(clippy::disallowed_methods, reason = "the set has no order that is seen: callers sort")]
    pub fn remove(&mut self, key: K) -> Option<V> {
        match self {
            Self::Few(list) => {
                let index = list.iter().position(|(k, _)| *k == key)?;
                Some(list.swap_remove(index).1)
            }
            Self::Many(map) => {
                let removed = map.remove(&key);
                if map.len() <= FEW / 2 {
                    *self = Self::Few(map.drain().collect());
                }
                removed
            }
        }
    }

    /// Calls `visit` for each subscriber, in no order that means anything: what depends on it is sorted.
    #[expect(clippy::disallowed_methods, reason = "callers sort what they are given")]
    pub fn for_each<'a>(&'a self, mut visit: impl FnMut(K, &'a V)) {
        match self {
            Self::Few(list) => list.iter().for_each(|(k, v)| visit(*k, v)),
            Self::Many(map) => map.iter().for_each(|(k, v)| visit(*k, v)),
        }
    }
}

impl<K: Copy + Eq + std::hash::Hash, V> Slot for SubscriberSet<K, V> {
    fn is_empty(&self) -> bool {
        Self::is_empty(self)
    }
}

/// The one copy of a message that a subscriber gets for all its matching subscriptions: the highest QoS
/// and every identifier (`[MQTT-3.3.4-2]`, `[MQTT-3.3.4-4]`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Copied {
    /// The highest granted QoS.
    pub qos: QoS,
    /// Whether any of the subscriptions wants RETAIN as published.
    pub retain_as_published: bool,
    /// Every identifier, in ascending order.
    pub ids: SubscriptionIds,
}

/// What a subscriber gets of the messages that it published itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Own {
    /// The same as of anybody's: no subscription has No Local.
    Same,
    /// Nothing: all of them have it (`[MQTT-3.8.3-3]`).
    Nothing,
    /// A copy by those that have it not.
    Other(Box<Copied>),
}

impl Own {
    /// The copy to deliver, by whether the subscriber is the publisher.
    #[must_use]
    pub fn pick<'a>(&'a self, copy: &'a Copied, is_publisher: bool) -> Option<&'a Copied> {
        match (self, is_publisher) {
            (Self::Same, _) | (_, false) => Some(copy),
            (Self::Nothing, true) => None,
            (Self::Other(own), true) => Some(own),
        }
    }
}

/// All matching subscriptions of one subscriber, merged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Merged<K> {
    /// The subscriber.
    pub key: K,
    /// What it gets.
    pub copy: Copied,
    /// What it gets of its own messages.
    pub own: Own,
}

impl<K> Merged<K> {
    /// The copy to deliver, by whether the subscriber is the publisher.
    #[must_use]
    pub fn copy_for(&self, is_publisher: bool) -> Option<&Copied> {
        self.own.pick(&self.copy, is_publisher)
    }
}

/// Merges the matches of one topic by subscriber. `matches` is used up and left empty, its memory kept.
pub fn merge<K: Copy + Ord>(matches: &mut Vec<(K, Subscribed)>, mut emit: impl FnMut(Merged<K>)) {
    matches.sort_unstable_by_key(|(key, subscribed)| (*key, subscribed.no_local));
    let mut rest = matches.as_slice();
    while let Some((key, _)) = rest.first() {
        let same = rest.partition_point(|(other, _)| other <= key);
        let (group, tail) = rest.split_at_checked(same).unwrap_or((rest, &[]));
        rest = tail;
        let without = group.partition_point(|(_, subscribed)| !subscribed.no_local);
        let others = group.get(..without).unwrap_or(&[]);
        let own = match others.len() {
            n if n == group.len() => Own::Same,
            0 => Own::Nothing,
            _ => Own::Other(Box::new(copy_of(others))),
        };
        emit(Merged { key: *key, copy: copy_of(group), own });
    }
    matches.clear();
}

fn copy_of<K>(group: &[(K, Subscribed)]) -> Copied {
    let qos = group.iter().map(|(_, subscribed)| subscribed.qos).max().unwrap_or(QoS::AtMostOnce);
    let retain_as_published = group.iter().any(|(_, subscribed)| subscribed.retain_as_published);
    Copied { qos, retain_as_published, ids: ids_of(group) }
}

fn ids_of<K>(group: &[(K, Subscribed)]) -> SubscriptionIds {
    if group.iter().all(|(_, subscribed)| subscribed.id.is_none()) {
        return None;
    }
    let mut ids: Vec<u32> = group.iter().filter_map(|(_, subscribed)| subscribed.id).collect();
    ids.sort_unstable();
    ids.dedup();
    Some(Arc::from(ids))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(qos: QoS, id: Option<u32>) -> Subscribed {
        Subscribed { qos, no_local: false, retain_as_published: false, id }
    }

    #[test]
    fn overlapping_subscriptions_merge_to_the_highest_qos_and_all_ids() {
        let mut matches = vec![
            (2, subscribed(QoS::AtMostOnce, Some(7))),
            (1, subscribed(QoS::AtMostOnce, None)),
            (2, subscribed(QoS::ExactlyOnce, Some(3))),
            (2, subscribed(QoS::AtLeastOnce, None)),
        ];
        let mut merged = Vec::new();
        merge(&mut matches, |m| merged.push(m));
        assert_eq!(merged.iter().map(|m| m.key).collect::<Vec<_>>(), [1, 2]);
        assert_eq!(merged.last().map(|m| m.copy.qos), Some(QoS::ExactlyOnce));
        assert_eq!(merged.last().and_then(|m| m.copy.ids.clone()).as_deref(), Some([3, 7].as_slice()));
        assert!(matches.is_empty());
    }

    #[test]
    fn no_local_takes_only_its_own_subscription_out() {
        let local = Subscribed { no_local: true, ..subscribed(QoS::ExactlyOnce, Some(1)) };
        let mut matches = vec![(1, local), (1, subscribed(QoS::AtMostOnce, Some(2))), (2, local)];
        let mut merged = Vec::new();
        merge(&mut matches, |m| merged.push(m));
        let own = merged.first().and_then(|m| m.copy_for(true)).cloned();
        assert_eq!(own.map(|copy| (copy.qos, copy.ids)), Some((QoS::AtMostOnce, Some(Arc::from([2])))));
        assert_eq!(merged.last().and_then(|m| m.copy_for(true)), None);
        assert!(merged.last().and_then(|m| m.copy_for(false)).is_some());
    }

    #[test]
    fn a_set_moves_to_a_map_and_back() {
        let mut set = SubscriberSet::default();
        for key in 0..100_u32 {
            assert_eq!(set.insert(key, key), None);
        }
        assert!(matches!(set, SubscriberSet::Many(_)));
        assert_eq!(set.insert(5, 50), Some(5));
        for key in 0..98 {
            assert!(set.remove(key).is_some());
        }
        assert!(matches!(set, SubscriberSet::Few(_)));
        assert_eq!(set.len(), 2);
        assert_eq!(set.remove(7), None);
    }
}
