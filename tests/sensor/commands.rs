//! What can be asked of a device: request and response of MQTT 5.

use e2e_tests::stubborn::session;
use e2e_tests::wire::prop;
use e2e_tests::{Dev, Props, Publish, RawClient, unique};

use crate::cluster::ports;
use crate::device::{Board, Device};

/// From an hour between readings to none at all that a person would notice. The person is on another node.
pub(crate) fn the_interval_is_changed(board: Board) {
    let (dev, name) = (Dev::shared(), unique("attic"));
    let words = format!("client_id={name} prefix={name} interval_ms=3600000");
    let device = Device::start(board, &ports(&dev, 1), &words);
    // The status, which comes behind the subscription, and both measurements.
    device.wait_for("acknowledged total=2", 1);
    let mut client = session(&unique("person"), &[dev.mqtt(2)]);
    let answers = unique("answers");
    client.subscribe(&answers, 1);
    let mut ask = |question| ask(&mut client, (&name, &answers), question);
    assert_eq!(ask("interval_ms"), "interval_ms=3600000");
    assert_eq!(ask("interval_ms=99"), "error: interval_ms is 100 to 3600000");
    assert_eq!(device.readings().len(), 1);
    assert_eq!(ask("interval_ms=100"), "interval_ms=100");
    device.wait_for(" read ", 5);
    assert_eq!(device.lines("interval changed ms=100").len(), 1);
}

/// The answer comes to the topic that the question names, with its correlation data.
fn ask(client: &mut RawClient, (prefix, answers): (&str, &str), question: &str) -> String {
    let properties = Props::new().text(prop::RESPONSE_TOPIC, answers).text(prop::CORRELATION_DATA, question);
    let command = format!("{prefix}/CMD");
    client.publish_packet(Publish::v5(&command, question).props(properties), 1);
    let answer = client.receive();
    assert_eq!((answer.topic.as_str(), answer.qos), (answers, 1));
    assert_eq!(answer.props.bytes(prop::CORRELATION_DATA).as_deref(), Some(question.as_bytes()));
    answer.text()
}
