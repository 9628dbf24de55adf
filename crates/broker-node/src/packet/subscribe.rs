//! SUBSCRIBE of a client (section 3.8). A transient session's subscriptions are made here, those of a
//! persistent one at its home; SUBACK leaves when they are in force.

use mqtt_codec::{Packet, PacketId, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeFilter};
use session_store::command::{Command, RetainedWanted, Subscribe as SubscribeCommand, SubscribeTo};
use session_store::matching::Subscribed;
use topic_index::{Filter, PlainFilter};

use crate::session::{Client, Suback, Waiting};

impl Client {
    /// Subscribes to each filter as if it came alone (`[MQTT-3.8.4-5]`).
    pub(crate) fn subscribe(&mut self, subscribe: &Subscribe) {
        self.flush_run();
        if !self.has_room_to_announce() {
            self.waiting = Some(Waiting::Room(Box::new(subscribe.clone())));
            return;
        }
        self.worker.counters.subscribes.add(subscribe.filters.len() as u64);
        let mut codes = Vec::with_capacity(subscribe.filters.len());
        let mut filters = Vec::new();
        for (place, asked) in subscribe.filters.iter().enumerate() {
            match self.to_subscribe(asked, subscribe.subscription_id) {
                Err(code) => codes.push(code),
                Ok(to) => {
                    codes.push(ReasonCode::granted(to.subscribed.qos));
                    filters.push((place, to));
                }
            }
        }
        if self.persistent && !filters.is_empty() {
            self.subscribe_at_home(subscribe.packet_id, codes, filters);
        } else {
            let retained = self.subscribe_here(&mut codes, filters);
            self.suback_in_force(Suback { packet_id: subscribe.packet_id, codes, retained });
        }
    }

    /// The subscriptions are in force: retained messages come behind SUBACK. Those of a persistent session its home
    /// looks for.
    pub(crate) fn suback(&mut self, suback: Suback) {
        let Suback { packet_id, codes, retained } = suback;
        self.send_suback(packet_id, codes);
        for (filter, subscribed) in retained {
            self.send_sys_topics(&filter, &subscribed);
            if !self.persistent {
                self.scans.add(filter, subscribed);
            }
        }
    }

    fn to_subscribe(&self, asked: &SubscribeFilter, id: Option<u32>) -> Result<SubscribeTo, ReasonCode> {
        let levels_max = self.worker.node.settings.mqtt.topic_levels_max;
        let filter =
            Filter::parse(asked.filter.as_bytes(), levels_max).map_err(|_| ReasonCode::TopicFilterInvalid)?;
        let Some(allowed) = self.may_subscribe(filter.plain()) else {
            self.worker.counters.denied_subscribes.add(1);
            return Err(ReasonCode::NotAuthorized);
        };
        let options = asked.options;
        let subscribed = Subscribed {
            qos: options.qos.min(allowed),
            no_local: options.no_local,
            retain_as_published: options.retain_as_published,
            id,
        };
        let retained = match options.retain_handling {
            RetainHandling::Send => RetainedWanted::Always,
            RetainHandling::SendIfNew => RetainedWanted::IfNew,
            RetainHandling::DoNotSend => RetainedWanted::Never,
        };
        Ok(SubscribeTo { filter, subscribed, retained })
    }

    fn subscribe_at_home(
        &mut self,
        packet_id: PacketId,
        codes: Vec<ReasonCode>,
        filters: Vec<(usize, SubscribeTo)>,
    ) {
        self.waiting = Some(Waiting::Subscribe { packet_id, codes, filters: filters.clone() });
        let command = SubscribeCommand { client: self.id.clone(), epoch: self.epoch, packet_id, filters };
        self.staged.push(self.home, Command::Subscribe(command));
    }

    /// Returns the subscriptions that want retained messages, which are sent after SUBACK.
    fn subscribe_here(
        &mut self,
        codes: &mut [ReasonCode],
        filters: Vec<(usize, SubscribeTo)>,
    ) -> Vec<(PlainFilter, Subscribed)> {
        let maximum = self.worker.node.live.now().mqtt.subscriptions_per_client_max as usize;
        let mut retained = Vec::new();
        for (place, to) in filters {
            let mut subscriptions = self.subscriptions.lock();
            let known = subscriptions.contains_key(&to.filter);
            if !known && subscriptions.len() >= maximum {
                if let Some(code) = codes.get_mut(place) {
                    *code = ReasonCode::QuotaExceeded;
                }
                continue;
            }
            self.worker.node.fanout.subscribe(&to.filter, &self.inbox, to.subscribed);
            if let (true, Filter::Plain(plain)) = (to.retained.applies(!known), &to.filter) {
                retained.push((plain.clone(), to.subscribed));
            }
            subscriptions.insert(to.filter, to.subscribed);
        }
        retained
    }

    /// The home's answer to a SUBSCRIBE.
    pub(crate) fn subscribed(&mut self, answer: &[(usize, Option<bool>)]) {
        let Some(Waiting::Subscribe { packet_id, mut codes, filters }) = self.waiting.take() else { return };
        for (place, result) in answer {
            if let (None, Some(code)) = (result, codes.get_mut(*place)) {
                *code = ReasonCode::QuotaExceeded;
            }
        }
        let wants_retained = |(place, to): &(usize, SubscribeTo)| {
            let new = answer.iter().find(|(other, _)| other == place).and_then(|(_, result)| *result);
            new.is_some_and(|new| to.retained.applies(new))
        };
        let filters = filters.into_iter().filter(wants_retained);
        let retained = filters.filter_map(|(_, to)| match to.filter {
            Filter::Plain(plain) => Some((plain, to.subscribed)),
            Filter::Shared { .. } => None,
        });
        let retained = retained.collect();
        self.suback_in_force(Suback { packet_id, codes, retained });
    }

    /// One code a filter, in their order (`[MQTT-3.8.4-6]`, `[MQTT-3.9.3-1]`).
    fn send_suback(&mut self, packet_id: PacketId, codes: Vec<ReasonCode>) {
        let refused = codes.iter().copied().find(|code| code.is_error());
        let reason_string = refused.and_then(|code| self.reason_string(code));
        let suback = SubAck { packet_id, codes, reason_string, user_properties: Default::default() };
        self.send(&Packet::SubAck(suback));
    }
}
