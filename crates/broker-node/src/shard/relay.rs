//! What a shard itself sends: wills, QoS 2 messages of persistent sessions, redispatched messages of shared groups, and
//! look-ups of retained messages. A task on the node that leads the shard reads the outbox of the shard's state and
//! empties it when every target has what was sent; a target leaves out what it has seen, so that after a crash, or under
//! another leader, it may be sent again. Who takes it in shared groups is in the log before, and stays the same.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use raft_consensus::group::NoRoom;
use session_store::command::{Input, PICKS_LEVEL, Publish, Scanned};
use session_store::outbox::{OutboxItem, OutboxKind};
use session_store::scan::Ask;
use session_store::shard::{SCAN_PAGE, SCAN_STEPS};
use session_store::{ClientId, Host, ShardId};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::sleep;
use topic_index::PageBounds;

use super::dispatch::{Dispatched, Relayed};
use super::guests::{HostLane, by_host};
use super::in_flight::Flight;
use super::lane::{Lane, Lanes, Target};
use super::picking::{Next, next};
use super::requests::requests;
use super::{Dispatch, ShardGroup, Shards, weight};
use crate::counters::NodeCounters;
use crate::fanout::Fanout;

/// Pages that one relay waits for at a time; with so many, other sessions wait for theirs.
const PAGES_MAX: usize = 1_024;
/// Before items are matched again where no lease allows what was matched.
const NO_LEASE: Duration = Duration::from_millis(10);
/// How long to wait where what was to be in the log is not: this node leads no more, and will hear of it.
const REFUSED_PAUSE: Duration = Duration::from_millis(20);

/// What the relay of one shard is told.
#[derive(Debug, Default)]
pub(crate) struct RelayMail {
    work: Notify,
    /// The outbox has items that were not looked at.
    more: AtomicBool,
    /// Pages that sessions want, one for each session at most.
    scans: Mutex<VecDeque<(ClientId, Ask)>>,
    /// The highest position that each target has.
    answered: Mutex<BTreeMap<Target, u64>>,
    /// What is retained and on its way to a target, by its position.
    flights: Mutex<Vec<(Target, u64, Flight)>>,
    progress: Notify,
    /// Up to which position ordinary transient subscribers on this node have what was for them, whoever leads the shard.
    given_here: AtomicU64,
    /// Targets that lack something that others were given.
    lagging: AtomicUsize,
}

impl RelayMail {
    /// This node leads the shard from now on: what sessions wanted of an earlier leader they ask for again.
    pub(super) fn begin(&self) {
        self.scans.lock().clear();
        // Hosts are asked again; those that are dead are forgotten.
        self.answered.lock().retain(|target, _| matches!(target, Target::Shard(_)));
    }

    /// The outbox has more items.
    pub(super) fn filled(&self) {
        self.more.store(true, Ordering::Release);
        self.work.notify_one();
    }

    /// A session wants a page of retained messages.
    pub(super) fn scan(&self, client: ClientId, ask: Ask) {
        self.scans.lock().push_back((client, ask));
        self.work.notify_one();
    }

    /// Something retained is on its way to a target.
    fn depart(&self, (target, position): (Target, u64), flight: Flight) {
        let answered = self.answered.lock();
        if answered.get(&target).is_none_or(|highest| *highest < position) {
            self.flights.lock().push((target, position, flight));
        }
    }

    /// A target has everything up to a position.
    pub(super) fn answered(&self, target: Target, position: u64) {
        let mut answered = self.answered.lock();
        let highest = answered.entry(target).or_default();
        *highest = position.max(*highest);
        self.flights.lock().retain(|(to, at, _)| *to != target || *at > position);
        drop(answered);
        self.progress.notify_waiters();
        self.work.notify_one();
    }

    /// How many targets lack something that others were given, since they take nothing.
    pub(super) fn lagging(&self) -> usize {
        self.lagging.load(Ordering::Relaxed)
    }

    /// Whether ordinary transient subscribers on this node have had nothing of this position: whoever asks gives it to them.
    pub(super) fn claim(&self, position: u64) -> bool {
        self.given_here.fetch_max(position, Ordering::AcqRel) < position
    }

