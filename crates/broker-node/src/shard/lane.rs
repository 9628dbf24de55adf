//! The ways of an outbox to its targets, each with a task of its own, so that one that takes nothing holds back nobody else;
//! and the way to one shard: it sends requests, in their order, until they are taken. Owned by the relay of the outbox.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use session_store::word::ForMember;
use session_store::{Host, Request};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Shards;
use super::guests::HostLane;

/// Requests on their way to one target at most. What comes behind them is read from the outbox again when there is room, and
/// holds back no other target.
const WAITING_MAX: usize = 256;
/// Requests that are sent together, and again where one of them is not answered.
pub(super) const TOGETHER: usize = 64;
/// How long a shard may take to answer before it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait where nobody is known to lead the shard.
const NO_LEADER: Duration = Duration::from_millis(50);

/// Who takes something of an outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Target {
    /// A shard.
    Shard(u16),
    /// Transient members of shared groups on a host.
    Host(Host),
    /// Ordinary transient subscribers on another host.
    Subscribers(Host),
}

/// Requests that go together: all parts of what is at one position.
type Together = Vec<Arc<Request>>;

/// The lanes of one outbox.
#[derive(Default)]
pub(super) struct Lanes {
    tasks: JoinSet<Option<()>>,
    lanes: BTreeMap<u16, mpsc::Sender<Together>>,
    to_hosts: BTreeMap<Host, mpsc::Sender<Vec<ForMember>>>,
    /// The first and the last position of what is on its way, request by request.
    on_their_way: BTreeMap<Target, VecDeque<(u64, u64)>>,
    /// Targets that were given nothing from a position on, since too much was on its way to them.
    behind: BTreeMap<Target, u64>,
    /// Nothing is left out, since it could not be sent again as it was: whoever sends waits for a target that lags.
    waits: bool,
    /// The last position that was given to each lane.
    given: BTreeMap<u16, u64>,
    relayed: u64,
}

impl Lanes {
    /// Whether the log has who takes what is sent from now on in shared groups: else it cannot be left out and sent later.
    pub(super) fn sends_logged(&mut self, logged: bool) {
        self.waits = !logged;
    }

    /// Whether a target is to be given what begins at this position; its lane has room for it then.
    fn takes(&mut self, target: Target, position: u64) -> bool {
        if self.behind.get(&target).is_some_and(|behind| *behind <= position) {
            return false;
        }
        let takes = self.waits || self.waiting(target) < WAITING_MAX;
        if !takes {
            self.behind.insert(target, position);
        }
        takes
    }

    /// How much waits for a target: what it has not answered, or what its lane has not looked at although an earlier leader
    /// sent it and it is answered.
    fn waiting(&self, target: Target) -> usize {
        let on_their_way = self.on_their_way.get(&target).map_or(0, VecDeque::len);
        let room = match target {
            Target::Shard(shard) => self.lanes.get(&shard).map(mpsc::Sender::capacity),
            Target::Host(host) => self.to_hosts.get(&host).map(mpsc::Sender::capacity),
            // The stream to its host is bounded by what is on its way.
            Target::Subscribers(_) => None,
        };
        on_their_way.max(room.map_or(0, |room| WAITING_MAX - room))
    }

    /// How many targets lack something that others were given, since they take nothing.
    pub(super) fn lagging(&self) -> usize {
        self.behind.len()
    }

    /// A target that lacks something and has room for more of it again, and the position to go on from:
    /// [`Self::went_on`] says how far that went.
    pub(super) fn goes_on(&mut self) -> Option<(Target, u64)> {
        let found = self.behind.iter().find(|(target, _)| self.waiting(**target) < WAITING_MAX / 2);
        let (target, from) = found.map(|(target, from)| (*target, *from))?;
        self.behind.remove(&target);
        Some((target, from))
    }

    /// A target was given again what there is before `position`, as far as it had room; what was sent to others lies
    /// before `next`.
    pub(super) fn went_on(&mut self, target: Target, position: u64, next: u64) {
        if position < next {
            self.behind.entry(target).or_insert(position);
        }
    }

    /// Gives requests that go together to their shard's lane, unless that lags.
    pub(super) async fn send(&mut self, target: u16, mut parts: Vec<Request>, lane: impl FnOnce() -> Lane) {
        let (Some(first), Some(last)) = (parts.first(), parts.last()) else { return };
        let positions = (positions(first).0, last.number);
        if !self.takes(Target::Shard(target), positions.0) {
            return;
        }
        for part in &mut parts {
            // A shard that does not have the one before refuses it.
            part.done_below = part.done_below.max(self.given.insert(target, part.number).unwrap_or(0));
        }
        self.on_their_way.entry(Target::Shard(target)).or_default().push_back(positions);
        let tasks = &mut self.tasks;
        let lane = self.lanes.entry(target).or_insert_with(|| {
            let (sender, requests) = mpsc::channel(WAITING_MAX);
            tasks.spawn(lane().run(requests));
            sender
        });
        let _groups_ended = lane.send(parts.into_iter().map(Arc::new).collect()).await;
    }

