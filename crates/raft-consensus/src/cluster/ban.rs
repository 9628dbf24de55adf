//! The bans of the cluster group's state: who may not connect, until when and why. Made by whoever administers the cluster,
//! kept by [`super::Cluster`]; whether somebody is banned the nodes find out.

use std::fmt;
use std::net::IpAddr;

use session_store::Millis;

use super::chunked::{Chunked, Key};
use super::command::Refusal;
use super::route::Change;

/// Bans at most; one more is refused. Those that are over make room.
pub const BANS_MAX: usize = 65_536;

/// Bans of networks among them at most: nodes look at each of them for every CONNECT.
pub const BANNED_NETWORKS_MAX: usize = 4_096;

/// Bytes of a name that is banned at most.
pub const BANNED_BYTES_MAX: usize = 1_024;

/// Bytes that say why at most.
pub const WHY_BYTES_MAX: usize = 256;

/// Bytes of all names that are banned at most, and 16 for each ban.
pub const BANS_BYTES_MAX: usize = 16 << 20;

/// With more bans than this they are not checked after each step.
const SMALL: usize = 512;

/// Bytes that a ban is counted as besides its texts.
const BAN_BYTES: usize = 16;

/// Who is banned.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Banned {
    /// Whoever comes from this address, which is no version 4 address in the form of version 6.
    Address(IpAddr),
    /// Whoever comes from an address whose first bits are these; the others are 0.
    Network(IpAddr, u8),
    /// A user.
    User(Box<str>),
    /// A client identifier.
    Client(Box<str>),
}

/// That somebody may not connect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ban {
    /// Who.
    pub whom: Banned,
    /// Until when; `None` for good.
    pub until: Option<Millis>,
    /// Why, in words; empty where nobody has said so.
    pub why: Box<str>,
}

/// What is known of a ban, by whom it is about.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Terms {
    pub(super) until: Option<Millis>,
    pub(super) why: Box<str>,
}

impl Banned {
    /// Bytes of its text.
    pub(super) fn text_bytes(&self) -> usize {
        match self {
            Self::Address(_) | Self::Network(..) => 0,
            Self::User(name) | Self::Client(name) => name.len(),
        }
    }

    /// Whether this is the one way to write it.
    pub(super) fn is_sound(&self) -> bool {
        match self {
            Self::Address(address) => address.to_canonical() == *address,
            Self::Network(IpAddr::V4(address), bits) => {
                *bits <= 32 && u32::MAX.checked_shr((*bits).into()).unwrap_or(0) & address.to_bits() == 0
            }
            Self::Network(IpAddr::V6(address), bits) => {
                *bits <= 128 && u128::MAX.checked_shr((*bits).into()).unwrap_or(0) & address.to_bits() == 0
            }
            Self::User(name) | Self::Client(name) => !name.is_empty(),
        }
    }
}

impl Key for Banned {
    fn bytes(&self) -> usize {
        BAN_BYTES + self.text_bytes()
    }
}

/// All bans.
#[derive(Clone, Default)]
pub(super) struct Bans {
    pub(super) table: Chunked<Banned, Terms>,
    networks: usize,
}

impl Bans {
    /// Whether there is such a ban, or it would be over anyway.
    pub(super) fn decide_ban(&self, ban: &Ban, now: Millis) -> Result<bool, Refusal> {
        if !ban.whom.is_sound() || ban.whom.text_bytes() > BANNED_BYTES_MAX {
            return Err(Refusal::NotToBan);
        }
        if ban.why.len() > WHY_BYTES_MAX {
            return Err(Refusal::WhyTooLong);
        }
        if is_over(ban.until, now) {
            return Ok(true);
        }
        match self.table.get(&ban.whom) {
            Some(terms) => Ok(terms.until == ban.until && terms.why == ban.why),
            None if self.fits(&ban.whom) || self.could_fit(&ban.whom, now) => Ok(false),
            None => Err(Refusal::TooManyBans),
        }
    }

    /// Whether it fits in with all that are there.
    fn fits(&self, whom: &Banned) -> bool {
        fit(whom, (self.networks, self.table.len(), self.table.bytes()))
    }

