//! `quelea passwd`: adds, changes and removes the users of a password file. The password comes from standard input or is
//! asked for, never from the command line, where other users of the machine could read it.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, BufRead, BufReader, IsTerminal, Read, Write};
use std::num::NonZeroU32;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use clap::Args;
use rustix::termios::{LocalModes, OptionalActions, tcgetattr, tcsetattr};
use zeroize::Zeroizing;

use super::file::read_text;
use super::hash::PasswordHash;
use super::scram::{ITERATIONS, ITERATIONS_ALLOWED, Keys, Mechanism};
use super::users::{COMMENT, Users};

/// The first line of a new file.
const HEADER: &str = "# Users of Quelea, USER:HASH; changed by `quelea passwd`\n";
/// Bytes of a password that MQTT can carry.
const PASSWORD_BYTES_MAX: usize = 65_535;

/// What `quelea passwd` takes.
#[derive(Debug, Args)]
pub(crate) struct PasswdArgs {
    /// The password file (auth.password.file); made where it is missing
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The user to add, or whose password is changed
    #[arg(value_name = "USER")]
    user: String,
    /// Remove the user
    #[arg(short = 'D', long)]
    delete: bool,
    /// Take the password from the first line of this file, such as a mounted secret, in place of standard input
    #[arg(long, value_name = "FILE", conflicts_with = "delete")]
    password_file: Option<PathBuf>,
    /// Write keys for SCRAM-SHA-256 and SCRAM-SHA-512 in place of an argon2id hash; name and password do as before
    #[arg(long, conflicts_with = "delete")]
    scram: bool,
    /// How often clients hash their password for SCRAM: give all users the same
    #[arg(long, value_name = "N", requires = "scram", default_value_t = ITERATIONS, value_parser = clap::value_parser!(u32).range(i64::from(*ITERATIONS_ALLOWED.start())..=i64::from(*ITERATIONS_ALLOWED.end())))]
    iterations: u32,
}

/// Does what the command line says. Without `--delete` the password is the first line of `--password-file` or of standard
/// input, asked for twice where that is a terminal.
///
/// # Errors
/// The file cannot be used or written, the name or the password is none, or there is no such user to remove.
pub(crate) fn run(args: &PasswdArgs) -> anyhow::Result<()> {
    let PasswdArgs { file, user, delete, password_file, .. } = args;
    let allowed = !user.is_empty()
        && !user.starts_with(COMMENT)
        && !user.contains(':')
        && !user.contains(char::is_control);
    ensure!(
        allowed,
        "a user name has no colon and no control character, and begins with no {COMMENT}: {user:?} cannot be used"
    );
    let before = match file.try_exists()? {
        true => read_text(file)?,
        false if *delete => bail!("{} does not exist", file.display()),
        false => Zeroizing::new(HEADER.to_owned()),
    };
    let users = Users::parse(&before).with_context(|| format!("{} cannot be used", file.display()))?;
    ensure!(!*delete || users.contains(user), "{} has no user {user:?}", file.display());
    let line = if *delete {
        None
    } else {
        let password = password(user, password_file.as_deref())?;
        let hash =
            if args.scram { scram(&password, args.iterations)? } else { PasswordHash::text_of(&password) };
        Some(format!("{user}:{}\n", hash.context("the system has no random numbers")?))
    };
    rewrite(file, &replaced(&before, user, line.as_deref()))?;
    let done = match (delete, users.contains(user)) {
        (true, _) => "removed",
        (false, true) => "changed",
        (false, false) => "added",
    };
    Ok(writeln!(io::stdout(), "{done} {user}")?)
}

/// Keys for SCRAM of each kind. Of others than these letters clients may make different ones (RFC 4013).
fn scram(password: &[u8], iterations: u32) -> anyhow::Result<Option<String>> {
    let plain = password.iter().all(|byte| (b' '..=b'~').contains(byte));
    ensure!(plain, "a password for SCRAM has printable ASCII characters alone");
    let iterations = NonZeroU32::new(iterations).context("iterations are at least one")?;
    let texts = Mechanism::ALL.map(|mechanism| Keys::text_of(mechanism, password, iterations));
    Ok(texts.into_iter().collect::<Option<Vec<_>>>().map(|texts| texts.join(" ")))
}

/// The file with the line of one user replaced, removed, or added at the end; all else stays as it is.
fn replaced(text: &str, user: &str, line: Option<&str>) -> Zeroizing<String> {
    let is_users = |old: &&str| old.split_once(':').is_some_and(|(name, _)| name == user);
    let mut new = Zeroizing::new(String::with_capacity(text.len() + line.map_or(0, str::len)));
    let mut line = line;
    for old in text.split_inclusive('\n') {
        new.push_str(if is_users(&old) { line.take().unwrap_or_default() } else { old });
    }
    new.push_str(line.unwrap_or_default());
    new
}

