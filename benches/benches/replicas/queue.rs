//! A long queue of a client that is away: filled, left to rest, and drained by the client when it is back.

use std::time::{Duration, Instant};

use session_store::command::{Ack, Acks, Command, Push};
use session_store::limits::{QueueLimits, QueuePolicy, ShardLimits};
use session_store::store::Reader;
use session_store::{ClientId, ConnectionId, Epoch, Found, MessageRef, StoredAt, StoredPage};

use crate::host::{Led, message};
use crate::node::{Cluster, NODES, counted, resident_mib, stop};

const PAYLOAD_BYTES: usize = 256;
const GROUPS: u16 = 3;
const PUBLISHERS: u64 = 1_000;
/// Time for checkpoints to be made of what was just done, and for queues to leave memory after them.
const REST: Duration = Duration::from_secs(3);
/// Acknowledgements in one command.
const ACKS: usize = 1_000;
const RECEIVE_MAXIMUM: u16 = 10_000;

/// Measures and prints it, for so many messages.
pub(crate) async fn rows(messages: u64) {
    let queue =
        QueueLimits { messages_max: 10_000_000, bytes_max: 16 << 30, policy: QueuePolicy::DropNewest };
    let limits = ShardLimits { queue, ..ShardLimits::default() };
    let root = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap();
    let (nodes, led) = Cluster { root: root.path(), groups: GROUPS, limits, run: 0 }.start().await;
    let (led, client) = (led[0].clone(), ClientId::new("subscriber"));
    let (_, connected) = led.connect(&client, (1, true, 1)).await;
    led.subscribe(&client, connected.epoch, "#").await;
    led.end(&client, connected.epoch).await;
    let (empty, begun, before) = (resident_mib(), Instant::now(), counted(&nodes).0);
    fill(&led, messages).await;
    let filled_s = begun.elapsed().as_secs_f64();
    let syncs = counted(&nodes).0 - before;
    println!("\n{messages} messages of {PAYLOAD_BYTES} B into one absent session, {PUBLISHERS} publishers\n");
    println!("| | |\n|---|---|");
    println!("| filled in s | {filled_s:.2} |");
    println!("| filled, messages/s | {:.0} |", messages as f64 / filled_s);
    println!("| syncs of a node per message | {:.4} |", syncs as f64 / messages as f64 / NODES.len() as f64);
    println!("| memory of all three replicas when filled, MiB | {:.0} |", resident_mib() - empty);
    tokio::time::sleep(REST).await;
    println!("| 3 s later, MiB | {:.0} |", resident_mib() - empty);
    let begun = Instant::now();
    let (connection, connected) = led.connect(&client, (2, false, RECEIVE_MAXIMUM)).await;
    assert!(connected.session_present, "the session is gone");
    let reader = nodes[0].storage.store().lock().reader();
    let (pages, epoch) = (Pages { led: led.clone(), reader, connection, page: None }, connected.epoch);
    Drain { client, epoch, pages }.all(messages).await;
    println!("| drained in s | {:.2} |", begun.elapsed().as_secs_f64());
    tokio::time::sleep(REST).await;
    println!("| 3 s after the drain, MiB | {:.0} |", resident_mib() - empty);
    drop(led);
    stop(nodes).await;
}

async fn fill(led: &Led, messages: u64) {
    let message = message("queue", PAYLOAD_BYTES);
    let publishers = PUBLISHERS.min(messages);
    let share = |number| messages / publishers + u64::from(number < messages % publishers);
    let tasks: Vec<_> = (0..publishers)
        .map(|number| {
            let (led, message, count) = (led.clone(), MessageRef::clone(&message), share(number));
            tokio::spawn(async move {
                for _ in 0..count {
                    led.publish(&message).await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
}

/// The client that is back.
struct Drain {
    client: ClientId,
    epoch: Epoch,
    pages: Pages,
}

impl Drain {
    /// Takes and acknowledges so many messages.
    async fn all(&mut self, messages: u64) {
        let mut taken = 0;
        while taken < messages {
            let mut pushed = self.pages.led.desk.pushed().await;
            while !pushed.is_empty() {
                let mut acks = Vec::with_capacity(ACKS);
                for push in pushed.drain(..pushed.len().min(ACKS)) {
                    acks.extend(self.pages.take(push).await.map(Ack::Puback));
                }
                taken += acks.len() as u64;
                let acks = Acks { client: self.client.clone(), epoch: self.epoch, acks };
                self.pages.led.ask(Command::Acks(acks)).await;
            }
        }
    }
}

/// The way to messages that have left memory.
struct Pages {
    led: Led,
    reader: Reader,
    connection: ConnectionId,
    page: Option<StoredPage>,
}

impl Pages {
    /// Reads what was pushed, where it is in the store; gives the packet id to acknowledge.
    async fn take(&mut self, push: Push) -> Option<mqtt_codec::PacketId> {
        match push {
            Push::Publish { packet_id, item, .. } => {
                assert_eq!(item.message.body.payload().len(), PAYLOAD_BYTES);
                packet_id
            }
            Push::Stored { packet_id, at, .. } => {
                let known = self.page.as_mut().and_then(|page| page.take(&at));
                let item = match known {
                    Some(item) => item,
                    None => self.page(at).await.take(&at).expect("the page has the message"),
                };
                assert_eq!(item.message.body.payload().len(), PAYLOAD_BYTES);
                Some(packet_id)
            }
            _ => None,
        }
    }

    async fn page(&mut self, at: StoredAt) -> &mut StoredPage {
        let connection = self.connection;
        let find = move |home: &mut crate::node::Home| home.shard.find_stored(&at, connection);
        let page = match self.led.group.look_now(move |state| find(state.machine())).await.unwrap() {
            Found::Gone => panic!("a message is gone before it was acknowledged"),
            Found::Here(page) => page,
            Found::Page(start) => {
                let (reader, group) = (self.reader.clone(), self.led.group.id());
                let read = move || reader.page(group, &at, start);
                tokio::task::spawn_blocking(read).await.unwrap().unwrap()
            }
        };
        self.page.insert(page)
    }
}
