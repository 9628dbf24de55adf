//! A password file: a line `USER:HASH` for each user, as `quelea passwd` and `mosquitto_passwd` write it; of SCRAM there may be two
//! hashes, with a blank between.
//! Read through `file`, asked by `Access`. A file of which one line is wrong is wrong as a whole.

use std::fmt;
use std::hash::{BuildHasher, RandomState};

use hashbrown::HashMap;
use parking_lot::Mutex;
use ring::hmac;

use super::hash::{BadHash, PasswordHash};
use super::scram::{Candidate, Keys, Mechanism, PREFIX};

/// What begins a comment.
pub(crate) const COMMENT: char = '#';

/// What is wrong with a password file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadUsers {
    /// A line that is none of a user.
    #[error("line {line}: expected USER:HASH")]
    Form {
        /// Counted from 1.
        line: usize,
    },
    /// A line whose hash cannot be used.
    #[error("line {line}: {source}")]
    Hash {
        /// Counted from 1.
        line: usize,
        /// What is wrong with it.
        source: BadHash,
    },
    /// A user that has two lines.
    #[error("line {line}: the user of this line has another line before")]
    Twice {
        /// Counted from 1.
        line: usize,
    },
}

/// A user.
struct Entry {
    hash: PasswordHash,
    /// For SCRAM, one of a kind.
    scram: Box<[Keys]>,
    /// What stands for the password that was right last; devices that come back all at once cost a hash each only
    /// the first time.
    seen: Mutex<Option<hmac::Tag>>,
}

/// The users of a password file.
pub(crate) struct Users {
    entries: Vec<Entry>,
    by_name: HashMap<Box<str>, usize>,
    /// Which entry stands for a user that is not there.
    strangers: RandomState,
    /// Of this process alone.
    key: hmac::Key,
    /// What the salts of SCRAM that nobody has follow from: the same on every node that has the file.
    made_up: hmac::Key,
    /// The first keys of each kind, which those are like.
    like: Vec<Keys>,
}

/// What is to be computed for a login.
pub(crate) enum Login<'a> {
    /// Nothing: the password is the one that was right before.
    Known,
    /// A hash.
    Compute(Attempt<'a>),
}

/// A hash that is to be computed for a user, whether there is such a user or not.
pub(crate) struct Attempt<'a> {
    /// The hash.
    pub(crate) hash: PasswordHash,
    /// Where it is noted, if there is such a user.
    user: Option<&'a Entry>,
    tag: hmac::Tag,
}

impl fmt::Debug for Users {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Users").field("count", &self.entries.len()).finish_non_exhaustive()
    }
}

impl Users {
    /// Reads a file.
    ///
    /// # Errors
    /// For the first line that is wrong; nothing of it is quoted.
    pub(crate) fn parse(text: &str) -> Result<Self, BadUsers> {
        let (mut entries, mut by_name) = (Vec::new(), HashMap::new());
        for (number, line) in text.lines().enumerate() {
            let line_number = number + 1;
            if line.trim().is_empty() || line.starts_with(COMMENT) {
                continue;
            }
            let parts = line.split_once(':').filter(|(user, _)| !user.is_empty());
            let (user, hash) = parts.ok_or(BadUsers::Form { line: line_number })?;
            let entry = Entry::parse(hash.trim_end());
            let entry = entry.map_err(|source| BadUsers::Hash { line: line_number, source })?;
            if by_name.insert(user.into(), entries.len()).is_some() {
                return Err(BadUsers::Twice { line: line_number });
            }
            entries.push(entry);
        }
        Ok(Self::of(entries, by_name))
    }

