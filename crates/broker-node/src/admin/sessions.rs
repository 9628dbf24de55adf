//! The persistent sessions: a page of those in the shards that this node leads, one of those of all shards, and the end of one.
//! Called by the service, and by `inside` for other nodes. A shard is looked at a few hundred sessions at a time.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use futures_util::future::join_all;
use session_store::{ClientId, SessionSummary};
use tokio::time::timeout;
use tonic::Status;

use super::clients;
use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{SessionsFound, SessionsOfShard, SessionsWanted};
use super::pages::{self, Ids, Key, Part, ROWS_MAX, SHARD_BYTES_MAX};
use super::proto::{ListSessionsReply, ListSessionsRequest, Presence, Session, Unheard};
use super::subject::{Belongs, Running, Subject};
use super::subscriptions::{name, unled};
use super::whole::{Patience, ask_each, belonging};
use crate::connection::{Cleared, clear};
use crate::shard::{ShardGroup, caught_up};

/// Sessions that are looked at in one turn of a shard.
const SLICE: usize = 256;
/// Sessions of a shard that are looked at for a page.
const LOOKS_MAX: usize = 65_536;
/// Rows of a shard beyond its part of a page: which client is at home where is as good as drawn.
const ROWS_BEYOND: u32 = 32;
/// How long the end of a session may take.
const DELETE_WITHIN: Duration = Duration::from_secs(20);

/// Which sessions are wanted.
#[derive(Debug)]
struct Filter {
    ids: Ids,
    presence: Presence,
    queued_min: u64,
}

impl Filter {
    /// What a request says.
    ///
    /// # Errors
    /// It makes no sense.
    fn of(request: &ListSessionsRequest) -> Result<Self, String> {
        let ids = Ids::of(&request.client_id, &request.client_id_prefix)?;
        Ok(Self { ids, presence: request.presence(), queued_min: request.queued_min })
    }

    fn wants(&self, session: &SessionSummary) -> bool {
        let presence = match self.presence {
            Presence::Unspecified => true,
            Presence::Connected => session.connection.is_some(),
            Presence::Absent => session.connection.is_none(),
        };
        presence && session.queued as u64 >= self.queued_min
    }
}

/// A page of one shard, as its sessions are taken from it.
struct Taking<'a> {
    filter: &'a Filter,
    most: usize,
    found: Vec<SessionSummary>,
    bytes: usize,
    looks: usize,
}

/// What follows from a part of a shard.
#[derive(Debug, PartialEq, Eq)]
enum Then {
    /// There may be more behind the last one.
    GoOn,
    /// The page is full, or enough was looked at; there may be more.
    Full,
    /// There is no more.
    Over,
}

impl Taking<'_> {
    /// Takes what is wanted of a part; says what comes then, and where the part ends.
    fn take(&mut self, part: Vec<SessionSummary>, at: &mut Option<ClientId>) -> Then {
        let is_last = part.len() < SLICE;
        for session in part {
            if self.filter.ids.is_past(session.client.as_str()) {
                return Then::Over;
            }
            *at = Some(session.client.clone());
            self.looks += 1;
            if self.filter.wants(&session) {
                self.bytes += session.client.as_str().len() + size_of::<Session>();
                self.found.push(session);
            }
            if self.found.len() >= self.most || self.bytes >= SHARD_BYTES_MAX || self.looks >= LOOKS_MAX {
                return Then::Full;
            }
        }
        if is_last { Then::Over } else { Then::GoOn }
    }
}

/// The sessions of a shard that are wanted, and behind which client there may be more; `None` where this node does not lead it.
async fn page(
    group: &ShardGroup,
    filter: &Filter,
    (behind, most): (Option<ClientId>, usize),
) -> Option<(Vec<SessionSummary>, Option<ClientId>)> {
    caught_up(group).await?;
    let first = ClientId::new(filter.ids.first());
    let mut at = behind.filter(|behind| *behind >= first);
    let mut taking = Taking { filter, most, found: Vec::new(), bytes: 0, looks: 0 };
    loop {
        let (from, first) = (at.clone(), first.clone());
        let part = group.look_now(move |state| {
            let from =
                from.as_ref().map_or(Bound::Included(first.as_str()), |at| Bound::Excluded(at.as_str()));
            state.machine().sessions_from(from, SLICE)
        });
        match taking.take(part.await.ok()?, &mut at) {
            Then::GoOn => tokio::task::yield_now().await,
            Then::Full => return Some((taking.found, at)),
            Then::Over => return Some((taking.found, None)),
        }
    }
}

