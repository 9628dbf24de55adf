//! What a shard itself sends: wills, QoS 2 messages of persistent sessions, and messages of shared groups
//! whose member is gone. Filled by the shard's transitions, read by its leader's relay, emptied when every
//! target has what was sent. Never sends anything itself and never refuses an item.

use std::collections::VecDeque;
use std::ops::RangeInclusive;

use crate::ids::{ClientId, ConnectionId};
use crate::matching::GroupRef;
use crate::message::MessageRef;
use crate::picks::{InGroup, Names, PickedItem, Picks, Taker};

/// Items up to which QoS 2 messages of clients are taken over.
pub const OUTBOX_ITEMS_MAX: usize = 8_192;
/// Bytes up to which QoS 2 messages of clients are taken over.
pub const OUTBOX_BYTES_MAX: usize = 64 << 20;

/// Who gets an item.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OutboxKind {
    /// Everybody whose subscription matches.
    Publish,
    /// One member of this shared group.
    Redispatch(GroupRef),
}

/// One thing to send.
#[derive(Clone, Debug)]
pub struct OutboxItem {
    /// Who published it, for No Local; the empty identifier where that is not known any more.
    pub publisher: ClientId,
    /// The message.
    pub message: MessageRef,
    /// Who gets it.
    pub kind: OutboxKind,
    /// Who takes it in the shared groups that get it, as far as that was picked.
    pub picks: Picks,
}

impl OutboxItem {
    /// One of which nothing is picked yet.
    #[must_use]
    pub fn new(publisher: ClientId, message: MessageRef, kind: OutboxKind) -> Self {
        Self { publisher, message, kind, picks: Picks::default() }
    }

    /// Whether it was for one group alone, in which nobody was there to be picked.
    fn found_nobody(&self) -> bool {
        matches!(self.kind, OutboxKind::Redispatch(_)) && self.picks.is_empty()
    }

    /// Bytes of its message and its picks.
    fn size(&self) -> usize {
        self.message.size() + self.picks.size()
    }
}

/// How much more is to be taken over from clients at QoS 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxRoom {
    /// Messages.
    pub items: usize,
    /// Bytes of messages and picks.
    pub bytes: usize,
}

impl OutboxRoom {
    /// Whether there is any.
    #[must_use]
    pub fn is_some(&self) -> bool {
        self.items > 0 && self.bytes > 0
    }
}

/// The outbox of one shard. Its items have positions, dense and from 1, that are the numbers of the shard as
/// a source.
///
/// Whoever proposes a command that may add an item for a client, [`crate::command::Receive`], asks for
/// [`Self::room`] first and holds it back while there is none. The rest has room of its own: a will for each
/// client, and for groups what was in the sessions' queues, or was published to a group just when its last
/// member here left. So the outbox is bounded, and adding to it never fails.
#[derive(Debug)]
pub struct Outbox {
    items: VecDeque<OutboxItem>,
    /// Position of the first item, or of the next one.
    first: u64,
    bytes: usize,
    names: Names,
}

impl Default for Outbox {
    fn default() -> Self {
        Self { items: VecDeque::new(), first: 1, bytes: 0, names: Names::default() }
    }
}

impl Outbox {
    /// Adds an item; returns its position.
    pub(crate) fn push(&mut self, item: OutboxItem) -> u64 {
        self.bytes += item.size();
        self.items.push_back(item);
        self.last()
    }

    /// Every target has the items up to this position: they are forgotten. What was forgotten before or is not
    /// there yet stays as it is. Gives how many of them were for a group in which nobody was picked.
    pub(crate) fn retire(&mut self, up_to: u64) -> u64 {
        let mut for_nobody = 0;
        while self.first <= up_to
            && let Some(item) = self.items.pop_front()
        {
            self.first += 1;
            self.bytes -= item.size();
            for_nobody += u64::from(item.found_nobody());
            item.picks.iter().for_each(|pick| self.names.let_go(&pick.group));
        }
        if self.items.is_empty() && self.items.capacity() > 1_024 {
            self.items = VecDeque::new();
        }
        for_nobody
    }

