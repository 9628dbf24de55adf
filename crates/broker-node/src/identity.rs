//! Who a node is: `node.json` in its data directory. `node` reads it at start and writes it back with the next
//! incarnation before anything else happens, so that no two runs of a node are ever taken for one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use raft_consensus::cluster::{ClusterId, FOUNDER, Founding};
use ring::rand::{SecureRandom, SystemRandom};
use serde::{Deserialize, Serialize};
use session_store::{Host, Incarnation, NodeId};

/// The file's name.
const FILE: &str = "node.json";
/// Where it is written before it takes the old one's place.
const NEW_FILE: &str = "node.json.new";
/// The format of the data directory that this binary reads and writes.
const FORMAT: u32 = 1;
/// Names of what a data directory holds besides; without `node.json` they belong to a node that lost its identity.
const BELONGINGS: [&str; 3] = ["wal", "sessions", "floor"];

/// What a node knows of itself across its runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Identity {
    /// The format of the data directory.
    format: u32,
    /// The cluster's id, drawn by who founded it.
    #[serde(with = "as_text")]
    pub(crate) cluster: ClusterId,
    /// The node's number within its cluster.
    node: u32,
    /// The present run.
    incarnation: u32,
    /// The last run whose beginning every shard has in its log: a log without it has lost something.
    logged: u32,
    /// How many shards the cluster was created with.
    pub(crate) shards: u16,
    /// Drawn at each start: tells this run's words to the cluster from those of a copy of it.
    #[serde(skip)]
    token: u64,
}

/// A cluster's id as text.
mod as_text {
    use raft_consensus::cluster::ClusterId;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(id: &ClusterId, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(id)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<ClusterId, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// An identity that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IdentityError {
    /// The file cannot be read or written.
    #[error("cannot read or write {}: {source}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is no identity.
    #[error("{} is damaged: {reason}; restore it from a backup of the data directory", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The file is newer than this binary.
    #[error("{} has format {found}, and this binary knows format {FORMAT}: run the newer binary", path.display())]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// There is data, but nothing that says whose.
    #[error(
        "{} is missing, but there is data beside it: restore it from a backup of the data directory, or start with an \
         empty one",
        path.display()
    )]
    Lost {
        /// Which file.
        path: PathBuf,
    },
}

impl Identity {
    /// Whether a directory belongs to a node of some cluster already.
    ///
    /// # Errors
    /// There is data in it, but nothing that says whose.
    pub(crate) fn exists(directory: &Path) -> Result<bool, IdentityError> {
        let path = directory.join(FILE);
        let exists = path.exists();
        if !exists && BELONGINGS.iter().any(|name| directory.join(name).exists()) {
            return Err(IdentityError::Lost { path });
        }
        Ok(exists)
    }

    /// Makes a directory that of the first node of a new cluster. The file is synced when this returns.
    ///
    /// # Errors
    /// It belongs to a node already, or cannot be written.
    pub(crate) fn founder(directory: &Path, shards: u16) -> Result<Self, IdentityError> {
        Self::found(directory, shards)?.begin(directory)
    }

    /// Makes a directory that of a node which was given a number in a cluster with so many shards, as [`Self::founder`].
    ///
    /// # Errors
    /// As for that.
    pub(crate) fn joiner(
        directory: &Path,
        (cluster, shards): (ClusterId, u16),
        node: u32,
    ) -> Result<Self, IdentityError> {
        Self { cluster, node, ..Self::found(directory, shards)? }.begin(directory)
    }

    /// Writes it down for the first time.
    fn begin(self, directory: &Path) -> Result<Self, IdentityError> {
        let failed = |source| IdentityError::Io { path: directory.join(FILE), source };
        self.write(directory).map_err(failed)?;
        // It has served its purpose.
        let _gone_already = fs::remove_file(directory.join(Drawn::FILE));
        Ok(self)
    }

    /// Whether this node founded its cluster: nobody else ever has its number.
    pub(crate) fn is_founder(&self) -> bool {
        self.node == FOUNDER.0
    }

