//! Computes password hashes beside the threads that serve connections: few at a time, with a bounded number of logins
//! that wait, so that a flood of CONNECTs takes neither the cores nor the memory of those who are connected.
//! Asked by `Access`; knows no users.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use hashbrown::HashMap;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::hash::PasswordHash;

/// Logins that may wait for a hash or have one computed.
const WAITING_MAX: usize = 1_024;
/// Those of them that come from one address; an IPv6 network of 64 bits is one.
const WAITING_PER_ADDRESS_MAX: usize = 256;

/// Too many wait already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Busy;

/// The bounds of what is computed.
#[derive(Debug)]
pub(crate) struct Hasher {
    /// Half of the cores, at least one.
    threads: Arc<Semaphore>,
    waiting: Arc<Mutex<Waiting>>,
}

#[derive(Debug, Default)]
struct Waiting {
    all: usize,
    /// `None` are those on this machine without an address.
    by_address: HashMap<Option<IpAddr>, usize>,
}

/// A place among those who wait; given back when it is dropped.
struct Place {
    waiting: Arc<Mutex<Waiting>>,
    address: Option<IpAddr>,
}

impl Hasher {
    /// One that computes nothing yet.
    pub(crate) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2);
        Self { threads: Arc::new(Semaphore::new(threads)), waiting: Arc::default() }
    }

    /// Whether a hash is that of a password. The computation goes on when nobody waits for it any more.
    ///
    /// # Errors
    /// Too many others wait, in all or from this address.
    pub(crate) async fn verify(
        &self,
        hash: PasswordHash,
        password: Zeroizing<Vec<u8>>,
        address: Option<IpAddr>,
    ) -> Result<bool, Busy> {
        let place = self.place(address.map(network_of)).ok_or(Busy)?;
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else { return Err(Busy) };
        let verified = spawn_blocking(move || {
            let verified = hash.verify(&password);
            drop((permit, place));
            verified
        });
        // A computation that panicked has verified nothing.
        Ok(verified.await.unwrap_or(false))
    }

    fn place(&self, address: Option<IpAddr>) -> Option<Place> {
        let mut waiting = self.waiting.lock();
        let here = waiting.by_address.get(&address).copied().unwrap_or(0);
        if waiting.all >= WAITING_MAX || here >= WAITING_PER_ADDRESS_MAX {
            return None;
        }
        waiting.all += 1;
        waiting.by_address.insert(address, here + 1);
        Some(Place { waiting: Arc::clone(&self.waiting), address })
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
        let hasher = Hasher::new();
        let flood = |n: u8| Some(IpAddr::from([192, 0, 2, n]));
        let mut places: Vec<Place> = Vec::new();
        for n in 0..4 {
            places.extend((0..WAITING_PER_ADDRESS_MAX).map(|_| hasher.place(flood(n)).unwrap()));
            assert!(n == 3 || hasher.place(flood(n)).is_none(), "one address has its share");
        }
        assert_eq!(places.len(), WAITING_MAX);
        assert!(hasher.place(flood(9)).is_none(), "and all have theirs");
        places.pop();
        assert!(hasher.place(flood(9)).is_some());
        drop(places);
        let waiting = hasher.waiting.lock();
        assert_eq!((waiting.all, waiting.by_address.len()), (0, 0));
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let [a, b, c] =
            ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:1::1"].map(|text| text.parse().unwrap());
        assert_eq!(network_of(a), network_of(b));
        assert_ne!(network_of(a), network_of(c));
    }

    #[tokio::test]
    async fn a_hash_is_computed_off_the_thread_that_asks() {
        let hasher = Hasher::new();
        let hash = PasswordHash::parse(&PasswordHash::text_of(b"right").unwrap()).unwrap();
        let verify = |password: &[u8]| hasher.verify(hash.clone(), Zeroizing::new(password.to_vec()), None);
        assert_eq!((verify(b"right").await, verify(b"wrong").await), (Ok(true), Ok(false)));
    }
}
