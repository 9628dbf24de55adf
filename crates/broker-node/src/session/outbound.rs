//! Sending to a client: what came into its mailbox, its queue, and PUBLISH as its version, window, size
//! limit and aliases want it.

use mqtt_codec::{PacketId, PacketKind, PublishHeader, QoS, ReasonCode};
use session_store::command::{Ack, Published, Push, Reply};
use session_store::counters::QueueCounters;
use session_store::outbound::{Enqueued, NextPacket};
use session_store::{Millis, Outgoing};

use super::{Client, Ending, HIGH_WATER};
use crate::inbox::{Backlog, Mail};
use crate::losses::Loss;

impl Client {
    /// Takes what came into the mailbox.
    ///
    /// # Errors
    /// A shard says that the connection ends.
    pub(crate) fn receive_mail(&mut self, mail: Mail) -> Result<(), Ending> {
        let mut ending = None;
        for reply in mail.replies {
            if let Err(end) = self.handle_reply(reply) {
                ending.get_or_insert(end);
            }
        }
        self.send_due_acks();
        self.pushes_qos0_bytes += mail.pushes.iter().map(qos0_bytes).sum::<u64>();
        self.pushes.extend(mail.pushes);
        self.send_pushes();
        let mut counters = QueueCounters::default();
        let now = self.worker.node.clock.now();
        for outgoing in mail.messages {
            // Only what was published as retained stands for the retained message of its topic.
            if outgoing.message.retain {
                self.scans.saw(outgoing.message.body.topic());
            }
            if outgoing.qos == QoS::AtMostOnce {
                self.send_qos0(&outgoing, now, &mut counters);
                continue;
            }
            let queue = self.worker.node.queue;
            if self.outbound.enqueue(outgoing, &queue, &mut counters) == Enqueued::Disconnect {
                ending.get_or_insert_with(Ending::queue_full);
            }
        }
        self.count_queue(counters);
        self.send_queued();
        ending.map_or(Ok(()), Err)
    }

    /// Does what a shard answers. What acknowledges something may have to wait.
    pub(super) fn handle_reply(&mut self, reply: Reply) -> Result<(), Ending> {
        let acknowledges =
            matches!(reply, Reply::Released(..) | Reply::Subscribed(..) | Reply::Unsubscribed(..));
        let reply = if acknowledges { self.hold_back(reply) } else { Some(reply) };
        let Some(reply) = reply else { return Ok(()) };
        match reply {
            Reply::Published(results) => {
                for (number, result) in results {
                    let refusal = (result == Published::RetainedQuota).then_some(ReasonCode::QuotaExceeded);
                    self.acks.answered(number, refusal);
                }
            }
            Reply::Received(packet_id) => self.acks.received(packet_id),
            Reply::Released(packet_id, found) => {
                // Known here alone is the id of a message that was dropped.
                let known = self.inbound.release(packet_id);
                self.send_pubcomp(packet_id, found || known);
            }
            Reply::Subscribed(_, answer) => self.subscribed(&answer),
            Reply::Unsubscribed(_, answer) => self.unsubscribed(&answer),
            Reply::Stop => return Err(Ending::told(ReasonCode::SessionTakenOver, "session taken over")),
            Reply::WrongAck => return Err(mqtt_codec::Offence::AckOfOtherExchange.into()),
            Reply::QueueFull => {
                return Err(Ending::queue_full());
            }
            // Taken by the task that connects; nobody connects twice on one connection.
            Reply::Connected(_) => {}
        }
        Ok(())
    }

    fn count_queue(&self, queue: QueueCounters) {
        let counters = &self.worker.counters;
        counters.dropped_queue_full.add(queue.dropped_queue_full);
        counters.dropped_expired.add(queue.dropped_expired);
        self.inbox.losses().note(Loss::QueueFull, queue.dropped_queue_full, b"");
        self.inbox.losses().note(Loss::Expired, queue.dropped_expired, b"");
    }

    fn send_qos0(&mut self, outgoing: &Outgoing, now: Millis, counters: &mut QueueCounters) {
        if outgoing.message.expired(now) {
            counters.dropped_expired += 1;
        } else if self.out.len() as u64 > self.worker.node.inbox.qos0_bytes_max {
            self.worker.counters.dropped_qos0_slow.add(1);
            self.inbox.losses().note(Loss::Slow, 1, outgoing.message.body.topic());
        } else {
            self.send_publish(outgoing, None, false, now);
        }
    }

    /// Sends from the transient session's queue what window and socket take.
    pub(crate) fn send_queued(&mut self) {
        if self.outbound.is_empty() {
            self.tell_backlog();
            return;
        }
        let now = self.worker.node.clock.now();
        let mut counters = QueueCounters::default();
        let window = self.terms.receive_maximum;
        while self.out.len() < HIGH_WATER {
            match self.outbound.next_to_send(window, now, &mut counters) {
                // Only queues of persistent sessions leave memory.
                None | Some(NextPacket::Stored { .. }) => break,
                Some(NextPacket::Release(packet_id)) => self.send_pubrel(packet_id, ReasonCode::Success),
                Some(NextPacket::Publish { packet_id, dup, item, .. }) => {
                    if !self.send_publish(&item, Some(packet_id), dup, now) {
                        // Treated as delivered ([MQTT-3.1.2-25]).
                        self.complete(packet_id, item.qos);
                    }
                }
            }
        }
        debug_assert!(self.outbound.len() > 256 || self.outbound.validate().is_ok());
        self.count_queue(counters);
        self.tell_backlog();
    }

