//! How many clients of one address and of one user are connected to this node. Asked when a CONNECT is accepted, before its session is
//! touched; what was taken is given back when it is dropped, however the connection ends.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;
use session_store::ClientId;

use crate::access::{Principal, network_of};
use crate::config::LimitSettings;

/// Whose clients are counted together.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Whose {
    /// Those of an address; of IPv6 those of its network.
    Address(IpAddr),
    /// Those of a user.
    User(Arc<str>),
}

/// Of what there is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Full {
    /// The address has as many clients as one may have.
    Address,
    /// The user has.
    User,
}

/// The clients that are connected, where there is a limit.
#[derive(Debug)]
pub(crate) struct Places {
    per_address_max: u32,
    per_user_max: u32,
    taken: Arc<Mutex<Taken>>,
}

/// A client identifier counts once, however many connections it has: the one that takes a client over needs no place of its own while the
/// old one is still there.
#[derive(Debug, Default)]
struct Taken {
    clients: HashMap<Whose, HashMap<ClientId, u32>>,
}

/// The place of one connection; given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Place {
    taken: Arc<Mutex<Taken>>,
    client: ClientId,
    of: Vec<Whose>,
}

impl Places {
    /// Under these limits.
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        Self {
            per_address_max: limits.connections_per_address_max,
            per_user_max: limits.connections_per_user_max,
            taken: Arc::default(),
        }
    }

    /// Takes a place for a connection of a client. `None` where nobody counts it: there is no limit, or it has neither an address
    /// nor a name that it has shown.
    ///
    /// # Errors
    /// Too many others are there; nothing was taken then.
    pub(crate) fn take(&self, who: &Principal, client: &ClientId) -> Result<Option<Box<Place>>, Full> {
        let address = who.address.filter(|_| self.per_address_max > 0);
        let address = address.map(|address| Whose::Address(network_of(address.to_canonical())));
        let user = who.user.as_deref().filter(|_| self.per_user_max > 0).map(|user| Whose::User(user.into()));
        if address.is_none() && user.is_none() {
            return Ok(None);
        }
        let mut taken = self.taken.lock();
        if address.as_ref().is_some_and(|address| !taken.has_room(address, client, self.per_address_max)) {
            return Err(Full::Address);
        }
        if user.as_ref().is_some_and(|user| !taken.has_room(user, client, self.per_user_max)) {
            return Err(Full::User);
        }
        let of: Vec<Whose> = address.into_iter().chain(user).collect();
        of.iter().for_each(|whose| taken.add(whose, client));
        drop(taken);
        Ok(Some(Box::new(Place { taken: Arc::clone(&self.taken), client: client.clone(), of })))
    }
}

impl Taken {
    fn has_room(&self, whose: &Whose, client: &ClientId, max: u32) -> bool {
        let Some(clients) = self.clients.get(whose) else { return true };
        clients.contains_key(client) || clients.len() < usize::try_from(max).unwrap_or(usize::MAX)
    }

    fn add(&mut self, whose: &Whose, client: &ClientId) {
        *self.clients.entry(whose.clone()).or_default().entry(client.clone()).or_default() += 1;
    }

    fn remove(&mut self, whose: &Whose, client: &ClientId) {
        let Some(clients) = self.clients.get_mut(whose) else { return };
        if let Some(connections) = clients.get_mut(client) {
            *connections -= 1;
            if *connections == 0 {
                clients.remove(client);
            }
        }
        if clients.is_empty() {
            self.clients.remove(whose);
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut taken = self.taken.lock();
        self.of.iter().for_each(|whose| taken.remove(whose, &self.client));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::listener::Peer;

    fn places(per_address_max: u32, per_user_max: u32) -> Places {
        Places::new(&LimitSettings {
            connections_per_address_max: per_address_max,
            connections_per_user_max: per_user_max,
            ..LimitSettings::default()
        })
    }

    fn who(address: &str, user: Option<&str>) -> Principal {
        let address = format!("{address}:1883").parse().map(Peer::Ip).unwrap();
        let mut who = Principal::at(address);
        who.user = user.map(Into::into);
        who
    }

    fn take(places: &Places, who: &Principal, client: &str) -> Result<Option<Box<Place>>, Full> {
        places.take(who, &ClientId::new(client))
    }

    #[test]
    fn so_many_clients_of_an_address_and_of_a_user_have_a_place() {
        let places = places(3, 2);
        let (ann, bob) = (who("192.0.2.1", Some("ann")), who("192.0.2.1", Some("bob")));
        let mut held = vec![take(&places, &ann, "a").unwrap(), take(&places, &ann, "b").unwrap()];
        assert_eq!(take(&places, &ann, "c").unwrap_err(), Full::User);
        held.push(take(&places, &bob, "d").unwrap());
        assert_eq!(take(&places, &bob, "e").unwrap_err(), Full::Address);
        let elsewhere = who("192.0.2.2", Some("bob"));
        held.push(take(&places, &elsewhere, "e").unwrap());
        assert_eq!(take(&places, &elsewhere, "f").unwrap_err(), Full::User, "wherever it comes from");
        assert!(
            take(&places, &who("192.0.2.2", None), "f").is_ok(),
            "who has no name has none to be counted by"
        );
        held.clear();
        assert!(places.taken.lock().clients.is_empty(), "nothing is left of those who went");
        let again: Vec<_> = ["x", "y"].map(|id| take(&places, &ann, id).unwrap()).into();
        assert_eq!(again.len(), 2);
    }

    #[test]
    fn who_takes_its_own_client_over_needs_no_second_place() {
        let places = places(1, 1);
        let ann = who("192.0.2.1", Some("ann"));
        let old = take(&places, &ann, "a").unwrap();
        let new = take(&places, &ann, "a").unwrap();
        assert_eq!(take(&places, &ann, "b").unwrap_err(), Full::Address);
        drop(old);
        assert_eq!(take(&places, &ann, "b").unwrap_err(), Full::Address, "the new one has it now");
        drop(new);
        let moved = take(&places, &ann, "b").unwrap();
        let roams = who("[2001:db8::1]", Some("ann"));
        assert!(take(&places, &roams, "b").is_ok(), "from another address, too");
        assert_eq!(take(&places, &roams, "c").unwrap_err(), Full::User);
        drop(moved);
        assert!(places.taken.lock().clients.is_empty());
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address_and_without_a_limit_nothing_is_kept() {
        let places_of_one = places(1, 0);
        let _held = take(&places_of_one, &who("[2001:db8::1]", None), "a").unwrap();
        assert_eq!(take(&places_of_one, &who("[2001:db8::2]", None), "b").unwrap_err(), Full::Address);
        assert!(take(&places_of_one, &who("[2001:db8:0:1::2]", None), "b").is_ok());
        assert!(take(&places_of_one, &Principal::at(Peer::Unix), "b").unwrap().is_none());
        let open = places(0, 0);
        let all = (0..100).map(|id| take(&open, &who("192.0.2.1", Some("ann")), &id.to_string()));
        assert!(all.map(Result::unwrap).all(|place| place.is_none()));
    }
}
