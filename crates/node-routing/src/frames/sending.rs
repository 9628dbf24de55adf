//! What is on its way from this host to one run of another node: publishes that wait, and frames that are not answered. Kept
//! by the host that sends; never waits.

use std::collections::VecDeque;
use std::sync::Arc;

use session_store::Host;
use session_store::word::{Frame, FramePart, Heard, Nobody};

/// Frames that may be without an answer; what comes meanwhile goes together in the next one.
pub const IN_FLIGHT_MAX: usize = 8;

/// Bytes of publishes on their way to one target, from which on whoever can wait waits, and what may be lost is dropped.
pub const BYTES_MAX: usize = 8 << 20;

/// Bytes of a frame at most, but for one part that is larger by itself.
const FRAME_BYTES: usize = 128 << 10;

/// Publishes of a frame, after which no other part is added.
const FRAME_ITEMS: usize = 512;

/// Publishes of one client, and who waits for their answer.
#[derive(Debug)]
struct Waiting<A> {
    part: FramePart,
    asker: A,
    bytes: usize,
}

#[derive(Debug)]
struct Unanswered<A> {
    frame: Arc<Frame>,
    askers: Vec<A>,
    bytes: usize,
}

/// A frame that its target has, or never will have.
#[derive(Debug)]
pub struct Answered<A> {
    /// The frame.
    pub frame: Arc<Frame>,
    /// Who waited for each of its parts.
    pub askers: Vec<A>,
    /// What of it found no member of its group there.
    pub nobody: Vec<Nobody>,
}

/// The stream to one run of a node, at its source. `A` is who waits for the answer to a part.
#[derive(Debug)]
pub struct Sending<A> {
    source: Host,
    target: Host,
    /// The number of the last frame that was cut.
    last: u64,
    unanswered: VecDeque<Unanswered<A>>,
    waiting: VecDeque<Waiting<A>>,
    /// Of all that is there.
    bytes: usize,
    /// How many frames were answered so far.
    answers: u64,
}

impl<A> Sending<A> {
    /// A stream that has not begun.
    #[must_use]
    pub fn new(source: Host, target: Host) -> Self {
        let (unanswered, waiting) = (VecDeque::new(), VecDeque::new());
        Self { source, target, last: 0, unanswered, waiting, bytes: 0, answers: 0 }
    }

    /// Whether there is room: whoever can wait asks before [`Self::push`].
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.bytes < BYTES_MAX
    }

    /// Puts publishes behind the others.
    pub fn push(&mut self, part: FramePart, asker: A) {
        let bytes = part.publish.items.iter().map(session_store::command::PublishItem::size).sum();
        self.bytes += bytes;
        self.waiting.push_back(Waiting { part, asker, bytes });
    }

    /// The next frame to say, of what waits; `None` where nothing does, or enough is on its way. It is to be said before
    /// whatever is cut behind it.
    pub fn cut(&mut self) -> Option<Arc<Frame>> {
        if self.unanswered.len() >= IN_FLIGHT_MAX {
            return None;
        }
        let first = self.waiting.pop_front()?;
        let (mut bytes, mut items) = (first.bytes, first.part.publish.items.len());
        let (mut parts, mut askers) = (vec![first.part], vec![first.asker]);
        while let Some(next) = self.waiting.pop_front_if(|next| {
            bytes + next.bytes <= FRAME_BYTES && items + next.part.publish.items.len() <= FRAME_ITEMS
        }) {
            bytes += next.bytes;
            items += next.part.publish.items.len();
            parts.push(next.part);
            askers.push(next.asker);
        }
        let (predecessor, number) = (self.last, self.last + 1);
        self.last = number;
        let done_below = self.unanswered.front().map_or(number, |first| first.frame.number);
        let (source, target) = (self.source, self.target);
        let frame = Arc::new(Frame { source, target, number, predecessor, done_below, parts });
        self.unanswered.push_back(Unanswered { frame: Arc::clone(&frame), askers, bytes });
        Some(frame)
    }

    /// Everything that was said and is not answered, in its order: to be said again where something may have been lost.
    #[must_use]
    pub fn again(&self) -> Vec<Arc<Frame>> {
        self.unanswered.iter().map(|unanswered| Arc::clone(&unanswered.frame)).collect()
    }

    /// The target has said what it has. Gives the frames that are answered by that; after them there may be room, and
    /// something to [cut](Self::cut).
    pub fn heard(&mut self, heard: &Heard) -> Vec<Answered<A>> {
        let mut answered = Vec::new();
        while let Some(done) = self.unanswered.pop_front_if(|first| first.frame.number <= heard.up_to) {
            self.bytes = self.bytes.saturating_sub(done.bytes);
            self.answers += 1;
            let of_it = |nobody: &&Nobody| nobody.frame == done.frame.number;
            let nobody = heard.nobody.iter().filter(of_it).cloned().collect();
            answered.push(Answered { frame: done.frame, askers: done.askers, nobody });
        }
        answered
    }

    /// How many frames were answered so far, and whether any waits for that.
    #[must_use]
    pub fn progress(&self) -> (u64, bool) {
        (self.answers, !self.unanswered.is_empty())
    }

    /// The target is dead: what was said to it, which it may have had, and what was not.
    pub fn give_up(mut self) -> (Vec<Answered<A>>, Vec<(FramePart, A)>) {
        let answered =
            |done: Unanswered<A>| Answered { frame: done.frame, askers: done.askers, nobody: Vec::new() };
        let said = self.unanswered.drain(..).map(answered).collect();
        (said, self.waiting.drain(..).map(|waiting| (waiting.part, waiting.asker)).collect())
    }
}
