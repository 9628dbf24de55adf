//! Who connects again and again: a client, a user or an address with more CONNECTs in a window than allowed is banned for a while. Asked
//! at each CONNECT; it knows no connection, and what it remembers has a bound.

use std::net::IpAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tracing::info;

use super::table::{Remembered, Table};
use crate::clock::Clock;
use crate::config::{FlappingBy, FlappingSettings};

/// Clients, users and addresses that are told apart, 24 bytes each; of more those are forgotten whose window or ban ends first.
const REMEMBERED: usize = 1 << 16;
/// The least time between two lines of the log.
const TELL_EVERY: Duration = Duration::from_secs(1);

/// Who is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Flapper<'a> {
    /// An address; of IPv6 a network.
    Address(IpAddr),
    /// A user who has shown to be that.
    User(&'a str),
    /// A client of a user, if it has one: nobody has another one's client banned by using its identifier.
    Client(Option<&'a str>, &'a str),
}

impl Flapper<'_> {
    fn kind(self) -> FlappingBy {
        match self {
            Self::Address(_) => FlappingBy::Address,
            Self::User(_) => FlappingBy::User,
            Self::Client(..) => FlappingBy::Client,
        }
    }
}

/// What becomes of a CONNECT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steadiness {
    /// It goes on.
    Steady,
    /// It is refused: whoever sends it is banned from now on.
    BannedNow,
    /// It is refused, as those before it.
    Banned,
}

/// What is known of one of them.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// When its window ends, or its ban; in nanoseconds.
    until_ns: u64,
    connects: u32,
    banned: bool,
}

impl Remembered for Record {
    fn weight(&self) -> u64 {
        self.until_ns
    }
}

/// Those who came lately.
#[derive(Debug)]
pub(crate) struct Flapping {
    clock: Clock,
    settings: FlappingSettings,
    records: Mutex<Table<Record>>,
    told_at: Mutex<Option<Duration>>,
}

impl Flapping {
    /// `None` where nobody is to be banned.
    pub(crate) fn new(settings: &FlappingSettings) -> Option<Self> {
        (settings.connects_max > 0).then(|| Self {
            clock: Clock::start(),
            settings: settings.clone(),
            records: Mutex::new(Table::new(REMEMBERED)),
            told_at: Mutex::default(),
        })
    }

    /// Counts a CONNECT, and says whether it may go on.
    pub(crate) fn comes(&self, who: Flapper<'_>) -> Steadiness {
        let now = self.clock.uptime();
        let steadiness = self.comes_at(who, now);
        if steadiness == Steadiness::BannedNow && self.may_tell(now) {
            let ban = humantime::format_duration(self.settings.ban);
            info!(target: "quelea::access", ?who, %ban, "banned for a while: connects too often");
        }
        steadiness
    }

    fn comes_at(&self, who: Flapper<'_>, now: Duration) -> Steadiness {
        if !self.settings.by.contains(&who.kind()) {
            return Steadiness::Steady;
        }
        let mut records = self.records.lock();
        let record = records.of(&who);
        if record.until_ns <= ns(now) {
            *record = Record { until_ns: ns(now + self.settings.window), ..Record::default() };
        }
        if record.banned {
            return Steadiness::Banned;
        }
        record.connects += 1;
        if record.connects <= self.settings.connects_max {
            return Steadiness::Steady;
        }
        *record = Record { until_ns: ns(now + self.settings.ban), banned: true, ..*record };
        Steadiness::BannedNow
    }

    fn may_tell(&self, now: Duration) -> bool {
        let mut told_at = self.told_at.lock();
        let may = told_at.is_none_or(|at| now >= at + TELL_EVERY);
        if may {
            *told_at = Some(now);
        }
        may
    }
}

fn ns(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use Steadiness::{Banned, BannedNow, Steady};

    fn flapping(connects_max: u32, by: &[FlappingBy]) -> Flapping {
        let (window, ban) = (Duration::from_secs(60), Duration::from_secs(300));
        Flapping::new(&FlappingSettings { connects_max, window, ban, by: by.to_vec() }).unwrap()
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn who_comes_too_often_in_a_window_is_banned_for_a_time() {
        let flapping = flapping(3, &[FlappingBy::Client]);
        let client = Flapper::Client(None, "a");
        let came: Vec<Steadiness> = (0..5).map(|n| flapping.comes_at(client, at(10 + n))).collect();
        assert_eq!(came, [Steady, Steady, Steady, BannedNow, Banned]);
        assert_eq!(flapping.comes_at(Flapper::Client(None, "b"), at(14)), Steady);
        // Coming while it is banned makes it no longer.
        assert_eq!(flapping.comes_at(client, at(312)), Banned);
        assert_eq!(flapping.comes_at(client, at(313)), Steady, "five minutes after the fourth");
    }

    #[test]
    fn who_comes_now_and_then_never_is() {
        let flapping = flapping(3, &[FlappingBy::Client]);
        let client = Flapper::Client(Some("ann"), "a");
        assert!((0..500).all(|n| flapping.comes_at(client, at(20 * n)) == Steady), "three a minute");
        let (clients, address) = (Flapper::User("ann"), Flapper::Address([192, 0, 2, 1].into()));
        assert!((0..500).all(|_| flapping.comes_at(clients, at(1)) == Steady), "users are not looked at");
        assert!((0..500).all(|_| flapping.comes_at(address, at(1)) == Steady), "nor addresses");
    }

    #[test]
    fn nobody_has_the_client_of_another_user_banned() {
        let flapping = flapping(1, &[FlappingBy::Client, FlappingBy::User, FlappingBy::Address]);
        let eve = Flapper::Client(Some("eve"), "a");
        assert_eq!([0, 1].map(|n| flapping.comes_at(eve, at(n))), [Steady, BannedNow]);
        assert_eq!(flapping.comes_at(Flapper::Client(Some("ann"), "a"), at(2)), Steady);
        assert_eq!(flapping.comes_at(Flapper::Client(None, "a"), at(2)), Steady);
        assert_eq!(flapping.comes_at(Flapper::User("a"), at(2)), Steady);
        assert_eq!(flapping.comes_at(Flapper::User("a"), at(2)), BannedNow);
        let address = Flapper::Address([192, 0, 2, 1].into());
        assert_eq!([2, 3, 4].map(|n| flapping.comes_at(address, at(n))), [Steady, BannedNow, Banned]);
    }

    #[test]
    fn very_many_who_come_once_take_no_more_memory_and_free_nobody_who_is_banned() {
        let flapping = flapping(1, &[FlappingBy::Client]);
        let bad = Flapper::Client(None, "bad");
        assert_eq!([0, 1].map(|n| flapping.comes_at(bad, at(n))), [Steady, BannedNow]);
        for n in 0..100_000_u32 {
            let id = n.to_string();
            flapping.comes_at(Flapper::Client(None, &id), at(2));
        }
        assert_eq!(flapping.comes_at(bad, at(3)), Banned, "its ban ends later than their windows");
    }

    #[test]
    fn without_a_number_nobody_is_counted() {
        assert!(Flapping::new(&FlappingSettings::default()).is_none());
    }
}
