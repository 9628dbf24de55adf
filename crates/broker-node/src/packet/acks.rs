//! PUBACK, PUBREC, PUBREL and PUBCOMP of a client. A transient session's exchanges are here; those of a
//! persistent one are its shard's, and what the client says goes there.

use mqtt_codec::{Offence, Packet, PacketId, PubAck, PubComp, PubRec, PubRel, ReasonCode};
use session_store::command::{Ack, Command, Release, Reply};
use session_store::outbound::Acked;

use crate::session::{Client, Ending};

impl Client {
    /// PUBACK (section 3.4).
    pub(crate) fn puback(&mut self, ack: &PubAck) -> Result<(), Ending> {
        if self.persistent {
            self.staged.ack(self.home, (&self.id, self.epoch), Ack::Puback(ack.packet_id));
            return Ok(());
        }
        let acked = self.outbound.puback(ack.packet_id);
        self.settle(acked, ack.packet_id, false)
    }

    /// PUBREC (section 3.5): answered by PUBREL, with 0x92 where the exchange is unknown.
    pub(crate) fn pubrec(&mut self, ack: &PubRec) -> Result<(), Ending> {
        let refused = ack.reason.is_error();
        if self.persistent {
            self.released.received(ack.packet_id);
            let ack = Ack::Pubrec(ack.packet_id, refused);
            self.staged.ack(self.home, (&self.id, self.epoch), ack);
            return Ok(());
        }
        let acked = self.outbound.pubrec(ack.packet_id, refused);
        self.settle(acked, ack.packet_id, !refused)
    }

    /// PUBCOMP (section 3.7).
    pub(crate) fn pubcomp(&mut self, ack: &PubComp) -> Result<(), Ending> {
        if self.persistent {
            let settled = self.staged.is_empty() && !self.inbox.is_asking();
            self.released.complete(ack.packet_id, settled);
            self.staged.ack(self.home, (&self.id, self.epoch), Ack::Pubcomp(ack.packet_id));
            return Ok(());
        }
        let acked = self.outbound.pubcomp(ack.packet_id);
        self.settle(acked, ack.packet_id, false)
    }

    fn settle(&mut self, acked: Acked, packet_id: PacketId, wants_answer: bool) -> Result<(), Ending> {
        match acked {
            Acked::Complete => Ok(()),
            Acked::Release => {
                self.send_pubrel(packet_id, ReasonCode::Success);
                Ok(())
            }
            Acked::Unknown => {
                if wants_answer {
                    self.send_pubrel(packet_id, ReasonCode::PacketIdentifierNotFound);
                }
                Ok(())
            }
            Acked::WrongType => Err(Offence::AckOfOtherExchange.into()),
        }
    }

    /// Sends PUBREL.
    pub(crate) fn send_pubrel(&mut self, packet_id: PacketId, reason: ReasonCode) {
        self.send(&Packet::PubRel(PubRel::new(packet_id, reason)));
    }

    /// PUBREL (section 3.6): the id may be used again; answered by PUBCOMP (`[MQTT-4.3.3-11]`).
    pub(crate) fn pubrel(&mut self, ack: &PubRel) {
        let packet_id = ack.packet_id;
        if self.persistent {
            let release = Release { client: self.id.clone(), epoch: self.epoch, packet_id };
            self.staged.push(self.home, Command::Release(release));
            return;
        }
        let found = self.inbound.release(packet_id);
        if self.hold_back(Reply::Released(packet_id, found)).is_some() {
            self.send_pubcomp(packet_id, found);
        }
    }

    /// Sends PUBCOMP; `found` is false for an id that was not there.
    pub(crate) fn send_pubcomp(&mut self, packet_id: PacketId, found: bool) {
        let reason = if found { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        self.send(&Packet::PubComp(PubComp::new(packet_id, reason)));
    }
}