    /// A message that is never sent is done with.
    fn complete(&mut self, packet_id: PacketId, qos: QoS) {
        let ack = match qos {
            QoS::AtMostOnce => return,
            QoS::AtLeastOnce => Ack::Puback(packet_id),
            QoS::ExactlyOnce => Ack::Pubrec(packet_id, true),
        };
        if self.persistent {
            self.staged.ack(self.home, (&self.id, self.epoch), ack);
        } else if qos == QoS::AtLeastOnce {
            self.outbound.puback(packet_id);
        } else {
            self.outbound.pubrec(packet_id, true);
        }
    }

    /// Sends what the shard of a persistent session pushed, as far as the socket takes it.
    pub(crate) fn send_pushes(&mut self) {
        if self.pushes.is_empty() {
            return;
        }
        let now = self.worker.node.clock.now();
        while self.out.len() < HIGH_WATER {
            let push = self.pushes.pop_front();
            self.pushes_qos0_bytes -= push.as_ref().map_or(0, qos0_bytes);
            match push {
                None => break,
                Some(Push::PageEnd(scan)) => {
                    self.staged.ack(self.home, (&self.id, self.epoch), Ack::PageTaken(scan));
                }
                Some(Push::Release(packet_id)) => {
                    if self.released.release(packet_id) {
                        self.send_pubrel(packet_id, ReasonCode::Success);
                    }
                }
                Some(Push::ReleaseUnknown(packet_id)) => {
                    if self.released.release(packet_id) {
                        self.send_pubrel(packet_id, ReasonCode::PacketIdentifierNotFound);
                    }
                }
                Some(Push::Publish { packet_id, dup, item, .. }) => {
                    if packet_id.is_none() && item.message.expired(now) {
                        continue;
                    }
                    self.send_pushed(&item, packet_id, dup, now);
                }
                Some(Push::Stored { packet_id, position, dup, at }) => match self.take_stored(&at) {
                    Some(item) => self.send_pushed(&item, Some(packet_id), dup, now),
                    None => {
                        self.pushes.push_front(Push::Stored { packet_id, position, dup, at });
                        break;
                    }
                },
            }
        }
        if self.pushes.is_empty() && self.pushes.capacity() > 64 {
            self.pushes = std::collections::VecDeque::new();
        }
        self.tell_backlog();
    }

    fn send_pushed(&mut self, item: &Outgoing, packet_id: Option<PacketId>, dup: bool, now: Millis) {
        if let (false, Some(id)) = (self.send_publish(item, packet_id, dup, now), packet_id) {
            self.complete(id, item.qos);
        }
    }

    /// Encodes more of what waits, after the socket took some.
    pub(crate) fn refill(&mut self) {
        self.send_pushes();
        if self.outbound.has_unsent() {
            self.send_queued();
        } else {
            self.tell_backlog();
        }
    }

    /// Encodes a PUBLISH; `false` when it exceeds the client's Maximum Packet Size (`[MQTT-3.1.2-24]`), or the client may
    /// not have it any more.
    pub(super) fn send_publish(
        &mut self,
        item: &Outgoing,
        packet_id: Option<PacketId>,
        dup: bool,
        now: Millis,
    ) -> bool {
        let body = &item.message.body;
        if !self.may_receive(body.topic()) {
            self.worker.counters.denied_deliveries.add(1);
            self.inbox.losses().note(Loss::Denied, 1, body.topic());
            return false;
        }
        let header = PublishHeader {
            dup,
            qos: item.qos,
            retain: item.retain,
            packet_id,
            topic_alias: self.aliases_out.of(body.topic()),
            message_expiry_s: item.message.remaining_expiry_s(now),
            subscription_ids: item.subscription_ids.as_deref().unwrap_or(&[]),
        };
        let version = self.terms.version;
        if let Some(maximum) = self.terms.maximum_packet_size
            && body.encoded_len(version, &header) > maximum as usize
        {
            self.worker.counters.dropped_too_large.add(1);
            self.inbox.losses().note(Loss::TooLarge, 1, body.topic());
            return false;
        }
        if let Some((alias, true)) = header.topic_alias {
            self.aliases_out.assign(body.topic(), alias);
        }
        if let Some(payload) = body.encode(version, &header, self.out.tail()) {
            self.out.append(payload);
        }
        let counters = &self.worker.counters;
        counters.packets_sent.add(1);
        counters.publish_sent.add(1);
        counters.kinds.count_sent(PacketKind::Publish);
        counters.publish_sent_bytes.add(body.payload().len() as u64);
        if self.worker.node.settings.packet_trace {
            crate::trace::sent_publish(&self.id, body, &header);
        }
        if self.worker.node.traces.are_on() {
            self.show(Some((body.topic(), body.payload())), || {
                format!("sent {}", crate::trace::publish_words(body, &header))
            });
        }
        true
    }

    /// Tells the mailbox what is held here: it counts against the same bounds, and balances shared groups.
    fn tell_backlog(&self) {
        let held = self.outbound.len().max(self.pushes.len());
        let in_flight = self.outbound.in_flight();
        self.inbox.set_backlog(Backlog {
            messages: u32::try_from(held).unwrap_or(u32::MAX),
            bytes: self.outbound.bytes() as u64,
            qos0_bytes: self.out.len() as u64 + self.pushes_qos0_bytes,
            room: u32::from(self.terms.receive_maximum).saturating_sub(in_flight),
        });
    }
}

/// Bytes of a push that count against the bound of QoS 0.
fn qos0_bytes(push: &Push) -> u64 {
    match push {
        Push::Publish { packet_id: None, item, .. } => item.message.size() as u64,
        _ => 0,
    }
}
