//! CONNECT, take-over, and the end of connections and sessions.
//! Called by `Shard::apply`; never reads a clock.

use super::out::Out;
use super::{Client, Shard, Timer};
use crate::command::{Connect, Connected, EXPIRY_NEVER, End, Refused, Reply, Will, WillFate};
use crate::ids::{ClientId, ConnectionId, Epoch, Millis, SessionKey};
use crate::message::Message;
use crate::outbox::{OutboxItem, OutboxKind};
use crate::session::Session;
use topic_index::Filter;

/// Whether a CONNECT is answered by the request that is being applied, or waited since an earlier one.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    Now,
    Before,
}

impl Asked {
    /// Tells the connection. A repeat finds an accepted one in the state, so that only a refusal is kept.
    fn tell(self, connection: ConnectionId, told: Result<Connected, Refused>, out: &mut Out<'_>) {
        let reply = Reply::Connected(told);
        match (self, told) {
            (Self::Before, _) => out.reply(connection, reply),
            (Self::Now, Ok(_)) => out.answer_once(Some(connection), reply),
            (Self::Now, Err(_)) => out.answer(Some(connection), reply),
        }
    }
}

impl Shard {
    /// A client that is connected is told to stop first; the new connection waits for its last word, so
    /// that nothing of it can come after the new CONNACK (`[MQTT-3.1.4-3]`). A dead node has had its last word.
    pub(super) fn connect(&mut self, connect: Connect, out: &mut Out<'_>) {
        if let Some(connected) = self.connected(&connect) {
            out.answer_once(Some(connect.connection), Reply::Connected(Ok(connected)));
            return;
        }
        let host = self.clients.get(&connect.client).and_then(|client| client.connection);
        if host.is_some_and(|connection| self.is_dead(connection.host)) {
            self.end_dead(&connect.client, out);
        }
        let client = self.clients.get_or_default(&connect.client);
        let Some(old) = client.connection else {
            self.attach(connect, Asked::Now, out);
            return;
        };
        let again = client.waiting.as_ref().is_some_and(|other| other.connection == connect.connection);
        self.overtaken.insert(connect.client.clone());
        match client.waiting.replace(Box::new(connect)) {
            Some(overtaken) if !again => {
                out.reply(overtaken.connection, Reply::Connected(Err(Refused::TakenOver)));
            }
            Some(_) => out.reply(old, Reply::Stop),
            None => {
                self.counters.sessions_taken_over += 1;
                out.reply(old, Reply::Stop);
            }
        }
    }

    /// The connection that this CONNECT waits for, if it does.
    pub(super) fn waits_for(&self, connect: &Connect) -> Option<ConnectionId> {
        let client = self.clients.get(&connect.client)?;
        let waiting = client.waiting.as_ref()?;
        client.connection.filter(|_| waiting.connection == connect.connection)
    }

    /// What this CONNECT was told, if its connection is the client's.
    pub(super) fn connected(&self, connect: &Connect) -> Option<Connected> {
        let client = self.clients.get(&connect.client)?;
        client.connection.filter(|connection| *connection == connect.connection)?;
        let Client { epoch, session_present, session, .. } = *client;
        Some(Connected { epoch, session_present, persistent: session.is_some() })
    }

    /// Gives the client to a new connection.
    fn attach(&mut self, connect: Connect, asked: Asked, out: &mut Out<'_>) {
        let id = connect.client.clone();
        self.carry_out_due(&id, out);
        let kept = self.clients.get(&id).and_then(|client| client.session);
        let creates = connect.expiry_s > 0 && (kept.is_none() || connect.clean_start);
        let full = self.sessions.len() - usize::from(kept.is_some()) >= self.limits.sessions_max;
        if creates && full {
            self.counters.sessions_refused += 1;
            asked.tell(connect.connection, Err(Refused::Quota), out);
            self.forget_if_nothing_is_left(&id);
            return;
        }
        if connect.clean_start && kept.is_some() {
            self.publish_will_if_alone(&id, out);
            self.end_session(&id, out);
        }
        self.cancel_will(&id);
        self.clear_due(&id, Timer::Expiry);
        let key = match self.clients.get(&id).and_then(|client| client.session) {
            Some(key) => Some(key),
            None if connect.expiry_s > 0 => Some(self.create_session(&id)),
            None => None,
        };
        let session_present = kept.is_some() && kept == key;
        self.count_connect(session_present);
        let client = self.clients.get_or_default(&id);
        // Also behind those of a client of this name that was forgotten: hosts compare what was on its way meanwhile. So at
        // every level of `apply`: there was no release that counted from 1.
        client.epoch = client.epoch.next().max(Epoch(self.now.0));
        client.connection = Some(connect.connection);
        client.session_present = session_present;
        client.session = key;
        client.will = connect.will;
        let connected = Connected { epoch: client.epoch, session_present, persistent: key.is_some() };
        self.hosted.insert((connect.connection.host, id));
        asked.tell(connect.connection, Ok(connected), out);
        if let Some(session) = key.and_then(|key| self.sessions.get_mut(&key)) {
            session.connection = Some(connect.connection);
            session.expiry_s = connect.expiry_s;
            session.receive_maximum = connect.receive_maximum;
            session.outbound.resume();
            session.scans.resume();
        }
        if let Some(key) = key {
            self.count_in_groups(key, true, out);
            self.pump(key, out);
        }
    }

