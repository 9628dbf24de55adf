//! Packets of a connected client: the one match over them, and what ends a read.
//! Called by the connection's task; never waits and never writes.

use mqtt_codec::{Offence, Packet, decode};

use super::{Client, Ending};
use crate::connection::RawPacket;
use crate::fanout::Placed;
use crate::shard::Publisher;

impl Client {
    /// Decodes one packet.
    ///
    /// # Errors
    /// It breaks the protocol; it is counted as received all the same.
    pub(crate) fn decode(&self, raw: RawPacket) -> Result<Packet, Ending> {
        let decoded = decode(self.terms.version, raw.first_byte, raw.body, &self.worker.node.limits);
        if decoded.is_err() {
            self.worker.counters.packets_received.add(1);
        }
        Ok(decoded?)
    }

    /// Handles one packet.
    ///
    /// # Errors
    /// The connection ends: the client said so, or broke the protocol.
    pub(crate) fn handle(&mut self, packet: Packet) -> Result<(), Ending> {
        let counters = &self.worker.counters;
        counters.packets_received.add(1);
        packet.check_from_client()?;
        counters.kinds.count_received(packet.kind());
        if self.worker.node.settings.packet_trace {
            crate::trace::received(&self.id, &packet);
        }
        // A PUBLISH once its topic is known, which it may not carry itself.
        if self.worker.node.traces.are_on() && !matches!(packet, Packet::Publish(_)) {
            self.show(None, || format!("received {}", crate::trace::words(&packet)));
        }
        match packet {
            Packet::Publish(publish) => self.publish(publish)?,
            Packet::PubAck(ack) => self.puback(&ack)?,
            Packet::PubRec(ack) => self.pubrec(&ack)?,
            Packet::PubRel(ack) => self.pubrel(&ack),
            Packet::PubComp(ack) => self.pubcomp(&ack)?,
            Packet::Subscribe(subscribe) => self.subscribe(&subscribe),
            Packet::Unsubscribe(unsubscribe) => self.unsubscribe(&unsubscribe),
            Packet::PingReq => self.pingreq()?,
            Packet::Disconnect(disconnect) => return Err(self.disconnect(&disconnect)),
            Packet::Connect(_) => return Err(Offence::SecondConnect.into()),
            Packet::Auth(auth) => self.auth(&auth)?,
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                return Err(Offence::NotFromClient { kind: packet.kind() }.into());
            }
        }
        Ok(())
    }

    /// Delivers what the last run of publishes left to deliver. Called before anything that could
    /// overtake it, and at the end of each read.
    pub(crate) fn flush_run(&mut self) {
        let Self { run, acks, staged, inbox, id, epoch, .. } = self;
        if run.gathered.is_empty() {
            return;
        }
        let by = Publisher { reply_to: Some(inbox.id()), client: id, epoch: Some(*epoch) };
        let dropped = run.gathered.deliver(&run.matched, inbox.id(), |placed| match placed {
            Placed::Here(number) => acks.answered(number, None),
            Placed::Elsewhere(to, item) => staged.publish(to, by, item),
        });
        self.worker.counters.count_dropped(dropped);
        self.send_due_acks();
    }
}
