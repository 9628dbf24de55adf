//! Scans of retained messages for persistent sessions: pages are asked for as the queue drains, and
//! items and cursor enter the session together.

use super::Shard;
use super::out::Out;
use crate::command::{Push, Scanned};
use crate::effect::Effect;
use crate::ids::SessionKey;
use crate::matching::Subscribed;
use crate::message::MessageRef;
use crate::outbound::Outgoing;
use crate::session::Session;
use mqtt_codec::QoS;

/// Messages of one page: few, since they enter the log together.
pub const SCAN_PAGE: usize = 64;

/// Topics that one page looks at: what a filter that matches nothing keeps a shard busy with at a time, about
/// half a millisecond.
pub const SCAN_STEPS: usize = 4_096;

impl Shard {
    /// Asks for the next page of the session's scans, if its client is connected and its queue is low.
    pub(super) fn start_scans(&mut self, key: SessionKey, out: &mut Out<'_>) {
        let Some(session) = self.sessions.get_mut(&key) else { return };
        if session.connection.is_none() || session.outbound.len() > SCAN_PAGE {
            return;
        }
        if let Some(ask) = session.scans.ask() {
            out.push(Effect::Scan(session.client.clone(), ask));
        }
    }

    /// A page came: its messages and the scan's new cursor enter the session together. Where there is
    /// something to send, the next page waits until the client has taken it.
    pub(super) fn scanned(&mut self, scanned: Scanned, out: &mut Out<'_>) {
        let Scanned { client, scan, messages, after } = scanned;
        let key = self.clients.get(&client).and_then(|client| client.session);
        let Some((key, session)) = key.and_then(|key| Some((key, self.sessions.get_mut(&key)?))) else {
            return;
        };
        let Some((subscribed, messages)) = session.scans.answer(scan, messages, after, self.me.of) else {
            return;
        };
        let connection = session.connection.filter(|_| !messages.is_empty());
        for message in messages {
            Self::queue_retained(session, &subscribed, message, &mut self.touched.qos0);
        }
        self.flush_touched(out);
        if let Some(connection) = connection {
            out.send(connection, Push::PageEnd(scan));
        }
        self.pump(key, out);
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
            let push = Push::Publish { packet_id: None, position: 0, dup: false, item };
            qos0.extend(session.connection.map(|connection| (connection, push)));
        } else {
            session.outbound.enqueue_unbounded(item);
        }
    }
}
