//! mosquitto's clients over TLS, with the test's own certificate authority.
//! WebSocket over TLS is in `mqttjs`; bad handshakes are tested elsewhere.

use crate::mosquitto::{Mosquitto, VERSIONS};
use crate::node::Node;
use crate::tools::{self, need};

#[test]
fn both_versions_of_tls_serve_all_versions_of_mqtt() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    let (port, ca) = (node.port("tls"), node.ca());
    for host in ["localhost", "127.0.0.1"] {
        for tls in ["tlsv1.2", "tlsv1.3"] {
            for version in VERSIONS {
                let secure = ["-h", host, "-p", &port, "--cafile", &ca, "--tls-version", tls, "-V", version];
                let client = Mosquitto::to(&secure);
                let subscriber = client.subscribe(&["-t", "tls/#", "-q", "2"]);
                client.publish(&["-t", "tls/온도", "-q", "2", "-m", "sealed"]);
                Mosquitto::tcp(&node, version).publish(&["-t", "tls/hum", "-q", "1", "-m", "open"]);
                let expected = ["tls/온도 2 0 sealed", "tls/hum 1 0 open"];
                assert_eq!(subscriber.messages(2), expected, "{host}, {tls}, {version}");
            }
        }
    }
}

#[test]
fn a_client_that_trusts_another_authority_does_not_connect() {
    need!(tools::program("mosquitto_pub"));
    let node = Node::start();
    let (port, ca) = (node.port("tls"), node.other_ca());
    let client = Mosquitto::to(&["-h", "localhost", "-p", &port, "--cafile", &ca]);
    let refused = client.run("mosquitto_pub", &["-t", "tls/온도", "-m", "never"]);
    assert!(!refused.success, "{refused:?}");
    assert!(refused.stderr.contains("A TLS error occurred"), "{refused:?}");
}
