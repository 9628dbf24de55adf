//! Who may administer: a file with a line `NAME ROLE HASH` for each token, and what each role may do. Written by `quelea token`,
//! read again when it changes, asked by `guard`. It has no token, only what follows from each.

use std::fmt;
use std::io::{self, Write};
use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clap::{Args, ValueEnum};
use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::access::{read_text, rewrite};

/// What begins a comment.
const COMMENT: char = '#';
/// The first line of a new file.
const HEADER: &str = "# Tokens for the admin API, NAME ROLE HASH; changed by `quelea token`\n";
/// Bytes of a token, before they are written as text: nobody guesses one, so that a fast hash is enough.
const TOKEN_BYTES: usize = 32;
/// Bytes of its hash.
const HASH_BYTES: usize = 32;
/// Tokens of a file.
const TOKENS_MAX: usize = 1_024;
/// Bytes of a name.
const NAME_BYTES_MAX: usize = 64;

/// What somebody may do, each all that the ones before may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub(crate) enum Role {
    /// See everything.
    Viewer,
    /// Disconnect clients, move them and leaderships between nodes, publish, and have nodes read their settings again.
    Operator,
    /// Change which nodes belong to the cluster, end sessions, remove retained messages.
    Admin,
}

impl Role {
    const ALL: [Self; 3] = [Self::Viewer, Self::Operator, Self::Admin];

    /// The word for it.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
        }
    }
}

/// Somebody with a token.
struct Entry {
    name: Box<str>,
    role: Role,
    hash: [u8; HASH_BYTES],
}

/// The tokens of a file.
#[derive(Default)]
pub(crate) struct Tokens(Vec<Entry>);

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("count", &self.0.len()).finish()
    }
}

impl Tokens {
    /// Reads a file.
    ///
    /// # Errors
    /// For the first line that is wrong; nothing of it is quoted.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let mut tokens = Self::default();
        for (at, line) in text.lines().enumerate() {
            let wrong = |what: &str| format!("line {}: {what}", at + 1);
            if line.trim().is_empty() || line.starts_with(COMMENT) {
                continue;
            }
            let words: Vec<&str> = line.split_whitespace().collect();
            let [name, role, hash] = words.as_slice() else { return Err(wrong("expected NAME ROLE HASH")) };
            let role = Role::ALL.into_iter().find(|known| known.as_str() == *role);
            let role =
                role.ok_or_else(|| wrong("expected \"viewer\", \"operator\" or \"admin\" behind the name"))?;
            let hash = URL_SAFE_NO_PAD.decode(hash).ok().and_then(|hash| hash.try_into().ok());
            let hash =
                hash.ok_or_else(|| wrong("the hash is damaged: make the token anew by quelea token"))?;
            if tokens.has(name) {
                return Err(wrong("the name of this line has another line before"));
            }
            tokens.0.push(Entry { name: (*name).into(), role, hash });
        }
        match tokens.0.len() {
            ..=TOKENS_MAX => Ok(tokens),
            found => Err(format!("the file has {found} tokens, expected {TOKENS_MAX} at most")),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.0.iter().any(|entry| &*entry.name == name)
    }

    /// Whose token it is. All are looked at, whichever it is.
    pub(super) fn find(&self, token: &str) -> Option<(&str, Role)> {
        let hash = hash(token);
        let mut found = None;
        for entry in &self.0 {
            if bool::from(entry.hash.as_slice().ct_eq(hash.as_ref())) {
                found = Some((&*entry.name, entry.role));
            }
        }
        found
    }
}

fn hash(token: &str) -> ring::digest::Digest {
    digest(&SHA256, token.as_bytes())
}

/// What `quelea token` takes.
#[derive(Debug, Args)]
pub(crate) struct TokenArgs {
    /// The file with the tokens' hashes (admin.tokens_file); made where it is missing
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Whose token it is, as the audit log calls it
    #[arg(value_name = "NAME")]
    name: String,
    /// What it is good for
    #[arg(value_name = "ROLE", required_unless_present = "delete")]
    role: Option<Role>,
    /// Remove it
    #[arg(short = 'D', long)]
    delete: bool,
}

