//! Look-ups of retained messages for new subscriptions (section 3.3.1.3 of MQTT 5.0): a filter and a cursor
//! for each shard, page by page as the queue drains. Owned by a session, persistent or transient; says what
//! to fetch and what of it to send, and fetches nothing itself.

mod stored;

use std::collections::{BTreeSet, VecDeque};

use topic_index::{Cursor, PlainFilter};

use crate::matching::Subscribed;
use crate::message::MessageRef;

/// Topics delivered live that one scan remembers, so that it does not send their older retained
/// messages afterwards.
const LIVE_TOPICS_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum PageState {
    /// None is under way.
    Idle,
    /// One was asked for and has not come.
    Asked,
    /// One came, and its messages are on their way to the client.
    Sending,
}

#[derive(Debug)]
struct Scan {
    /// Of the page that was asked for at last.
    number: u64,
    filter: PlainFilter,
    subscribed: Subscribed,
    shard: u16,
    from: Option<Cursor>,
    page: PageState,
    live: BTreeSet<Box<[u8]>>,
}

/// A page to fetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Which page of which scan it is: no two of a session have the same number. Given back with the page.
    pub scan: u64,
    /// What the topics must match.
    pub filter: PlainFilter,
    /// In which shard.
    pub shard: u16,
    /// Where the page before says to go on.
    pub from: Option<Cursor>,
}

/// The scans of one session; one is served at a time. Bounded by the session's subscriptions.
#[derive(Debug, Default)]
pub struct Scans {
    queue: VecDeque<Scan>,
    /// The number of the last page that was asked for.
    started: u64,
}

impl Scans {
    /// No scans yet; the numbers of their pages are above `number`, so that pages asked for by an earlier session
    /// are not taken for its own.
    #[must_use]
    pub fn starting_at(number: u64) -> Self {
        Self { queue: VecDeque::new(), started: number }
    }

    /// Whether a page could be asked for.
    #[must_use]
    pub fn ready(&self) -> bool {
        self.queue.front().is_some_and(|scan| scan.page == PageState::Idle)
    }

    /// A subscription wants retained messages; a scan for the same filter starts anew (`[MQTT-3.8.4-4]`).
    pub fn add(&mut self, filter: PlainFilter, subscribed: Subscribed) {
        self.remove(&filter);
        let live = BTreeSet::new();
        self.queue.push_back(Scan {
            number: 0,
            filter,
            subscribed,
            shard: 0,
            from: None,
            page: PageState::Idle,
            live,
        });
    }

    /// The subscription is gone.
    pub fn remove(&mut self, filter: &PlainFilter) {
        self.queue.retain(|scan| scan.filter != *filter);
    }

    /// A message published as retained was delivered live: what the scans find of its topic is older.
    pub fn saw(&mut self, topic: &[u8]) {
        // Scans that have not begun will find what is live now.
        if let Some(scan) = self.queue.front_mut()
            && scan.live.len() < LIVE_TOPICS_MAX
            && topic_index::matches(&scan.filter, topic)
        {
            scan.live.insert(topic.into());
        }
    }

    /// The next page to fetch, if none is under way. It has a number of its own: who was asked for a page before may
    /// still bring it when the one behind it is waited for.
    pub fn ask(&mut self) -> Option<Ask> {
        let scan = self.queue.front_mut().filter(|scan| scan.page == PageState::Idle)?;
        self.started += 1;
        scan.number = self.started;
        scan.page = PageState::Asked;
        self.asked()
    }

    /// A page came, and where to go on if its shard has more. Returns what is to be sent, and how its
    /// subscription wants it; `None` where the scan is gone. `shards` is how many there are. After a page with
    /// nothing to send the next one may be asked for at once: there is nothing for the client to take.
    pub fn answer(
        &mut self,
        number: u64,
        mut messages: Vec<MessageRef>,
        next: Option<Cursor>,
        shards: u16,
    ) -> Option<(Subscribed, Vec<MessageRef>)> {
        let index = self.queue.iter().position(|scan| scan.number == number)?;
        // A page that comes a second time is not the one behind it.
        let scan = self.queue.get_mut(index).filter(|scan| scan.page == PageState::Asked)?;
        messages.retain(|message| !scan.live.contains(message.body.topic()));
        let subscribed = scan.subscribed;
        scan.page = if messages.is_empty() { PageState::Idle } else { PageState::Sending };
        scan.from = next;
        if scan.from.is_none() {
            scan.shard += 1;
        }
        if scan.shard >= shards {
            self.queue.remove(index);
        }
        Some((subscribed, messages))
    }
}

impl Scans {
    /// The page that was asked for and has not come.
    pub(crate) fn asked(&self) -> Option<Ask> {
        let scan = self.queue.front().filter(|scan| scan.page == PageState::Asked)?;
        let (filter, from) = (scan.filter.clone(), scan.from.clone());
        Some(Ask { scan: scan.number, filter, shard: scan.shard, from })
    }

    /// The scan whose page is on its way to the client.
    pub(crate) fn sending(&self) -> Option<u64> {
        let scan = self.queue.front().filter(|scan| scan.page == PageState::Sending)?;
        Some(scan.number)
    }

    /// The client has taken the page of this scan: the next one may be asked for.
    pub fn taken(&mut self, number: u64) {
        let scan = self.queue.iter_mut().find(|scan| scan.number == number);
        if let Some(scan) = scan.filter(|scan| scan.page == PageState::Sending) {
            scan.page = PageState::Idle;
        }
    }

