//! What a node does for a shard while it leads it, as brokers do: tells it which runs of hosts are dead, asks again for
//! what died with the leader before it, and fetches pages of retained messages.

use std::time::Duration;

use openraft::type_config::TypeConfigExt;
use raft_consensus::types::NodeId;
use session_store::command::{Input, Scanned};
use session_store::retained::PageQuery;
use session_store::scan::Ask;
use session_store::shard::{SCAN_PAGE, SCAN_STEPS};
use session_store::{APPLY_LEVEL_MAX, ClientId, Host, Incarnation, MessageRef};
use topic_index::{Cursor, PageBounds};

use crate::home::Home;
use crate::replica::{Part, SimTypes};
use crate::world::World;

const LOOK: Duration = Duration::from_millis(30);
/// How long something may take before it is tried again.
const PATIENCE: Duration = Duration::from_millis(300);

/// Until the node ends.
pub(crate) async fn lead(world: World, (node, shard): (NodeId, u16), part: Part) {
    let mut begun = None;
    loop {
        SimTypes::sleep(LOOK).await;
        if part.outlet.is_closed() {
            return;
        }
        let now = part.group.leadership().now();
        if now.leader != Some(node) {
            begun = None;
            continue;
        }
        if begun != Some(now.term) {
            let Ok(Ok(())) = SimTypes::timeout(PATIENCE, part.group.caught_up()).await else { continue };
            let routes = part.group.look_now(|state| {
                state.machine().begin_to_lead();
                state.machine().shard.routes()
            });
            let Ok(routes) = routes.await else { return };
            world.set_routes(shard, routes);
            let Ok(room) = part.group.room().await else { return };
            room.propose(Input::RaiseLevel(APPLY_LEVEL_MAX));
            begun = Some(now.term);
        }
        let _ = SimTypes::timeout(PATIENCE, end_the_dead(&world, &part)).await;
    }
}

/// Tells the shard which runs of hosts are dead, where it does not know.
async fn end_the_dead(world: &World, part: &Part) -> Option<()> {
    for (node, lowest) in world.live() {
        let known = part.group.look_now(move |state| state.machine().shard.last_run(node)).await.ok()?;
        if known < lowest && lowest > Incarnation(1) {
            let incarnation = Incarnation(lowest.0 - 1);
            part.group.room().await.ok()?.propose(Input::Down(Host { node, incarnation }));
        }
    }
    Some(())
}

/// A page of retained messages as of everything that was committed before it was asked for.
fn page(home: &Home, ask: &Ask) -> (Vec<MessageRef>, Option<Cursor>) {
    let bounds = PageBounds { topics: SCAN_PAGE, steps: SCAN_STEPS };
    let now = home.shard.now();
    let query = PageQuery { filter: &ask.filter, from: ask.from.as_ref(), bounds, now };
    let mut found = Vec::new();
    let end = home.shard.retained_page(&query, &mut found);
    (found, end.next)
}

/// Fetches a page for a session of a shard, from whoever leads the shard that has it.
pub(crate) async fn look_up(world: World, part: Part, client: ClientId, ask: Ask) {
    loop {
        if part.outlet.is_closed() {
            return;
        }
        if let Some((_, there)) = world.leader(ask.shard)
            && let Ok(Ok(())) = SimTypes::timeout(PATIENCE, there.group.caught_up()).await
        {
            let wanted = ask.clone();
            if let Ok((messages, after)) = there.group.look(move |home| page(home, &wanted)).await {
                let scanned = Scanned { client, scan: ask.scan, messages, after };
                if let Ok(Ok(room)) = SimTypes::timeout(PATIENCE, part.group.room()).await {
                    room.propose(Input::Scanned(scanned));
                }
                return;
            }
        }
        SimTypes::sleep(LOOK).await;
    }
}
