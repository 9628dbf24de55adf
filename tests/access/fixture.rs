//! A broker with users and rules in files of the test's own, which it may change.
//! Used by every module here.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::time::{Duration, Instant};

use e2e_tests::{BOUND, Broker, Connect, RawClient, Version, pause, process};

/// What the broker answers.
pub(crate) const NOT_AUTHORIZED: u8 = 0x87;
pub(crate) const BAD_CREDENTIALS: u8 = 0x86;

/// Users with the password `pass-NAME`, hashed at next to no cost: `ann`, `bob` and `eve`.
pub(crate) const USERS: &str = include_str!("users");

/// A broker, and where its files are.
pub(crate) struct Fixture {
    broker: Option<Broker>,
    dir: PathBuf,
}

impl Fixture {
    /// With these users, and these rules where there are some.
    pub(crate) fn new(users: &str, rules: Option<&str>) -> Self {
        Self::with("", users, rules)
    }

    /// The same with more lines of configuration before all sections.
    pub(crate) fn with(toml: &str, users: &str, rules: Option<&str>) -> Self {
        let dir = process::fresh_dir();
        fs::write(dir.join("users"), users).unwrap();
        let mut config = format!(
            "{toml}\n[http]\naddress = \"127.0.0.1:0\"\n[auth.password]\nfile = {:?}\n",
            dir.join("users")
        );
        if let Some(rules) = rules {
            fs::write(dir.join("rules"), rules).unwrap();
            config += &format!("[acl]\nfile = {:?}\n", dir.join("rules"));
        }
        Self { broker: Some(Broker::with_config(&config)), dir }
    }

    pub(crate) fn broker(&self) -> &Broker {
        self.broker.as_ref().unwrap()
    }

    pub(crate) fn addr(&self) -> String {
        self.broker().mqtt()
    }

    /// Where a file of the test's own is.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// Puts another file in the place of one, as editors do.
    pub(crate) fn replace(&self, name: &str, text: impl AsRef<[u8]>) {
        let beside = self.path(&format!("{name}.new"));
        fs::write(&beside, text).unwrap();
        fs::rename(beside, self.path(name)).unwrap();
    }

    /// Starts the broker anew on the same files.
    pub(crate) fn restart(&mut self) {
        let broker = self.broker.as_mut().unwrap();
        let _status = broker.stop();
        broker.restart(&[]);
    }

    /// Kills the broker, and starts it anew on the same files.
    pub(crate) fn crash(&mut self) {
        let broker = self.broker.as_mut().unwrap();
        broker.kill();
        broker.restart(&[]);
    }

    /// A client of this user, whose password is right.
    pub(crate) fn client(&self, version: Version, id: &str, user: &str) -> RawClient {
        RawClient::connect(&self.addr(), &log_in(version, id, user))
    }

    pub(crate) fn metric(&self, name: &str) -> f64 {
        self.broker().metric(name)
    }

    /// Waits until a metric has this value.
    #[track_caller]
    pub(crate) fn wait_metric(&self, name: &str, value: f64) {
        wait_for(&format!("{name} {value}"), || self.metric(name) >= value && self.metric(name) <= value);
    }
}

impl Drop for Fixture {
    fn drop(&mut self) {
        // First: it may look at its files until it has ended.
        self.broker = None;
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A CONNECT of a user, whose password is right.
pub(crate) fn log_in(version: Version, id: &str, user: &str) -> Connect {
    Connect::new(version, id).user(user).password(format!("pass-{user}"))
}

/// What a broker says to a CONNECT: the code of CONNACK; it closes whatever it refuses.
pub(crate) fn answer(addr: &str, connect: &Connect) -> u8 {
    let mut client = RawClient::open(addr);
    let code = client.handshake(connect).reason;
    if code > 0 {
        assert!(client.expect_closed().is_empty(), "nothing behind a refusal");
    }
    code
}

/// Waits for something that must come to be.
#[track_caller]
pub(crate) fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + 2 * BOUND;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        pause(Duration::from_millis(20));
    }
}

/// What `quelea passwd FILE ...` says and does.
pub(crate) fn passwd(file: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = process::bound_to_us(&process::binary());
    command.arg("passwd").arg(file).args(arguments);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = process::spawn(command).unwrap();
    // Whoever sees a mistake before it needs the password does not read it.
    let _unread = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}
