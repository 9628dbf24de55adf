//! rumqttc in its 5.0 form: properties, aliases, identifiers, options, sessions, wills, taking over.
//! Its 3.1.1 form is another set of types, hence another file.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use rumqttc::Outgoing;
use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnAck, DisconnectReasonCode, Filter, LastWill, LastWillProperties, Packet, Publish, PublishProperties,
    RetainForwardRule, SubscribeProperties,
};
use rumqttc::v5::{Client, Connection, ConnectionError, Event, MqttOptions, StateError};

use crate::child::BOUND;
use crate::node::Node;

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A connected client.
struct Peer {
    client: Client,
    connection: Connection,
    answer: ConnAck,
}

impl Peer {
    #[track_caller]
    fn open(node: &Node, client_id: &str, set: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", node.port("mqtt").parse::<u16>().unwrap());
        options.set_keep_alive(Duration::from_secs(30)).set_clean_start(true);
        set(&mut options);
        let (client, mut connection) = Client::new(options, 4096);
        let answer = until(&mut connection, "CONNACK", |event| match event {
            Event::Incoming(Packet::ConnAck(answer)) => Some(answer),
            _ => None,
        });
        Self { client, connection, answer }
    }

    #[track_caller]
    fn subscribe(&mut self, filter: Filter, id: Option<usize>) {
        let properties = SubscribeProperties { id, user_properties: Vec::new() };
        self.client.subscribe_many_with_properties([filter], properties).unwrap();
        let granted = |event| matches!(event, Event::Incoming(Packet::SubAck(_))).then_some(());
        until(&mut self.connection, "SUBACK", granted);
    }

    /// Publishes and waits until that is complete.
    #[track_caller]
    fn publish(&mut self, topic: &str, qos: QoS, payload: &str, properties: PublishProperties) {
        let payload = payload.as_bytes().to_vec();
        self.client.publish_with_properties(topic, qos, false, payload, properties).unwrap();
        self.completed(qos);
    }

    /// Waits for what completes a publish.
    #[track_caller]
    fn completed(&mut self, qos: QoS) {
        until(&mut self.connection, "acknowledgement", |event| {
            let complete = match event {
                Event::Outgoing(Outgoing::Publish(_)) => qos == QoS::AtMostOnce,
                Event::Incoming(Packet::PubAck(_)) => qos == QoS::AtLeastOnce,
                Event::Incoming(Packet::PubComp(_)) => qos == QoS::ExactlyOnce,
                _ => false,
            };
            complete.then_some(())
        });
    }

    #[track_caller]
    fn message(&mut self) -> Publish {
        until(&mut self.connection, "message", |event| match event {
            Event::Incoming(Packet::Publish(publish)) => Some(publish),
            _ => None,
        })
    }
}

/// Works until an event is the one that is looked for.
#[track_caller]
fn until<T>(connection: &mut Connection, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
    // pings are events too, so that the wait for one event is no bound by itself
    let deadline = Instant::now() + BOUND;
    while Instant::now() < deadline {
        let event = connection.recv_timeout(BOUND).unwrap_or_else(|error| panic!("no {what}: {error:?}"));
        if let Some(found) = pick(event.unwrap_or_else(|error| panic!("no {what}: {error}"))) {
            return found;
        }
    }
    panic!("no {what} in time");
}

/// A message as `topic QoS retain payload`.
fn line(message: &Publish) -> String {
    let text = String::from_utf8_lossy;
    let (topic, payload) = (text(&message.topic), text(&message.payload));
    format!("{topic} {} {} {payload}", message.qos as u8, u8::from(message.retain))
}

fn none() -> PublishProperties {
    PublishProperties::default()
}

#[test]
fn properties_and_identifiers_at_every_qos() {
    let node = Node::start();
    let mut publisher = Peer::open(&node, "five-pub", |_| ());
    let sent = PublishProperties {
        payload_format_indicator: Some(1),
        response_topic: Some("five/답".to_owned()),
        correlation_data: Some(vec![0, 255, 1].into()),
        user_properties: [("b", "1"), ("", ""), ("a", "2"), ("b", "1")]
            .map(|(k, v)| (k.into(), v.into()))
            .into(),
        content_type: Some("text/plain".to_owned()),
        ..PublishProperties::default()
    };
    for asked in ALL {
        let mut subscriber = Peer::open(&node, "five-sub", |_| ());
        subscriber.subscribe(Filter::new("센서/#", asked), Some(268_435_455));
        for qos in ALL {
            publisher.publish("센서/온도", qos, "26.70", sent.clone());
            let got = subscriber.message();
            assert_eq!(line(&got), format!("센서/온도 {} 0 26.70", (qos as u8).min(asked as u8)));
            let expected = PublishProperties { subscription_identifiers: vec![268_435_455], ..sent.clone() };
            assert_eq!(got.properties, Some(expected));
        }
    }
}