/// Writes the file beside the old one and puts it in its place, so that nobody ever reads half of it.
///
/// # Errors
/// It cannot be written; the old one is as it was.
pub(crate) fn rewrite(file: &Path, text: &str) -> anyhow::Result<()> {
    // Where it is a link, what it leads to is replaced.
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let failed = || format!("cannot write {}", file.display());
    let mut name = file.file_name().with_context(failed)?.to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let beside = file.with_file_name(name);
    let written = write_beside(&beside, fs::metadata(file).ok().as_ref(), text);
    let moved = written.and_then(|()| fs::rename(&beside, file));
    if moved.is_err() {
        let _was_not_made = fs::remove_file(&beside);
    }
    moved.with_context(failed)?;
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(directory).and_then(|directory| directory.sync_all()).with_context(failed)
}

/// Its owner and mode are those of the file before; the broker has to be able to read it.
fn write_beside(beside: &Path, before: Option<&fs::Metadata>, text: &str) -> io::Result<()> {
    let mut new = OpenOptions::new().write(true).create_new(true).mode(0o600).open(beside)?;
    if let Some(before) = before {
        let made = new.metadata()?;
        if (made.uid(), made.gid()) != (before.uid(), before.gid()) {
            fchown(&new, Some(before.uid()), Some(before.gid()))?;
        }
        new.set_permissions(Permissions::from_mode(before.mode() & 0o777))?;
    }
    new.write_all(text.as_bytes())?;
    new.sync_all()
}

fn password(user: &str, from: Option<&Path>) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let password = if let Some(file) = from {
        let failed = || format!("cannot read {}", file.display());
        first_line(&mut BufReader::new(File::open(file).with_context(failed)?)).with_context(failed)?
    } else if io::stdin().is_terminal() {
        let first = asked(&format!("Password of {user}: "))?;
        ensure!(first == asked("Again: ")?, "these are two passwords");
        first
    } else {
        first_line(&mut io::stdin().lock())?
    };
    ensure!(!password.is_empty(), "the password is empty");
    ensure!(password.len() <= PASSWORD_BYTES_MAX, "the password is longer than MQTT can carry");
    Ok(password)
}

fn first_line(input: &mut dyn BufRead) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut line = Zeroizing::new(Vec::with_capacity(256));
    input.take(PASSWORD_BYTES_MAX as u64 + 3).read_until(b'\n', &mut line)?;
    for end in [b'\n', b'\r'] {
        if line.last() == Some(&end) {
            line.pop();
        }
    }
    Ok(line)
}

/// What is typed at the terminal, which does not show it.
fn asked(question: &str) -> anyhow::Result<Zeroizing<Vec<u8>>> {
    let stdin = io::stdin();
    write!(io::stderr(), "{question}")?;
    io::stderr().flush()?;
    let shown = tcgetattr(&stdin)?;
    let mut hidden = shown.clone();
    hidden.local_modes.remove(LocalModes::ECHO);
    tcsetattr(&stdin, OptionalActions::Flush, &hidden)?;
    let line = first_line(&mut stdin.lock());
    tcsetattr(&stdin, OptionalActions::Flush, &shown)?;
    writeln!(io::stderr())?;
    Ok(line?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_is_added_changed_and_removed_and_the_rest_stays() {
        let before = "# mine\nann:1\nbob:2\n";
        assert_eq!(replaced(before, "carl", Some("carl:3\n")).as_str(), "# mine\nann:1\nbob:2\ncarl:3\n");
        assert_eq!(replaced(before, "ann", Some("ann:3\n")).as_str(), "# mine\nann:3\nbob:2\n");
        assert_eq!(replaced(before, "bob", None).as_str(), "# mine\nann:1\n");
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_new_one_is_its_owners() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("passwords");
        let mode = || fs::metadata(&file).unwrap().mode() & 0o777;
        rewrite(&file, "a\n").unwrap();
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        rewrite(&file, "b\n").unwrap();
        assert_eq!((mode(), fs::read_to_string(&file).unwrap().as_str()), (0o640, "b\n"));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
    }

    #[test]
    fn a_password_is_the_first_line() {
        for (input, expected) in
            [("secret\n", "secret"), ("secret", "secret"), ("se cret\r\nmore\n", "se cret"), ("", "")]
        {
            assert_eq!(first_line(&mut input.as_bytes()).unwrap().as_slice(), expected.as_bytes());
        }
    }
}
