//! A queue as it is written to a store: its items in pages that others cut, and beside them all that changes
//! about an item, which is short however long the queue is. Called by checkpoints; changes nothing.

use std::collections::VecDeque;

use mqtt_codec::QoS;

use super::{Body, Item, Outbound, PACKET_IDS, State};
use crate::matching::{GroupRef, SubscriptionIds};
use crate::message::MessageRef;
use crate::record::{RecordError, wire};
use crate::tracked::Local;

/// What of an item never changes.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) body: Body,
    pub(crate) subscription_ids: SubscriptionIds,
    pub(crate) group: Option<GroupRef>,
}

impl Outbound {
    /// The serial number of the first item, or of the next one to come.
    pub(crate) fn first_serial(&self) -> u64 {
        self.items.front().map_or(self.next_serial, |item| item.serial)
    }

    /// The serial number of the next item to come.
    pub(crate) fn next_serial(&self) -> u64 {
        self.next_serial
    }

    /// The items from a serial number on that have a message in memory.
    pub(crate) fn contents_from(
        &self,
        serial: u64,
    ) -> impl Iterator<Item = (u64, &MessageRef, Shape<'_>)> + Clone {
        let index = self.items.partition_point(|item| item.serial < serial);
        self.items.range(index..).filter_map(|item| Some((item.serial, item.body.here()?, Shape(item))))
    }

    /// All but the contents of its items. Costs as much as there is in flight.
    pub(crate) fn to_wire(&self) -> wire::Queue {
        let reach = self.sent_end().saturating_sub(self.first);
        let sent = self.items.iter().take(usize::try_from(reach).unwrap_or(usize::MAX));
        let mut states: Vec<wire::StateRun> = Vec::new();
        for item in sent {
            let state = item.state.to_wire();
            match states.last_mut() {
                Some(run) if run.state == state => run.count += 1,
                _ => states.push(wire::StateRun { state, count: 1 }),
            }
        }
        states.pop_if(|run| run.state == State::Queued.to_wire());
        wire::Queue {
            first: self.first,
            cursor: self.cursor,
            resend_below: self.resend_below,
            sent_end: self.sent_end,
            next_serial: self.next_serial,
            serials: self.serial_runs(),
            states,
        }
    }

    /// The serial numbers of all items. They are without a gap but for what was dropped to make room, so that
    /// each end of a run is searched for.
    fn serial_runs(&self) -> Vec<wire::SerialRun> {
        let mut runs = Vec::new();
        let mut begin = 0;
        while let Some(start) = self.items.get(begin).map(|item| item.serial) {
            let (mut low, mut high) = (begin + 1, self.items.len());
            while low < high {
                let middle = low.midpoint(high);
                let gapless = start + (middle - begin) as u64;
                if self.items.get(middle).is_some_and(|item| item.serial == gapless) {
                    low = middle + 1;
                } else {
                    high = middle;
                }
            }
            runs.push(wire::SerialRun { start, count: (low - begin) as u64 });
            begin = low;
        }
        runs
    }

    /// The queue that was written, with the contents of its items in the order of their serial numbers; it need not
    /// have all of those.
    pub(crate) fn from_wire(
        wire: &wire::Queue,
        contents: impl Iterator<Item = (u64, Content)>,
    ) -> Result<Self, RecordError> {
        let mut contents = contents.peekable();
        let serials = wire.serials.iter().flat_map(|run| run.start..run.start.saturating_add(run.count));
        let mut states = wire.states.iter().flat_map(|run| (0..run.count).map(|_| run.state));
        let (mut items, mut empty) = (VecDeque::new(), 0);
        for serial in serials {
            let state = states.next().map_or(Ok(State::Queued), State::from_wire)?;
            while contents.next_if(|(other, _)| *other < serial).is_some() {}
            let content = contents.next_if(|(other, _)| *other == serial).map(|(_, content)| content);
            empty += u64::from(content.is_none());
            if empty > PACKET_IDS {
                return Err(RecordError::Invalid { field: "queue.serials" });
            }
            items.push_back(Item::restored(serial, state, content)?);
        }
        let stored = items.iter().filter(|item: &&Item| item.body.is_stored()).count();
        let mut queue = Self {
            live: items.iter().filter(|item| item.state != State::Done).count(),
            bytes: items.iter().map(|item| item.body.size()).sum(),
            items,
            first: wire.first,
            cursor: wire.cursor,
            resend_below: wire.resend_below,
            sent_end: wire.sent_end,
            next_serial: wire.next_serial,
            in_flight: 0,
            keep_sent: true,
            stored: Local(stored),
            lost: Local::default(),
        };
        if queue.cursor < queue.first {
            return Err(RecordError::Invalid { field: "queue.cursor" });
        }
        queue.in_flight = u32::try_from(queue.open()).unwrap_or(u32::MAX);
        queue.validate().map_err(|_| RecordError::Invalid { field: "queue" })?;
        Ok(queue)
    }
}

/// How an item wants its message sent.
#[derive(Clone, Copy)]
pub(crate) struct Shape<'a>(&'a Item);

impl Shape<'_> {
    pub(crate) fn qos(&self) -> QoS {
        self.0.qos
    }

    pub(crate) fn retain(&self) -> bool {
        self.0.retain
    }

    pub(crate) fn subscription_ids(&self) -> &[u32] {
        self.0.subscription_ids.as_deref().unwrap_or_default()
    }

    pub(crate) fn group(&self) -> Option<&GroupRef> {
        self.0.group.as_ref()
    }
}

impl State {
    fn to_wire(self) -> u32 {
        match self {
            Self::Queued => 0,
            Self::Sent => 1,
            Self::Released => 2,
            Self::Done => 3,
        }
    }

    fn from_wire(wire: u32) -> Result<Self, RecordError> {
        let all = [Self::Queued, Self::Sent, Self::Released, Self::Done];
        let found = all.into_iter().find(|state| state.to_wire() == wire);
        found.ok_or(RecordError::Invalid { field: "queue.states" })
    }
}

impl Item {
    fn restored(serial: u64, state: State, content: Option<Content>) -> Result<Self, RecordError> {
        Ok(match (state, content) {
            (State::Released, _) => Self::released(serial),
            (State::Done, _) => Self::done(serial),
            (State::Queued | State::Sent, Some(content)) => {
                let Content { qos, retain, body, subscription_ids, group } = content;
                Self { state, qos, retain, body, subscription_ids, group, serial }
            }
            (State::Queued | State::Sent, None) => {
                return Err(RecordError::Missing { field: "content of an item" });
            }
        })
    }
}