#[test]
fn aliases_are_resolved_both_ways() {
    let node = Node::start();
    let mut publisher = Peer::open(&node, "five-pub", |_| ());
    let mut subscriber = Peer::open(&node, "five-sub", |options| {
        options.set_topic_alias_max(Some(2));
    });
    subscriber.subscribe(Filter::new("#", QoS::AtLeastOnce), None);
    let alias = |number| PublishProperties { topic_alias: Some(number), ..none() };
    let mut known = HashMap::new();
    for (number, topic) in [(1, "/hum"), (2, "센서/온도"), (3, "third")] {
        publisher.publish(topic, QoS::AtLeastOnce, "named", alias(number));
        publisher.publish("", QoS::AtLeastOnce, "by alias", alias(number));
        for payload in ["named", "by alias"] {
            let mut message = subscriber.message();
            // rumqttc hands out what came, and leaves it to the application to look aliases up
            if let Some(alias) = message.properties.as_ref().and_then(|properties| properties.topic_alias) {
                assert!((1..=2).contains(&alias), "alias {alias} was not allowed");
                if message.topic.is_empty() {
                    message.topic = Clone::clone(&known[&alias]);
                }
                known.insert(alias, message.topic.clone());
            }
            assert_eq!(line(&message), format!("{topic} 1 0 {payload}"));
        }
    }
}

#[test]
fn options_of_a_subscription() {
    let node = Node::start();
    let mut peer = Peer::open(&node, "five", |_| ());
    let mut filter = Filter::new("five/#", QoS::AtLeastOnce);
    filter.nolocal = true;
    filter.preserve_retain = true;
    filter.retain_forward_rule = RetainForwardRule::Never;
    let mut other = Peer::open(&node, "five-other", |_| ());
    other.client.publish("five/kept", QoS::AtLeastOnce, true, "not forwarded").unwrap();
    other.completed(QoS::AtLeastOnce);
    peer.subscribe(filter, Some(1));
    peer.publish("five/own", QoS::AtLeastOnce, "own", none());
    other.client.publish("five/온도", QoS::AtLeastOnce, true, "live").unwrap();
    other.completed(QoS::AtLeastOnce);
    assert_eq!(line(&peer.message()), "five/온도 1 1 live");

    let nameless = Peer::open(&node, "", |_| ());
    assert!(nameless.answer.properties.unwrap().assigned_client_identifier.is_some_and(|id| !id.is_empty()));
}

#[test]
fn a_session_is_resumed_taken_over_and_told() {
    let node = Node::start();
    let persistent = |options: &mut MqttOptions| {
        options.set_clean_start(false).set_session_expiry_interval(Some(60));
    };
    let mut first = Peer::open(&node, "five-kept", persistent);
    assert!(!first.answer.session_present);
    first.subscribe(Filter::new("five/#", QoS::ExactlyOnce), Some(7));
    drop(first);
    let mut publisher = Peer::open(&node, "five-pub", |_| ());
    for number in 0..20 {
        publisher.publish("five/온도", ALL[1 + number % 2], &number.to_string(), none());
    }
    let mut second = Peer::open(&node, "five-kept", persistent);
    assert!(second.answer.session_present);
    for number in 0..20 {
        let message = second.message();
        assert_eq!(line(&message), format!("five/온도 {} 0 {number}", 1 + number % 2));
        assert_eq!(message.properties.unwrap().subscription_identifiers, [7]);
    }
    let third = Peer::open(&node, "five-kept", persistent);
    assert!(third.answer.session_present);
    let ended = loop {
        match second.connection.recv_timeout(BOUND) {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => break error,
            Err(error) => panic!("the first connection goes on: {error:?}"),
        }
    };
    let told = matches!(
        ended,
        ConnectionError::MqttState(StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            ..
        })
    );
    assert!(told || node.is_external(), "{ended:?}");
}

#[test]
fn a_will_comes_after_its_delay_with_its_properties() {
    let node = Node::start();
    let mut watcher = Peer::open(&node, "five-watcher", |_| ());
    watcher.subscribe(Filter::new("five/유언", QoS::ExactlyOnce), None);
    let said = LastWillProperties {
        delay_interval: Some(1),
        payload_format_indicator: Some(1),
        message_expiry_interval: None,
        content_type: Some("will".to_owned()),
        response_topic: Some("five/답".to_owned()),
        correlation_data: Some(vec![0].into()),
        user_properties: vec![("a".to_owned(), "1".to_owned())],
    };
    let expected = PublishProperties {
        payload_format_indicator: said.payload_format_indicator,
        content_type: said.content_type.clone(),
        response_topic: said.response_topic.clone(),
        correlation_data: said.correlation_data.clone(),
        user_properties: said.user_properties.clone(),
        ..none()
    };
    drop(Peer::open(&node, "five-dying", |options| {
        let will = LastWill::new("five/유언", "떠남", QoS::AtLeastOnce, false, Some(said));
        options.set_session_expiry_interval(Some(60)).set_last_will(will);
    }));
    let will = watcher.message();
    assert_eq!(line(&will), "five/유언 1 0 떠남");
    assert_eq!(will.properties, Some(expected));
}
