//! What a connected client may do, and what becomes of what it has when that changes: what it may not receive any more
//! is not sent, whatever brought it. Where there are neither users nor rules it costs a look at a number.

use std::rc::Rc;

use mqtt_codec::{Connect, QoS, ReasonCode};
use session_store::command::WillFate;
use tokio::time::Instant;
use topic_index::{Filter, PlainFilter};

use super::{Client, Ending};
use crate::access::{Access, Principal, Rights, Shown};
use crate::packet::Denied;

/// Who a client is, and what it may do, as of one version of users and rules.
#[derive(Debug)]
pub(crate) struct Standing {
    who: Principal,
    /// `None` is everything.
    rights: Option<Rights>,
    will: Option<WillTerms>,
    version: u64,
    /// When its token is over.
    until: Option<Instant>,
}

/// What a connection has to be over by, beside its token.
#[derive(Debug, Default)]
pub(crate) struct Ends {
    /// When an authentication has to have come to its end that is under way.
    pub(crate) authentication: Option<Instant>,
    /// Whether the connection's timer has to be set again.
    pub(crate) have_moved: bool,
    /// The client's certificate is not accepted any more: nothing it has or sends counts.
    distrusted: bool,
}

/// What a will needs.
#[derive(Debug)]
struct WillTerms {
    topic: Box<[u8]>,
    qos: QoS,
    retain: bool,
}

impl Standing {
    /// What a client may do.
    ///
    /// # Errors
    /// It may not publish its will, or is unknown or banned by now.
    pub(crate) fn of(
        access: &Access,
        who: Principal,
        client: &str,
        connect: &Connect,
    ) -> Result<Box<Self>, ReasonCode> {
        // First: what changes meanwhile is looked at again.
        let version = access.version();
        if !access.knows(&who) {
            return Err(ReasonCode::NotAuthorized);
        }
        if access.has_banned(&who, Some(client)) {
            return Err(ReasonCode::Banned);
        }
        let rights = access.rights_of(&who, client);
        // One for the broker's own topics is dropped anyway.
        let published = connect.will.as_ref().filter(|will| Denied::of(will.topic.as_bytes()).is_none());
        let will = published.map(|will| WillTerms {
            topic: will.topic.as_bytes().into(),
            qos: will.qos,
            retain: will.retain,
        });
        let until = access.until(&who);
        let this = Self { who, rights, will, version, until };
        if this.may_publish_will() { Ok(Box::new(this)) } else { Err(ReasonCode::NotAuthorized) }
    }

    /// Who it is.
    pub(crate) fn who(&self) -> &Principal {
        &self.who
    }

    /// The name it has shown to be its own.
    pub(crate) fn user(&self) -> Option<&str> {
        self.who.user.as_deref()
    }

    fn may_publish(&self, topic: &[u8], qos: QoS, retain: bool) -> bool {
        self.rights.as_ref().is_none_or(|rights| rights.may_publish(topic, qos, retain))
    }

    fn may_publish_will(&self) -> bool {
        self.will.as_ref().is_none_or(|will| self.may_publish(&will.topic, will.qos, will.retain))
    }

    fn may_subscribe(&self, filter: &PlainFilter) -> Option<QoS> {
        self.rights.as_ref().map_or(Some(QoS::ExactlyOnce), |rights| rights.may_subscribe(filter))
    }

    /// Takes over what is in force now; says whether the client may stay.
    fn renew(&mut self, access: &Access, client: &str) -> bool {
        self.version = access.version();
        let known = access.knows(&self.who);
        // Who is gone is sent nothing more, whatever waits for it.
        self.rights = if known { access.rights_of(&self.who, client) } else { Some(Rights::default()) };
        known
    }
}

impl Client {
    /// When its token is over, or the time that it has to authenticate again; `None` for never.
    pub(crate) fn standing_end(&self) -> Option<Instant> {
        let token = self.standing.as_ref().and_then(|standing| standing.until);
        token.into_iter().chain(self.ends.authentication).min()
    }

    /// Takes over what a client has shown that authenticated again: the end of its token is that of the new one, and so are its
    /// rights.
    ///
    /// # Errors
    /// It is another user, or may not be this client any more; or it is a member of a shared group that it may not be in any more.
    pub(crate) fn stand_as(&mut self, shown: Shown) -> Result<(), Ending> {
        let worker = Rc::clone(&self.worker);
        let access = &worker.node.access;
        let Some(standing) = &mut self.standing else { return Ok(()) };
        let Some(who) = access.shown_again(shown, &standing.who, self.id.as_str()) else {
            worker.counters.reauthentications_failed.add(1);
            return Err(Ending::told(ReasonCode::NotAuthorized, "authenticated as somebody else"));
        };
        standing.until = access.until(&who);
        standing.who = who;
        self.take_standing()
    }

