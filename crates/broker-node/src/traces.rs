//! Live traces: lines about the packets of chosen clients, topics or addresses, for whoever administers the cluster. Connections offer
//! lines, the admin API takes them; a payload is in one only where that was asked for, and nothing secret ever. While nobody traces,
//! that is one look at a flag.

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ipnet::IpNet;
use parking_lot::Mutex;
use session_store::Millis;
use topic_index::{PlainFilter, matches};

use crate::listener::Peer;

/// Traces at a time.
pub(crate) const TRACES_MAX: usize = 8;
/// Lines of a trace that wait to be taken.
const LINES_MAX: usize = 1_024;
/// Bytes of these lines, about.
const BYTES_MAX: usize = 1 << 20;
/// Bytes of a line's text: a SUBSCRIBE may have many filters.
const TEXT_BYTES_MAX: usize = 1_024;
/// Bytes of a payload that can be asked for.
pub(crate) const PAYLOAD_BYTES_MAX: u32 = 1_024;
/// What a line takes besides.
const LINE_BYTES: usize = 128;
/// Lines of a trace in a second.
const LINES_PER_SECOND: u32 = 1_000;
/// Without a word from whoever takes them it ends.
const LEFT_AFTER: Duration = Duration::from_secs(10);

/// What a trace is of: all that is named has to fit.
#[derive(Clone, Debug, Default)]
pub(crate) struct Wanted {
    pub(crate) client: Option<Box<str>>,
    /// Of PUBLISH alone.
    pub(crate) filter: Option<PlainFilter>,
    pub(crate) network: Option<IpNet>,
    /// Bytes of each payload that are shown.
    pub(crate) payload_bytes: usize,
}

/// Topic and payload of a PUBLISH, where a line is about one.
pub(crate) type Carried<'a> = Option<(&'a [u8], &'a [u8])>;

/// Whom a line is about.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub(crate) client: &'a str,
    pub(crate) peer: Option<Peer>,
}

impl Wanted {
    fn fits(&self, who: Who<'_>, carried: Carried<'_>) -> bool {
        let client = self.client.as_deref().is_none_or(|client| client == who.client);
        let topic = self
            .filter
            .as_ref()
            .is_none_or(|filter| carried.is_some_and(|(topic, _)| matches(filter, topic)));
        let network = self.network.is_none_or(|network| match who.peer {
            Some(Peer::Ip(address)) => network.contains(&address.ip().to_canonical()),
            Some(Peer::Unix) | None => false,
        });
        client && topic && network
    }
}

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// By the node's clock.
    pub(crate) at: Millis,
    pub(crate) client: String,
    pub(crate) address: String,
    pub(crate) text: String,
    /// The beginning of the payload, where that is wanted and there is one.
    pub(crate) payload: Option<Vec<u8>>,
}

impl Line {
    /// Bytes that it takes, about.
    fn weight(&self) -> usize {
        let payload = self.payload.as_ref().map_or(0, Vec::len);
        LINE_BYTES + self.client.len() + self.address.len() + self.text.len() + payload
    }
}

/// No more than so much of a text.
fn cut(mut text: String) -> String {
    if text.len() > TEXT_BYTES_MAX {
        text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
        text.push_str(" ...");
    }
    text
}

/// The lines of one trace that were not taken.
struct Trace {
    number: u64,
    wanted: Wanted,
    lines: VecDeque<Line>,
    /// Bytes of these.
    bytes: usize,
    /// Lines that had no room since they were last taken.
    lost: u64,
    taken: Instant,
    /// The present second, and its lines.
    second: (Instant, u32),
}

impl Trace {
    fn put(&mut self, now: Instant, line: &Line, carried: Carried<'_>) {
        if !self.has_room(now) {
            self.lost += 1;
            return;
        }
        let shown = self.wanted.payload_bytes;
        let payload = carried
            .filter(|_| shown > 0)
            .map(|(_, payload)| payload.get(..shown).unwrap_or(payload).to_vec());
        let line = Line { payload, ..line.clone() };
        self.bytes += line.weight();
        self.lines.push_back(line);
    }