    fn of(entries: Vec<Entry>, by_name: HashMap<Box<str>, usize>) -> Self {
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &ring::rand::SystemRandom::new());
        // Without random numbers nothing is remembered that could be guessed: the key only has to be one that is not known.
        let key = key.unwrap_or_else(|_| {
            let seed = RandomState::new().hash_one(entries.len()).to_ne_bytes();
            hmac::Key::new(hmac::HMAC_SHA256, &seed)
        });
        let all = || entries.iter().flat_map(|entry| &entry.scram);
        let first = |mechanism: Mechanism| all().find(|keys| keys.mechanism == mechanism).cloned();
        let like = Mechanism::ALL.into_iter().filter_map(first).collect();
        let made_up = all().next().map_or_else(|| key.clone(), Keys::key_of_strangers);
        Self { entries, by_name, strangers: RandomState::new(), key, made_up, like }
    }

    /// Whether there is such a user.
    pub(crate) fn contains(&self, user: &str) -> bool {
        self.by_name.contains_key(user)
    }

    /// What is to be computed for a login. For a user that is not there it is one of the hashes that are, always the same,
    /// so that strangers cost what users do.
    pub(crate) fn login(&self, user: &str, password: &[u8]) -> Login<'_> {
        let mut signed = hmac::Context::with_key(&self.key);
        signed.update(&(user.len() as u64).to_be_bytes());
        signed.update(user.as_bytes());
        signed.update(password);
        let tag = signed.sign();
        let found = self.by_name.get(user).and_then(|place| self.entries.get(*place));
        let seen = found.and_then(|entry| *entry.seen.lock());
        if seen.is_some_and(|seen| bool::from(subtle::ConstantTimeEq::ct_eq(seen.as_ref(), tag.as_ref()))) {
            return Login::Known;
        }
        let hash = found.or_else(|| self.stand_in(user)).map(|entry| entry.hash.clone());
        Login::Compute(Attempt { hash: hash.unwrap_or_else(PasswordHash::of_nobody), user: found, tag })
    }

    /// What a login by SCRAM is held against. For who has no keys of this kind they are made up, always the same: of as many iterations as
    /// the first user's in the file, whose keys the salt follows from too, so that nobody can tell that it is.
    pub(crate) fn scram(&self, mechanism: Mechanism, user: &str) -> Candidate {
        let of = |entry: &Entry| entry.scram.iter().find(|keys| keys.mechanism == mechanism).cloned();
        let like = self.like.iter().find(|keys| keys.mechanism == mechanism);
        let made_up = Keys::made_up(mechanism, like, &self.made_up, user);
        let found = self.by_name.get(user).and_then(|place| of(self.entries.get(*place)?));
        let exists = found.is_some();
        Candidate { keys: found.unwrap_or(made_up), exists }
    }

    fn stand_in(&self, user: &str) -> Option<&Entry> {
        let count = self.entries.len() as u64;
        let place = self.strangers.hash_one(user).checked_rem(count)?;
        self.entries.get(usize::try_from(place).ok()?)
    }
}

impl Default for Users {
    /// Nobody.
    fn default() -> Self {
        Self::of(Vec::new(), HashMap::new())
    }
}

impl Entry {
    /// Reads what is behind a user's name.
    fn parse(text: &str) -> Result<Self, BadHash> {
        let mut scram: Vec<Keys> = Vec::new();
        if text.starts_with(PREFIX) {
            for text in text.split(' ') {
                let keys = Keys::parse(text)?;
                if scram.iter().any(|other| other.mechanism == keys.mechanism) {
                    return Err(BadHash::Damaged);
                }
                scram.push(keys);
            }
        }
        let hash =
            scram.first().map_or_else(|| PasswordHash::parse(text), |keys| Ok(PasswordHash::of_scram(keys)));
        Ok(Self { hash: hash?, scram: scram.into(), seen: Mutex::new(None) })
    }
}