    /// Whether a target by no lane of its own is to be sent what has these positions; it is on its way then.
    pub(super) fn sends(&mut self, target: Target, positions: (u64, u64)) -> bool {
        let takes = self.takes(target, positions.0);
        if takes {
            self.on_their_way.entry(target).or_default().push_back(positions);
        }
        takes
    }

    /// Gives messages for members of shared groups to their host's lane, unless that lags.
    pub(super) async fn send_to_host(
        &mut self,
        host: Host,
        messages: Vec<ForMember>,
        lane: impl FnOnce() -> HostLane,
    ) {
        let (Some(first), Some(last)) = (messages.first(), messages.last()) else { return };
        if !self.sends(Target::Host(host), (first.of.position, last.of.position)) {
            return;
        }
        let tasks = &mut self.tasks;
        let lane = self.to_hosts.entry(host).or_insert_with(|| {
            let (sender, messages) = mpsc::channel(WAITING_MAX);
            tasks.spawn(lane().run(messages));
            sender
        });
        let _groups_ended = lane.send(messages).await;
    }

    /// Up to which position every target has what was sent, if that is further than it was; everything up to `sent` was
    /// given to the lanes.
    pub(super) fn relayed(&mut self, sent: u64, has: impl Fn(Target, u64) -> bool) -> Option<u64> {
        let lacking = self.behind.values().map(|behind| behind.saturating_sub(1)).min();
        let mut relayed = lacking.unwrap_or(sent).min(sent);
        for (target, on_their_way) in &mut self.on_their_way {
            while on_their_way.front().is_some_and(|(_, last)| has(*target, *last)) {
                on_their_way.pop_front();
            }
            if let Some((first, _)) = on_their_way.front() {
                relayed = relayed.min(first.saturating_sub(1));
            }
        }
        let further = relayed > self.relayed;
        self.relayed = self.relayed.max(relayed);
        further.then_some(relayed)
    }
}

fn positions(request: &Request) -> (u64, u64) {
    use session_store::command::Command;
    match &request.command {
        Command::Publish(publish) => {
            (publish.items.first().map_or(request.number, |item| item.number), request.number)
        }
        _ => (request.number, request.number),
    }
}

/// The way to one shard.
pub(super) struct Lane {
    pub(super) outbox: u16,
    pub(super) target: u16,
    pub(super) shards: Shards,
}