    /// What waits, and how many had no room.
    fn take(&mut self) -> (Vec<Line>, u64) {
        self.bytes = 0;
        (self.lines.drain(..).collect(), std::mem::take(&mut self.lost))
    }

    fn has_room(&mut self, now: Instant) -> bool {
        if now.duration_since(self.second.0) >= Duration::from_secs(1) {
            self.second = (now, 0);
        }
        self.second.1 = self.second.1.saturating_add(1);
        self.lines.len() < LINES_MAX && self.bytes < BYTES_MAX && self.second.1 <= LINES_PER_SECOND
    }
}

/// The traces of a node.
#[derive(Default)]
pub(crate) struct Traces {
    on: AtomicBool,
    all: Mutex<Vec<Trace>>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Traces")
    }
}

impl Traces {
    /// Whether there is one.
    pub(crate) fn are_on(&self) -> bool {
        self.on.load(Ordering::Relaxed)
    }

    /// Something happens. Never waits for whoever takes the lines.
    pub(crate) fn offer(
        &self,
        at: Millis,
        who: Who<'_>,
        carried: Carried<'_>,
        text: impl FnOnce() -> String,
    ) {
        self.offer_at(Instant::now(), (at, who, carried), text);
    }

    fn offer_at(
        &self,
        now: Instant,
        (at, who, carried): (Millis, Who<'_>, Carried<'_>),
        text: impl FnOnce() -> String,
    ) {
        let mut all = self.all.lock();
        self.end_left(&mut all, now);
        let mut fitting = all.iter_mut().filter(|trace| trace.wanted.fits(who, carried)).peekable();
        if fitting.peek().is_none() {
            return;
        }
        let address = who.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let line = Line { at, client: who.client.to_owned(), address, text: cut(text()), payload: None };
        fitting.for_each(|trace| trace.put(now, &line, carried));
    }

    /// Takes the lines of a trace, which begins with the first time; says how many had no room.
    ///
    /// # Errors
    /// There are too many.
    pub(crate) fn take(&self, number: u64, wanted: &Wanted) -> Result<(Vec<Line>, u64), String> {
        self.take_at(Instant::now(), number, wanted)
    }

    fn take_at(&self, now: Instant, number: u64, wanted: &Wanted) -> Result<(Vec<Line>, u64), String> {
        let mut all = self.all.lock();
        self.end_left(&mut all, now);
        if let Some(trace) = all.iter_mut().find(|trace| trace.number == number) {
            trace.taken = now;
            return Ok(trace.take());
        }
        if all.len() >= TRACES_MAX {
            return Err(format!("{TRACES_MAX} traces are under way already: wait until one has ended"));
        }
        let (wanted, lines) = (wanted.clone(), VecDeque::new());
        all.push(Trace { number, wanted, lines, bytes: 0, lost: 0, taken: now, second: (now, 0) });
        self.on.store(true, Ordering::Relaxed);
        Ok((Vec::new(), 0))
    }

    /// Nobody takes the lines of a trace any more.
    pub(crate) fn end(&self, number: u64) {
        self.end_at(Instant::now(), number);
    }

    fn end_at(&self, now: Instant, number: u64) {
        let mut all = self.all.lock();
        all.retain(|trace| trace.number != number);
        self.end_left(&mut all, now);
    }