    /// Whether it would fit in without those that are over.
    fn could_fit(&self, whom: &Banned, now: Millis) -> bool {
        let stay = self.table.iter().filter(|(_, terms)| !is_over(terms.until, now));
        let (mut networks, mut count, mut bytes) = (0, 0, 0);
        for (known, _) in stay {
            networks += usize::from(matches!(known, Banned::Network(..)));
            count += 1;
            bytes += known.bytes();
        }
        fit(whom, (networks, count, bytes))
    }

    /// Takes over a ban that was not refused. Those that are over make room where there is none.
    pub(super) fn ban(&mut self, ban: &Ban, now: Millis, tell: &mut dyn FnMut(Change)) {
        if self.table.get(&ban.whom).is_none() && !self.fits(&ban.whom) {
            let over = self.table.iter().filter(|(_, terms)| is_over(terms.until, now));
            let over: Vec<Banned> = over.map(|(whom, _)| whom.clone()).collect();
            for whom in over {
                tell(self.unban(&whom));
            }
        }
        let terms = Terms { until: ban.until, why: ban.why.clone() };
        let known = self.table.len();
        self.table.insert(ban.whom.clone(), terms);
        let is_new = self.table.len() > known;
        self.networks += usize::from(is_new && matches!(ban.whom, Banned::Network(..)));
        tell(Change::Banned(ban.clone()));
    }

    pub(super) fn unban(&mut self, whom: &Banned) -> Change {
        let was_there = self.table.remove(whom);
        self.networks -= usize::from(was_there && matches!(whom, Banned::Network(..)));
        Change::Unbanned(whom.clone())
    }

    /// Takes over what a checkpoint has; says whether it was new and makes sense, as it must.
    pub(super) fn restore(&mut self, chunk: u32, ban: Ban) -> bool {
        let is_network = matches!(ban.whom, Banned::Network(..));
        let sound = ban.whom.is_sound();
        let new = sound && self.table.restore(chunk, ban.whom, Terms { until: ban.until, why: ban.why });
        self.networks += usize::from(new && is_network);
        new
    }

    /// Those behind one, or all.
    pub(super) fn behind(&self, last: Option<&Banned>) -> impl Iterator<Item = Ban> {
        let ban = |(whom, terms): (&Banned, &Terms)| Ban {
            whom: whom.clone(),
            until: terms.until,
            why: terms.why.clone(),
        };
        self.table.behind(last).map(ban)
    }

    /// Checks what must always hold; the bans themselves only while they are few, or where all is asked for.
    ///
    /// # Errors
    /// Names the rule that does not hold.
    pub(super) fn validate(&self, all: bool) -> Result<(), &'static str> {
        if self.table.len() > BANS_MAX || self.table.bytes() > BANS_BYTES_MAX {
            return Err("there are more bans than there may be");
        }
        if !all && self.table.len() > SMALL {
            return Ok(());
        }
        let networks = self.table.iter().filter(|(whom, _)| matches!(whom, Banned::Network(..))).count();
        if networks != self.networks || networks > BANNED_NETWORKS_MAX {
            return Err("there are more bans of networks than there may be, or than are counted");
        }
        let is_sound = |(whom, terms): (&Banned, &Terms)| {
            whom.is_sound() && whom.text_bytes() <= BANNED_BYTES_MAX && terms.why.len() <= WHY_BYTES_MAX
        };
        if !self.table.iter().all(is_sound) {
            return Err("a ban is of nobody, or says too much");
        }
        self.table.validate()
    }
}

/// Whether one more fits in with so many networks, bans and bytes.
fn fit(whom: &Banned, (networks, count, bytes): (usize, usize, usize)) -> bool {
    let networks = networks + usize::from(matches!(whom, Banned::Network(..)));
    networks <= BANNED_NETWORKS_MAX && count < BANS_MAX && bytes + whom.bytes() <= BANS_BYTES_MAX
}

fn is_over(until: Option<Millis>, now: Millis) -> bool {
    until.is_some_and(|until| until <= now)
}

/// All that replicas share, and nothing of how it is written down.
impl fmt::Debug for Bans {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.behind(None)).finish()
    }
}
