//! What was lost on the way to a connected client, by reason, for whoever asks why something did not arrive. Noted where something
//! is dropped and nowhere else, read by the admin API; it decides nothing.

use parking_lot::Mutex;

/// Bytes of a topic that are kept.
const TOPIC_BYTES_MAX: usize = 256;

/// What became of messages put into a mailbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// QoS 0 messages dropped: the subscriber is slow.
    pub(crate) qos0: u64,
    /// QoS 1 and 2 messages dropped: its queue is full.
    pub(crate) queue_full: u64,
    /// Nothing was taken: the connection has ended.
    pub(crate) closed: bool,
}

impl Dropped {
    /// Adds another count to this one.
    pub(crate) fn add(&mut self, other: Self) {
        self.qos0 += other.qos0;
        self.queue_full += other.queue_full;
    }
}

/// Why something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Loss {
    /// Its queue was full.
    QueueFull,
    /// It had expired.
    Expired,
    /// It was of QoS 0, and the client reads too slowly.
    Slow,
    /// The client has lost the right to it.
    Denied,
    /// It is larger than what the client takes.
    TooLarge,
}

impl Loss {
    /// All reasons.
    pub(crate) const ALL: [Self; 5] =
        [Self::QueueFull, Self::Expired, Self::Slow, Self::Denied, Self::TooLarge];
}

/// What was lost for one reason.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Noted {
    /// How much.
    pub(crate) count: u64,
    /// The topic of the last of it that is known by its topic, or the beginning of that.
    pub(crate) last: Box<[u8]>,
}

/// What was lost. Takes no room until something is.
#[derive(Debug, Default)]
pub(crate) struct Losses(Mutex<Option<Box<[Noted; Loss::ALL.len()]>>>);

impl Losses {
    /// So many messages were lost, the last of this topic; it is empty where nobody knows it.
    pub(crate) fn note(&self, loss: Loss, count: u64, topic: &[u8]) {
        if count == 0 {
            return;
        }
        let mut all = self.0.lock();
        let Some(noted) = all.get_or_insert_default().get_mut(loss as usize) else { return };
        noted.count += count;
        let topic = topic.get(..TOPIC_BYTES_MAX).unwrap_or(topic);
        if !topic.is_empty() && *noted.last != *topic {
            noted.last = topic.into();
        }
    }

    /// All that was lost, by reason.
    pub(crate) fn noted(&self) -> Vec<(Loss, Noted)> {
        let all = self.0.lock();
        let noted = Loss::ALL.into_iter().zip(all.iter().flat_map(|all| all.iter()));
        noted.filter(|(_, noted)| noted.count > 0).map(|(loss, noted)| (loss, noted.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn losses_are_counted_by_reason_with_the_last_topic_that_is_known() {
        let losses = Losses::default();
        assert!(losses.noted().is_empty());
        losses.note(Loss::Slow, 0, b"none");
        losses.note(Loss::Slow, 1, b"a");
        losses.note(Loss::TooLarge, 1, &[b'x'; 300]);
        losses.note(Loss::Slow, 2, b"b");
        losses.note(Loss::Slow, 3, b"");
        let slow = Noted { count: 6, last: b"b".as_slice().into() };
        let large = Noted { count: 1, last: vec![b'x'; 256].into() };
        assert_eq!(losses.noted(), [(Loss::Slow, slow), (Loss::TooLarge, large)]);
    }
}
