//! PUBLISH of a client (section 3.3 of MQTT 5.0): alias, QoS duty, and who gets the message. Says when its
//! acknowledgement may leave: when every target has the message.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use mqtt_codec::{Offence, Packet, PacketId, PubAck, PubRec, Publish, QoS, ReasonCode, SharedPublish, Text};
use session_store::command::{Command, Receive};
use session_store::failpoint::{self, Point};
use session_store::{Message, MessageRef};

use crate::connection::{DueAck, Owed};
use crate::fanout::Accepted;
use crate::lease::Admission;
use crate::packet::Denied;
use crate::session::{Client, Ending};
use crate::shard::Publisher;

impl Client {
    /// Takes over a message of the client.
    pub(crate) fn publish(&mut self, publish: Publish) -> Result<(), Ending> {
        let counters = &self.worker.counters;
        counters.publish_received.add(1);
        counters.publish_received_bytes.add(publish.payload.len() as u64);
        let topic = self.aliases_in.resolve(&publish)?;
        if self.worker.node.traces.are_on() {
            self.show_received(&publish, &topic);
        }
        let due = due_of(&publish, || self.worker.samples.now());
        if let Some(due) = due {
            if due.owed == Owed::Pubrec && self.inbound.contains(due.packet_id) && !self.persistent {
                // A repeat: answered again, never passed on ([MQTT-4.3.3-10]).
                self.owe(due, 0);
                return Ok(());
            }
            self.check_receive_maximum(due)?;
        }
        if let Some(denied) = Denied::of(topic.as_bytes()) {
            counters.dropped_denied.add(1);
            self.deny(due, denied);
            return Ok(());
        }
        if !self.may_publish(topic.as_bytes(), publish.qos, publish.retain) {
            counters.denied_publishes.add(1);
            self.deny(due, Denied::Refused);
            return Ok(());
        }
        match due {
            Some(due) if due.owed == Owed::Pubrec => self.publish_exactly_once(&publish, &topic, due),
            due => {
                let message = self.message(&publish, &topic);
                self.fan_out(message, due);
            }
        }
        Ok(())
    }

    fn show_received(&self, publish: &Publish, topic: &Text) {
        let (dup, qos, retain) = (u8::from(publish.dup), publish.qos as u8, u8::from(publish.retain));
        let (id, len) = (publish.packet_id.map_or(0, PacketId::get), publish.payload.len());
        self.show(Some((topic.as_bytes(), &publish.payload)), || {
            format!("received PUBLISH (d{dup}, q{qos}, r{retain}, m{id}, '{topic}', ... ({len} bytes))")
        });
    }

    /// More than the announced Receive Maximum is a protocol error in 5.0 (section 3.3.4); older clients know
    /// no such number, and those that leave QoS 2 exchanges open without end are disconnected too.
    fn check_receive_maximum(&self, due: DueAck) -> Result<(), Ending> {
        let open = self.acks.pubacks() + self.inbound.len();
        let known = self.inbound.contains(due.packet_id);
        if known || open < usize::from(self.worker.node.settings.mqtt.receive_maximum) {
            return Ok(());
        }
        Err(Offence::ReceiveMaximumExceeded.into())
    }

    fn message(&self, publish: &Publish, topic: &Text) -> MessageRef {
        let expires_at = publish.message_expiry_s.map(|s| self.worker.node.clock.now().plus_s(s));
        Arc::new(Message {
            body: SharedPublish::new(topic, &publish.application, &publish.payload),
            qos: publish.qos,
            retain: publish.retain,
            expires_at,
        })
    }

    /// QoS 2: a persistent session's home takes over id and message together; a transient session's id
    /// lives here, and its message goes the way of QoS 1.
    fn publish_exactly_once(&mut self, publish: &Publish, topic: &Text, due: DueAck) {
        let message = self.message(publish, topic);
        self.inbound.receive(due.packet_id);
        if !self.persistent {
            self.fan_out(message, Some(due));
            return;
        }
        self.owe(due, 1);
        let receive =
            Receive { client: self.id.clone(), epoch: self.epoch, packet_id: due.packet_id, message };
        self.staged.push(self.home, Command::Receive(receive));
    }

    /// Sends a message to everybody who gets it, and notes what its acknowledgement waits for. Where no lease allows what was
    /// matched it is parked, but for what may be lost anyway.
    fn fan_out(&mut self, message: MessageRef, due: Option<DueAck>) {
        let number = due.map_or(0, |_| self.acks.next_number());
        let needs_lease = due.is_some() || message.retain;
        let sent = if needs_lease && self.has_parked() {
            None
        } else {
            self.send_matched(&message, number, needs_lease)
        };
        match (sent, due) {
            (None, due) => {
                due.into_iter().for_each(|due| self.acks.push(due, 1));
                self.park(message, number);
            }
            (Some(_), None) => {}
            (Some((waits, nobody)), Some(mut due)) => {
                if nobody && waits == 0 {
                    due.reason = ReasonCode::NoMatchingSubscribers;
                }
                self.owe(due, waits);
            }
        }
    }

