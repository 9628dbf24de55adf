//! The clients that are connected: a page of those of this node, one of those of all nodes, and how one is made to go. Called by
//! the service, and by `inside` for other nodes.

use std::cmp::Ordering;
use std::net::IpAddr;

use ipnet::IpNet;
use prost::Message;
use raft_consensus::cluster::Roster;
use session_store::{ClientId, NodeId};
use tonic::Status;

use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{ClientFound, ClientsFound, ClientsWanted, Kick, Kicked, Place};
use super::pages::{self, BYTES_MAX, Ids, Key, Part, ROWS_MAX};
use super::proto::{Client, KickReply, ListClientsReply, ListClientsRequest, Unheard};
use super::service::find;
use super::subject::{Belongs, Subject};
use super::whole::{NONSENSE, ask_each, belonging};
use crate::listener::Peer;
use crate::roll::{self, Card, Roll};

/// Cards that are taken from the roll at a time: nobody connects meanwhile.
const SLICE: usize = 256;
/// Cards that a node looks at for a page.
const LOOKS_MAX: usize = 65_536;

/// Which clients are wanted.
#[derive(Debug)]
struct Filter {
    ids: Ids,
    user: Option<Box<str>>,
    network: Option<IpNet>,
}

impl Filter {
    /// What a request says.
    ///
    /// # Errors
    /// It makes no sense.
    fn of(request: &ListClientsRequest) -> Result<Self, String> {
        let ListClientsRequest { client_id, client_id_prefix, user, address, .. } = request;
        let ids = Ids::of(client_id, client_id_prefix)?;
        let one = || Some(IpNet::from(address.parse::<IpAddr>().ok()?.to_canonical()));
        let network = || address.parse().ok().or_else(one);
        let wrong =
            || format!("address: expected an address or a network such as 10.0.0.0/8, found {address:?}");
        let network = if address.is_empty() { None } else { Some(network().ok_or_else(wrong)?) };
        let user = Some(user.as_str()).filter(|user| !user.is_empty()).map(Into::into);
        Ok(Self { ids, user, network })
    }

    fn wants(&self, card: &Card) -> bool {
        let network = self.network.is_none_or(|network| match card.peer {
            Peer::Ip(address) => network.contains(&address.ip().to_canonical()),
            Peer::Unix => false,
        });
        network && (self.user.is_none() || self.user == card.user)
    }

    /// Where to begin for what comes behind a place.
    fn begin(&self, behind: Option<Place>) -> Option<roll::Place> {
        let behind = behind.map(|place| (ClientId::new(&place.client_id), place.number));
        behind.max(Some((ClientId::new(self.ids.first()), 0)))
    }
}

/// A page of those that are wanted on this node, as the node of this name, and behind which place there may be more.
async fn page(
    roll: &Roll,
    filter: &Filter,
    (behind, most): (Option<Place>, u32),
    node: &str,
) -> ClientsFound {
    let mut at = filter.begin(behind);
    let (mut found, mut bytes, mut looks) = (Vec::new(), 0, 0);
    loop {
        let cards = roll.behind(at.as_ref(), SLICE);
        let is_last = cards.len() < SLICE;
        for card in cards {
            if filter.ids.is_past(card.id.as_str()) {
                return ClientsFound { found, next: None };
            }
            let here = card.place();
            let client_id = here.0.as_str().to_owned();
            let place = Place { client_id, number: here.1, ..Place::default() };
            if filter.wants(&card) {
                let client = row(&card, node);
                bytes += client.encoded_len();
                found.push(ClientFound { at: Some(place.clone()), client: Some(client) });
            }
            looks += 1;
            if found.len() >= most as usize || bytes >= BYTES_MAX || looks >= LOOKS_MAX {
                return ClientsFound { found, next: Some(place) };
            }
            at = Some(here);
        }
        if is_last {
            return ClientsFound { found, next: None };
        }
        tokio::task::yield_now().await;
    }
}

fn row(card: &Card, node: &str) -> Client {
    let in_flight = u32::from(card.receive_maximum).saturating_sub(card.inbox.room());
    Client {
        client_id: card.id.as_str().to_owned(),
        user: card.user.as_deref().unwrap_or_default().to_owned(),
        node: node.to_owned(),
        address: card.peer.to_string(),
        listener: card.listener.name.clone(),
        protocol: card.protocol.as_str().to_owned(),
        mqtt: card.version.to_string(),
        persistent: card.persistent,
        expiry_s: card.expiry_s,
        keep_alive_s: card.keep_alive_s.into(),
        connected_at_ms: card.since.0,
        in_flight,
        queued: card.inbox.load(),
    }
}

