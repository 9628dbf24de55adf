//! A network in memory: nodes of one process that reach each other's dispatchers, with faults to be switched on. Used by
//! tests of every crate and by the deterministic simulation. All chance in it comes from a seed, all time from the
//! runtime.

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::stream::{BoxStream, StreamExt};
use openraft::type_config::TypeConfigExt;
use openraft::type_config::alias::InstantOf;
use parking_lot::Mutex;
use tokio::sync::mpsc;

use super::{Answers, Channel, Dispatcher, PeerTransport, Refusal, Requests, TransportError};
use crate::types::{NodeId, Types};

/// Messages of a stream that a connection holds in each direction.
const STREAM_MESSAGES: usize = 16;

/// What the network does to messages. None of it by default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Faults {
    /// How many of 1,000 messages are lost: a call times out, a stream breaks.
    pub loss_permille: u32,
    /// How many of 1,000 requests arrive a second time, later.
    pub duplicate_permille: u32,
    /// How long a message is on its way; each by itself, so that calls overtake each other. Streams keep their order.
    pub delay: Option<Range<Duration>>,
}

/// A life of a node: connections of an earlier one are broken.
type Life = Option<u64>;

#[derive(Default)]
struct Net {
    nodes: BTreeMap<NodeId, Dispatcher>,
    lives: BTreeMap<NodeId, u64>,
    lives_begun: u64,
    faults: Faults,
    /// From whom to whom nothing arrives.
    cuts: BTreeSet<(NodeId, NodeId)>,
    chance: u64,
    /// How many messages were lost, by chance or by a cut.
    lost: u64,
    calls: BTreeMap<Channel, u64>,
    streams: BTreeMap<Channel, u64>,
    /// Bytes of the largest request of each channel.
    largest: BTreeMap<Channel, usize>,
}

/// What becomes of a message.
enum Fate {
    Arrives(Duration),
    Lost,
}

impl Net {
    /// Pseudo-random numbers (splitmix64).
    fn chance(&mut self) -> u64 {
        self.chance = self.chance.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.chance;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn permille(&mut self, of: u32) -> bool {
        of > 0 && self.chance() % 1_000 < u64::from(of)
    }

    fn delay(&mut self) -> Duration {
        let Some(range) = self.faults.delay.clone() else { return Duration::ZERO };
        let spread = range.end.saturating_sub(range.start).as_micros().max(1);
        let micros = u128::from(self.chance()) % spread;
        range.start + Duration::from_micros(u64::try_from(micros).unwrap_or_default())
    }

    fn fate(&mut self, from: NodeId, to: NodeId) -> Fate {
        if self.cuts.contains(&(from, to)) || self.permille(self.faults.loss_permille) {
            self.lost += 1;
            return Fate::Lost;
        }
        Fate::Arrives(self.delay())
    }

    fn life(&self, node: NodeId) -> Life {
        self.lives.get(&node).copied()
    }
}

/// The network; clones are the same. Made by a test, which gives each node a [`MemoryTransport`] of it.
pub struct MemoryNetwork<C> {
    net: Arc<Mutex<Net>>,
    types: PhantomData<fn() -> C>,
}

impl<C> Clone for MemoryNetwork<C> {
    fn clone(&self) -> Self {
        Self { net: Arc::clone(&self.net), types: PhantomData }
    }
}

impl<C: Types> MemoryNetwork<C> {
    /// A network without nodes and faults.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let net = Net { chance: seed, ..Net::default() };
        Self { net: Arc::new(Mutex::new(net)), types: PhantomData }
    }

    /// A node's way to the others. It begins a life of the node; that of an earlier one leads nowhere any more.
    #[must_use]
    pub fn transport(&self, node: NodeId) -> MemoryTransport<C> {
        let mut net = self.net.lock();
        net.lives_begun += 1;
        let life = net.lives_begun;
        net.lives.insert(node, life);
        net.nodes.remove(&node);
        MemoryTransport { network: self.clone(), node, life: Some(life) }
    }

    /// Lets a node be reached by the others.
    pub fn join(&self, node: NodeId, dispatcher: Dispatcher) {
        self.net.lock().nodes.insert(node, dispatcher);
    }

