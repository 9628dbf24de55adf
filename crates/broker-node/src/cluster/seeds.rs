//! Whom a node asks for a cluster, or for the way to the nodes of its own: those of its configuration, names looked up, and
//! those that an operator named since it started. Shared by whoever asks and the admin API; it connects to none of them.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;

use futures_util::future::join_all;

use parking_lot::Mutex;

use super::discovery::Discovery;
use crate::config::{SeedForm, is_peer_address, seed_form};

/// Nodes that an operator may add.
const ADDED_MAX: usize = 16;

/// Nodes to ask. Clones are the same.
#[derive(Clone)]
pub(crate) struct Seeds {
    configured: Arc<[String]>,
    added: Arc<Mutex<Vec<String>>>,
    /// Who looks names up; nothing where there are none.
    discovery: Option<Discovery>,
}

/// Where they are now.
pub(super) struct Found {
    /// As `host:port`, each once.
    pub(super) addresses: BTreeSet<String>,
    /// Seeds that stand for nobody now, and why.
    pub(super) unknown: Vec<(String, String)>,
}

impl Seeds {
    /// Those of the configuration; names are looked up there, or where the system does.
    ///
    /// # Errors
    /// There are names, and nobody who could look them up.
    pub(super) fn new(
        configured: impl IntoIterator<Item = String>,
        dns_server: Option<SocketAddr>,
    ) -> anyhow::Result<Self> {
        let configured: Arc<[String]> = configured.into_iter().collect();
        let is_name = |seed: &String| !is_peer_address(seed);
        let discovery = configured.iter().any(is_name).then(|| Discovery::new(dns_server)).transpose()?;
        Ok(Self { configured, added: Arc::default(), discovery })
    }

    /// Where all of them are now.
    pub(super) async fn find(&self) -> Found {
        let looked_up = self.all().into_iter().map(async |seed| {
            let found = match (seed_form(&seed), &self.discovery) {
                (Some(SeedForm::At(address)), _) => Ok(vec![address.to_owned()]),
                (Some(form), Some(discovery)) => discovery.find(&form).await,
                _ => Err("it is no address of a node".to_owned()),
            };
            (seed, found)
        });
        let mut all = Found { addresses: BTreeSet::new(), unknown: Vec::new() };
        for (seed, found) in join_all(looked_up).await {
            match found {
                Ok(addresses) => all.addresses.extend(addresses),
                Err(why) => all.unknown.push((seed, why)),
            }
        }
        all
    }

    /// All of them, each once.
    fn all(&self) -> Vec<String> {
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
        let seeds = Seeds::new(texts(&["a:1", "b:2"]), None).unwrap();
        seeds.add(&texts(&["c:3", "a:1"])).unwrap();
        seeds.add(&texts(&["c:3"])).unwrap();
        assert_eq!(seeds.all(), ["a:1", "b:2", "c:3"]);
        for bad in ["", "d", "d:0", "d:x", "d e:1", "srv:d", "dns:d:1"] {
            let error = seeds.add(&texts(&["e:5", bad])).unwrap_err();
            assert!(error.contains(bad) && error.contains("HOST:PORT"), "{error}");
        }
        assert!(seeds.add(&[]).is_err());
        let many: Vec<String> = (0..ADDED_MAX).map(|port| format!("f:{}", port + 1)).collect();
        assert!(seeds.add(&many).unwrap_err().contains("18"), "with what was added before");
        assert_eq!(seeds.all(), ["a:1", "b:2", "c:3"]);
    }
}
