//! Words between nodes: in their order on each lane, together where there are many, and never lost without a word.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use bytes::Bytes;
use node_routing::limits::Limits;
use node_routing::links::{Hears, Lane, Links, TooLarge};
use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;

use crate::cluster::eventually;
use crate::place::{Caller, Host, identity};
use crate::proxy::Proxy;

async fn hears(host: &Host, all: &[u8]) {
    eventually("all words", || async { (host.ear.from(1) == all).then_some(()) }).await;
}

async fn loses(what: &str, lost: impl Fn() -> usize, more_than: usize) {
    eventually(what, || async { (lost() > more_than).then_some(()) }).await;
}

#[tokio::test]
async fn words_arrive_in_their_order_and_share_messages() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &two.address);
    let all: Vec<u8> = (0..2_000_u32).map(|number| (number % 250) as u8).collect();
    for word in &all {
        one.links.say(2, Lane::Told, vec![*word].into()).unwrap();
    }
    hears(&two, &all).await;
    let counted = one.tally.read();
    assert_eq!((counted.peer_words, counted.peer_words_lost), (2_000, 0));
    assert!(counted.peer_batches * 32 <= counted.peer_words, "{counted:?}");
    assert_eq!(counted.peer_dials, 1, "all lanes share a connection");
    assert_eq!((one.ear.lost_of(2), two.ear.lost_of(1)), (0, 0));
}

#[tokio::test]
async fn what_is_prompt_waits_for_nothing_large() {
    let patient = Limits { keep_alive: Duration::from_secs(3_600), ..Limits::default() };
    let two = Host::start(identity(2, 1), patient).await;
    let proxy = Proxy::new(5);
    proxy.aim(two.address.parse().unwrap());
    // Far less than is said fits into what is on its way, and nobody loses patience meanwhile.
    let one = Caller::new(identity(1, 1), patient);
    one.place(2, &proxy.address.to_string());
    one.links.say(2, Lane::Asked, vec![1].into()).unwrap();
    one.links.say(2, Lane::Prompt, vec![2].into()).unwrap();
    eventually("both lanes", || async { (two.ear.bytes(1) == 2).then_some(()) }).await;
    proxy.change(|faults| faults.silent = true);
    (0..12).for_each(|_| one.links.say(2, Lane::Asked, vec![3; 1 << 20].into()).unwrap());
    // The lane for what is large takes as much as it can.
    tokio::task::yield_now().await;
    one.links.say(2, Lane::Prompt, vec![4].into()).unwrap();
    proxy.change(|faults| faults.silent = false);
    eventually("all of it", || async { (two.ear.bytes(1) == 3 + (12 << 20)).then_some(()) }).await;
    let heard = two.ear.heard.lock();
    let mut behind = heard.iter().skip_while(|(_, words)| !words.contains(&4));
    assert!(behind.any(|(_, words)| words.contains(&3)), "it came last");
}

#[tokio::test]
async fn a_link_that_breaks_is_reported_at_both_ends_and_made_anew() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let proxy = Proxy::new(6);
    proxy.aim(two.address.parse().unwrap());
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &proxy.address.to_string());
    for round in 1..=3 {
        let before = (one.ear.lost_of(2), two.ear.lost_of(1));
        // As whoever says everything again that may be lost.
        eventually("the word", || async {
            one.links.say(2, Lane::Asked, vec![round].into()).unwrap();
            two.ear.has(1, round).then_some(())
        })
        .await;
        proxy.cut();
        loses("a report here", || one.ear.lost_of(2), before.0).await;
        loses("a report there", || two.ear.lost_of(1), before.1).await;
    }
}

