//! What can be asked of a device: request and response of MQTT 5.

use e2e_tests::wire::prop;
use e2e_tests::{Broker, Props, Publish, RawClient};

use crate::device::{Board, Device};
use crate::link::Link;

/// From an hour between readings to none at all that a person would notice.
pub(crate) fn the_interval_is_changed(board: Board) {
    let broker = Broker::start();
    let link = Link::to(&broker.mqtt());
    let device = Device::start(board, &[link.port()], "client_id=attic interval_ms=3600000");
    // The status, which comes behind the subscription, and both measurements.
    device.wait_for("acknowledged total=2", 1);
    let mut client = RawClient::v5(&broker.mqtt(), "person");
    client.subscribe("answers/7", 1);
    assert_eq!(ask(&mut client, "interval_ms"), "interval_ms=3600000");
    assert_eq!(ask(&mut client, "interval_ms=99"), "error: interval_ms is 100 to 3600000");
    assert_eq!(device.readings().len(), 1);
    assert_eq!(ask(&mut client, "interval_ms=100"), "interval_ms=100");
    device.wait_for(" read ", 5);
    assert_eq!(device.lines("interval changed ms=100").len(), 1);
}

/// The answer comes to the topic that the question names, with its correlation data.
fn ask(client: &mut RawClient, question: &str) -> String {
    let properties =
        Props::new().text(prop::RESPONSE_TOPIC, "answers/7").text(prop::CORRELATION_DATA, question);
    client.publish_packet(Publish::v5("ESP32/CMD", question).props(properties), 1);
    let answer = client.receive();
    assert_eq!((answer.topic.as_str(), answer.qos), ("answers/7", 1));
    assert_eq!(answer.props.bytes(prop::CORRELATION_DATA).as_deref(), Some(question.as_bytes()));
    answer.text()
}
