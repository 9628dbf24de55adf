//! Debian's mosquitto as a bridge into the broker under test, in both directions, configured as its users configure it.
//! The mosquitto of these tests listens on a unix socket only and ends with the test.

use std::fs;
use std::path::Path;

use crate::child::Tool;
use crate::mosquitto::Mosquitto;
use crate::node::{Directory, Node};
use crate::tools::{self, need};

/// A mosquitto that is bridged to the broker under test.
struct Bridged {
    tool: Tool,
    dir: Directory,
}

/// Every direction, a pattern each, and prefixes that are put on and taken off.
const TOPICS: &str = "\
topic in/# in 1
topic out/# out 1
topic both/# both 2
topic 센서/# out 2 집/ 원격/
topic 명령/# in 2 집/ 원격/
";

impl Bridged {
    /// Starts one and waits until its three subscriptions over there are granted.
    #[track_caller]
    fn start(mosquitto: &Path, address: &str, settings: &str) -> Self {
        let dir = Directory::new();
        let config = format!(
            "user root\nallow_anonymous true\nlog_timestamp false\nlistener 0 {}\n\
             connection quelea\naddress {address}\nrestart_timeout 1\n{TOPICS}{settings}",
            dir.file("bridge.sock"),
        );
        fs::write(dir.file("bridge.conf"), config).unwrap();
        let mut command = tools::command(mosquitto);
        command.args(["-v", "-c", &dir.file("bridge.conf")]);
        let bridged = Self { tool: Tool::start(command), dir };
        bridged.tool.wait_for("Received SUBACK from local.", 3);
        bridged
    }

    fn log(&self) -> String {
        self.tool.said().1
    }

    /// Clients of the mosquitto that bridges.
    fn near(&self) -> Mosquitto {
        Mosquitto::to(&["--unix", &self.dir.file("bridge.sock")])
    }
}

/// What goes through each pattern, each message once and where it belongs.
fn messages_cross_both_ways(node: &Node, bridged: &Bridged, case: &str) {
    let (near, far) = (bridged.near(), Mosquitto::tcp(node, "311"));
    let here = near.subscribe(&["-t", "in/#", "-t", "집/명령/#", "-t", "both/far", "-t", "end/#", "-q", "2"]);
    let there =
        far.subscribe(&["-t", "out/#", "-t", "원격/센서/#", "-t", "both/near", "-t", "end/#", "-q", "2"]);
    for qos in ["0", "1", "2"] {
        near.publish(&["-t", "out/온도", "-q", qos, "-m", &format!("out {qos}")]);
        near.publish(&["-t", "집/센서/온도", "-q", qos, "-m", &format!("mapped {qos}")]);
        near.publish(&["-t", "both/near", "-q", qos, "-m", &format!("near {qos}")]);
        far.publish(&["-t", "in/온도", "-q", qos, "-m", &format!("in {qos}")]);
        far.publish(&["-t", "원격/명령/불", "-q", qos, "-m", &format!("mapped {qos}")]);
        far.publish(&["-t", "both/far", "-q", qos, "-m", &format!("far {qos}")]);
    }
    near.publish(&["-t", "in/local", "-q", "1", "-m", "not mirrored"]);
    far.publish(&["-t", "out/local", "-q", "1", "-m", "not mirrored"]);
    let sorted = |mut lines: Vec<String>| {
        lines.sort();
        lines
    };
    assert_eq!(
        sorted(here.messages(10)),
        [
            "both/far 0 0 far 0",
            "both/far 1 0 far 1",
            "both/far 2 0 far 2",
            "in/local 1 0 not mirrored",
            "in/온도 0 0 in 0",
            "in/온도 1 0 in 1",
            "in/온도 1 0 in 2",
            "집/명령/불 0 0 mapped 0",
            "집/명령/불 1 0 mapped 1",
            "집/명령/불 2 0 mapped 2",
        ],
        "{case}: near"
    );
    assert_eq!(
        sorted(there.messages(10)),
        [
            "both/near 0 0 near 0",
            "both/near 1 0 near 1",
            "both/near 2 0 near 2",
            "out/local 1 0 not mirrored",
            "out/온도 0 0 out 0",
            "out/온도 1 0 out 1",
            "out/온도 1 0 out 2",
            "원격/센서/온도 0 0 mapped 0",
            "원격/센서/온도 1 0 mapped 1",
            "원격/센서/온도 2 0 mapped 2",
        ],
        "{case}: far"
    );
}