    fn has(&self, target: Target, position: u64) -> bool {
        self.answered.lock().get(&target).is_some_and(|highest| *highest >= position)
    }

    /// Waits until a target has everything up to a position.
    pub(super) async fn until_answered(&self, target: Target, position: u64) {
        loop {
            let progress = self.progress.notified();
            if self.has(target, position) {
                return;
            }
            progress.await;
        }
    }
}

/// The next items of an outbox.
#[derive(Default)]
struct Ready {
    /// Those that can be sent, in their order.
    items: Vec<(u64, OutboxItem)>,
    /// The log says who takes them in shared groups.
    logged: bool,
    /// Those behind them have to be picked for, and there is no room for more picks.
    held: bool,
}

/// What a relay sends with.
pub(super) struct Relay {
    pub(super) number: u16,
    pub(super) shards: Shards,
    pub(super) group: ShardGroup,
    pub(super) fanout: Arc<Fanout>,
    pub(super) counters: Arc<NodeCounters>,
    /// In which term this node leads the shard, if it does.
    pub(super) leads: watch::Receiver<Option<u64>>,
}

impl Relay {
    /// Sends what its shard has to send, in order, whenever this node leads it; until the shard's group ends.
    pub(super) async fn run(mut self) {
        loop {
            let Ok(term) = self.leads.wait_for(Option::is_some).await.map(|term| *term) else { return };
            let mut leads = self.leads.clone();
            tokio::select! {
                deposed = leads.wait_for(|now| *now != term) => if deposed.is_err() { return },
                ended = self.serve() => if ended.is_none() { return },
            }
            if let Some(home) = self.shards.home(self.number) {
                home.relay.lagging.store(0, Ordering::Relaxed);
                home.relay.flights.lock().clear();
            }
        }
    }

    /// Ends with `None` when the groups do.
    async fn serve(&self) -> Option<()> {
        let home = self.shards.home(self.number)?;
        let mail = &home.relay;
        // Which runs of nodes are dead has been told: those who were picked there are not waited for.
        self.group.look(|_| ()).await.ok()?;
        let mut dispatch = Dispatch::new(&self.fanout);
        let (mut pages, mut lanes) = (JoinSet::new(), Lanes::default());
        let (mut next, mut held) = (1, false);
        // What an earlier leader sent may have reached some already: until it is sent again it is on its way to all homes.
        let mut unsent = self.begin_all();
        // Ends before anything that is on its way is forgotten.
        let _sends = home.sending.begin(self.number);
        mail.more.store(true, Ordering::Release);
        loop {
            while pages.try_join_next().is_some() {}
            let scan = (pages.len() < PAGES_MAX).then(|| mail.scans.lock().pop_front()).flatten();
            let scans = scan.is_some();
            if let Some((client, ask)) = scan {
                // What comes behind it does not wait for the page.
                pages.spawn(look_up((self.number, self.group.clone()), self.shards.clone(), client, ask));
            }
            let looks = !held && mail.more.swap(false, Ordering::AcqRel);
            let ready = if looks { self.picked_from(next).await? } else { Ready::default() };
            let Ready { items, logged, .. } = ready;
            held |= ready.held;
            if let Some(last) = items.last().map(|(position, _)| *position) {
                self.begin(mail, &items);
                let dispatched = self.give_out_allowed(&mut dispatch, &items, logged).await?;
                lanes.sends_logged(logged);
                self.send(dispatched, None, &mut lanes).await;
                next = last + 1;
                mail.more.store(true, Ordering::Release);
            }
            if let Some(up_to) = lanes.relayed(next - 1, |target, position| mail.has(target, position)) {
                self.group.room().await.ok()?.propose(Input::Relayed(up_to));
                if std::mem::take(&mut held) {
                    // There may be room for picks when it is applied, which a look waits for.
                    mail.filled();
                }
            }
            let lagged = self.go_on(&mut dispatch, next, &mut lanes).await?;
            mail.lagging.store(lanes.lagging(), Ordering::Relaxed);
            if looks && (items.is_empty() || held) {
                unsent.clear();
            }
            if items.is_empty() && !scans && !lagged {
                tokio::select! {
                    () = mail.work.notified() => {}
                    // There is room for the next page.
                    Some(_) = pages.join_next(), if pages.len() >= PAGES_MAX => {}
                }
            }
        }
    }

