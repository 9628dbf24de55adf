//! What this node says of itself whenever it touches another, and what it has heard of others: who leads which shard, and who
//! had better lead nothing. Written by the placing of each group and by whoever answers touches; it never waits.

use std::collections::{BTreeMap, BTreeSet};

use node_routing::presence::{Led, Touch};
use raft_consensus::types::NodeId;
use tokio::sync::watch;

/// What is said and heard. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Hearsay {
    /// Numbers of the shards' groups are no higher.
    groups: u32,
    own: watch::Sender<Own>,
    heard: watch::Sender<Heard>,
}

/// What a node says of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Own {
    leads: BTreeMap<u32, Led>,
    yields: bool,
    silent: bool,
    left: bool,
    empty: bool,
}

/// What others have said.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Heard {
    /// Of each shard's group the last one that said to lead it, and what it said.
    pub(crate) leads: BTreeMap<u32, (NodeId, Led)>,
    /// Those that give leaderships away.
    pub(crate) yield_now: BTreeSet<NodeId>,
}

impl Hearsay {
    /// Of a node that leads nothing yet, in a cluster with so many shards.
    pub(crate) fn new(shards: u16) -> Self {
        Self { groups: shards.into(), own: watch::Sender::default(), heard: watch::Sender::default() }
    }

    /// Puts what the node says of itself into a touch.
    pub(crate) fn say(&self, touch: Touch) -> Touch {
        let own = self.own.borrow();
        Touch { leads: own.leads.values().cloned().collect(), yields: own.gives_away(), ..touch }
    }

    /// Follows what there is to say.
    pub(crate) fn own(&self) -> watch::Receiver<Own> {
        self.own.subscribe()
    }

    /// Follows what others say.
    pub(crate) fn heard(&self) -> watch::Receiver<Heard> {
        self.heard.subscribe()
    }

    /// A node has touched this one.
    pub(crate) fn hear(&self, from: NodeId, touch: &Touch) {
        self.heard.send_if_modified(|heard| {
            let mut news =
                if touch.yields { heard.yield_now.insert(from) } else { heard.yield_now.remove(&from) };
            for led in touch.leads.iter().filter(|led| led.group <= self.groups) {
                let known = heard.leads.get(&led.group);
                let newer = known.is_none_or(|(node, known)| {
                    led.term > known.term || (led.term == known.term && *node == from && led != known)
                });
                if newer {
                    heard.leads.insert(led.group, (from, led.clone()));
                    news = true;
                }
            }
            news
        });
    }

    /// Says that this node leads a shard's group, and who has a replica of it; or that it does not.
    pub(crate) fn set_led(&self, group: u32, led: Option<Led>) {
        self.own.send_if_modified(|own| match led {
            Some(led) => own.leads.insert(group, led.clone()) != Some(led),
            None => own.leads.remove(&group).is_some(),
        });
    }

    /// Whether a node is known to have no replica of any shard.
    pub(crate) fn has_none(&self, node: session_store::NodeId) -> bool {
        let replicas = self.replicas();
        replicas.len() == self.groups as usize && !replicas.values().any(|members| members.contains(&node))
    }

    /// What this node leads, and what it heard that others do: of each shard's group who has a replica.
    pub(crate) fn replicas(&self) -> BTreeMap<u32, Vec<session_store::NodeId>> {
        let (own, heard) = (self.own.borrow(), self.heard.borrow());
        let of_others = heard.leads.iter().map(|(group, (_, led))| (*group, led));
        let mut last: BTreeMap<u32, &Led> = of_others.collect();
        for (group, led) in &own.leads {
            if last.get(group).is_none_or(|known| known.term < led.term) {
                last.insert(*group, led);
            }
        }
        last.into_iter().map(|(group, led)| (group, led.members.clone())).collect()
    }

    /// This node has had no lease for long, or has one again.
    pub(crate) fn set_silent(&self, silent: bool) {
        self.own.send_if_modified(|own| std::mem::replace(&mut own.silent, silent) != silent);
    }

    /// Whether this node gives its leaderships away.
    pub(crate) fn gives_away(&self) -> bool {
        self.own.borrow().gives_away()
    }