impl Subject {
    /// A page of the clients of this node.
    ///
    /// # Errors
    /// It starts, or what is wanted makes no sense.
    pub(super) async fn clients(&self, wanted: ClientsWanted) -> Result<ClientsFound, String> {
        let running = self.running().ok_or("the node starts")?;
        let ClientsWanted { behind, most, filters } = wanted;
        let filter = Filter::of(&filters.unwrap_or_default())?;
        Ok(page(&running.node.roll, &filter, (behind, most.min(ROWS_MAX)), self.name()).await)
    }

    /// Ends the connection of a client, if it is connected here.
    ///
    /// # Errors
    /// The node starts.
    pub(super) fn kick(&self, client: &str) -> Result<Kicked, String> {
        let running = self.running().ok_or("the node starts")?;
        let cards = running.node.roll.of(&ClientId::new(client));
        cards.iter().for_each(|card| card.kick());
        Ok(Kicked { connections: u32::try_from(cards.len()).unwrap_or(u32::MAX) })
    }
}

/// Where a node begins for what comes behind a place of the whole list, in which the nodes of one client come by their numbers.
fn behind(from: Option<&Key>, node: NodeId) -> Option<Place> {
    let Key { client_id, source, number, .. } = from?.clone();
    let number = match node.0.cmp(&source) {
        Ordering::Less => u64::MAX,
        Ordering::Equal => number,
        Ordering::Greater => 0,
    };
    Some(Place { client_id, number, ..Place::default() })
}

/// What a node has of a page.
fn part(node: NodeId, ClientsFound { found, next }: ClientsFound) -> Part<Client> {
    let key = |place: Place| Key { source: node.0, ..Key::from(place) };
    let rows = found.into_iter().filter_map(|one| Some((key(one.at?), one.client?)));
    Part { rows: rows.collect(), next: next.map(key) }
}

/// A page of the clients of all nodes.
///
/// # Errors
/// What is asked for makes no sense, or names a node that there is not.
pub(super) async fn list(
    subject: &Subject,
    belongs: &Belongs,
    request: ListClientsRequest,
) -> Result<ListClientsReply, Status> {
    let (most, from) = pages::asked(request.page.as_ref())?;
    Filter::of(&request).map_err(Status::invalid_argument)?;
    let mut roster = belonging(&belongs.roster.borrow());
    if !request.node.is_empty() {
        let only = find(&roster, &request.node)?;
        roster.retain(|node, _| *node == only);
    }
    let filters = ListClientsRequest { page: None, ..request };
    let wanted = |node: &NodeId| ClientsWanted {
        behind: behind(from.as_ref(), *node),
        most,
        filters: Some(filters.clone()),
    };
    let questions = roster.keys().map(|node| (*node, Asked::Clients(wanted(node)))).collect();
    let (mut parts, mut unheard) = (Vec::new(), Vec::new());
    for (node, answer) in ask_each(subject, belongs, questions).await {
        match answer {
            Ok(Answered::Clients(found)) => parts.push(part(node, found)),
            Ok(Answered::Refused(why)) | Err(why) => unheard.push(silent(&roster, node, why)),
            Ok(_) => unheard.push(silent(&roster, node, NONSENSE.to_owned())),
        }
    }
    let (clients, next) = pages::merge(parts, most);
    Ok(ListClientsReply { clients, next: pages::token(next), unheard })
}

/// A node that is not heard.
pub(super) fn silent(roster: &Roster, node: NodeId, why: String) -> Unheard {
    let name = roster.get(&node).map(|member| member.name.to_string()).unwrap_or_default();
    Unheard { node: name, shard: None, why }
}