#[test]
fn a_bridge_with_default_settings_is_refused_as_private_and_comes_again_in_plain() {
    let mosquitto = need!(tools::program("mosquitto"));
    let node = Node::start();
    let bridged = Bridged::start(&mosquitto, &node.mqtt(), "");
    messages_cross_both_ways(&node, &bridged, "default settings");
    if !node.is_external() {
        let log = bridged.log();
        let refused = log.matches("Connection Refused: unacceptable protocol version").count();
        assert_eq!(refused, 1, "the private level is refused once, with return code 1:\n{log}");
    }
}

#[test]
fn a_bridge_works_in_every_version_and_does_not_echo_in_version_5() {
    let mosquitto = need!(tools::program("mosquitto"));
    for version in ["mqttv31", "mqttv311", "mqttv50"] {
        for private in [false, true] {
            let node = Node::start();
            // Notifications are on by default: the state of the bridge below `$SYS`, as retained message and as will.
            let settings = format!("bridge_protocol_version {version}\ntry_private {private}\n");
            let bridged = Bridged::start(&mosquitto, &node.mqtt(), &settings);
            messages_cross_both_ways(&node, &bridged, &settings);
            let far = Mosquitto::tcp(&node, "5");
            let states = far.subscribe(&["-t", "$SYS/broker/connection/#", "-t", "states/end", "-q", "1"]);
            far.publish(&["-t", "states/end", "-q", "1", "-m", "end"]);
            if !node.is_external() {
                assert_eq!(states.messages(1), ["states/end 1 0 end"], "{settings}");
                assert!(!bridged.log().contains("Not authorized"), "{}", bridged.log());
            }
            if version == "mqttv50" && !private {
                let near = bridged.near().subscribe(&["-t", "both/#", "-t", "in/#", "-q", "1"]);
                bridged.near().publish(&["-t", "both/온도", "-q", "1", "-m", "no echo"]);
                Mosquitto::tcp(&node, "5").publish(&["-t", "in/end", "-q", "1", "-m", "end"]);
                assert_eq!(near.messages(2), ["both/온도 1 0 no echo", "in/end 1 0 end"]);
            }
        }
    }
}

#[test]
fn retained_messages_cross_a_bridge_and_its_session_catches_up() {
    let mosquitto = need!(tools::program("mosquitto"));
    let node = Node::start();
    let far = Mosquitto::tcp(&node, "311");
    far.publish(&["-t", "in/kept", "-q", "1", "-r", "-m", "from far"]);
    let settings = "cleansession false\nremote_clientid bridge\nbridge_attempt_unsubscribe false\n";
    let bridged = Bridged::start(&mosquitto, &node.mqtt(), settings);
    bridged.near().publish(&["-t", "out/kept", "-q", "1", "-r", "-m", "from near"]);
    assert_eq!(bridged.near().subscribe(&["-t", "in/kept"]).messages(1), ["in/kept 0 1 from far"]);
    far.subscribe(&["-t", "out/kept"]).0.wait_for("MSG out/kept 0 ", 1);
    drop(bridged.tool.kill());

    far.publish(&["-t", "in/missed", "-q", "1", "-m", "while it was away"]);
    let again = Bridged::start(&mosquitto, &node.mqtt(), settings);
    again.near().publish(&["-t", "out/back", "-q", "1", "-m", "it works again"]);
    let log = again.log();
    let came =
        |line: &&str| line.starts_with("Received PUBLISH") && line.contains("'in/missed', ... (17 bytes)");
    assert_eq!(log.lines().filter(came).count(), 1, "what was queued comes, once:\n{log}");
}
