//! A client on `#` and `$SYS/#` at once, as MQTT Explorer is, in 3.1.1 and 5.0.
//! Which values the broker topics have is tested with the broker's counters, not here.

use crate::child::run;
use crate::node::Node;
use crate::tools::{self, need};

/// The topics below `$SYS/broker/` that dashboards made for mosquitto read.
const TOPICS: [&str; 30] = [
    "version",
    "uptime",
    "clients/total",
    "clients/connected",
    "clients/active",
    "clients/disconnected",
    "clients/inactive",
    "clients/expired",
    "clients/maximum",
    "messages/received",
    "messages/sent",
    "messages/stored",
    "publish/messages/received",
    "publish/messages/sent",
    "publish/messages/dropped",
    "publish/bytes/received",
    "publish/bytes/sent",
    "bytes/received",
    "bytes/sent",
    "subscriptions/count",
    "shared_subscriptions/count",
    "retained messages/count",
    "store/messages/count",
    "store/messages/bytes",
    "load/connections/1min",
    "load/sockets/1min",
    "load/messages/received/1min",
    "load/publish/sent/5min",
    "load/bytes/received/15min",
    "load/bytes/sent/15min",
];

#[test]
fn mqtt_explorer_sees_everything_and_a_client_on_everything_no_broker_topics() {
    for version in ["4", "5"] {
        let mut command = need!(tools::node("explorer.js"));
        let node = Node::with_config("[sys]\ninterval = \"1s\"\n");
        command.args([format!("mqtt://{}", node.mqtt()), version.to_owned()]);
        command.args(TOPICS.map(|topic| format!("$SYS/broker/{topic}")));
        assert_eq!(
            run(command).lines(),
            [
                "granted 0 0",
                "granted 0 0",
                "missing []",
                "updates true",
                "ordinary 센서/온도,/hum",
                "# alone 센서/온도,/hum",
                "outside $SYS ",
            ],
            "version {version}"
        );
    }
}