    /// What the client was away too long for happens before it is back, though no tick has come since. So at every level of
    /// `apply`: there was no release without it, with which replicas could differ.
    fn carry_out_due(&mut self, id: &ClientId, out: &mut Out<'_>) {
        let is_due = |at: Option<Millis>| at.is_some_and(|at| at <= self.now);
        let Some(client) = self.clients.get(id) else { return };
        let (will, expiry) = (is_due(client.will_due), is_due(client.expiry_due));
        if will {
            self.publish_will(id, out);
        }
        if expiry {
            self.expire_session(id, out);
        }
    }

    fn count_connect(&mut self, resumed: bool) {
        if resumed {
            self.counters.sessions_resumed += 1;
        } else {
            self.counters.sessions_created += 1;
        }
    }

    fn create_session(&mut self, client: &ClientId) -> SessionKey {
        while self.sessions.contains_key(&SessionKey(self.next_session)) {
            self.next_session = self.next_session.wrapping_add(1);
        }
        let key = SessionKey(self.next_session);
        self.next_session = self.next_session.wrapping_add(1);
        self.generation += 1;
        self.sessions.insert(key, Session::new(client.clone(), self.generation));
        self.with_session.insert(client.clone());
        key
    }

    /// The host of a connection that is taken over did not answer, and acknowledges nothing for it any more: what the client
    /// was sent there is not known.
    pub(super) fn fenced(&mut self, client: ClientId, epoch: Epoch, out: &mut Out<'_>) {
        if self.overtaken.contains(&client) {
            self.end(&End { client, epoch, will: WillFate::Keep, expiry_s: None, unsent: Vec::new() }, out);
        }
    }

    /// The connections of which their hosts have not said that they stopped, though another one waits for each.
    pub fn overtaken(&self) -> impl Iterator<Item = (&ClientId, Epoch, ConnectionId)> {
        self.overtaken.iter().filter_map(|id| {
            let client = self.clients.get(id)?;
            Some((id, client.epoch, client.connection?))
        })
    }

    /// A connection has ended and will say nothing more.
    pub(super) fn end(&mut self, end: &End, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(&end.client) else { return };
        let Some(connection) = client.connection.filter(|_| client.epoch == end.epoch) else {
            self.counters.stale_epoch += 1;
            return;
        };
        client.connection = None;
        self.hosted.remove(&(connection.host, end.client.clone()));
        let key = client.session;
        let waiting = client.waiting.take();
        self.overtaken.remove(&end.client);
        let session = key.and_then(|key| self.sessions.get_mut(&key));
        let expiry_s = session.map_or(0, |session| {
            session.connection = None;
            session.outbound.not_sent(&end.unsent);
            session.expiry_s = end.expiry_s.unwrap_or(session.expiry_s);
            session.expiry_s
        });
        if let Some(key) = key {
            self.count_in_groups(key, false, out);
        }
        self.settle_will(&end.client, end.will, expiry_s, out);
        match expiry_s {
            0 => self.end_session(&end.client, out),
            EXPIRY_NEVER => {}
            seconds => self.set_due(&end.client, Timer::Expiry, self.now.plus_s(seconds)),
        }
        match waiting.filter(|connect| !self.is_dead(connect.connection.host)) {
            Some(connect) => self.attach(*connect, Asked::Before, out),
            None => self.forget_if_nothing_is_left(&end.client),
        }
    }

