//! What one client may do: the rules that are about it, in their order, with its names in their patterns.
//! Made by `Rules` for a connection, asked for each message and each filter; the first rule that fits decides.

use mqtt_codec::QoS;
use topic_index::PlainFilter;

use super::pattern::Pattern;

/// What a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Actions {
    /// Publishing, by PUBLISH and by a will.
    pub(crate) publish: bool,
    /// Subscribing, and being sent what was subscribed to.
    pub(crate) subscribe: bool,
}

/// One rule, for one client.
#[derive(Clone, Debug)]
pub(crate) struct Clause {
    /// It allows; else it denies.
    pub(crate) allows: bool,
    /// What it is about.
    pub(crate) actions: Actions,
    /// To which topics.
    pub(crate) pattern: Pattern,
    /// The highest QoS: more is not what the rule is about, and less is granted to a subscriber.
    pub(crate) qos: QoS,
    /// Whether it is about messages that are to be retained, too.
    pub(crate) retain: bool,
}

/// What a client may do: nothing that no rule allows.
#[derive(Clone, Debug, Default)]
pub(crate) struct Rights(Box<[Clause]>);

impl Rights {
    /// What these rules allow.
    pub(crate) fn new(clauses: Vec<Clause>) -> Self {
        Self(clauses.into())
    }

    /// Whether a message may be published.
    pub(crate) fn may_publish(&self, topic: &[u8], qos: QoS, retain: bool) -> bool {
        let fits = |clause: &&Clause| {
            clause.actions.publish
                && qos <= clause.qos
                && (clause.retain || !retain)
                && clause.pattern.matches(topic)
        };
        self.0.iter().find(fits).is_some_and(|clause| clause.allows)
    }

    /// The highest QoS of a subscription; `None` where it is not allowed: a rule has to allow all that the filter matches,
    /// and none before it may deny some of it.
    pub(crate) fn may_subscribe(&self, filter: &PlainFilter) -> Option<QoS> {
        let fits = |clause: &&Clause| {
            clause.actions.subscribe
                && if clause.allows { clause.pattern.covers(filter) } else { clause.pattern.overlaps(filter) }
        };
        self.0.iter().find(fits).filter(|clause| clause.allows).map(|clause| clause.qos)
    }

    /// Whether a message of this topic may be sent to the client.
    pub(crate) fn may_receive(&self, topic: &[u8]) -> bool {
        let fits = |clause: &&Clause| clause.actions.subscribe && clause.pattern.matches(topic);
        self.0.iter().find(fits).is_some_and(|clause| clause.allows)
    }
}