impl Subject {
    /// A page of the sessions in each shard that this node leads.
    ///
    /// # Errors
    /// It starts, or what is wanted makes no sense.
    pub(super) async fn sessions(&self, wanted: SessionsWanted) -> Result<SessionsFound, String> {
        let (Some(belongs), Some(running)) = (self.belongs(), self.running()) else {
            return Err("the node starts".to_owned());
        };
        let SessionsWanted { behind, most, filters } = wanted;
        let filter = &Filter::of(&filters.unwrap_or_default())?;
        let home = filter.ids.only().map(|id| running.node.shards.home_of_client(&ClientId::new(id)));
        let behind = behind.map(|client| ClientId::new(&client));
        let from = || (behind.clone(), most.min(ROWS_MAX) as usize);
        let groups = (0..).zip(running.node.shards.groups());
        let asked =
            groups.filter(|(shard, _)| home.is_none_or(|home| home == *shard)).map(async |(shard, group)| {
                let leadership = group.leadership().now();
                if leadership.leader != Some(belongs.me.0.into()) {
                    return None;
                }
                let (found, next) = page(&group, filter, from()).await?;
                let sessions = found.into_iter().map(|session| row(belongs, (shard, session))).collect();
                let next = next.map(|client| client.as_str().to_owned());
                Some(SessionsOfShard { shard: shard.into(), term: leadership.term, sessions, next })
            });
        Ok(SessionsFound { shards: join_all(asked).await.into_iter().flatten().collect() })
    }
}

fn row(belongs: &Belongs, (shard, session): (u16, SessionSummary)) -> Session {
    let absent_since = session.absent_since();
    let node = session.connection.map(|connection| name(belongs, connection));
    Session {
        client_id: session.client.as_str().to_owned(),
        shard: shard.into(),
        node: node.unwrap_or_default(),
        queued: session.queued as u64,
        queued_bytes: session.queued_bytes as u64,
        in_flight: session.in_flight,
        subscriptions: u32::try_from(session.subscriptions).unwrap_or(u32::MAX),
        expiry_s: session.expiry_s,
        absent_since_ms: absent_since.map_or(0, |at| at.0),
        ends_at_ms: session.ends_at.map_or(0, |at| at.0),
        dropped_full: session.lost.queue_full,
        dropped_expired: session.lost.expired,
    }
}

/// Of each shard what the latest of its leaders says.
fn latest(answers: Vec<SessionsOfShard>) -> BTreeMap<u32, SessionsOfShard> {
    let mut latest: BTreeMap<u32, SessionsOfShard> = BTreeMap::new();
    for answer in answers {
        match latest.get(&answer.shard) {
            Some(known) if known.term >= answer.term => {}
            _ => drop(latest.insert(answer.shard, answer)),
        }
    }
    latest
}

fn part(of: SessionsOfShard) -> Part<Session> {
    let key = |client_id: String| Key { client_id, ..Key::default() };
    let rows = of.sessions.into_iter().map(|session| (key(session.client_id.clone()), session)).collect();
    Part { rows, next: of.next.map(key) }
}

/// A page of the sessions of all shards.
///
/// # Errors
/// What is asked for makes no sense.
pub(super) async fn list(
    subject: &Subject,
    belongs: &Belongs,
    request: ListSessionsRequest,
) -> Result<ListSessionsReply, Status> {
    let (most, from) = pages::asked(request.page.as_ref())?;
    let filter = Filter::of(&request).map_err(Status::invalid_argument)?;
    let running = started(subject)?;
    let shards: BTreeSet<u16> = match filter.ids.only() {
        Some(id) => [running.node.shards.home_of_client(&ClientId::new(id))].into(),
        None => (0..belongs.shards).collect(),
    };
    let each = most / u32::from(belongs.shards.max(1)) * 3 / 2 + ROWS_BEYOND;
    let wanted = SessionsWanted {
        behind: from.map(|key| key.client_id),
        most: each.min(most),
        filters: Some(ListSessionsRequest { page: None, ..request }),
    };
    let are_heard = |answers: &BTreeMap<u32, SessionsOfShard>| {
        shards.iter().all(|shard| answers.contains_key(&u32::from(*shard)))
    };
    let patience = Patience::new();
    let answers = loop {
        let answers = ask_leaders(subject, belongs, &wanted).await;
        if are_heard(&answers) || !patience.again().await {
            break answers;
        }
    };
    let missing = shards.into_iter().map(u32::from).filter(|shard| !answers.contains_key(shard));
    let unheard = missing.map(unled).collect();
    let (sessions, next) = pages::merge(answers.into_values().map(part).collect(), most);
    Ok(ListSessionsReply { sessions, next: pages::token(next), unheard })
}

/// What the leaders of all shards say. Whoever leads something and does not answer is missed by its shards.
async fn ask_leaders(
    subject: &Subject,
    belongs: &Belongs,
    wanted: &SessionsWanted,
) -> BTreeMap<u32, SessionsOfShard> {
    let roster = belonging(&belongs.roster.borrow());
    let questions = roster.keys().map(|node| (*node, Asked::Sessions(wanted.clone()))).collect();
    let mut answers = Vec::new();
    for (_, answer) in ask_each(subject, belongs, questions).await {
        if let Ok(Answered::Sessions(SessionsFound { shards })) = answer {
            answers.extend(shards);
        }
    }
    latest(answers)
}

/// What the node has once it has its shards.
pub(super) fn started(subject: &Subject) -> Result<&Running, Status> {
    subject.running().ok_or_else(|| Status::unavailable("the node starts"))
}