    /// Takes note of who takes an item in its groups. What is known of it already stays, and an item that was retired
    /// needs it no more. Gives the item where something was added.
    pub(crate) fn pick(&mut self, picked: PickedItem) -> Option<&OutboxItem> {
        let PickedItem { position, picks, more } = picked;
        let index = usize::try_from(position.checked_sub(self.first)?).ok()?;
        let item = self.items.get_mut(index).filter(|item| !item.picks.is_complete())?;
        self.bytes -= item.size();
        let known = item.picks.len();
        item.picks.add(picks, more);
        item.picks.share_names(known, &mut self.names);
        self.bytes += item.size();
        Some(item)
    }

    /// Takes out the picks of these positions of which `gone` says that their member is, and gives them with their
    /// messages, in their order.
    pub(crate) fn take_back(
        &mut self,
        positions: RangeInclusive<u64>,
        mut gone: impl FnMut(u64, &GroupRef, ConnectionId) -> bool,
    ) -> Vec<(InGroup, MessageRef)> {
        let (first, skip) = self.since(*positions.start());
        let mut back = Vec::new();
        let items = (first..).zip(self.items.range_mut(skip..));
        for (position, item) in items.take_while(|(position, _)| position <= positions.end()) {
            self.bytes -= item.size();
            let out = item.picks.take_out(|pick| match pick.taker {
                Taker::Member(connection) => gone(position, &pick.group, connection),
                Taker::Shard(..) => false,
            });
            self.bytes += item.size();
            out.iter().for_each(|group| self.names.let_go(group));
            let message = &item.message;
            back.extend(out.into_iter().map(|group| (InGroup { position, group }, message.clone())));
        }
        back
    }

