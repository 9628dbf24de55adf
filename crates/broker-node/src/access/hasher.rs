//! Computes password hashes beside the threads that serve connections: few at a time, with a bounded number of logins
//! that wait. Asked by `Access`; knows no users.

use std::net::IpAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;

use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use zeroize::Zeroizing;

use super::hash::PasswordHash;
use super::queue::{Busy, Queue};

/// The bounds of what is computed.
#[derive(Debug)]
pub(crate) struct Hasher {
    /// Half of the cores, at least one.
    threads: Arc<Semaphore>,
    waiting: Queue,
}

impl Hasher {
    /// One that computes nothing yet.
    pub(crate) fn new() -> Self {
        let threads = thread::available_parallelism().map_or(1, NonZeroUsize::get).div_ceil(2);
        Self { threads: Arc::new(Semaphore::new(threads)), waiting: Queue::default() }
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
        let place = self.waiting.enter(address)?;
        let Ok(permit) = Arc::clone(&self.threads).acquire_owned().await else { return Err(Busy) };
        let verified = spawn_blocking(move || {
            let verified = hash.verify(&password);
            drop((permit, place));
            verified
        });
        // A computation that panicked has verified nothing.
        Ok(verified.await.unwrap_or(false))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_hash_is_computed_off_the_thread_that_asks() {
        let hasher = Hasher::new();
        let hash = PasswordHash::parse(&PasswordHash::text_of(b"right").unwrap()).unwrap();
        let verify = |password: &[u8]| hasher.verify(hash.clone(), Zeroizing::new(password.to_vec()), None);
        assert_eq!((verify(b"right").await, verify(b"wrong").await), (Ok(true), Ok(false)));
    }
}
