//! Who waits for something that a login needs, a hash or an answer: a bounded number, in all and from one address, so that a flood
//! of CONNECTs takes neither the memory nor the turns of others. Used by `hasher` and `hook`.

use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use parking_lot::Mutex;

/// Logins that may wait or be served.
const WAITING_MAX: usize = 1_024;
/// Those of them that come from one address; an IPv6 network of 64 bits is one.
const WAITING_PER_ADDRESS_MAX: usize = 256;

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// Those who wait.
#[derive(Debug, Default)]
pub(super) struct Queue(Arc<Mutex<Waiting>>);

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    /// `None` are those on this machine without an address.
    by_address: HashMap<Option<IpAddr>, usize>,
}

/// A place among those who wait; given back when it is dropped.
pub(super) struct Place {
    waiting: Arc<Mutex<Waiting>>,
    address: Option<IpAddr>,
}

impl Queue {
    /// A place for somebody from an address.
    ///
    /// # Errors
    /// Too many others wait, in all or from there.
    pub(super) fn enter(&self, address: Option<IpAddr>) -> Result<Place, Busy> {
        let address = address.map(network_of);
        let mut waiting = self.0.lock();
        let here = waiting.by_address.get(&address).copied().unwrap_or(0);
        if waiting.all >= WAITING_MAX || here >= WAITING_PER_ADDRESS_MAX {
            return Err(Busy);
        }
        waiting.all += 1;
        waiting.by_address.insert(address, here + 1);
        Ok(Place { waiting: Arc::clone(&self.0), address })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut waiting = self.waiting.lock();
        waiting.all -= 1;
        let left = waiting.by_address.get(&self.address).map_or(0, |here| here - 1);
        if left == 0 {
            waiting.by_address.remove(&self.address);
        } else {
            waiting.by_address.insert(self.address, left);
        }
    }
}

/// What counts as one address: whoever has an IPv6 address has all of its network.
pub(crate) fn network_of(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6((u128::from(v6) & !u128::from(u64::MAX)).into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn those_who_wait_are_bounded_in_all_and_by_address() {
        let queue = Queue::default();
        let flood = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        let mut places: Vec<Place> = Vec::new();
        for n in 0..4 {
            places.extend((0..WAITING_PER_ADDRESS_MAX).map(|_| queue.enter(flood(n)).unwrap()));
            assert!(n == 3 || queue.enter(flood(n)).is_err(), "one address has its share");
        }
        assert_eq!(places.len(), WAITING_MAX);
        assert!(queue.enter(flood(9)).is_err(), "and all have theirs");
        places.pop();
        assert!(queue.enter(flood(9)).is_ok());
        drop(places);
        let waiting = queue.0.lock();
        assert_eq!((waiting.all, waiting.by_address.len()), (0, 0));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(network_of(a), network_of(b));
        assert_ne!(network_of(a), network_of(c));
    }
}