    /// Position of the oldest item that is there, or of the next one to come.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.first
    }

    /// Position of the newest item; 0 before there was one.
    #[must_use]
    pub fn last(&self) -> u64 {
        self.first + self.items.len() as u64 - 1
    }

    /// The item at a position, unless it was retired or is yet to come.
    #[must_use]
    pub fn get(&self, position: u64) -> Option<&OutboxItem> {
        self.items.get(usize::try_from(position.checked_sub(self.first)?).ok()?)
    }

    /// The items from a position on, with their positions.
    pub fn from(&self, position: u64) -> impl Iterator<Item = (u64, &OutboxItem)> {
        let (first, skip) = self.since(position);
        (first..).zip(self.items.range(skip..))
    }

    /// The first position from this one on that is there or next to come, and how many items are before it.
    fn since(&self, position: u64) -> (u64, usize) {
        let skip = usize::try_from(position.saturating_sub(self.first)).unwrap_or(usize::MAX);
        let skip = skip.min(self.items.len());
        (self.first + skip as u64, skip)
    }

    /// Items that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes of the messages that wait, and of their picks.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it may be logged who takes the item at this position: the picks of those that are not sent yet would grow
    /// without a bound while a target lags. For the first there is room in any case, since all others wait behind it.
    #[must_use]
    pub fn takes_picks(&self, position: u64) -> bool {
        self.bytes < OUTBOX_BYTES_MAX || position <= self.first
    }

    /// How much more is to be taken over from clients.
    #[must_use]
    pub fn room(&self) -> OutboxRoom {
        OutboxRoom {
            items: OUTBOX_ITEMS_MAX.saturating_sub(self.items.len()),
            bytes: OUTBOX_BYTES_MAX.saturating_sub(self.bytes),
        }
    }

    /// An outbox as it was written to a store.
    pub(crate) fn restored(first: u64, mut items: VecDeque<OutboxItem>) -> Self {
        let bytes = items.iter().map(OutboxItem::size).sum();
        let mut names = Names::default();
        items.iter_mut().for_each(|item| item.picks.share_names(0, &mut names));
        Self { items, first, bytes, names }
    }

    pub(crate) fn validate(&self) -> Result<(), &'static str> {
        if self.first == 0 {
            return Err("the positions of an outbox start at 1");
        }
        let bytes: usize = self.items.iter().map(OutboxItem::size).sum();
        if bytes != self.bytes {
            return Err("the outbox's count of bytes is wrong");
        }
        if !self.names.are_of(self.items.iter().map(|item| &item.picks)) {
            return Err("the names of an outbox's groups are not those of its picks, each once");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};

    use super::*;
    use crate::message::Message;

    fn item(bytes: usize) -> OutboxItem {
        let payload = Bytes::from(vec![0; bytes]);
        let body = SharedPublish::new(&Text::new("t").unwrap(), &Bytes::new(), &payload);
        let message = Arc::new(Message { body, qos: QoS::ExactlyOnce, retain: false, expires_at: None });
        OutboxItem::new(ClientId::new("p"), message, OutboxKind::Publish)
    }

    #[test]
    fn positions_are_dense_and_outlive_what_is_retired() {
        let mut outbox = Outbox::default();
        assert_eq!((outbox.first(), outbox.last()), (1, 0));
        assert_eq!((1..=3).map(|_| outbox.push(item(1))).collect::<Vec<_>>(), [1, 2, 3]);
        outbox.retire(2);
        outbox.retire(1);
        assert_eq!(outbox.from(0).map(|(position, _)| position).collect::<Vec<_>>(), [3]);
        assert!(outbox.get(2).is_none() && outbox.get(3).is_some() && outbox.get(4).is_none());
        outbox.retire(100);
        assert_eq!((outbox.first(), outbox.last(), outbox.bytes()), (4, 3, 0));
        assert_eq!(outbox.push(item(1)), 4, "nothing is retired before it came");
        assert_eq!(outbox.validate(), Ok(()));
    }

    /// A relay looks at few items of thousands, and a member that is gone concerns those behind one of them.
    #[test]
    fn items_are_looked_up_by_their_positions_and_no_others_are_looked_at() {
        use crate::ids::Host;
        use crate::matching::GroupName;
        use crate::picks::Pick;

        let mut outbox = Outbox::default();
        let filter = topic_index::Filter::parse("t", 9).unwrap().plain().clone();
        let group = Arc::new(GroupName { group: "g".into(), filter });
        let member = ConnectionId { host: Host::default(), number: 1 };
        for position in 1..=10 {
            outbox.push(item(1));
            let picks = vec![Pick { group: GroupRef::clone(&group), taker: Taker::Member(member) }];
            outbox.pick(PickedItem { position, picks, more: false });
        }
        outbox.retire(2);
        assert_eq!(outbox.from(9).size_hint(), (2, Some(2)), "nothing before them is passed over");
        let mut looked_at = Vec::new();
        let back = outbox.take_back(5..=7, |position, _, _| {
            looked_at.push(position);
            position == 6
        });
        assert_eq!(looked_at, [5, 6, 7]);
        assert_eq!(back.iter().map(|(of, _)| of.position).collect::<Vec<_>>(), [6]);
        assert_eq!(outbox.validate(), Ok(()));
    }

    #[test]
    fn room_ends_by_items_or_by_bytes_and_an_item_more_is_still_taken() {
        let mut outbox = Outbox::default();
        for _ in 0..OUTBOX_ITEMS_MAX {
            outbox.push(item(0));
        }
        assert!(!outbox.room().is_some());
        outbox.retire(1);
        assert_eq!(outbox.room().items, 1);
        outbox.retire(u64::MAX - 1);
        outbox.push(item(OUTBOX_BYTES_MAX));
        assert!(!outbox.room().is_some() && outbox.room().items > 0);
        outbox.push(item(1));
        assert_eq!(outbox.len(), 2);
        let (first, last) = (outbox.first(), outbox.last());
        assert_eq!([first, last].map(|position| outbox.takes_picks(position)), [true, false]);
        outbox.retire(first);
        assert!(outbox.takes_picks(last));
    }
}