    /// Drops the will, publishes it, or sets its time: the earlier of its delay and the session's end
    /// (`[MQTT-3.1.2-8]`).
    fn settle_will(&mut self, id: &ClientId, fate: WillFate, expiry_s: u32, out: &mut Out<'_>) {
        let Some(client) = self.clients.get_mut(id) else { return };
        let Some(will) = client.will.as_ref() else { return };
        let delay_s = match fate {
            WillFate::Discard => {
                client.will = None;
                self.counters.wills_cancelled += 1;
                return;
            }
            WillFate::Keep => will.delay_s.min(expiry_s),
            WillFate::KeepAtLeast(grace_s) => will.delay_s.min(expiry_s).max(grace_s),
        };
        if delay_s == 0 {
            self.publish_will(id, out);
        } else {
            self.set_due(id, Timer::Will, self.now.plus_s(delay_s));
        }
    }

    /// Publishes the will, once (`[MQTT-3.1.2-10]`).
    pub(super) fn publish_will(&mut self, id: &ClientId, out: &mut Out<'_>) {
        self.clear_due(id, Timer::Will);
        let Some(will) = self.clients.get_mut(id).and_then(|client| client.will.take()) else { return };
        self.counters.wills_published += 1;
        let Will { body, qos, retain, expiry_s, .. } = will;
        let expires_at = expiry_s.map(|seconds| self.now.plus_s(seconds));
        let message = Message { body, qos, retain, expires_at }.into();
        self.add_to_outbox(OutboxItem::new(id.clone(), message, OutboxKind::Publish), out);
    }

    /// The client is back before its will was due (`[MQTT-3.1.3-9]`).
    fn cancel_will(&mut self, id: &ClientId) {
        self.clear_due(id, Timer::Will);
        if self.clients.get_mut(id).and_then(|client| client.will.take()).is_some() {
            self.counters.wills_cancelled += 1;
        }
    }

    /// Ends the client's persistent session, if there is one.
    pub(super) fn end_session(&mut self, id: &ClientId, out: &mut Out<'_>) {
        self.clear_due(id, Timer::Expiry);
        let Some(key) = self.clients.get_mut(id).and_then(|client| client.session.take()) else { return };
        let Some(session) = self.sessions.remove(&key) else { return };
        self.with_session.remove(id);
        self.counted.remove(&session.counted.0);
        let connected = session.connection.is_some();
        for filter in session.subscriptions.keys() {
            self.unindex(filter, key, connected, out);
        }
        self.keeper.ended(key, session.kept.0);
        let (back, in_doubt) = session.outbound.into_unacknowledged();
        self.queue_counters.qos2_in_doubt += in_doubt;
        for (group, message) in back {
            self.redispatch(group, message, out);
        }
    }

    /// A will of a client that is away is due when its session ends (`[MQTT-3.1.2-8]`).
    pub(super) fn publish_will_if_alone(&mut self, id: &ClientId, out: &mut Out<'_>) {
        if self.clients.get(id).is_some_and(|client| client.will_due.is_some()) {
            self.publish_will(id, out);
        }
    }

    /// The session's client came or went: counts it in its groups and tells the route view.
    fn count_in_groups(&mut self, key: SessionKey, connected: bool, out: &mut Out<'_>) {
        let Some(session) = self.sessions.get(&key) else { return };
        for filter in session.subscriptions.keys() {
            let Filter::Shared { group, filter: plain } = filter else { continue };
            self.groups.update(group, plain, |slot| slot.count_connected(connected));
            let route = self.groups.get(group, plain).map(|slot| slot.route(filter));
            if let Some(route) = route {
                out.route(route);
            }
        }
    }

    fn due_field(client: &mut Client, due: Timer) -> &mut Option<Millis> {
        match due {
            Timer::Will => &mut client.will_due,
            Timer::Expiry => &mut client.expiry_due,
        }
    }

    fn set_due(&mut self, id: &ClientId, due: Timer, at: Millis) {
        self.clear_due(id, due);
        let Some(client) = self.clients.get_mut(id) else { return };
        *Self::due_field(client, due) = Some(at);
        self.due.insert((at, due, id.clone()));
    }

    pub(super) fn clear_due(&mut self, id: &ClientId, due: Timer) {
        let Some(client) = self.clients.get_mut(id) else { return };
        if let Some(at) = Self::due_field(client, due).take() {
            self.due.remove(&(at, due, id.clone()));
        }
    }

    pub(super) fn forget_if_nothing_is_left(&mut self, id: &ClientId) {
        if self.clients.get(id).is_some_and(Client::forgettable) {
            self.clear_due(id, Timer::Will);
            self.clear_due(id, Timer::Expiry);
            self.clients.remove(id);
        }
    }
}
