//! Scans of retained messages for persistent sessions: pages are asked for as the queue drains, and
//! items and cursor enter the session together.

use mqtt_codec::QoS;
use topic_index::PlainFilter;

use super::Shard;
use crate::command::{Effect, Push, Scanned};
use crate::ids::SessionKey;
use crate::matching::Subscribed;
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::session::{Scan, Session};

/// Messages of one page.
pub const SCAN_PAGE: usize = 64;

impl Shard {
    /// A subscription wants retained messages; one for the same filter starts anew (`[MQTT-3.8.4-4]`).
    pub(super) fn add_scan(&mut self, key: SessionKey, filter: PlainFilter, subscribed: Subscribed) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        session.scans.retain(|scan| scan.filter != filter);
        let number = session.next_scan;
        session.next_scan += 1;
        let live = std::collections::BTreeSet::new();
        session.scans.push(Scan { number, filter, subscribed, shard: 0, after: None, waiting: false, live });
    }

    /// Asks for the next page of the session's first scan, if its client is connected and its queue is low.
    pub(super) fn start_scans(&mut self, key: SessionKey, effects: &mut Vec<Effect>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.connection.is_none() || session.outbound.len() > SCAN_PAGE {
            return;
        }
        let Some(scan) = session.scans.first_mut().filter(|scan| !scan.waiting) else { return };
        scan.waiting = true;
        effects.push(Effect::Scan {
            client: session.client.clone(),
            scan: scan.number,
            filter: scan.filter.clone(),
            shard: scan.shard,
            after: scan.after.clone(),
        });
    }

    /// A page came: its messages enter the queue, but for topics that were delivered live meanwhile.
    pub(super) fn scanned(&mut self, scanned: Scanned, effects: &mut Vec<Effect>) {
        let key = self.clients.get(&scanned.client).and_then(|client| client.session);
        let Some((key, session)) = key.and_then(|key| Some((key, self.sessions.get_mut(&key)?))) else {
            return;
        };
        let first = session.scans.iter().position(|scan| scan.number == scanned.scan);
        let Some(index) = first else { return };
        let mut scan = session.scans.remove(index);
        for message in scanned.messages {
            if !scan.live.contains(message.body.topic()) {
                Self::queue_retained(session, &scan.subscribed, message, &mut self.touched.qos0);
            }
        }
        scan.waiting = false;
        scan.after = scanned.after;
        if scan.after.is_none() {
            scan.shard += 1;
        }
        if scan.shard < self.me.of {
            session.scans.insert(index, scan);
        }
        self.flush_touched(effects);
        self.pump(key, effects);
    }

    /// Retained messages are sent with RETAIN 1 (section 3.3.1.3). They are never dropped for want of room
    /// in the queue: a page is asked for only while the queue is nearly empty.
    fn queue_retained(
        session: &mut Session,
        subscribed: &Subscribed,
        message: MessageRef,
        qos0: &mut Vec<(crate::ids::ConnectionId, Push)>,
    ) {
        let qos = message.qos.min(subscribed.qos);
        let subscription_ids = subscribed.id.map(|id| [id].into());
        let item = Outgoing { message, qos, retain: true, subscription_ids, group: None };
        if qos == QoS::AtMostOnce {
            let push = Push::Publish { packet_id: None, dup: false, item };
            qos0.extend(session.connection.map(|connection| (connection, push)));
        } else {
            session.outbound.enqueue_unbounded(item);
        }
    }
}
