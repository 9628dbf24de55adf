//! What nobody may see: the check of a run from outside, without any clock of a node. It knows the committed log, what was
//! acknowledged when, and what was announced to be in force.

use std::collections::BTreeMap;
use std::time::Duration;

use node_routing::view::Matched;
use raft_consensus::cluster::{Change, Cluster, Fence, Owner};
use session_store::{Host, Millis};
use topic_index::{Filter, matches};

use crate::log::Log;
use crate::node::Publish;

/// What a node did that others can see.
#[derive(Debug)]
pub(crate) enum Done {
    /// It read a publish from its socket.
    Read(u64),
    /// It acknowledged a publish that it had matched so.
    Acked(Host, Publish, Matched),
    /// It answered a SUBSCRIBE.
    Subscribed(Host, u32, String),
    /// A frame of another node's connection took effect here.
    Took(Fence),
    /// It took a connection over, by a fence that is in force.
    TookOver(Fence),
    /// It announced, as leader, that everything up to this entry is in force.
    InForce(u64),
    /// It closed its clients' connections, having been silent for too long.
    Closed,
}

#[derive(Default)]
struct Message {
    sent: Duration,
    /// What was in force when it was read.
    read: Option<u64>,
    acked: bool,
}

#[derive(Default)]
pub(crate) struct Check {
    state: Cluster,
    terms: Vec<u64>,
    /// Since which entry each owner has each route.
    routes: BTreeMap<(Owner, String), u64>,
    in_force: u64,
    messages: Vec<Message>,
    subscribed: BTreeMap<(u32, String), Vec<(Host, Duration)>>,
    taken_over: Vec<Fence>,
    pub(crate) closed: usize,
    pub(crate) found: Vec<String>,
}

impl Check {
    /// Follows the committed log: what one node knows to be committed every other one does, or will.
    pub(crate) fn log(&mut self, log: &Log, now: Duration) {
        let known = self.terms.len() as u64;
        let both = known.min(log.commit);
        if both > 0 && log.term_of(both) != self.terms[both as usize - 1] {
            self.found.push(format!("{now:?}: two logs"));
        }
        for index in known + 1..=log.commit {
            let entry = &log.entries[index as usize - 1];
            self.terms.push(entry.term);
            let mut changes = Vec::new();
            if let Some(command) = &entry.command {
                let _refused =
                    self.state.apply_telling(Millis(0), command, &mut |change| changes.push(change));
            }
            changes.into_iter().for_each(|change| self.change(index, change));
        }
    }

    fn change(&mut self, index: u64, change: Change) {
        match change {
            Change::Routes(routes) => {
                for filter in routes.removes {
                    self.routes.remove(&(routes.owner, filter.to_string()));
                }
                for add in routes.adds {
                    self.routes.entry((routes.owner, add.filter.to_string())).or_insert(index);
                }
            }
            Change::Gone(host) => self.routes.retain(|(owner, _), _| *owner != Owner::Host(host)),
            Change::Buried { .. } | Change::Fenced(_) | Change::Unfenced(_) => {}
            Change::Banned(_) | Change::Unbanned(_) => {}
        }
    }

    fn lives(&self, host: Host) -> bool {
        self.state.live().any(|live| live == host)
    }

    pub(crate) fn sent(&mut self, now: Duration) -> u64 {
        self.messages.push(Message { sent: now, ..Message::default() });
        self.messages.len() as u64 - 1
    }

    pub(crate) fn acked(&self, number: u64) -> bool {
        self.messages[number as usize].acked
    }

    /// How many publishes were acknowledged.
    pub(crate) fn acknowledged(&self) -> usize {
        self.messages.iter().filter(|message| message.acked).count()
    }

    pub(crate) fn subscribed(&self, client: u32, filter: &str) -> bool {
        self.subscribed.contains_key(&(client, filter.to_owned()))
    }

    pub(crate) fn took_over(&self, fence: &Fence) -> bool {
        self.taken_over.contains(fence)
    }

    /// What is committed.
    pub(crate) fn committed(&self) -> u64 {
        self.terms.len() as u64
    }

    pub(crate) fn state(&self) -> &Cluster {
        &self.state
    }

    pub(crate) fn done(&mut self, done: Done, now: Duration) {
        match done {
            Done::Read(number) => self.messages[number as usize].read = Some(self.in_force),
            Done::Acked(host, publish, matched) => self.check_ack(host, &publish, &matched, now),
            Done::Subscribed(host, client, filter) => {
                self.subscribed.entry((client, filter)).or_default().push((host, now));
            }
            Done::Took(fence) if self.taken_over.contains(&fence) => {
                self.found.push(format!("{now:?}: a frame took effect after {fence:?}"));
            }
            Done::Took(_) => {}
            Done::TookOver(fence) => self.taken_over.push(fence),
            Done::InForce(index) => {
                if index > self.terms.len() as u64 {
                    self.found.push(format!("{now:?}: entry {index} is in force and not committed"));
                }
                self.in_force = self.in_force.max(index);
            }
            Done::Closed => self.closed += 1,
        }
    }

    /// Everything that a subscriber may rely on: each SUBSCRIBE that was answered before the publish was sent, and, whoever
    /// was told of it, each route that was in force when it was read. The second asks the log itself, as a confirmation of
    /// the publish by read index would.
    fn check_ack(&mut self, host: Host, publish: &Publish, matched: &Matched, now: Duration) {
        let number = publish.number as usize;
        self.messages[number].acked = true;
        let Message { sent, read, .. } = self.messages[number];
        let topic = publish.topic.as_bytes();
        let fits = |text: &str| matches(Filter::parse(text, 16).unwrap().plain(), topic);
        let has = |owner: Owner| matched.owners.iter().any(|(known, _)| *known == owner);
        let mut found = Vec::new();
        for ((client, filter), at) in &self.subscribed {
            let missed = |(of, answered): &&(Host, Duration)| {
                *answered < sent && self.lives(*of) && fits(filter) && !has(Owner::Host(*of))
            };
            if let Some((of, _)) = at.iter().find(missed) {
                found.push(format!("{now:?}: {host} missed client {client} of {of} for {publish:?}"));
            }
        }
        for ((owner, filter), index) in &self.routes {
            if Some(*index) <= read && read.is_some() && fits(filter) && !has(*owner) {
                found.push(format!("{now:?}: {host} missed {owner} in force for {publish:?}"));
            }
        }
        if !self.lives(host) {
            found.push(format!("{now:?}: {host} is dead and acknowledged {publish:?}"));
        }
        let fence = Fence { client: publish.client.clone(), epoch: publish.epoch, host, connection: 1 };
        if self.taken_over.contains(&fence) {
            found.push(format!("{now:?}: {host} acknowledged {publish:?}, which was taken over"));
        }
        self.found.extend(found);
    }
}