    /// The way to have this node give its leaderships away.
    pub(crate) fn yields(&self) -> Yields {
        Yields { own: self.own.clone() }
    }

    /// Whether this node has no clients any more and takes none.
    pub(crate) fn is_empty(&self) -> bool {
        self.own.borrow().empty
    }

    /// Others say that this node has left the cluster.
    pub(crate) fn note_left(&self) {
        self.own.send_if_modified(|own| !std::mem::replace(&mut own.left, true));
    }
}

impl Own {
    fn gives_away(&self) -> bool {
        self.yields || self.silent
    }

    /// Whether others say that this node has left the cluster.
    pub(crate) fn has_left(&self) -> bool {
        self.left
    }
}

/// Has this node hand the leaderships of all its groups to others, and take none. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Yields {
    own: watch::Sender<Own>,
}

impl Yields {
    /// From now on.
    pub(crate) fn begin(&self) {
        self.set(true);
    }

    /// Not any more.
    pub(crate) fn end(&self) {
        self.set(false);
    }

    /// Says whether the node has no clients any more and takes none.
    pub(crate) fn set_empty(&self, empty: bool) {
        self.own.send_if_modified(|own| std::mem::replace(&mut own.empty, empty) != empty);
    }

    fn set(&self, yields: bool) {
        self.own.send_if_modified(|own| std::mem::replace(&mut own.yields, yields) != yields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(group: u32, term: u64, members: &[u32]) -> Led {
        Led { group, term, members: members.iter().map(|node| session_store::NodeId(*node)).collect() }
    }

    fn says(leads: Vec<Led>, yields: bool) -> Touch {
        Touch { leads, yields, ..Touch::default() }
    }

    #[test]
    fn what_is_heard_is_news_once_and_never_older() {
        let hearsay = Hearsay::new(6);
        let mut heard = hearsay.heard();
        for (from, touch, news) in [
            (2, says(vec![led(1, 4, &[1, 2])], false), true),
            (2, says(vec![led(1, 4, &[1, 2])], false), false),
            (3, says(vec![led(1, 4, &[3])], false), false),
            (3, says(vec![led(1, 3, &[3])], false), false),
            (2, says(vec![led(1, 4, &[1, 2, 3])], false), true),
            (2, says(vec![led(7, 1, &[1])], false), false),
            (2, says(Vec::new(), true), true),
            (2, says(Vec::new(), true), false),
            (3, says(vec![led(1, 5, &[3])], false), true),
            (2, says(Vec::new(), false), true),
        ] {
            hearsay.hear(from, &touch);
            assert_eq!(heard.has_changed().unwrap(), news, "{from} {touch:?}");
            heard.mark_unchanged();
        }
        assert_eq!(heard.borrow().leads, BTreeMap::from([(1, (3, led(1, 5, &[3])))]));
        assert!(heard.borrow().yield_now.is_empty());
    }

    #[test]
    fn who_drains_and_who_has_no_lease_gives_its_leaderships_away() {
        let hearsay = Hearsay::new(6);
        let says = || (hearsay.gives_away(), hearsay.say(Touch::default()).yields);
        assert_eq!(says(), (false, false));
        hearsay.set_silent(true);
        hearsay.yields().begin();
        assert_eq!(says(), (true, true));
        hearsay.set_silent(false);
        assert_eq!(says(), (true, true), "it drains");
        hearsay.yields().end();
        assert_eq!(says(), (false, false));
    }

    #[test]
    fn of_what_is_said_and_heard_of_a_group_the_last_term_counts() {
        let hearsay = Hearsay::new(6);
        hearsay.set_led(1, Some(led(1, 4, &[1])));
        hearsay.hear(2, &says(vec![led(1, 5, &[2]), led(2, 1, &[2])], false));
        hearsay.set_led(2, Some(led(2, 3, &[3])));
        let members = |node| vec![session_store::NodeId(node)];
        assert_eq!(hearsay.replicas(), BTreeMap::from([(1, members(2)), (2, members(3))]));
        hearsay.set_led(2, None);
        assert_eq!(hearsay.say(Touch::default()).leads, [led(1, 4, &[1])]);
    }
}
