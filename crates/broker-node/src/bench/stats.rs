//! What a thread of the load generator measures; the threads' parts are added up at the end.
//! Written by the connections of one thread, read by `report`. It is never shared while it grows.

use hdrhistogram::Histogram;

use super::sequence::Received;

/// Longest time that is told apart: ten minutes.
const LATENCY_NS_MAX: u64 = 600_000_000_000;

/// Times in nanoseconds, kept to three digits.
#[derive(Debug)]
pub(super) struct Latencies(Option<Histogram<u64>>);

impl Latencies {
    fn new() -> Self {
        Self(Histogram::new_with_bounds(1, LATENCY_NS_MAX, 3).ok())
    }

    pub(super) fn record(&mut self, from_ns: u64, to_ns: u64) {
        if let Some(histogram) = &mut self.0 {
            histogram.saturating_record(to_ns.saturating_sub(from_ns).max(1));
        }
    }

    fn add(&mut self, other: &Self) {
        if let (Some(mine), Some(theirs)) = (&mut self.0, &other.0) {
            // Both have the same bounds, the one reason for which an addition could fail.
            let _ = mine.add(theirs);
        }
    }

    /// The histogram, where anything was recorded.
    pub(super) fn filled(&self) -> Option<&Histogram<u64>> {
        self.0.as_ref().filter(|histogram| !histogram.is_empty())
    }
}

/// Things that went wrong, by kind.
#[derive(Debug, Default, Clone, Copy, serde::Serialize)]
pub(super) struct Errors {
    /// Connections that were not accepted or not subscribed.
    pub(super) connect: u64,
    /// Connections that ended before the run did.
    pub(super) connection_lost: u64,
    /// Messages that the broker refused with a reason code of 0x80 or more.
    pub(super) refused: u64,
    /// Packets that do not belong where they came.
    pub(super) protocol: u64,
}

impl Errors {
    pub(super) fn total(&self) -> u64 {
        self.connect + self.connection_lost + self.refused + self.protocol
    }

    fn add(&mut self, other: Self) {
        self.connect += other.connect;
        self.connection_lost += other.connection_lost;
        self.refused += other.refused;
        self.protocol += other.protocol;
    }
}

/// The earliest and the latest of some moments.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Span(Option<(u64, u64)>);

impl Span {
    pub(super) fn extend(&mut self, at_ns: u64) {
        let (first, last) = self.0.unwrap_or((at_ns, at_ns));
        self.0 = Some((first.min(at_ns), last.max(at_ns)));
    }

    pub(super) fn first_ns(&self) -> Option<u64> {
        self.0.map(|(first, _)| first)
    }

    pub(super) fn last_ns(&self) -> Option<u64> {
        self.0.map(|(_, last)| last)
    }

    fn add(&mut self, other: Self) {
        if let Some((first, last)) = other.0 {
            self.extend(first);
            self.extend(last);
        }
    }
}

/// All that is measured.
#[derive(Debug)]
pub(super) struct Stats {
    pub(super) connected: u64,
    pub(super) published: u64,
    pub(super) acknowledged: u64,
    pub(super) delivered: u64,
    pub(super) payload_bytes_sent: u64,
    pub(super) payload_bytes_received: u64,
    pub(super) repeated: u64,
    pub(super) late: u64,
    /// Holes in what open subscribers saw.
    pub(super) missing: u64,
    pub(super) delivery: Latencies,
    pub(super) acknowledgement: Latencies,
    pub(super) connect: Latencies,
    /// From the first CONNECT to the last CONNACK of the scenario `conn`.
    pub(super) connects: Span,
    /// When SUBSCRIBE was sent.
    pub(super) subscribes: Span,
    /// When subscribers that were away connected again.
    pub(super) returns: Span,
    pub(super) publishes: Span,
    pub(super) acknowledgements: Span,
    pub(super) deliveries: Span,
    /// Messages of each subscriber, in no order.
    pub(super) by_subscriber: Vec<u64>,
    /// What the members of the shared group received, by publisher.
    pub(super) shared: Vec<Received>,
    pub(super) errors: Errors,
    /// The first error, in words.
    pub(super) first_error: Option<String>,
}

impl Stats {
    pub(super) fn new() -> Self {
        Self {
            connected: 0,
            published: 0,
            acknowledged: 0,
            delivered: 0,
            payload_bytes_sent: 0,
            payload_bytes_received: 0,
            repeated: 0,
            late: 0,
            missing: 0,
            delivery: Latencies::new(),
            acknowledgement: Latencies::new(),
            connect: Latencies::new(),
            connects: Span::default(),
            subscribes: Span::default(),
            returns: Span::default(),
            publishes: Span::default(),
            acknowledgements: Span::default(),
            deliveries: Span::default(),
            by_subscriber: Vec::new(),
            shared: Vec::new(),
            errors: Errors::default(),
            first_error: None,
        }
    }

    pub(super) fn note_error(&mut self, text: impl FnOnce() -> String) {
        self.first_error.get_or_insert_with(text);
    }

    /// Takes in what one member of a shared group received.
    pub(super) fn add_member(&mut self, received: &[Received]) {
        if self.shared.len() < received.len() {
            self.shared.resize(received.len(), Received::default());
        }
        for (mine, theirs) in self.shared.iter_mut().zip(received) {
            self.repeated += mine.merge(theirs);
        }
    }

    /// Takes in what another thread measured.
    pub(super) fn add(&mut self, other: Self) {
        self.connected += other.connected;
        self.published += other.published;
        self.acknowledged += other.acknowledged;
        self.delivered += other.delivered;
        self.payload_bytes_sent += other.payload_bytes_sent;
        self.payload_bytes_received += other.payload_bytes_received;
        self.repeated += other.repeated;
        self.late += other.late;
        self.missing += other.missing;
        self.delivery.add(&other.delivery);
        self.acknowledgement.add(&other.acknowledgement);
        self.connect.add(&other.connect);
        self.connects.add(other.connects);
        self.subscribes.add(other.subscribes);
        self.returns.add(other.returns);
        self.publishes.add(other.publishes);
        self.acknowledgements.add(other.acknowledgements);
        self.deliveries.add(other.deliveries);
        self.by_subscriber.extend(other.by_subscriber);
        self.add_member(&other.shared);
        self.errors.add(other.errors);
        if let Some(text) = other.first_error {
            self.note_error(|| text);
        }
    }
}
