//! mosquitto_pub and mosquitto_sub in the three versions: QoS, retained, topics, properties, the unix socket.
//! `Mosquitto` and `Subscriber` are used by the other modules too; nothing here keeps a session.

use crate::child::{Tool, run};
use crate::node::Node;
use crate::tools::{self, need};

/// What `-V` takes.
pub(crate) const VERSIONS: [&str; 3] = ["31", "311", "5"];

/// mosquitto's clients, aimed at one listener in one version.
pub(crate) struct Mosquitto(Vec<String>);

impl Mosquitto {
    /// Over the plain listener.
    pub(crate) fn tcp(node: &Node, version: &str) -> Self {
        Self::to(&["-h", "127.0.0.1", "-p", &node.port("mqtt"), "-V", version])
    }

    /// With these arguments on every call.
    pub(crate) fn to(arguments: &[&str]) -> Self {
        Self(arguments.iter().map(|argument| (*argument).to_owned()).collect())
    }

    /// Publishes and waits until it is done, which includes the acknowledgement.
    #[track_caller]
    pub(crate) fn publish(&self, arguments: &[&str]) {
        self.run("mosquitto_pub", arguments).lines();
    }

    /// Runs one of the clients to its end.
    #[track_caller]
    pub(crate) fn run(&self, client: &str, arguments: &[&str]) -> crate::child::Finished {
        let mut command = tools::mosquitto(client).unwrap();
        command.args(&self.0).args(arguments);
        run(command)
    }

    /// A client that subscribes and prints what comes, once it is subscribed.
    #[track_caller]
    pub(crate) fn subscribe(&self, arguments: &[&str]) -> Subscriber {
        self.subscribe_as("%t %q %r %p", arguments)
    }

    /// The same with a format of its own.
    #[track_caller]
    pub(crate) fn subscribe_as(&self, format: &str, arguments: &[&str]) -> Subscriber {
        let mut command = tools::mosquitto("mosquitto_sub").unwrap();
        command.args(&self.0).args(["-d", "-F", &format!("MSG {format}")]).args(arguments);
        let tool = Tool::start(command);
        tool.wait_for("Subscribed (mid:", 1);
        Subscriber(tool)
    }
}

/// A running mosquitto_sub.
pub(crate) struct Subscriber(pub(crate) Tool);

impl Subscriber {
    /// Waits until it has so many messages, makes it leave, and gives them.
    #[track_caller]
    pub(crate) fn messages(self, count: usize) -> Vec<String> {
        self.0.wait_for("MSG ", count);
        printed(&self.0.kill())
    }
}

/// The messages among the lines of a subscriber.
pub(crate) fn printed(output: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_prefix("MSG ")).map(str::to_owned).collect()
}

#[test]
fn every_version_and_every_qos_reaches_every_version_and_every_qos() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for to in VERSIONS {
        let qos = ["0", "1", "2"];
        let arguments = |qos| ["-t", "matrix/+", "-q", qos];
        let subscribers = qos.map(|qos| Mosquitto::tcp(&node, to).subscribe(&arguments(qos)));
        for from in VERSIONS {
            for qos in qos {
                let message = format!("{from} at {qos}");
                Mosquitto::tcp(&node, from).publish(&["-t", "matrix/온도", "-q", qos, "-m", &message]);
            }
        }
        Mosquitto::tcp(&node, "311").publish(&["-t", "matrix/end", "-m", "end"]);
        for (asked, subscriber) in subscribers.into_iter().enumerate() {
            let line = |from, at: usize| format!("matrix/온도 {} 0 {from} at {at}", at.min(asked));
            let mut expected: Vec<_> =
                VERSIONS.iter().flat_map(|from| (0..3).map(move |at| line(from, at))).collect();
            expected.push("matrix/end 0 0 end".to_owned());
            let mut got = subscriber.messages(expected.len());
            // mosquitto_sub prints a QoS 2 message when its handshake is over, later ones may be faster
            expected.sort();
            got.sort();
            assert_eq!(got, expected, "version {to}, QoS {asked}");
        }
    }
}

#[test]
fn a_qos_2_message_comes_to_a_qos_1_and_a_qos_0_subscriber_as_they_asked() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let client = Mosquitto::tcp(&node, version);
        let one = client.subscribe(&["-t", "센서/온도", "-q", "1"]);
        let zero = client.subscribe(&["-t", "센서/온도", "-q", "0"]);
        client.publish(&["-t", "센서/온도", "-q", "2", "-m", "26.70"]);
        client.publish(&["-t", "센서/온도", "-q", "0", "-m", "end"]);
        assert_eq!(one.messages(2), ["센서/온도 1 0 26.70", "센서/온도 0 0 end"], "version {version}");
        assert_eq!(zero.messages(2), ["센서/온도 0 0 26.70", "센서/온도 0 0 end"], "version {version}");
    }
}

