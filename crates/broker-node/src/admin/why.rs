//! Why a client does not get the messages of a topic: what its node knows of it, what its session's home knows, and what both have
//! counted where they dropped something. Called by the service, and by `inside` for other nodes; it changes nothing.

use mqtt_codec::{QoS, Text};
use session_store::{ClientId, NodeId};
use tonic::Status;

use super::clients::silent;
use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{WhyConnection, WhyFound, WhyWanted};
use super::proto::{
    Finding, ListSessionsRequest, ListSubscriptionsRequest, Page, Session, Subscription, Unheard, Verdict,
    WhyReply, WhyRequest,
};
use super::subject::{Belongs, Subject};
use super::whole::{NONSENSE, ask_each, belonging};
use super::{sessions, subscriptions};
use crate::losses::Loss;
use crate::packet::Denied;
use crate::roll::Card;
use crate::worker::Node;

/// Subscriptions of the client that are looked at.
const SUBSCRIPTIONS_MAX: u32 = 1_000;

impl Subject {
    /// What this node knows of it.
    ///
    /// # Errors
    /// It starts.
    pub(super) fn why(&self, wanted: &WhyWanted) -> Result<WhyFound, String> {
        let node = &self.running().ok_or("the node starts")?.node;
        let topic = wanted.topic.as_bytes();
        let cards = node.roll.of(&ClientId::new(&wanted.client_id));
        let connections = cards.iter().map(|card| connection(node, card, topic)).collect();
        let publishers = node.roll.of(&ClientId::new(&wanted.publisher_id));
        let may = |card: &Card| {
            let rights = card.rights(&node.access);
            rights.is_none_or(|rights| rights.may_publish(topic, QoS::AtMostOnce, false))
        };
        Ok(WhyFound { connections, publisher_may: publishers.last().map(|card| may(card)) })
    }
}

fn connection(node: &Node, card: &Card, topic: &[u8]) -> WhyConnection {
    let finding = |(loss, noted): (Loss, crate::losses::Noted)| {
        let (verdict, words) = of_loss(loss);
        let last_topic = String::from_utf8_lossy(&noted.last).into_owned();
        Finding { verdict: verdict.into(), words: words.to_owned(), count: noted.count, last_topic }
    };
    let rights = card.rights(&node.access);
    WhyConnection {
        may_receive: rights.is_none_or(|rights| rights.may_receive(topic)),
        losses: card.inbox.losses().noted().into_iter().map(finding).collect(),
    }
}

fn of_loss(loss: Loss) -> (Verdict, &'static str) {
    match loss {
        Loss::QueueFull => {
            (Verdict::QueueFull, "its queue was full (session.queue_messages_max, session.queue_bytes_max)")
        }
        Loss::Expired => (Verdict::Expired, "they expired before they could be sent"),
        Loss::Slow => (Verdict::SlowReader, "it reads too slowly for QoS 0 (session.qos0_queue_bytes_max)"),
        Loss::Denied => (Verdict::Denied, "it had lost the right to them"),
        Loss::TooLarge => {
            (Verdict::TooLarge, "they are larger than the Maximum Packet Size that it announced")
        }
    }
}

/// All that is known.
#[derive(Default)]
struct Known {
    connections: Vec<WhyConnection>,
    publisher_may: Option<bool>,
    session: Option<Session>,
    /// Those that match.
    subscriptions: Vec<Subscription>,
    unheard: Vec<Unheard>,
}

/// Says why.
///
/// # Errors
/// What is asked for makes no sense.
pub(super) async fn why(
    subject: &Subject,
    belongs: &Belongs,
    request: WhyRequest,
) -> Result<WhyReply, Status> {
    check(&request)?;
    let client_id = request.client_id.clone();
    let mut known = hear(subject, belongs, &request).await;
    let only = ListSessionsRequest { client_id: client_id.clone(), ..ListSessionsRequest::default() };
    let found = sessions::list(subject, belongs, only).await?;
    known.session = found.sessions.into_iter().next();
    known.unheard.extend(found.unheard);
    let page = Some(Page { size: SUBSCRIPTIONS_MAX, token: String::new() });
    let only = ListSubscriptionsRequest {
        page,
        client_id,
        topic: request.topic.clone(),
        ..ListSubscriptionsRequest::default()
    };
    let found = subscriptions::list(subject, belongs, only).await?;
    known.subscriptions = found.subscriptions;
    known.unheard.extend(found.unheard);
    // Once, whoever was asked how often.
    known.unheard.sort_by(|a, b| (&a.node, a.shard).cmp(&(&b.node, b.shard)));
    known.unheard.dedup_by(|a, b| (&a.node, a.shard) == (&b.node, b.shard));
    Ok(WhyReply { findings: judge(&request, &known), unheard: known.unheard })
}