impl Lane {
    /// Ends when there is nothing more to send, or the groups have ended.
    async fn run(self, mut requests: mpsc::Receiver<Together>) -> Option<()> {
        let relay = &self.shards.home(self.outbox)?.relay;
        let mut received = Vec::new();
        while requests.recv_many(&mut received, TOGETHER).await > 0 {
            // Parts of one position are sent again together: the answers to them do not say which it was.
            let together: Vec<Arc<Request>> = received.drain(..).flatten().collect();
            let last = together.last().map_or(0, |request: &Arc<Request>| request.number);
            let mut answered = std::pin::pin!(relay.until_answered(Target::Shard(self.target), last));
            loop {
                let link = &self.shards.home(self.target)?.link;
                let Some((leader, attachment)) = link.way() else {
                    sleep(NO_LEADER).await;
                    continue;
                };
                self.shards.has_space_for(self.target).await;
                self.shards.carry(leader, self.target, together.clone()).await;
                tokio::select! {
                    () = &mut answered => break,
                    // What was sent may have been lost with the leader that it was sent to.
                    () = link.until_opened_again(attachment) => {}
                    () = sleep(ANSWER_TIMEOUT) => {}
                }
            }
            // There is room in the lane, also where all of it was answered before it was looked at.
            relay.answered(Target::Shard(self.target), last);
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use session_store::command::{Command, Publish, PublishItem};
    use session_store::{ClientId, Message, ShardId, Source};

    use super::*;

    fn request(numbers: &[u64]) -> Request {
        let body = mqtt_codec::SharedPublish::new(
            &mqtt_codec::Text::new("t").unwrap(),
            &bytes::Bytes::new(),
            &bytes::Bytes::new(),
        );
        let message =
            Arc::new(Message { body, qos: mqtt_codec::QoS::ExactlyOnce, retain: false, expires_at: None });
        let item = |number: &u64| PublishItem {
            number: *number,
            message: Arc::clone(&message),
            sessions: true,
            store_retained: false,
            groups: Vec::new(),
        };
        let items = numbers.iter().map(item).collect();
        let command =
            Command::Publish(Publish { reply_to: None, publisher: ClientId::new("p"), epoch: None, items });
        let number = *numbers.last().unwrap();
        Request { source: Source::Outbox(ShardId(0)), number, done_below: number, command }
    }

    #[test]
    fn what_every_target_has_is_relayed_and_a_slow_one_holds_back_only_that() {
        let mut lanes = Lanes::default();
        for (target, numbers) in [(1, &[1, 3][..]), (2, &[2]), (1, &[4]), (2, &[4, 5])] {
            let on_their_way = lanes.on_their_way.entry(Target::Shard(target)).or_default();
            on_their_way.push_back(positions(&request(numbers)));
        }
        let mut has = BTreeMap::from([1, 2].map(|shard| (Target::Shard(shard), 0)));
        let mut relayed =
            |has: &BTreeMap<Target, u64>| lanes.relayed(6, |target, up_to| has[&target] >= up_to);
        assert_eq!(relayed(&has), None);
        has.insert(Target::Shard(1), 4);
        assert_eq!(relayed(&has), Some(1));
        assert_eq!(relayed(&has), None, "once");
        has.insert(Target::Shard(2), 2);
        assert_eq!(relayed(&has), Some(3));
        has.insert(Target::Shard(2), 5);
        assert_eq!(relayed(&has), Some(6), "the last went to nobody");
    }

    /// Were one part a place in the lane, whoever sends would wait for a lane that takes nothing.
    #[tokio::test]
    async fn a_position_in_very_many_parts_goes_as_one_and_nobody_waits_to_send_it() {
        use futures_util::FutureExt;
        use tokio::task::unconstrained;

        let (sick, last) = (7, WAITING_MAX as u64);
        let mut lanes = Lanes::default();
        let (sender, mut requests) = mpsc::channel(WAITING_MAX);
        lanes.lanes.insert(sick, sender);
        let lane = || -> Lane { panic!("it has one") };
        let parts_of = |position: u64| {
            let part =
                |part: u64| Request { number: position - u64::from(part < 999), ..request(&[position]) };
            (0..1_000).map(part).collect::<Vec<_>>()
        };
        for position in 1..last {
            unconstrained(lanes.send(sick, vec![request(&[position])], lane)).now_or_never().unwrap();
        }
        for position in [last, last + 1] {
            unconstrained(lanes.send(sick, parts_of(position), lane)).now_or_never().expect("nobody waits");
        }
        assert_eq!((requests.len(), lanes.lagging()), (WAITING_MAX, 1));
        assert_eq!(lanes.relayed(last + 1, |_, _| true), Some(last));
        assert!(lanes.goes_on().is_none(), "it is answered and has not been looked at: there is no room");
        let mut taken = Vec::new();
        while let Ok(together) = requests.try_recv() {
            taken.push(together.len());
        }
        assert_eq!((taken.len(), taken.last()), (WAITING_MAX, Some(&1_000)));
        assert_eq!(lanes.goes_on(), Some((Target::Shard(sick), last + 1)));
    }

    #[test]
    fn a_target_that_takes_nothing_lags_and_goes_on_where_it_was_left() {
        let (sick, well) = (Target::Shard(1), Target::Shard(2));
        let mut lanes = Lanes::default();
        let give = |lanes: &mut Lanes, target: Target, position: u64| {
            let takes = lanes.takes(target, position);
            if takes {
                lanes.on_their_way.entry(target).or_default().push_back((position, position));
            }
            takes
        };
        let full = WAITING_MAX as u64;
        assert!((1..=full).all(|position| give(&mut lanes, sick, position)));
        assert!((full + 1..=full + 9).all(|position| !give(&mut lanes, sick, position)));
        assert!((1..=full + 9).all(|position| lanes.takes(well, position)));
        assert!(lanes.goes_on().is_none(), "there is no room yet");
        assert_eq!(lanes.relayed(full + 9, |_, up_to| up_to < full), Some(full - 1));
        assert_eq!(lanes.goes_on(), Some((sick, full + 1)));
        assert!((full + 1..=full + 4).all(|position| give(&mut lanes, sick, position)));
        lanes.went_on(sick, full + 5, full + 10);
        assert_eq!(lanes.relayed(full + 9, |_, _| true), Some(full + 4), "it lacks the rest");
        assert_eq!(lanes.goes_on(), Some((sick, full + 5)));
        assert!((full + 5..=full + 9).all(|position| give(&mut lanes, sick, position)));
        lanes.went_on(sick, full + 10, full + 10);
        assert_eq!((lanes.goes_on(), lanes.relayed(full + 9, |_, _| true)), (None, Some(full + 9)));
    }
}