#[test]
fn retained_messages_are_kept_replaced_and_cleared() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let client = Mosquitto::tcp(&node, version);
        let live = client.subscribe(&["-t", "kept/#", "-q", "2"]);
        client.publish(&["-t", "kept/온도", "-q", "1", "-r", "-m", "old"]);
        client.publish(&["-t", "kept/온도", "-q", "1", "-r", "-m", "26.70"]);
        client.publish(&["-t", "kept/hum", "-q", "0", "-r", "-m", "40"]);
        client.publish(&["-t", "kept/gone", "-q", "1", "-r", "-m", "gone"]);
        client.publish(&["-t", "kept/gone", "-q", "1", "-r", "-n"]);
        assert_eq!(
            live.messages(5),
            [
                "kept/온도 1 0 old",
                "kept/온도 1 0 26.70",
                "kept/hum 0 0 40",
                "kept/gone 1 0 gone",
                "kept/gone 1 0 "
            ],
            "version {version}"
        );
        let late = client.subscribe(&["-t", "kept/#", "-q", "2"]);
        client.publish(&["-t", "kept/end", "-q", "1", "-m", "end"]);
        // What is published meanwhile may come before what is looked up.
        let mut got = late.messages(3);
        got.sort();
        let all = ["kept/end 1 0 end", "kept/hum 0 1 40", "kept/온도 1 1 26.70"];
        assert_eq!(got, all, "version {version}");
        for topic in ["kept/온도", "kept/hum"] {
            client.publish(&["-t", topic, "-q", "1", "-r", "-n"]);
        }
    }
}

#[test]
fn leading_slashes_and_korean_are_topics_like_any_other() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let client = Mosquitto::tcp(&node, version);
        let filters = ["/hum", "/+", "+/+", "센서/온도", "센서/#", "+/온도"];
        let subscribers =
            filters.map(|filter| client.subscribe(&["-t", filter, "-t", "end/marks/here", "-q", "1"]));
        for topic in ["/hum", "hum", "센서/온도", "센서", "센서/온도/방", "//hum", "end/marks/here"]
        {
            client.publish(&["-t", topic, "-q", "1", "-m", "값"]);
        }
        let expected: [&[&str]; 6] = [
            &["/hum"],
            &["/hum"],
            &["/hum", "센서/온도"],
            &["센서/온도"],
            &["센서/온도", "센서", "센서/온도/방"],
            &["센서/온도"],
        ];
        for (subscriber, expected) in subscribers.into_iter().zip(expected) {
            subscriber.0.wait_for("MSG end/marks/here", 1);
            let mut lines: Vec<_> = expected.iter().map(|topic| format!("{topic} 1 0 값")).collect();
            lines.push("end/marks/here 1 0 값".to_owned());
            assert_eq!(subscriber.messages(lines.len()), lines, "version {version}");
        }
    }
}

#[test]
fn the_readmes_two_lines_print_a_temperature() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    let mut command = tools::mosquitto("mosquitto_sub").unwrap();
    command.args(["-p", &node.port("mqtt"), "-t", "ESP32/#", "-v", "-d"]);
    let subscriber = Tool::start(command);
    subscriber.wait_for("Subscribed", 1);
    Mosquitto::to(&["-p", &node.port("mqtt")]).publish(&["-t", "ESP32/TEM", "-m", "26.70"]);
    subscriber.wait_for("ESP32/TEM 26.70", 1);
}

#[test]
fn properties_pass_from_mosquitto_pub_to_mosquitto_sub_unchanged() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    let client = Mosquitto::tcp(&node, "5");
    let subscriber = client.subscribe_as(
        "%t|%F|%C|%R|%D|%P|%S|%p",
        &["-t", "v5/#", "-q", "1", "-D", "SUBSCRIBE", "subscription-identifier", "42"],
    );
    let mut arguments = vec!["-t", "v5/온도", "-q", "1", "-m", "26.70"];
    let properties = [
        &["payload-format-indicator", "1"][..],
        &["content-type", "text/plain"],
        &["response-topic", "v5/답"],
        &["correlation-data", "상관"],
        &["user-property", "b", "1"],
        &["user-property", "a", "2"],
        &["user-property", "b", "1"],
    ];
    for property in properties {
        arguments.extend(["-D", "PUBLISH"].iter().chain(property));
    }
    client.publish(&arguments);
    assert_eq!(subscriber.messages(1), ["v5/온도|1|text/plain|v5/답|상관|b:1 a:2 b:1|42|26.70"]);
}

#[test]
fn the_unix_socket_serves_as_the_port_does() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let inside = Mosquitto::to(&["--unix", &node.socket(), "-V", version]);
        let outside = Mosquitto::tcp(&node, version);
        let [one, other] = [&inside, &outside].map(|client| client.subscribe(&["-t", "unix/#", "-q", "2"]));
        inside.publish(&["-t", "unix/온도", "-q", "2", "-m", "from the socket"]);
        outside.publish(&["-t", "unix/온도", "-q", "2", "-m", "from the port"]);
        let expected = ["unix/온도 2 0 from the socket", "unix/온도 2 0 from the port"];
        assert_eq!(one.messages(2), expected, "version {version}");
        assert_eq!(other.messages(2), expected, "version {version}");
    }
}