/// Ends the connection of a client, wherever it is.
///
/// # Errors
/// Nobody has it.
pub(super) async fn kick(subject: &Subject, belongs: &Belongs, client: &str) -> Result<KickReply, Status> {
    let roster = belonging(&belongs.roster.borrow());
    let question = || Asked::Kick(Kick { client_id: client.to_owned() });
    let questions = roster.keys().map(|node| (*node, question())).collect();
    let (mut nodes, mut unheard) = (Vec::new(), Vec::new());
    for (node, answer) in ask_each(subject, belongs, questions).await {
        let Unheard { node: name, .. } = silent(&roster, node, String::new());
        match answer {
            Ok(Answered::Kicked(Kicked { connections: 0 })) => {}
            Ok(Answered::Kicked(_)) => nodes.push(name),
            Ok(_) | Err(_) => unheard.push(name),
        }
    }
    match (nodes.is_empty(), unheard.is_empty()) {
        (false, _) => Ok(KickReply { nodes }),
        (true, true) => Err(Status::not_found(format!("no client {client:?} is connected"))),
        (true, false) => Err(Status::unavailable(format!(
            "no client {client:?} is connected to the nodes that answer; these do not: {}",
            unheard.join(", ")
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::roll::Entry;

    fn roll() -> (Roll, Vec<Entry>) {
        let roll = Roll::default();
        let entries = (0..1_000).map(|at| {
            let user = if at % 100 == 0 { Some("ann") } else { None };
            roll.enter(Card::test(&format!("c-{at:03}"), at + 1, user, &format!("10.0.{}.7:1883", at % 4)))
        });
        let entries = entries.collect();
        (roll, entries)
    }

    fn filter(change: impl FnOnce(&mut ListClientsRequest)) -> Filter {
        let mut request = ListClientsRequest::default();
        change(&mut request);
        Filter::of(&request).unwrap()
    }

    /// All pages, by the identifiers of each.
    async fn pages(filter: &Filter, most: u32) -> Vec<Vec<String>> {
        let (roll, _entries) = roll();
        let (mut pages, mut from) = (Vec::new(), None);
        loop {
            let ClientsFound { found, next } = page(&roll, filter, (from, most), "n").await;
            pages.push(found.into_iter().map(|one| one.client.unwrap().client_id).collect());
            from = next;
            if from.is_none() {
                return pages;
            }
        }
    }

    #[tokio::test]
    async fn all_pages_together_have_each_client_once_in_order() {
        let expected: Vec<String> = (0..1_000).map(|at| format!("c-{at:03}")).collect();
        for most in [1, 7, 255, 256, 257, 1_000] {
            let found = pages(&filter(|_| {}), most).await;
            assert!(found.iter().all(|page| page.len() <= most as usize));
            assert_eq!(found.concat(), expected, "{most}");
        }
    }

    #[tokio::test]
    async fn a_client_is_found_by_what_is_known_of_it() {
        let found = pages(&filter(|of| of.client_id_prefix = "c-01".into()), 100).await;
        assert_eq!(found, [(10..20).map(|at| format!("c-{at:03}")).collect::<Vec<_>>()]);
        let found = pages(&filter(|of| of.client_id = "c-01".into()), 100).await;
        assert_eq!(found.concat(), [""; 0]);
        let found = pages(&filter(|of| of.client_id = "c-017".into()), 100).await;
        assert_eq!(found.concat(), ["c-017"]);
        let found = pages(&filter(|of| of.user = "ann".into()), 100).await.concat();
        assert_eq!((found.len(), found[1].as_str()), (10, "c-100"));
        for (address, count) in
            [("10.0.1.7", 250), ("10.0.0.0/23", 500), ("::ffff:10.0.1.7", 250), ("10.1.0.0/16", 0)]
        {
            let found = pages(&filter(|of| of.address = address.into()), 1_000).await;
            assert_eq!(found.concat().len(), count, "{address}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_named() {
        let wrong = |change: fn(&mut ListClientsRequest)| {
            let mut request = ListClientsRequest::default();
            change(&mut request);
            Filter::of(&request).unwrap_err()
        };
        assert!(wrong(|of| of.address = "10.0.0".into()).contains("address: expected"));
        let both = wrong(|of| (of.client_id, of.client_id_prefix) = ("a".into(), "b".into()));
        assert!(both.contains("client_id_prefix"));
    }

    #[test]
    fn nodes_go_on_behind_the_same_place() {
        let from = Key { client_id: "c".into(), source: 2, number: 7, ..Key::default() };
        let at = |node| behind(Some(&from), NodeId(node)).map(|place| place.number);
        assert_eq!((at(1), at(2), at(3)), (Some(u64::MAX), Some(7), Some(0)));
        assert_eq!(behind(None, NodeId(1)), None);
    }
}
