//! UNSUBSCRIBE of a client (section 3.10).
//! Called by `session::inbound`; never waits.

use mqtt_codec::{Packet, PacketId, ReasonCode, UnsubAck, Unsubscribe};
use session_store::command::{Command, Reply, Unsubscribe as UnsubscribeCommand};
use topic_index::Filter;

use crate::session::{Client, Waiting};

impl Client {
    /// Removes the subscriptions whose filters are the same to the character (`[MQTT-3.10.4-1]`); nothing
    /// is delivered by them that was not under way.
    pub(crate) fn unsubscribe(&mut self, unsubscribe: &Unsubscribe) {
        self.flush_run();
        self.worker.counters.unsubscribes.add(unsubscribe.filters.len() as u64);
        let levels_max = self.worker.node.settings.mqtt.topic_levels_max;
        let mut codes = Vec::with_capacity(unsubscribe.filters.len());
        let mut filters = Vec::new();
        for (place, text) in unsubscribe.filters.iter().enumerate() {
            match Filter::parse(text.as_bytes(), levels_max) {
                Err(_) => codes.push(ReasonCode::TopicFilterInvalid),
                Ok(filter) => {
                    codes.push(ReasonCode::NoSubscriptionExisted);
                    filters.push((place, filter));
                }
            }
        }
        let packet_id = unsubscribe.packet_id;
        if self.persistent && !filters.is_empty() {
            self.waiting = Some(Waiting::Unsubscribe { packet_id, codes });
            let (client, epoch) = (self.id.clone(), self.epoch);
            let command = UnsubscribeCommand { client, epoch, packet_id, filters };
            self.staged.push(self.home, Command::Unsubscribe(command));
            return;
        }
        for (place, filter) in filters {
            if self.unsubscribe_here(&filter)
                && let Some(code) = codes.get_mut(place)
            {
                *code = ReasonCode::Success;
            }
        }
        self.waiting = Some(Waiting::Unsubscribe { packet_id, codes });
        if self.hold_back(Reply::Unsubscribed(packet_id, Vec::new())).is_some() {
            self.unsubscribed(&[]);
        }
    }

    /// Removes a subscription of a transient session; says whether there was one.
    pub(crate) fn unsubscribe_here(&mut self, filter: &Filter) -> bool {
        let existed = self.subscriptions.lock().remove(filter).is_some();
        if existed {
            self.worker.node.fanout.unsubscribe(filter, self.inbox.id());
            self.scans.remove(filter.plain());
        }
        existed
    }

    /// The home's answer to an UNSUBSCRIBE.
    pub(crate) fn unsubscribed(&mut self, answer: &[(usize, bool)]) {
        let Some(Waiting::Unsubscribe { packet_id, mut codes }) = self.waiting.take() else { return };
        for (place, existed) in answer {
            if let (true, Some(code)) = (existed, codes.get_mut(*place)) {
                *code = ReasonCode::Success;
            }
        }
        self.send_unsuback(packet_id, codes);
    }

    fn send_unsuback(&mut self, packet_id: PacketId, codes: Vec<ReasonCode>) {
        let unsuback =
            UnsubAck { packet_id, codes, reason_string: None, user_properties: Default::default() };
        self.send(&Packet::UnsubAck(unsuback));
    }
}