    /// The client is back on a new connection: what the old one did not take of a page is in the queue, and a
    /// page that was asked for and has not come may never come. It is asked for again, under another number.
    pub fn resume(&mut self) {
        self.queue.iter_mut().for_each(|scan| scan.page = PageState::Idle);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use mqtt_codec::{QoS, SharedPublish, Text};
    use topic_index::Filter;

    use super::*;
    use crate::message::Message;

    const SUBSCRIBED: Subscribed =
        Subscribed { qos: QoS::AtMostOnce, no_local: false, retain_as_published: false, id: None };

    fn filter(text: &str) -> PlainFilter {
        Filter::parse(text, 9).unwrap().plain().clone()
    }

    fn message(topic: &str) -> MessageRef {
        let body = SharedPublish::new(&Text::new(topic).unwrap(), &Bytes::new(), &Bytes::new());
        Arc::new(Message { body, qos: QoS::AtMostOnce, retain: true, expires_at: None })
    }

    fn cursor(topic: &str) -> Option<Cursor> {
        Some(Cursor::from_bytes(topic.as_bytes()))
    }

    #[test]
    fn a_scan_goes_through_every_shard_and_page_and_ends() {
        let mut scans = Scans::default();
        scans.add(filter("a/#"), SUBSCRIBED);
        let first = scans.ask().unwrap();
        assert_eq!((first.shard, first.from), (0, None));
        assert_eq!(scans.ask(), None, "one page at a time");
        scans.answer(first.scan, vec![message("a/1")], cursor("a/2"), 2);
        assert_eq!(scans.ask(), None, "the page is on its way to the client");
        scans.taken(first.scan);
        let second = scans.ask().unwrap();
        assert_eq!((second.shard, second.from), (0, cursor("a/2")));
        scans.answer(second.scan, vec![message("a/2")], None, 2);
        assert_eq!(scans.ask(), None);
        scans.resume();
        let third = scans.ask().unwrap();
        assert_eq!((third.shard, third.from), (1, None));
        scans.answer(third.scan, Vec::new(), None, 2);
        assert!(!scans.ready());
    }

    #[test]
    fn a_page_that_was_lost_is_asked_for_again_and_not_taken_twice() {
        let mut scans = Scans::default();
        scans.add(filter("a"), SUBSCRIBED);
        scans.add(filter("b"), SUBSCRIBED);
        let lost = scans.ask().unwrap();
        scans.resume();
        let again = scans.ask().unwrap();
        assert_eq!((&again.filter, again.shard), (&lost.filter, lost.shard));
        assert!(scans.answer(lost.scan, Vec::new(), None, 1).is_none(), "it comes late");
        assert!(scans.answer(again.scan, vec![message("a")], cursor("a/1"), 1).is_some());
        assert!(scans.answer(again.scan, Vec::new(), None, 1).is_none(), "it comes twice");
        scans.taken(again.scan);
        let next = scans.ask().unwrap();
        assert!(scans.answer(next.scan, Vec::new(), None, 1).is_some());
        assert_eq!(scans.ask().map(|ask| ask.filter), Some(filter("b")));
    }

    #[test]
    fn a_page_that_was_asked_for_twice_is_not_the_one_behind_it() {
        let mut scans = Scans::default();
        scans.add(filter("a/#"), SUBSCRIBED);
        let first = scans.ask().unwrap();
        assert_eq!(scans.asked(), Some(first.clone()), "as a new leader asks, that may have asked before");
        let page = || vec![message("a/1")];
        assert!(scans.answer(first.scan, page(), cursor("a/2"), 1).is_some());
        scans.taken(first.scan);
        let second = scans.ask().unwrap();
        assert!(scans.answer(first.scan, page(), cursor("a/2"), 1).is_none(), "it would be sent twice");
        assert!(scans.answer(second.scan, vec![message("a/2")], cursor("a/3"), 1).is_some());
        scans.taken(first.scan);
        assert!(!scans.ready(), "what the client takes a second time is not the page behind it");
        scans.taken(second.scan);
        assert!(scans.ready());
    }

    #[test]
    fn after_a_page_with_nothing_to_send_the_scan_goes_on_at_once() {
        let mut scans = Scans::default();
        scans.add(filter("a/#"), SUBSCRIBED);
        let first = scans.ask().unwrap();
        scans.answer(first.scan, Vec::new(), cursor("a/2"), 1);
        let second = scans.ask().unwrap();
        assert_eq!((second.shard, second.from), (0, cursor("a/2")), "nothing was found");
        scans.saw(b"a/3");
        scans.answer(second.scan, vec![message("a/3")], cursor("a/4"), 1);
        let third = scans.ask().unwrap();
        assert_eq!((third.shard, third.from), (0, cursor("a/4")), "all of it was delivered live");
    }

    #[test]
    fn a_page_of_a_scan_that_started_anew_is_not_taken() {
        let mut scans = Scans::default();
        scans.add(filter("a"), SUBSCRIBED);
        let old = scans.ask().unwrap();
        scans.add(filter("a"), SUBSCRIBED);
        assert!(scans.answer(old.scan, Vec::new(), None, 6).is_none());
        assert_eq!(scans.ask().map(|ask| ask.shard), Some(0));
        scans.remove(&filter("a"));
        assert!(!scans.ready());
    }
}