    /// Hears whether its certificate is still accepted. Where it is not it has and says nothing any more.
    ///
    /// # Errors
    /// It is not: the connection ends.
    pub(crate) fn look_at_trust(&mut self, is_trusted: bool) -> Result<(), Ending> {
        if is_trusted {
            return Ok(());
        }
        if !std::mem::replace(&mut self.ends.distrusted, true) {
            self.worker.counters.certificates_revoked.add(1);
        }
        Err(Ending::told(ReasonCode::NotAuthorized, "the client's certificate is not accepted any more"))
    }

    /// Whether it may publish such a message.
    pub(crate) fn may_publish(&self, topic: &[u8], qos: QoS, retain: bool) -> bool {
        !self.ends.distrusted
            && self.standing.as_ref().is_none_or(|standing| standing.may_publish(topic, qos, retain))
    }

    /// The highest QoS that it may subscribe with; `None` where it may not.
    pub(crate) fn may_subscribe(&self, filter: &PlainFilter) -> Option<QoS> {
        self.standing.as_ref().map_or(Some(QoS::ExactlyOnce), |standing| standing.may_subscribe(filter))
    }

    /// Whether messages of a topic may be sent to it. What has changed since the connection looked counts already: who is told
    /// that a change is in force may publish what is not for this client any more.
    pub(crate) fn may_receive(&self, topic: &[u8]) -> bool {
        let Some(standing) = self.standing.as_ref().filter(|_| !self.ends.distrusted) else {
            return !self.ends.distrusted;
        };
        let access = &self.worker.node.access;
        if standing.version == access.version() {
            return standing.rights.as_ref().is_none_or(|rights| rights.may_receive(topic));
        }
        let (who, client) = (&standing.who, self.id.as_str());
        access.knows(who)
            && !access.has_banned(who, Some(client))
            && access.rights_of(who, client).is_none_or(|rights| rights.may_receive(topic))
    }

    /// Looks again what it may do, if users or rules have changed since.
    ///
    /// # Errors
    /// Its user, or the key of its token, was removed; its token is over, or the time to authenticate again; or it is a member
    /// of a shared group that it may not be in any more: what it has of the group goes to others with the end of its connection.
    pub(crate) fn look_again(&mut self) -> Result<(), Ending> {
        self.renew_standing()?;
        let over = |until: &mut Instant| *until <= Instant::now();
        if self.ends.authentication.take_if(over).is_some() {
            self.worker.counters.reauthentications_failed.add(1);
            return Err(Ending::told(
                ReasonCode::NotAuthorized,
                "the authentication was not finished in time",
            ));
        }
        if self.standing.as_mut().and_then(|standing| standing.until.take_if(over)).is_none() {
            return Ok(());
        }
        self.worker.counters.tokens_expired.add(1);
        Err(Ending::told(ReasonCode::NotAuthorized, "what the client was let in by has expired"))
    }

    fn renew_standing(&mut self) -> Result<(), Ending> {
        let version = self.worker.node.access.version();
        if self.standing.as_ref().is_none_or(|standing| standing.version == version) {
            return Ok(());
        }
        self.take_standing()
    }

    /// Takes over what is in force now for who it is now.
    fn take_standing(&mut self) -> Result<(), Ending> {
        let worker = Rc::clone(&self.worker);
        let access = &worker.node.access;
        let Some(standing) = &mut self.standing else { return Ok(()) };
        if access.has_banned(&standing.who, Some(self.id.as_str())) {
            standing.renew(access, self.id.as_str());
            standing.rights = Some(Rights::default());
            return Err(Ending::told(ReasonCode::AdministrativeAction, "the client was banned"));
        }
        if !standing.renew(access, self.id.as_str()) {
            return Err(Ending::told(
                ReasonCode::NotAuthorized,
                "the user, or the key of its token, was removed",
            ));
        }
        let denied = |filter: &&Filter| standing.may_subscribe(filter.plain()).is_none();
        let denied: Vec<Filter> = self.subscriptions.lock().keys().filter(denied).cloned().collect();
        worker.counters.subscriptions_revoked.add(denied.len() as u64);
        for filter in &denied {
            self.unsubscribe_here(filter);
        }
        if denied.iter().any(|filter| matches!(filter, Filter::Shared { .. })) {
            return Err(Ending::told(
                ReasonCode::NotAuthorized,
                "the right to a shared subscription was revoked",
            ));
        }
        Ok(())
    }

    /// What becomes of its will at the end, where `asked` is what would become of it by itself.
    pub(crate) fn will_fate(&mut self, asked: WillFate) -> WillFate {
        let kicked = self.entry.as_ref().is_some_and(|entry| entry.card.is_kicked());
        let asked = match asked {
            // Whoever is made to go is gone: only a node's own stop has them back at once.
            WillFate::KeepAtLeast(_) if kicked => WillFate::Keep,
            other => other,
        };
        // It ends already, whatever that finds.
        let _ending = self.look_again();
        let allowed = !self.ends.distrusted
            && self.standing.as_ref().is_none_or(|standing| standing.may_publish_will());
        if allowed || matches!(asked, WillFate::Discard) {
            return asked;
        }
        self.worker.counters.denied_publishes.add(1);
        WillFate::Discard
    }
}