fn check(request: &WhyRequest) -> Result<(), Status> {
    let WhyRequest { topic, client_id, .. } = request;
    let wrong = |key: &str, why: String| Err(Status::invalid_argument(format!("{key}: {why}")));
    if client_id.is_empty() {
        return wrong("client_id", "expected the identifier of a client".to_owned());
    }
    if topic.is_empty() || topic.contains(['+', '#']) || Text::new(topic).is_err() {
        return wrong("topic", format!("{topic:?}, expected that of a message, without + and #"));
    }
    Ok(())
}

/// What the nodes know.
async fn hear(subject: &Subject, belongs: &Belongs, request: &WhyRequest) -> Known {
    let WhyRequest { topic, client_id, publisher_id } = request.clone();
    let wanted = WhyWanted { topic, client_id, publisher_id };
    let roster = belonging(&belongs.roster.borrow());
    let questions: Vec<(NodeId, Asked)> =
        roster.keys().map(|node| (*node, Asked::Why(wanted.clone()))).collect();
    let mut known = Known::default();
    for (node, answer) in ask_each(subject, belongs, questions).await {
        match answer {
            Ok(Answered::Why(WhyFound { connections, publisher_may })) => {
                known.connections.extend(connections);
                known.publisher_may = publisher_may.or(known.publisher_may);
            }
            Ok(Answered::Refused(why)) | Err(why) => known.unheard.push(silent(&roster, node, why)),
            Ok(_) => known.unheard.push(silent(&roster, node, NONSENSE.to_owned())),
        }
    }
    known
}

fn finding(verdict: Verdict, words: impl Into<String>) -> Finding {
    Finding { verdict: verdict.into(), words: words.into(), ..Finding::default() }
}

/// The reasons, the strongest first: what holds for each message, then what was dropped, then what may be.
fn judge(request: &WhyRequest, known: &Known) -> Vec<Finding> {
    let mut findings = of_all(request, known);
    let mut losses = losses(known);
    // Those of the very topic come first.
    losses.sort_by_key(|loss| loss.last_topic != request.topic);
    findings.extend(losses);
    findings.extend(of_some(request, known));
    if findings.is_empty() {
        let waits = known.session.as_ref().map_or(0, |session| session.queued);
        let words =
            format!("nothing was dropped, as far as is known; {waits} messages wait for it or are in flight");
        findings.push(finding(Verdict::NothingFound, words));
    }
    findings
}

/// What keeps all messages of the topic from the client.
fn of_all(request: &WhyRequest, known: &Known) -> Vec<Finding> {
    let WhyRequest { topic, client_id, publisher_id } = request;
    let Known { connections, publisher_may, session, subscriptions, .. } = known;
    let mut findings = Vec::new();
    if Denied::of(topic.as_bytes()) == Some(Denied::Refused) {
        findings.push(finding(Verdict::Denied, "no client can publish to a topic of the broker's own"));
    }
    if connections.is_empty() && session.is_none() {
        findings.push(finding(
            Verdict::NotConnected,
            "it is not connected, and has no session that would keep messages for it",
        ));
        return findings;
    }
    if *publisher_may == Some(false) {
        findings.push(finding(Verdict::Denied, "no rule lets its publisher publish to the topic"));
    }
    if connections.iter().any(|connection| !connection.may_receive) {
        findings.push(finding(Verdict::Denied, "no rule lets it have messages of the topic"));
    }
    if subscriptions.is_empty() {
        let words = match session {
            Some(session) if session.subscriptions > 0 => {
                format!("none of its {} subscriptions matches the topic", session.subscriptions)
            }
            _ => "it has no subscription that matches the topic".to_owned(),
        };
        findings.push(finding(Verdict::NoRoute, words));
    } else if publisher_id == client_id && subscriptions.iter().all(|one| one.no_local) {
        findings.push(finding(
            Verdict::NoLocal,
            "it has subscribed with No Local, and published the message itself",
        ));
    }
    findings
}

/// What was dropped.
fn losses(known: &Known) -> Vec<Finding> {
    let on_the_way = known.connections.iter().flat_map(|connection| connection.losses.clone());
    let session = known.session.iter();
    let in_queue = session.flat_map(|session| {
        [(Loss::QueueFull, session.dropped_full), (Loss::Expired, session.dropped_expired)]
    });
    let in_queue = in_queue.filter(|(_, count)| *count > 0).map(|(loss, count)| {
        let (verdict, words) = of_loss(loss);
        Finding { count, ..finding(verdict, words) }
    });
    on_the_way.chain(in_queue).collect()
}