#[tokio::test]
async fn words_to_a_node_that_is_out_of_reach_are_lost_and_that_is_said() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let one = Caller::new(identity(1, 1), Limits::default());
    one.links.say(2, Lane::Asked, vec![1].into()).unwrap();
    one.place(2, &address);
    one.links.say(2, Lane::Asked, vec![2].into()).unwrap();
    eventually("a word that is lost", || async { (one.tally.read().peer_words_lost > 0).then_some(()) })
        .await;
    one.links.room(2, Lane::Asked).await;
    loses("a report", || one.ear.lost_of(2), 0).await;
    let two = Host::start(identity(2, 1), Limits::default()).await;
    one.place(2, &two.address);
    eventually("a word that arrives", || async {
        one.links.say(2, Lane::Asked, vec![3].into()).unwrap();
        two.ear.has(1, 3).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_node_that_takes_nothing_costs_bounded_memory_and_is_told_again() {
    let patient = Limits { keep_alive: Duration::from_secs(3_600), ..Limits::default() };
    let two = Host::start(identity(2, 1), patient).await;
    let proxy = Proxy::new(7);
    proxy.aim(two.address.parse().unwrap());
    let one = Caller::new(identity(1, 1), patient);
    one.place(2, &proxy.address.to_string());
    one.links.say(2, Lane::Told, vec![1].into()).unwrap();
    hears(&two, &[1]).await;
    proxy.change(|faults| faults.silent = true);
    // More than the queue and all that is on its way can hold.
    for _ in 0..80 {
        one.links.say(2, Lane::Told, vec![2; 1 << 20].into()).unwrap();
        tokio::task::yield_now().await;
    }
    assert!(one.tally.read().peer_words_lost > 16);
    proxy.change(|faults| faults.silent = false);
    loses("a report here", || one.ear.lost_of(2), 0).await;
    loses("a report there", || two.ear.lost_of(1), 0).await;
}

#[tokio::test]
async fn nonsense_ends_its_stream_and_is_reported() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &two.address);
    one.links.say(2, Lane::Prompt, vec![0xFF].into()).unwrap();
    loses("a report", || one.ear.lost_of(2), 0).await;
    assert_eq!(one.tally.read().peer_links_broken, 1);
    one.links.say(2, Lane::Prompt, vec![5].into()).unwrap();
    hears(&two, &[5]).await;
}

#[tokio::test]
async fn what_is_too_large_is_refused_before_it_ends_a_stream() {
    let limits = Limits { message_bytes_max: 10_000, ..Limits::default() };
    let two = Host::start(identity(2, 1), limits).await;
    let one = Caller::new(identity(1, 1), limits);
    one.place(2, &two.address);
    let say = |byte: u8, bytes: usize| one.links.say(2, Lane::Told, vec![byte; bytes].into());
    // They wait together, and no message is larger than the other end takes.
    (1..=5).for_each(|byte| say(byte, 6_000).unwrap());
    say(6, 10_000).unwrap();
    assert_eq!(say(7, 10_001), Err(TooLarge { found: 10_001, bound: 10_000 }));
    say(8, 1).unwrap();
    let rest = (1..=5).flat_map(|byte| [byte; 6_000]).chain([6; 10_000]).chain([8]);
    hears(&two, &rest.collect::<Vec<u8>>()).await;
    let counted = one.tally.read();
    assert_eq!((counted.peer_words_too_large, counted.peer_links_broken), (1, 0));
    assert_eq!((one.ear.lost_of(2), two.ear.lost_of(1)), (0, 0));
}

/// Says the same at once whenever it hears that something is lost.
struct Insists {
    byte: u8,
    links: OnceLock<Weak<Links>>,
    lost: AtomicUsize,
}

impl Insists {
    /// Where it does so without a pause, it ends.
    const LOST_MAX: usize = 2_000;

    fn begin(one: &Caller, byte: u8) -> (Arc<Self>, Arc<Links>) {
        let insists = Arc::new(Self { byte, links: OnceLock::new(), lost: AtomicUsize::new(0) });
        let links = Arc::new(Links::new(one.reach.clone(), insists.clone()));
        insists.links.set(Arc::downgrade(&links)).unwrap();
        links.say(2, Lane::Asked, vec![byte].into()).unwrap();
        (insists, links)
    }

    fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }
}

impl Hears for Insists {
    fn hear(&self, _from: NodeId, _words: Bytes) -> Result<(), Refusal> {
        Ok(())
    }

    fn lost(&self, node: NodeId) {
        let lost = self.lost.fetch_add(1, Ordering::Relaxed);
        let links = self.links.get().and_then(Weak::upgrade);
        if let Some(links) = links.filter(|_| lost < Self::LOST_MAX) {
            links.say(node, Lane::Asked, vec![self.byte].into()).unwrap();
        }
    }
}

#[tokio::test]
async fn who_says_it_again_at_once_is_told_about_as_often_as_the_node_is_looked_for() {
    let nobody = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &address);
    let (insists, _links) = Insists::begin(&one, 1);
    eventually("attempts", || async { (one.tally.read().peer_dials_failed >= 6).then_some(()) }).await;
    let lost = insists.lost();
    let dials = usize::try_from(one.tally.read().peer_dials).unwrap();
    assert!((1..=10 * dials).contains(&lost), "{lost} times lost in {dials} attempts");
}

#[tokio::test]
async fn who_says_nonsense_again_at_once_has_a_stream_for_it_now_and_then() {
    let two = Host::start(identity(2, 1), Limits::default()).await;
    let one = Caller::new(identity(1, 1), Limits::default());
    one.place(2, &two.address);
    let since = Instant::now();
    let (insists, _links) = Insists::begin(&one, 0xFF);
    loses("many reports", || insists.lost(), 4).await;
    assert!(since.elapsed() >= Duration::from_secs(1), "no pauses: {:?}", since.elapsed());
}