    /// Sends a message to everybody who gets it: gives how many answers its acknowledgement waits for, and whether nobody
    /// has subscribed to it. `None` where it needs a lease for what was matched, and there is none.
    pub(crate) fn send_matched(
        &mut self,
        message: &MessageRef,
        number: u64,
        needs_lease: bool,
    ) -> Option<(u32, bool)> {
        let worker = Rc::clone(&self.worker);
        let topic = message.body.topic();
        let topic_home = message.retain.then(|| worker.node.shards.home_of_topic(topic));
        // Before the match, so that whoever subscribes behind it waits for what it misses by that.
        let flight = topic_home.and_then(|home| worker.node.shards.begin_retained(home));
        let now = worker.node.fanout.now();
        let matched = match self.run.matching(topic, now) {
            Some(matched) => matched,
            None => worker.node.fanout.matched(topic, now, &mut worker.cache.borrow_mut()),
        };
        // Behind the match: the clock is read last.
        if needs_lease && !worker.node.lease.allows(now.as_of) {
            return None;
        }
        if !Rc::ptr_eq(&matched, &self.run.matched) {
            self.flush_run();
            self.run.matched = Rc::clone(&matched);
        }
        let nobody = matched.is_empty();
        if nobody {
            worker.counters.messages_without_subscriber.add(1);
        }
        let Self { run, staged, inbox, id, epoch, .. } = self;
        let by = Publisher { reply_to: Some(inbox.id()), client: id, epoch: Some(*epoch) };
        let accepted = Accepted { message: MessageRef::clone(message), publisher: id, topic_home, number };
        let waits = run.gathered.add((&worker.node.fanout, &matched), accepted, |to, item| {
            staged.publish(to, by, item);
        });
        if let (Some(home), Some(flight)) = (topic_home, flight) {
            staged.depart(home, flight);
        }
        Some((waits, nobody))
    }

    /// Answers a message that goes nowhere: by a final refusal, after which it must not be sent again
    /// (`[MQTT-4.4.0-2]`), or as usual.
    fn deny(&mut self, due: Option<DueAck>, denied: Denied) {
        let Some(mut due) = due else { return };
        if denied.is_told(self.terms.version) {
            due.reason = ReasonCode::NotAuthorized;
        } else if due.owed == Owed::Pubrec {
            self.inbound.receive(due.packet_id);
        }
        self.owe(due, 0);
    }

    /// Owes an acknowledgement; it leaves at once if nothing is before it and it waits for nothing.
    fn owe(&mut self, due: DueAck, waits: u32) {
        if waits == 0 && self.acks.is_empty() && self.admission() == Admission::Admitted {
            self.acknowledge(due);
            return;
        }
        self.acks.push(due, waits);
        if waits == 0 {
            self.send_due_acks();
        }
    }

    /// Sends every acknowledgement whose turn it is.
    /// None does while the node may not acknowledge anything.
    pub(crate) fn send_due_acks(&mut self) {
        if !self.acks.is_due() {
            return;
        }
        if self.admission() != Admission::Admitted {
            self.be_silent();
            return;
        }
        while let Some(due) = self.acks.pop_due() {
            self.acknowledge(due);
        }
    }

    fn acknowledge(&mut self, due: DueAck) {
        failpoint::pass(Point::BeforeAck);
        let DueAck { owed, packet_id, mut reason, since } = due;
        if let Some(since) = since {
            self.worker.counters.publish_acks.record(since.elapsed());
        }
        if !self.terms.version.is_v5() {
            reason = ReasonCode::Success;
        }
        match owed {
            Owed::Puback => {
                let reason_string = self.reason_string(reason);
                self.send(&Packet::PubAck(PubAck { reason_string, ..PubAck::new(packet_id, reason) }));
            }
            Owed::Pubrec => {
                if reason.is_error() {
                    // The id is free again ([MQTT-4.3.3-9]).
                    self.inbound.release(packet_id);
                }
                let reason_string = self.reason_string(reason);
                self.send(&Packet::PubRec(PubRec { reason_string, ..PubRec::new(packet_id, reason) }));
            }
        }
    }
}

/// The acknowledgement that a publish is owed.
fn due_of(publish: &Publish, now: impl FnOnce() -> Option<Instant>) -> Option<DueAck> {
    let owed = match publish.qos {
        QoS::AtMostOnce => return None,
        QoS::AtLeastOnce => Owed::Puback,
        QoS::ExactlyOnce => Owed::Pubrec,
    };
    let packet_id: PacketId = publish.packet_id?;
    Some(DueAck { owed, packet_id, reason: ReasonCode::Success, since: now() })
}
