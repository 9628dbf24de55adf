//! The answers about logins that count for a while yet, by a digest of what was asked with a key of this process alone, from which
//! nothing of it follows. Bounded by the bytes of the answers: what has not been asked for lately goes first. Kept by `asker`.

use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use ring::hmac;
use ring::rand::SystemRandom;
use tokio::time::Instant;

use super::hook::Said;

/// Bytes of the answers in one half of what is remembered, with what each takes besides.
const HALF_BYTES: usize = 8 << 20;
/// What each takes besides.
const EACH_BYTES: usize = 512;

/// A digest of what was asked.
pub(super) type Key = [u8; 32];

/// What is remembered.
#[derive(Debug)]
pub(super) struct Cache {
    /// `None` where the system has no random numbers: then nothing is remembered.
    key: Option<hmac::Key>,
    halves: Mutex<Halves>,
}

#[derive(Debug, Default)]
struct Halves {
    young: HashMap<Key, (Said, Instant)>,
    old: HashMap<Key, (Said, Instant)>,
    /// Bytes of the young ones.
    bytes: usize,
}

impl Cache {
    /// One that remembers nothing yet.
    pub(super) fn new() -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok();
        Self { key, halves: Mutex::default() }
    }

    /// What an answer to this is remembered by.
    pub(super) fn key_of(&self, question: &[u8]) -> Key {
        let tag = self.key.as_ref().map(|key| hmac::sign(key, question));
        tag.and_then(|tag| tag.as_ref().try_into().ok()).unwrap_or_default()
    }

    /// An answer that counts yet.
    pub(super) fn find(&self, key: &Key, now: Instant) -> Option<Said> {
        self.key.as_ref()?;
        let halves = self.halves.lock();
        let (said, until) = halves.young.get(key).or_else(|| halves.old.get(key))?;
        (*until > now).then(|| said.clone())
    }

    /// Remembers an answer of so many bytes for so long.
    pub(super) fn keep(&self, key: Key, said: &Said, bytes: usize, (now, time): (Instant, Duration)) {
        let until = now.checked_add(time).filter(|_| !time.is_zero() && self.key.is_some());
        let Some(until) = until else { return };
        let mut halves = self.halves.lock();
        if halves.bytes >= HALF_BYTES {
            halves.old = std::mem::take(&mut halves.young);
            halves.bytes = 0;
        }
        halves.bytes += bytes + EACH_BYTES;
        halves.young.insert(key, (said.clone(), until));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    #[test]
    fn an_answer_counts_for_its_time_and_for_its_question() {
        let (cache, now) = (Cache::new(), Instant::now());
        let [one, two] = [b"one", b"two"].map(|asked| cache.key_of(asked));
        assert_ne!(one, two);
        assert_ne!(one, Cache::new().key_of(b"one"), "a key of its own");
        cache.keep(one, &Said::Deny, 10, (now, MINUTE));
        cache.keep(two, &Said::Ignore, 10, (now, Duration::ZERO));
        assert_eq!((cache.find(&one, now), cache.find(&two, now)), (Some(Said::Deny), None));
        assert_eq!(cache.find(&one, now + MINUTE), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_by_its_bytes() {
        let (cache, now) = (Cache::new(), Instant::now());
        let keys: Vec<Key> = (0..6_u8).map(|n| cache.key_of(&[n])).collect();
        for key in &keys {
            cache.keep(*key, &Said::Deny, HALF_BYTES / 2, (now, MINUTE));
        }
        let found: Vec<bool> = keys.iter().map(|key| cache.find(key, now).is_some()).collect();
        assert_eq!(found, [false, false, true, true, true, true]);
    }
}