    /// The node is gone: whoever asks is told so at once, and its connections break.
    pub fn leave(&self, node: NodeId) {
        let mut net = self.net.lock();
        net.nodes.remove(&node);
        net.lives.remove(&node);
    }

    /// What is done to messages from now on.
    pub fn set_faults(&self, faults: Faults) {
        self.net.lock().faults = faults;
    }

    /// Lets nothing through from one node to another, without a word to either. The other way stays open.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.net.lock().cuts.insert((from, to));
    }

    /// Lets nothing through between a node and the others.
    pub fn isolate(&self, node: NodeId, others: impl IntoIterator<Item = NodeId>) {
        for other in others.into_iter().filter(|other| *other != node) {
            self.cut(node, other);
            self.cut(other, node);
        }
    }

    /// Ends all cuts.
    pub fn heal(&self) {
        self.net.lock().cuts.clear();
    }

    /// How many messages were lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.net.lock().lost
    }

    /// How many calls and how many streams a channel has had.
    #[must_use]
    pub fn used(&self, channel: Channel) -> (u64, u64) {
        let net = self.net.lock();
        let of = |counts: &BTreeMap<Channel, u64>| counts.get(&channel).copied().unwrap_or_default();
        (of(&net.calls), of(&net.streams))
    }

    /// Bytes of the largest request of a channel, since the start or [`Self::forget_largest`].
    #[must_use]
    pub fn largest(&self, channel: Channel) -> usize {
        self.net.lock().largest.get(&channel).copied().unwrap_or_default()
    }

    /// Begins to measure anew.
    pub fn forget_largest(&self) {
        self.net.lock().largest.clear();
    }
}

/// Takes note of a request's size.
fn measure(net: &Mutex<Net>, channel: Channel, request: &Bytes) {
    let mut net = net.lock();
    let largest = net.largest.entry(channel).or_default();
    *largest = request.len().max(*largest);
}

fn unreachable(to: NodeId, reason: &str) -> TransportError {
    TransportError::Unreachable { to, reason: reason.to_owned() }
}

/// A node's way to the others through a [`MemoryNetwork`].
pub struct MemoryTransport<C> {
    network: MemoryNetwork<C>,
    node: NodeId,
    life: Life,
}

impl<C: Types> MemoryTransport<C> {
    /// Who is there, if both ends are still what they were.
    fn reach(&self, to: NodeId, life: Option<Life>) -> Result<(Dispatcher, Life), TransportError> {
        let net = self.network.net.lock();
        if net.life(self.node) != self.life {
            return Err(unreachable(to, "this node is gone"));
        }
        let there = net.nodes.get(&to).cloned().ok_or_else(|| unreachable(to, "it refuses connections"))?;
        let found = net.life(to);
        if life.is_some_and(|life| life != found) {
            return Err(unreachable(to, "the connection broke"));
        }
        Ok((there, found))
    }

    async fn exchange(&self, to: NodeId, request: Bytes) -> Result<Bytes, TransportError> {
        let (_, life) = self.reach(to, None)?;
        self.travel(self.node, to).await;
        let (dispatcher, _) = self.reach(to, Some(life))?;
        let again = {
            let mut net = self.network.net.lock();
            let permille = net.faults.duplicate_permille;
            net.permille(permille).then(|| net.delay())
        };
        if let Some(later) = again {
            let (dispatcher, request) = (dispatcher.clone(), request.clone());
            // Nobody waits for its answer.
            let _detached = C::spawn(async move {
                C::sleep(later).await;
                let _ = dispatcher.call(request).await;
            });
        }
        let answer = dispatcher.call(request).await;
        self.travel(to, self.node).await;
        self.reach(to, Some(life))?;
        answer.map_err(|refusal| TransportError::Refused { to, refusal })
    }

    /// Takes as long as a message does; for ever where it is lost.
    async fn travel(&self, from: NodeId, to: NodeId) {
        let fate = self.network.net.lock().fate(from, to);
        match fate {
            Fate::Arrives(Duration::ZERO) => {}
            Fate::Arrives(delay) => C::sleep(delay).await,
            Fate::Lost => std::future::pending().await,
        }
    }
}