    /// Ends those that nobody takes lines of any more.
    fn end_left(&self, all: &mut Vec<Trace>, now: Instant) {
        all.retain(|trace| now.duration_since(trace.taken) < LEFT_AFTER);
        self.on.store(!all.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use topic_index::Filter;

    use super::*;

    fn who(client: &str) -> Who<'_> {
        Who { client, peer: Some(Peer::Ip("10.0.0.7:1".parse().unwrap())) }
    }

    fn offer(traces: &Traces, now: Instant, client: &str, topic: Option<&str>) {
        let carried = topic.map(|topic| (topic.as_bytes(), b"payload".as_slice()));
        traces.offer_at(now, (Millis(1), who(client), carried), || "text".into());
    }

    fn filter(text: &str) -> Option<PlainFilter> {
        match Filter::parse(text, 9) {
            Ok(Filter::Plain(plain)) => Some(plain),
            other => panic!("{other:?}"),
        }
    }

    fn after(now: Instant, seconds: u64) -> Instant {
        now + Duration::from_secs(seconds)
    }

    #[test]
    fn a_line_goes_to_the_traces_that_want_it() {
        let (traces, now) = (Traces::default(), Instant::now());
        assert!(!traces.are_on());
        offer(&traces, now, "a", None);
        let wanted = [
            Wanted { client: Some("a".into()), ..Wanted::default() },
            Wanted { filter: filter("t/#"), ..Wanted::default() },
            Wanted { network: "10.0.0.0/8".parse().ok(), client: Some("b".into()), ..Wanted::default() },
            Wanted { network: "11.0.0.0/8".parse().ok(), ..Wanted::default() },
        ];
        let take = |number: usize| traces.take_at(now, number as u64, &wanted[number]).unwrap().0.len();
        assert_eq!([0, 1, 2, 3].map(take), [0; 4]);
        assert!(traces.are_on());
        offer(&traces, now, "a", None);
        offer(&traces, now, "b", Some("t/1"));
        offer(&traces, now, "b", Some("other"));
        assert_eq!([0, 1, 2, 3].map(take), [1, 1, 2, 0]);
        assert_eq!([0, 1, 2, 3].map(take), [0; 4]);
    }

    #[test]
    fn what_is_too_fast_or_not_taken_is_lost_and_counted() {
        let (traces, wanted, now) = (Traces::default(), Wanted::default(), Instant::now());
        let take =
            |now: Instant| traces.take_at(now, 1, &wanted).map(|(lines, lost)| (lines.len(), lost)).unwrap();
        take(now);
        (0..1_500).for_each(|_| offer(&traces, now, "a", None));
        assert_eq!(take(now), (1_000, 500));
        offer(&traces, now, "a", None);
        assert_eq!(take(now), (0, 1));
        for second in 1..=3 {
            (0..1_000).for_each(|_| offer(&traces, after(now, second), "a", None));
        }
        assert_eq!(take(after(now, 3)), (1_024, 1_976));
    }

    #[test]
    fn of_texts_payloads_and_all_that_waits_there_is_only_so_much() {
        let (traces, now) = (Traces::default(), Instant::now());
        let wanted = [Wanted::default(), Wanted { payload_bytes: 3, ..Wanted::default() }];
        let take = |number: usize| traces.take_at(now, number as u64, &wanted[number]).unwrap();
        assert!(take(0).0.is_empty() && take(1).0.is_empty());
        offer(&traces, now, "a", Some("t"));
        offer(&traces, now, "a", None);
        let payloads =
            |number: usize| take(number).0.into_iter().map(|line| line.payload).collect::<Vec<_>>();
        assert_eq!((payloads(0), payloads(1)), (vec![None, None], vec![Some(b"pay".to_vec()), None]));
        traces.offer_at(now, (Millis(1), who("a"), None), || "\u{e4}".repeat(600));
        assert_eq!(take(0).0[0].text, format!("{} ...", "\u{e4}".repeat(512)));
        let long = "c".repeat(60_000);
        (0..100).for_each(|_| offer(&traces, now, &long, None));
        let (lines, lost) = take(0);
        assert!(lines.len() == 18 && lost == 82, "{} {lost}", lines.len());
        offer(&traces, now, "a", None);
        assert_eq!(take(0).0.len(), 1);
        traces.end_at(now, 0);
        assert!(traces.are_on());
        traces.end_at(now, 1);
        assert!(!traces.are_on());
    }

    #[test]
    fn a_trace_ends_that_nobody_takes_lines_of_and_there_are_only_so_many() {
        let (traces, wanted, now) = (Traces::default(), Wanted::default(), Instant::now());
        (0..8).for_each(|number| drop(traces.take_at(now, number, &wanted).unwrap()));
        assert!(traces.take_at(now, 8, &wanted).unwrap_err().contains("8 traces"));
        traces.take_at(after(now, 9), 7, &wanted).unwrap();
        offer(&traces, after(now, 18), "a", None);
        assert!(traces.are_on());
        assert_eq!(traces.take_at(after(now, 18), 7, &wanted).unwrap().0.len(), 1);
        offer(&traces, after(now, 28), "a", None);
        assert!(!traces.are_on());
    }
}