/// What keeps some messages of the topic from it, or keeps them for later.
fn of_some(request: &WhyRequest, known: &Known) -> Vec<Finding> {
    let Known { connections, session, subscriptions, .. } = known;
    let mut findings = Vec::new();
    if let Some(session) = session.as_ref().filter(|_| connections.is_empty()) {
        let waits = session.queued;
        let lost = match subscriptions.iter().map(|one| one.qos).max() {
            Some(0) => "; it has subscribed at QoS 0, and what comes meanwhile is not kept",
            _ => "; what comes meanwhile at QoS 0 is not kept",
        };
        findings.push(finding(
            Verdict::NotConnected,
            format!("it is away, and {waits} messages wait for it{lost}"),
        ));
    }
    let is_shared = |one: &Subscription| one.filter.starts_with("$share/");
    if !subscriptions.is_empty() && subscriptions.iter().all(is_shared) {
        findings.push(finding(
            Verdict::NothingFound,
            "it has subscribed in shared groups only: other members get messages in its place",
        ));
    }
    let no_local = !subscriptions.is_empty() && subscriptions.iter().all(|one| one.no_local);
    if no_local && request.publisher_id.is_empty() {
        findings.push(finding(
            Verdict::NoLocal,
            "it has subscribed with No Local: what it publishes itself does not come to it",
        ));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request() -> WhyRequest {
        WhyRequest { topic: "a".into(), client_id: "c".into(), publisher_id: String::new() }
    }

    fn subscription() -> Subscription {
        Subscription { filter: "a".into(), qos: 1, ..Subscription::default() }
    }

    fn connected() -> Known {
        let connection = WhyConnection { may_receive: true, losses: Vec::new() };
        Known { connections: vec![connection], subscriptions: vec![subscription()], ..Known::default() }
    }

    fn verdicts(request: &WhyRequest, known: &Known) -> Vec<Verdict> {
        judge(request, known).iter().map(Finding::verdict).collect()
    }

    #[test]
    fn what_holds_for_all_messages_comes_before_what_was_dropped_of_some() {
        let mut known = connected();
        assert_eq!(verdicts(&request(), &known), [Verdict::NothingFound]);
        let lost = |verdict: Verdict, last: &str| Finding {
            count: 1,
            last_topic: last.into(),
            ..finding(verdict, "")
        };
        known.connections[0].losses = vec![lost(Verdict::SlowReader, "b"), lost(Verdict::Expired, "a")];
        known.session = Some(Session { dropped_full: 3, ..Session::default() });
        let dropped = [Verdict::Expired, Verdict::SlowReader, Verdict::QueueFull];
        assert_eq!(verdicts(&request(), &known), dropped);
        known.connections[0].may_receive = false;
        known.subscriptions.clear();
        assert_eq!(verdicts(&request(), &known)[..2], [Verdict::Denied, Verdict::NoRoute]);
    }

    #[test]
    fn who_publishes_matters_for_no_local_and_for_rules() {
        let own = WhyRequest { publisher_id: "c".into(), ..request() };
        let mut known = connected();
        known.subscriptions[0].no_local = true;
        assert_eq!(verdicts(&own, &known), [Verdict::NoLocal]);
        assert_eq!(verdicts(&request(), &known), [Verdict::NoLocal]);
        let other = WhyRequest { publisher_id: "d".into(), ..request() };
        assert_eq!(verdicts(&other, &known), [Verdict::NothingFound]);
        known.subscriptions.push(subscription());
        assert_eq!(verdicts(&own, &known), [Verdict::NothingFound]);
        known.publisher_may = Some(false);
        assert_eq!(verdicts(&own, &known), [Verdict::Denied]);
    }

    #[test]
    fn who_is_away_has_a_session_or_nothing() {
        assert_eq!(verdicts(&request(), &Known::default()), [Verdict::NotConnected]);
        let session = Some(Session { queued: 4, ..Session::default() });
        let known = Known { session, subscriptions: vec![subscription()], ..Known::default() };
        let findings = judge(&request(), &known);
        assert!(findings[0].words.contains("4 messages wait"), "{findings:?}");
        assert_eq!(verdicts(&request(), &known), [Verdict::NotConnected]);
    }

    #[test]
    fn a_question_that_makes_no_sense_is_refused_by_name() {
        for (wrong, words) in [
            (WhyRequest { topic: "a/#".into(), ..request() }, "topic: \"a/#\""),
            (WhyRequest { topic: String::new(), ..request() }, "topic: \"\""),
            (WhyRequest { client_id: String::new(), ..request() }, "client_id: "),
        ] {
            let status = check(&wrong).unwrap_err();
            assert!(status.message().starts_with(words), "{status}");
        }
        assert!(check(&request()).is_ok());
    }
}
