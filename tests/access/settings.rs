//! The configuration is read again on SIGHUP: what may change does, at once, and what cannot be used changes nothing at all.

use std::fs;
use std::process::Command;

use e2e_tests::wire::prop;
use e2e_tests::{Broker, Connect, RawClient};

use crate::fixture::wait_for;

/// A broker, whose configuration the test changes.
struct Configured(Broker);

impl Configured {
    fn new(toml: &str) -> Self {
        Self(Broker::with_config(&format!("{toml}[http]\naddress = \"127.0.0.1:0\"\n")))
    }

    /// Writes another configuration in the place of `old`, and has it read.
    fn replace(&self, old: &str, new: &str) {
        let file = self.0.dir().unwrap().join("quelea.toml");
        let text = fs::read_to_string(&file).unwrap();
        assert!(text.contains(old), "{text}");
        fs::write(file, text.replace(old, new)).unwrap();
        let pid = self.0.pid().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    }

    /// The keep alive that a client is given.
    fn keep_alive(&self) -> Option<u32> {
        let connect = Connect::v5("client").keep_alive(1_000);
        RawClient::connect_ack(&self.0.mqtt(), &connect).1.props.number(prop::SERVER_KEEP_ALIVE)
    }

    fn is_stale(&self) -> bool {
        self.0.metric("quelea_config_stale") > 0.5
    }
}

#[test]
fn what_may_change_does_and_clients_stay() {
    let broker = Configured::new("[mqtt]\nmax_keep_alive = \"100s\"\n[log]\nlevel = \"info\"\n");
    let mut stays = RawClient::connect(&broker.0.mqtt(), &Connect::v5("stays"));
    assert_eq!(broker.keep_alive(), Some(100));
    assert!(!broker.0.log().contains("DEBUG"), "{}", broker.0.log());
    broker.replace("100s", "50s");
    wait_for("a shorter keep alive", || broker.keep_alive() == Some(50));
    broker.replace("\"info\"", "\"info,quelea::connection=debug\"");
    wait_for("lines of clients that speak no MQTT", || {
        RawClient::open(&broker.0.mqtt()).send(b"GET / HTTP/1.1\r\n\r\n");
        broker.0.log().contains("DEBUG quelea::connection")
    });
    assert!(broker.0.log().contains("changed=\"mqtt.max_keep_alive\""), "{}", broker.0.log());
    assert!(!broker.is_stale());
    stays.ping();
}

#[test]
fn what_cannot_be_used_changes_nothing() {
    let broker = Configured::new("[mqtt]\nmax_keep_alive = \"100s\"\n");
    for (bad, named) in [
        (
            "max_keep_alive = \"50s\"\nreceive_maximum = 7",
            "mqtt.receive_maximum: cannot change while the node runs",
        ),
        ("max_keep_alive = \"50s\"\nmax_keepalive = 7", "unknown configuration key \"mqtt.max_keepalive\""),
        ("max_keep_alive = \"fifty\"", "mqtt.max_keep_alive"),
        ("max_keep_alive = ", "not valid TOML"),
    ] {
        broker.replace("max_keep_alive = \"100s\"", bad);
        wait_for("it is told", || broker.is_stale());
        assert_eq!(broker.keep_alive(), Some(100), "{bad}");
        wait_for(named, || broker.0.log().contains(named));
        broker.replace(bad, "max_keep_alive = \"100s\"");
        wait_for("it is good again", || !broker.is_stale());
    }
    let file = broker.0.dir().unwrap().join("quelea.toml");
    let text = fs::read_to_string(&file).unwrap();
    fs::remove_file(&file).unwrap();
    let pid = broker.0.pid().to_string();
    assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    wait_for("a file that is missing is told", || broker.is_stale());
    assert_eq!(broker.keep_alive(), Some(100));
    fs::write(&file, text).unwrap();
}
