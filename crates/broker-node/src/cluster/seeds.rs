//! Whom a node asks for a cluster, or for the way to the nodes of its own: those of its configuration, and those that an
//! operator named since it started. Shared by whoever asks and the admin API; it asks nobody itself.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::config::is_peer_address;

/// Nodes that an operator may add.
const ADDED_MAX: usize = 16;

/// Nodes to ask, as `host:port`. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Seeds {
    configured: Arc<[String]>,
    added: Arc<Mutex<Vec<String>>>,
}

impl Seeds {
    /// Those of the configuration.
    pub(super) fn new(configured: impl IntoIterator<Item = String>) -> Self {
        Self { configured: configured.into_iter().collect(), added: Arc::default() }
    }

    /// All of them, each once.
    pub(super) fn all(&self) -> Vec<String> {
        let added = self.added.lock();
        let more = added.iter().filter(|seed| !self.configured.contains(seed));
        self.configured.iter().chain(more).cloned().collect()
    }

    /// Whether there is none.
    pub(super) fn is_empty(&self) -> bool {
        self.configured.is_empty() && self.added.lock().is_empty()
    }

    /// Adds some; all of them or none.
    ///
    /// # Errors
    /// There are none or too many, or one is no address; in words for people.
    pub(crate) fn add(&self, seeds: &[String]) -> Result<(), String> {
        if seeds.is_empty() {
            return Err("no node to ask is named: expected HOST:PORT".to_owned());
        }
        if let Some(bad) = seeds.iter().find(|seed| !is_peer_address(seed)) {
            return Err(format!("{bad:?} is no address of a node: expected HOST:PORT"));
        }
        let mut added = self.added.lock();
        let mut all = added.clone();
        all.extend(seeds.iter().cloned());
        all.sort_unstable();
        all.dedup();
        if all.len() > ADDED_MAX {
            return Err(format!("{} nodes to ask were named, expected at most {ADDED_MAX}", all.len()));
        }
        *added = all;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(of: &[&str]) -> Vec<String> {
        of.iter().map(|text| (*text).to_owned()).collect()
    }

    #[test]
    fn seeds_are_added_whole_or_not_at_all() {
        let seeds = Seeds::new(texts(&["a:1", "b:2"]));
        seeds.add(&texts(&["c:3", "a:1"])).unwrap();
        seeds.add(&texts(&["c:3"])).unwrap();
        assert_eq!(seeds.all(), ["a:1", "b:2", "c:3"]);
        for bad in ["", "d", "d:0", "d:x", "d e:1"] {
            let error = seeds.add(&texts(&["e:5", bad])).unwrap_err();
            assert!(error.contains(bad) && error.contains("HOST:PORT"), "{error}");
        }
        assert!(seeds.add(&[]).is_err());
        let many: Vec<String> = (0..ADDED_MAX).map(|port| format!("f:{}", port + 1)).collect();
        assert!(seeds.add(&many).unwrap_err().contains("18"), "with what was added before");
        assert_eq!(seeds.all(), ["a:1", "b:2", "c:3"]);
    }
}