/// Ends a session: its client is made to go, and whoever connects as it finds nothing.
///
/// # Errors
/// There is none, or it is not known; or it was not done in time.
pub(super) async fn delete(subject: &Subject, belongs: &Belongs, client: &str) -> Result<(), Status> {
    let node = &started(subject)?.node;
    if client.is_empty() {
        return Err(Status::invalid_argument("client_id: expected the identifier of a client"));
    }
    let only = ListSessionsRequest { client_id: client.to_owned(), ..ListSessionsRequest::default() };
    let ListSessionsReply { sessions, unheard, .. } = list(subject, belongs, only).await?;
    if let Some(Unheard { shard: Some(shard), why, .. }) = unheard.into_iter().next() {
        return Err(Status::unavailable(format!("the session's home is shard {shard}: {why}")));
    }
    let Some(session) = sessions.into_iter().next() else {
        return Err(Status::not_found(format!("client {client:?} has no persistent session")));
    };
    if !session.node.is_empty() {
        // With a reason code that says so. Who has gone meanwhile, or comes back, is no reason to let the session be.
        let _gone = clients::kick(subject, belongs, client).await;
    }
    // Of its own: what is begun is brought to its end, whoever waits for it.
    let clearing = tokio::spawn(clear(std::sync::Arc::clone(node), ClientId::new(client)));
    match timeout(DELETE_WITHIN, clearing).await {
        Ok(Ok(Cleared::Done)) => Ok(()),
        Ok(Ok(Cleared::Overtaken)) => {
            Err(Status::aborted("the client comes back again and again: try again, or ban it"))
        }
        Ok(Err(_)) => Err(Status::unavailable("the node stops")),
        Err(_elapsed) => {
            Err(Status::deadline_exceeded("the session's home does not answer: it may be ended yet"))
        }
    }
}

#[cfg(test)]
mod tests {
    use session_store::outbound::Lost;

    use super::*;

    fn summary(client: &str, queued: usize) -> SessionSummary {
        SessionSummary {
            client: ClientId::new(client),
            connection: None,
            expiry_s: 9,
            ends_at: None,
            subscriptions: 0,
            queued,
            queued_bytes: 0,
            in_flight: 0,
            lost: Lost::default(),
        }
    }

    fn taken(
        filter: &Filter,
        most: usize,
        parts: Vec<Vec<SessionSummary>>,
    ) -> (Vec<String>, Then, Option<ClientId>) {
        let mut taking = Taking { filter, most, found: Vec::new(), bytes: 0, looks: 0 };
        let (mut at, mut then) = (None, Then::GoOn);
        for part in parts {
            assert_eq!(then, Then::GoOn);
            then = taking.take(part, &mut at);
        }
        (taking.found.iter().map(|one| one.client.as_str().to_owned()).collect(), then, at)
    }

    fn many(name: &str, queued: usize) -> Vec<SessionSummary> {
        (0..SLICE).map(|at| summary(&format!("{name}-{at:03}"), queued)).collect()
    }

    #[test]
    fn a_page_ends_where_it_is_full_or_there_is_no_more() {
        let all = Filter::of(&ListSessionsRequest::default()).unwrap();
        let (found, then, at) = taken(&all, 300, vec![many("a", 0), many("b", 0)]);
        assert_eq!((found.len(), then, at), (300, Then::Full, Some(ClientId::new("b-043"))));
        let (found, then, _) = taken(&all, 1_000, vec![many("a", 0), vec![summary("b", 0)]]);
        assert_eq!((found.len(), then), (SLICE + 1, Then::Over));
        let prefix =
            ListSessionsRequest { client_id_prefix: "a-00".into(), ..ListSessionsRequest::default() };
        let (found, then, _) = taken(&Filter::of(&prefix).unwrap(), 1_000, vec![many("a", 0)]);
        assert_eq!((found.len(), then), (10, Then::Over));
    }

    #[test]
    fn looking_in_vain_ends_a_page_too() {
        let long = ListSessionsRequest { queued_min: 5, ..ListSessionsRequest::default() };
        let filter = Filter::of(&long).unwrap();
        let parts = (0..LOOKS_MAX / SLICE).map(|at| many(&format!("{at:04}"), 4)).collect();
        let (found, then, at) = taken(&filter, 10, parts);
        assert_eq!((found.len(), then), (0, Then::Full));
        assert!(at.is_some());
        let (found, ..) = taken(&filter, 10, vec![many("a", 5)]);
        assert_eq!(found.len(), 10);
    }

    #[test]
    fn of_two_who_say_that_they_lead_the_later_one_counts() {
        let of = |shard, term| SessionsOfShard { shard, term, ..SessionsOfShard::default() };
        let latest = latest(vec![of(1, 4), of(0, 9), of(1, 7), of(1, 5)]);
        assert_eq!(latest.values().map(|one| (one.shard, one.term)).collect::<Vec<_>>(), [(0, 9), (1, 7)]);
    }
}
