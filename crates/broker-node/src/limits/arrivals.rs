//! How fast connections may come: to the whole node, which makes them wait in the kernel, and from one address, which is closed. Asked by
//! acceptors, and by handshakes where a load balancer says who the client is. Nothing here reads a byte of a client.

use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::sleep;

use super::rate::{Bucket, Rate};
use super::table::{Remembered, Table};
use crate::access::network_of;
use crate::clock::Clock;
use crate::config::LimitSettings;
use crate::listener::Peer;

/// Addresses that are told apart, 16 bytes each; of more the least busy are forgotten, and begin anew.
const ADDRESSES: usize = 1 << 16;

impl Remembered for Bucket {
    fn weight(&self) -> u64 {
        self.full_at_ns()
    }
}

/// The connections that come.
#[derive(Debug)]
pub(crate) struct Arrivals {
    clock: Clock,
    node: Option<(Rate, Mutex<Bucket>)>,
    addresses: Option<(Rate, Mutex<Table<Bucket>>)>,
    refused: AtomicU64,
    delayed: AtomicU64,
}

impl Arrivals {
    /// Under these limits.
    pub(crate) fn new(limits: &LimitSettings) -> Self {
        let node = Rate::new(limits.connects_per_second_max);
        let address = Rate::new(limits.connects_per_second_per_address_max);
        Self {
            clock: Clock::start(),
            node: node.map(|rate| (rate, Mutex::default())),
            addresses: address.map(|rate| (rate, Mutex::new(Table::new(ADDRESSES)))),
            refused: AtomicU64::new(0),
            delayed: AtomicU64::new(0),
        }
    }

    /// Whether one more connection may come from an address now; it counts as one if so. This machine's unix sockets
    /// have no address and no limit.
    pub(crate) fn admits(&self, peer: Peer) -> bool {
        let Peer::Ip(address) = peer else { return true };
        self.admits_at(address.ip(), self.clock.uptime())
    }

    fn admits_at(&self, address: IpAddr, now: Duration) -> bool {
        let Some((rate, addresses)) = &self.addresses else { return true };
        addresses.lock().of(&network_of(address.to_canonical())).try_take(*rate, now)
    }

    /// One was closed before anybody else heard of it.
    pub(crate) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// When it is the turn of one more connection, where it has to wait: `None` is now. It has its turn then, so that whoever asks
    /// has to wait for it.
    pub(crate) fn turn(&self) -> Option<impl Future<Output = ()> + Send + 'static> {
        let wait = self.wait_at(self.clock.uptime())?;
        self.delayed.fetch_add(1, Ordering::Relaxed);
        Some(sleep(wait))
    }

    fn wait_at(&self, now: Duration) -> Option<Duration> {
        let (rate, bucket) = self.node.as_ref()?;
        let mut bucket = bucket.lock();
        let ready_at = bucket.ready_at(*rate);
        bucket.take(*rate, 1, now);
        ready_at.checked_sub(now).filter(|wait| !wait.is_zero())
    }

    /// Connections that were closed, and that had to wait.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.refused.load(Ordering::Relaxed), self.delayed.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrivals(node: u32, address: u32) -> Arrivals {
        Arrivals::new(&LimitSettings {
            connects_per_second_max: node,
            connects_per_second_per_address_max: address,
            ..LimitSettings::default()
        })
    }

    fn at_ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn each_address_has_its_own_rate_and_an_ipv6_network_is_one() {
        let arrivals = arrivals(0, 5);
        let admitted =
            |text: &str, ms| (0..20).filter(|_| arrivals.admits_at(text.parse().unwrap(), at_ms(ms))).count();
        assert_eq!(admitted("192.0.2.1", 10), 5);
        assert_eq!(admitted("::ffff:192.0.2.1", 10), 0, "the same in other words");
        assert_eq!(admitted("192.0.2.2", 10), 5);
        assert_eq!(admitted("2001:db8::1", 10), 5);
        assert_eq!(admitted("2001:db8::ffff:2", 10), 0, "of one network");
        assert_eq!(admitted("2001:db8:0:1::1", 10), 5);
        assert_eq!(admitted("192.0.2.1", 210), 1);
        assert!((0..1_000).all(|_| arrivals.admits(Peer::Unix)));
        assert_eq!(arrivals.wait_at(at_ms(0)), None, "and the node has none");
    }

    #[test]
    fn very_many_addresses_take_no_more_memory_and_a_busy_one_is_not_forgotten_for_idle_ones() {
        let arrivals = arrivals(0, 2);
        let busy: IpAddr = "192.0.2.1".parse().unwrap();
        for at in 0..60_000_u32 {
            let now = at_ms(u64::from(at));
            arrivals.admits_at(IpAddr::from((u128::from(at) << 64).to_be_bytes()), now);
            let admitted = (0..3).filter(|_| arrivals.admits_at(busy, now)).count();
            assert!(admitted <= 2);
        }
        let (_, addresses) = arrivals.addresses.as_ref().unwrap();
        // One more of it than the rate allows would mean that it was forgotten.
        assert!(
            !(0..2).all(|_| addresses.lock().of(&busy).try_take(Rate::new(2_u32).unwrap(), at_ms(59_999)))
        );
    }

    #[test]
    fn connections_above_the_node_s_rate_have_their_turn_one_after_the_other() {
        let arrivals = arrivals(4, 0);
        let waits: Vec<Option<Duration>> = (0..8).map(|_| arrivals.wait_at(at_ms(1_000))).collect();
        let expected = [0, 0, 0, 0, 250, 500, 750, 1_000].map(|ms| (ms > 0).then(|| at_ms(ms)));
        assert_eq!(waits, expected);
        assert_eq!(arrivals.wait_at(at_ms(10_000)), None);
        assert!((0..1_000).all(|_| arrivals.admits("192.0.2.1:5".parse().map(Peer::Ip).unwrap())));
    }
}