    /// Reads who the node is and begins its next run; in an empty directory it becomes the first node of a new
    /// cluster with `shards` shards. The file is synced when this returns.
    ///
    /// # Errors
    /// The file cannot be read or written, is damaged, too new, or was lost.
    pub(crate) fn begin_run(directory: &Path, shards: u16) -> Result<Self, IdentityError> {
        let path = directory.join(FILE);
        let mut identity = match fs::read(&path) {
            Ok(bytes) => Self::parse(&path, &bytes)?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::found(directory, shards)?,
            Err(source) => return Err(IdentityError::Io { path, source }),
        };
        identity.incarnation = identity.incarnation.saturating_add(1);
        identity.token = u64::from_be_bytes(random(&path)?);
        identity.write(directory).map_err(|source| IdentityError::Io { path, source })?;
        Ok(identity)
    }

    fn parse(path: &Path, bytes: &[u8]) -> Result<Self, IdentityError> {
        let damaged = |reason: String| IdentityError::Damaged { path: path.into(), reason };
        let value: serde_json::Value = serde_json::from_slice(bytes).map_err(|e| damaged(e.to_string()))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format > u64::from(FORMAT) {
            let found = u32::try_from(format).unwrap_or(u32::MAX);
            return Err(IdentityError::Newer { path: path.into(), found });
        }
        let identity: Self = serde_json::from_value(value).map_err(|e| damaged(e.to_string()))?;
        if identity.shards == 0 || identity.node == 0 || identity.incarnation == u32::MAX {
            return Err(damaged("a number in it is out of its range".to_owned()));
        }
        Ok(identity)
    }

    fn found(directory: &Path, shards: u16) -> Result<Self, IdentityError> {
        let path = directory.join(FILE);
        Self::exists(directory)?;
        let cluster = ClusterId(random(&path)?);
        let (format, node) = (FORMAT, FOUNDER.0);
        Ok(Self { format, cluster, node, incarnation: 0, logged: 0, shards, token: 0 })
    }

    /// Writes down that every shard has the beginning of this run in its log, synced.
    ///
    /// # Errors
    /// The file cannot be written.
    pub(crate) fn note_logged(&self, directory: &Path) -> Result<(), IdentityError> {
        let noted = Self { logged: self.incarnation, ..self.clone() };
        noted.write(directory).map_err(|source| IdentityError::Io { path: directory.join(FILE), source })
    }

    fn write(&self, directory: &Path) -> io::Result<()> {
        write(directory, (NEW_FILE, FILE), self)
    }

    /// The last run whose beginning every shard has in its log.
    pub(crate) fn logged(&self) -> Incarnation {
        Incarnation(self.logged)
    }

    /// What is fixed when the cluster is created.
    pub(crate) fn founding(&self) -> Founding {
        Founding { cluster: self.cluster, shards: self.shards }
    }

    /// What the present run drew, to be told from another process that takes itself for it.
    pub(crate) fn token(&self) -> u64 {
        self.token
    }

    /// The present run, as what this node hosts is marked with.
    pub(crate) fn host(&self) -> Host {
        Host { node: NodeId(self.node), incarnation: Incarnation(self.incarnation) }
    }
}

/// Written beside, synced, put in place, and the directory synced: there is always one whole file.
fn write(directory: &Path, (new, name): (&str, &str), content: &impl Serialize) -> io::Result<()> {
    let new = directory.join(new);
    let mut file = File::create(&new)?;
    serde_json::to_writer_pretty(&mut file, content)?;
    file.write_all(b"\n")?;
    file.sync_all()?;
    fs::rename(&new, directory.join(name))?;
    File::open(directory)?.sync_all()
}

/// What a node has drawn that belongs to no cluster yet: it gets one number for it, however often it asks.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Drawn {
    /// The draw.
    pub(crate) token: u64,
}

impl Drawn {
    const FILE: &str = "joining.json";
    const NEW_FILE: &str = "joining.json.new";