impl<C: Types> PeerTransport for MemoryTransport<C> {
    async fn call(
        &self,
        to: NodeId,
        channel: Channel,
        request: Bytes,
        within: Duration,
    ) -> Result<Bytes, TransportError> {
        *self.network.net.lock().calls.entry(channel).or_default() += 1;
        let exchanged = C::timeout(within, self.exchange(to, request)).await;
        exchanged.unwrap_or(Err(TransportError::Timeout { to, within }))
    }

    async fn open(
        &self,
        to: NodeId,
        channel: Channel,
        requests: Requests,
        within: Duration,
    ) -> Result<Answers, TransportError> {
        *self.network.net.lock().streams.entry(channel).or_default() += 1;
        let (_, life) = self.reach(to, None)?;
        let opened = C::timeout(within, self.travel(self.node, to)).await;
        opened.map_err(|_elapsed| TransportError::Timeout { to, within })?;
        let (dispatcher, _) = self.reach(to, Some(life))?;
        let ends = BTreeMap::from([(self.node, self.life), (to, life)]);
        let net = &self.network.net;
        let wire =
            |from, to| Wire::<C> { net: Arc::clone(net), from, to, ends: ends.clone(), types: PhantomData };
        let measured = Arc::clone(net);
        let requests = requests.inspect(move |request| measure(&measured, channel, request)).boxed();
        let requests = wire(self.node, to).carry(requests);
        let there = dispatcher.open(requests.filter_map(|arrived| std::future::ready(arrived.ok())).boxed());
        let answers = wire(to, self.node).carry(there);
        Ok(answers.map(move |arrived| read(to, arrived)).boxed())
    }
}

fn read(to: NodeId, arrived: Result<Result<Bytes, Refusal>, Broken>) -> Result<Bytes, TransportError> {
    let answer = arrived.map_err(|Broken| unreachable(to, "the connection broke"))?;
    answer.map_err(|refusal| TransportError::Refused { to, refusal })
}

/// The connection broke, and both ends know.
struct Broken;

/// One direction of a stream.
struct Wire<C> {
    net: Arc<Mutex<Net>>,
    from: NodeId,
    to: NodeId,
    /// Who was there when it was opened.
    ends: BTreeMap<NodeId, Life>,
    types: PhantomData<fn() -> C>,
}

type Carried<C, T> = (InstantOf<C>, Result<T, Broken>);

impl<C: Types> Wire<C> {
    /// Brings items to the other end, in order, each as late as its delay says.
    fn carry<T: Send + 'static>(self, items: BoxStream<'static, T>) -> BoxStream<'static, Result<T, Broken>> {
        let (sender, receiver) = mpsc::channel(STREAM_MESSAGES);
        let _detached = C::spawn(self.pump(items, sender));
        let arriving = |mut receiver: mpsc::Receiver<Carried<C, T>>| async move {
            let (at, item) = receiver.recv().await?;
            // Timers are coarse: one that is due already still takes a millisecond.
            if at > C::now() {
                C::sleep_until(at).await;
            }
            Some((item, receiver))
        };
        futures_util::stream::unfold(receiver, arriving).boxed()
    }

    async fn pump<T: Send + 'static>(
        self,
        mut items: BoxStream<'static, T>,
        out: mpsc::Sender<Carried<C, T>>,
    ) {
        let mut at = C::now();
        loop {
            let item = tokio::select! {
                biased;
                () = out.closed() => return,
                item = items.next() => item,
            };
            let Some(item) = item else { return };
            let (fate, alive) = {
                let mut net = self.net.lock();
                (net.fate(self.from, self.to), self.ends.iter().all(|(node, life)| net.life(*node) == *life))
            };
            at = at.max(C::now());
            match fate {
                Fate::Arrives(delay) if alive => {
                    at = at.max(C::now() + delay);
                    if out.send((at, Ok(item))).await.is_err() {
                        return;
                    }
                }
                // Silence: whoever waits has to notice by itself.
                Fate::Lost if alive => {
                    out.closed().await;
                    return;
                }
                _ => {
                    let _ = out.send((at, Err(Broken))).await;
                    return;
                }
            }
        }
    }
}