    /// Whatever is retained in the outbox is on its way to any home.
    fn begin_all(&self) -> Vec<Flight> {
        (0..self.shards.count()).filter_map(|home| self.shards.begin_retained(home)).collect()
    }

    /// Those of the items that are retained are on their way to the homes of their topics.
    fn begin(&self, mail: &RelayMail, items: &[(u64, OutboxItem)]) {
        let is_stored = |item: &OutboxItem| item.message.retain && item.kind == OutboxKind::Publish;
        for (position, item) in items.iter().filter(|(_, item)| is_stored(item)) {
            let home = self.shards.home_of_topic(item.message.body.topic());
            if let Some(flight) = self.shards.begin_retained(home) {
                mail.depart((Target::Shard(home), *position), flight);
            }
        }
    }

    /// The next items to send from a position on, as many of them as are sent together. Says whether the log has who takes
    /// them in shared groups, as it must once all nodes know such entries.
    async fn picked_from(&self, position: u64) -> Option<Ready> {
        let (mut asked_before, mut waited) = (None, false);
        loop {
            let look = self.group.look_now(move |state| {
                let machine = state.machine();
                let room = machine.takes_picks(position);
                (machine.apply_level(), machine.outbox_from(position, Dispatch::BATCH), room)
            });
            let (level, mut items, room) = look.await.ok()?;
            if level < PICKS_LEVEL {
                return Some(Ready { items, ..Ready::default() });
            }
            let (first, picked) = match next(&self.fanout, &items, room) {
                Next::Send(count) => {
                    items.truncate(count);
                    return Some(Ready { items, logged: true, held: false });
                }
                Next::Log(first, picked) => (first, picked),
                Next::Wait if waited => return Some(Ready { held: true, ..Ready::default() }),
                Next::Wait => {
                    // What is relayed and not yet applied makes room.
                    self.group.look(|_| ()).await.ok()?;
                    waited = true;
                    continue;
                }
            };
            if asked_before.replace(first.clone()) == Some(first) {
                sleep(REFUSED_PAUSE).await;
            }
            let picked = Input::Picked(picked);
            self.shards.has_space().await;
            self.group.room_for(weight::of(&picked).bytes).await.ok()?.propose(picked);
            self.group.look(|_| ()).await.ok()?;
        }
    }

    /// Gives items to transient subscribers here, once, and collects what the rest of their targets get.
    fn give_out(&self, dispatch: &mut Dispatch, items: &[(u64, OutboxItem)], logged: bool) -> Option<()> {
        let mail = &self.shards.home(self.number)?.relay;
        for (position, item) in items {
            let (message, position) = (&item.message, *position);
            let topic_home = message.retain.then(|| self.shards.home_of_topic(message.body.topic()));
            match &item.kind {
                _ if logged => {
                    let given_here = !mail.claim(position);
                    dispatch.relay(Relayed { position, item, topic_home, given_here });
                }
                OutboxKind::Publish => dispatch.publish(&item.publisher, (message, position), topic_home),
                OutboxKind::Redispatch(group) => dispatch.redispatch(group, (message, position)),
            }
        }
        Some(())
    }

    /// The same, by a view that a lease allows: what is left out for a target now it never gets.
    async fn give_out_allowed(
        &self,
        dispatch: &mut Dispatch,
        items: &[(u64, OutboxItem)],
        logged: bool,
    ) -> Option<Dispatched> {
        loop {
            self.give_out(dispatch, items, logged)?;
            let dispatched = dispatch.finish();
            if self.shards.allows(dispatched.as_of) {
                return Some(dispatched);
            }
            self.counters.count_dropped(dispatched.dropped);
            sleep(NO_LEASE).await;
        }
    }