/// Makes a token, takes note of what follows from it, and prints it: it is nowhere else.
///
/// # Errors
/// The file cannot be used or written, the name is none, or there is no such token to remove.
pub(crate) fn token(args: &TokenArgs) -> anyhow::Result<()> {
    let TokenArgs { file, name, role, .. } = args;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-' | '@');
    ensure!(
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(allowed),
        "a name is 1 to {NAME_BYTES_MAX} of the characters a-z A-Z 0-9 . _ - @: {name:?} cannot be used"
    );
    let delete = args.delete;
    let before = match file.try_exists()? {
        true => read_text(file)?,
        false if delete => bail!("{} does not exist", file.display()),
        false => Zeroizing::new(HEADER.to_owned()),
    };
    let tokens = Tokens::parse(&before).map_err(anyhow::Error::msg);
    let tokens = tokens.with_context(|| format!("{} cannot be used", file.display()))?;
    ensure!(!delete || tokens.has(name), "{} has no token of {name:?}", file.display());
    let kept = before.split_inclusive('\n').filter(|line| line.split_whitespace().next() != Some(name));
    let mut text: String = kept.collect();
    let made = role.filter(|_| !delete).map(|role| anyhow::Ok((role, random()?))).transpose()?;
    if let Some((role, token)) = &made {
        let hash = URL_SAFE_NO_PAD.encode(hash(token));
        text.push_str(&format!("{name} {} {hash}\n", role.as_str()));
    }
    rewrite(file, &text)?;
    match made {
        Some((_, token)) => Ok(writeln!(io::stdout(), "{}", *token)?),
        None => Ok(writeln!(io::stdout(), "removed {name}")?),
    }
}

fn random() -> anyhow::Result<Zeroizing<String>> {
    let mut bytes = Zeroizing::new([0; TOKEN_BYTES]);
    SystemRandom::new().fill(bytes.as_mut_slice()).ok().context("the system has no random numbers")?;
    Ok(Zeroizing::new(URL_SAFE_NO_PAD.encode(bytes.as_slice())))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(name: &str, role: &str, token: &str) -> String {
        format!("{name} {role} {}\n", URL_SAFE_NO_PAD.encode(hash(token)))
    }

    #[test]
    fn a_token_is_known_by_its_hash_and_roles_are_in_order() {
        let text = format!("# tokens\n\n{}{}", line("eve", "viewer", "a"), line("ann", "admin", "b"));
        let tokens = Tokens::parse(&text).unwrap();
        assert_eq!(tokens.find("a"), Some(("eve", Role::Viewer)));
        assert_eq!(tokens.find("b"), Some(("ann", Role::Admin)));
        assert_eq!((tokens.find("c"), tokens.find("")), (None, None));
        assert!(Role::Viewer < Role::Operator && Role::Operator < Role::Admin);
        assert!(!format!("{tokens:?}").contains("eve"));
    }

    #[test]
    fn one_bad_line_makes_a_file_unusable_and_nothing_of_it_is_quoted() {
        let good = line("eve", "viewer", "a");
        for (bad, expected) in [
            ("eve viewer\n".to_owned(), "line 2: expected NAME ROLE HASH"),
            ("bob root c2VjcmV0\n".to_owned(), "line 2: expected \"viewer\""),
            ("bob admin c2VjcmV0\n".to_owned(), "line 2: the hash is damaged"),
            (good.clone(), "line 2: the name of this line"),
        ] {
            let error = Tokens::parse(&format!("{good}{bad}")).unwrap_err();
            assert!(error.starts_with(expected) && !error.contains("c2VjcmV0"), "{error}");
        }
        let many: String =
            (0..=TOKENS_MAX).map(|at| line(&format!("t{at}"), "viewer", &at.to_string())).collect();
        assert!(Tokens::parse(&many).unwrap_err().contains("1024 at most"));
    }

    #[test]
    fn tokens_are_long_and_never_the_same() {
        let (one, other) = (random().unwrap(), random().unwrap());
        assert!(one.len() == 43 && *one != *other);
    }
}