impl Attempt<'_> {
    /// Whether there is such a user.
    pub(crate) fn is_users(&self) -> bool {
        self.user.is_some()
    }

    /// Whether the login is right, given whether the hash was that of the password.
    pub(crate) fn finish(self, verified: bool) -> bool {
        match self.user {
            Some(entry) if verified => {
                *entry.seen.lock() = Some(self.tag);
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> String {
        let line = |user: &str, password: &str| {
            format!("{user}:{}\n", PasswordHash::text_of(password.as_bytes()).unwrap())
        };
        format!("# users\n\n{}{}", line("ann", "a"), line("bob", "b"))
    }

    /// Whether the login is right, and how many hashes it took.
    fn log_in(users: &Users, user: &str, password: &str) -> (bool, usize) {
        match users.login(user, password.as_bytes()) {
            Login::Known => (true, 0),
            Login::Compute(attempt) => {
                let verified = attempt.hash.verify(password.as_bytes());
                (attempt.finish(verified), 1)
            }
        }
    }

    #[test]
    fn a_login_is_right_with_the_users_own_password_alone() {
        let users = Users::parse(&file()).unwrap();
        assert!(users.contains("ann") && !users.contains("carl"));
        assert_eq!(log_in(&users, "ann", "a"), (true, 1));
        assert_eq!(log_in(&users, "ann", "a"), (true, 0), "remembered");
        assert_eq!(log_in(&users, "ann", "b"), (false, 1), "another password is not what is remembered");
        assert_eq!(log_in(&users, "bob", "a"), (false, 1), "nor is another user");
        assert_eq!(log_in(&users, "bob", "b"), (true, 1));
    }

    /// Login timing does not tell whether a user exists: as many hashes are computed, of the costs that users have.
    #[test]
    fn strangers_cost_what_users_do() {
        let users = Users::parse(&file()).unwrap();
        assert_eq!(log_in(&users, "carl", "a"), (false, 1));
        assert_eq!(log_in(&users, "carl", "b"), (false, 1), "not even with the password of who stands in");
        let nobody = Users::parse("# nobody\n").unwrap();
        assert_eq!(log_in(&nobody, "carl", "a"), (false, 1));
    }

    /// Who has keys for SCRAM may send the password as well, and it costs what theirs do.
    #[test]
    fn keys_for_scram_are_of_a_password_too() {
        let keys = |mechanism| Keys::text_of(mechanism, b"a", 4_096.try_into().unwrap()).unwrap();
        let [sha256, sha512] = Mechanism::ALL.map(keys);
        for line in [&sha256, &sha512, &format!("{sha256} {sha512}")] {
            let users = Users::parse(&format!("ann:{line}\n")).unwrap();
            assert_eq!(log_in(&users, "ann", "b"), (false, 1));
            assert_eq!(log_in(&users, "ann", "a"), (true, 1));
            assert_eq!(log_in(&users, "ann", "a"), (true, 0));
            for (mechanism, text) in [(Mechanism::Sha256, &sha256), (Mechanism::Sha512, &sha512)] {
                assert_eq!(users.scram(mechanism, "ann").exists, line.contains(text.as_str()));
            }
        }
        for bad in [
            format!("{sha256} {sha256}"),
            format!("{sha256}  {sha512}"),
            format!("{sha256} "),
            format!("{sha256} plain"),
            format!("{sha256} {}", PasswordHash::text_of(b"x").unwrap()),
        ] {
            let expected = bad.ends_with(' ');
            assert_eq!(Users::parse(&format!("ann:{bad}\n")).is_ok(), expected, "{bad}");
        }
    }

    #[test]
    fn one_bad_line_makes_a_file_unusable() {
        let whole = file();
        let cases = [
            (format!("{whole}carl\n"), "line 5: expected USER:HASH"),
            (format!("{whole}carl:\n"), "line 5: expected a hash"),
            (format!("{whole}:{}\n", PasswordHash::text_of(b"x").unwrap()), "line 5: expected USER:HASH"),
            (format!("{whole}carl:plain\n"), "line 5: expected a hash"),
            (format!("{whole}carl:$7$101$c2FsdA==\n"), "line 5: the hash is damaged"),
            (format!("{whole}{}", whole.lines().last().unwrap()), "line 5: the user of this line"),
        ];
        for (text, expected) in cases {
            let error = Users::parse(&text).unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
            assert!(
                !error.contains("plain") && !error.contains("c2FsdA"),
                "nothing of the file is quoted: {error}"
            );
        }
    }
}