    /// Sends a target that lagged some of what it lacks; says whether there was one.
    async fn go_on(&self, dispatch: &mut Dispatch, next: u64, lanes: &mut Lanes) -> Option<bool> {
        let Some((target, from)) = lanes.goes_on() else { return Some(false) };
        let look = self.group.look_now(move |state| state.machine().outbox_from(from, Dispatch::BATCH));
        let mut items = look.await.ok()?;
        items.retain(|(position, _)| *position < next);
        let dispatched = self.give_out_allowed(dispatch, &items, true).await?;
        self.send(dispatched, Some(target), lanes).await;
        lanes.went_on(target, items.last().map_or(next, |(last, _)| last + 1), next);
        Some(true)
    }

    /// Sends what was collected, to all targets or to one: each takes it by a lane of its own, and waits for no other.
    async fn send(&self, dispatched: Dispatched, only: Option<Target>, lanes: &mut Lanes) {
        self.counters.count_dropped(dispatched.dropped);
        let is_for = |target| only.is_none_or(|only| only == target);
        let commands = dispatched.commands.into_iter().map(|to| (to.shard, to.command)).collect();
        let shards = requests(ShardId(self.number), commands);
        for (target, together) in shards.into_iter().filter(|(target, _)| is_for(Target::Shard(*target))) {
            let lane = || Lane { outbox: self.number, target, shards: self.shards.clone() };
            lanes.send(target, together, lane).await;
        }
        for (host, publish) in
            dispatched.hosts.into_iter().filter(|(host, _)| is_for(Target::Subscribers(*host)))
        {
            self.send_to_subscribers(host, publish, lanes);
        }
        let hosts = by_host(dispatched.members);
        for (host, messages) in hosts.into_iter().filter(|(host, _)| is_for(Target::Host(*host))) {
            let (outbox, shards, group) = (self.number, self.shards.clone(), self.group.clone());
            lanes.send_to_host(host, messages, || HostLane { outbox, host, shards, group }).await;
        }
    }
}

impl Relay {
    /// Sends what ordinary transient subscribers of a host get, unless that lags.
    fn send_to_subscribers(&self, host: Host, publish: Publish, lanes: &mut Lanes) {
        let positions = publish.items.first().zip(publish.items.last());
        let Some((first, last)) = positions.map(|(first, last)| (first.number, last.number)) else { return };
        let target = Target::Subscribers(host);
        if lanes.sends(target, (first, last)) {
            let (shards, outbox) = (self.shards.downgrade(), self.number);
            self.shards.send_to_host(host, (outbox, publish), move || {
                if let Some(home) = shards.get().as_ref().and_then(|shards| shards.home(outbox)) {
                    home.relay.answered(target, last);
                }
            });
        }
    }
}

/// Fetches a page for a scan of a session of this group, once all that is published is matched against its subscription; nothing
/// comes of it when the node stops.
async fn look_up(
    (number, group): (u16, ShardGroup),
    shards: Shards,
    client: ClientId,
    ask: Ask,
) -> Option<()> {
    if let Some(others) = shards.others() {
        let (owner, routes) = shards.routes_of(number);
        others.barriers.reached(owner, routes).await;
    }
    let (scan, shard) = (ask.scan, ask.shard);
    let bounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };
    let page = shards.look_up(ask, bounds).await?;
    let scanned = Scanned { client, scan, messages: page.messages, after: page.next };
    shards.has_space().await;
    match group.room_for(weight::scanned(&scanned).bytes).await {
        Ok(room) => room.propose(Input::Scanned(scanned)),
        Err(NoRoom::Gone) => return None,
        Err(too_large @ NoRoom::TooLarge { .. }) => {
            tracing::error!(target: "quelea", shard, %too_large, "a retained message is left out");
            let nothing = Scanned { messages: Vec::new(), ..scanned };
            group.room_for(weight::scanned(&nothing).bytes).await.ok()?.propose(Input::Scanned(nothing));
        }
    }
    Some(())
}