    /// What was drawn for a directory, once; synced when this returns.
    ///
    /// # Errors
    /// The file cannot be read or written, or is damaged.
    pub(crate) fn of(directory: &Path) -> Result<Self, IdentityError> {
        let path = directory.join(Self::FILE);
        match fs::read(&path) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .map_err(|error| IdentityError::Damaged { path, reason: error.to_string() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let drawn = Self { token: u64::from_be_bytes(random(&path)?) };
                let written = write(directory, (Self::NEW_FILE, Self::FILE), &drawn);
                written.map_err(|source| IdentityError::Io { path, source })?;
                Ok(drawn)
            }
            Err(source) => Err(IdentityError::Io { path, source }),
        }
    }
}

/// Bytes that nobody can guess; `path` is what an error names.
fn random<const N: usize>(path: &Path) -> Result<[u8; N], IdentityError> {
    let mut bytes = [0; N];
    let no_random = |_| io::Error::other("the system gave no random bytes");
    let drawn = SystemRandom::new().fill(&mut bytes).map_err(no_random);
    drawn.map_err(|source| IdentityError::Io { path: path.into(), source })?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_run_has_an_incarnation_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let first = Identity::begin_run(dir.path(), 6).unwrap();
        let second = Identity::begin_run(dir.path(), 9).unwrap();
        assert_eq!(first.host().node, second.host().node);
        assert_eq!(second.host().incarnation, first.host().incarnation.next());
        assert_eq!(first.cluster, second.cluster);
        assert_ne!(first.token(), second.token());
        assert_eq!(second.shards, 6, "their number is fixed when the cluster is created");
    }

    #[test]
    fn a_node_that_joins_keeps_what_it_has_drawn_until_it_has_a_number() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!Identity::exists(dir.path()).unwrap());
        let token = Drawn::of(dir.path()).unwrap().token;
        assert_eq!(Drawn::of(dir.path()).unwrap().token, token, "a repeat");
        let cluster = ClusterId([9; 16]);
        let joined = Identity::joiner(dir.path(), (cluster, 4), 7).unwrap();
        assert!(Identity::exists(dir.path()).unwrap() && !joined.is_founder());
        assert_ne!(Drawn::of(dir.path()).unwrap().token, token, "it was for one number");
        let run = Identity::begin_run(dir.path(), 6).unwrap();
        assert_eq!(
            (run.cluster, run.shards, run.host()),
            (cluster, 4, Host { node: NodeId(7), incarnation: Incarnation(1) })
        );
        let other = tempfile::tempdir().unwrap();
        assert!(Identity::founder(other.path(), 6).unwrap().is_founder());
    }

    #[test]
    fn a_node_that_lost_its_identity_does_not_start_as_a_new_one() {
        for belonging in BELONGINGS {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(belonging), "").unwrap();
            let error = Identity::begin_run(dir.path(), 6).unwrap_err();
            assert!(matches!(error, IdentityError::Lost { .. }), "{belonging}: {error}");
        }
    }

    #[test]
    fn damage_and_newer_formats_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let identity = Identity::begin_run(dir.path(), 6).unwrap();
        let path = dir.path().join(FILE);
        let whole = fs::read_to_string(&path).unwrap();
        let cluster = identity.cluster.to_string();
        for damage in [
            whole.get(..20).unwrap(),
            "",
            "{}",
            &whole.replace("\"node\": 1", "\"node\": 0"),
            &whole.replace(&cluster, "0011"),
        ] {
            assert_ne!(damage, whole);
            fs::write(&path, damage).unwrap();
            let error = Identity::begin_run(dir.path(), 6).unwrap_err();
            assert!(matches!(error, IdentityError::Damaged { .. }), "{damage}: {error}");
        }
        fs::write(&path, whole.replace("\"format\": 1", "\"format\": 2")).unwrap();
        let error = Identity::begin_run(dir.path(), 6).unwrap_err().to_string();
        assert!(error.contains("format 2") && error.contains("newer binary"), "{error}");
    }
}
