//! rumqttc in its 3.1.1 form: QoS, retained, sessions, wills, and a burst in order.
//! Its 5.0 form is another set of types, hence another file.

use std::time::{Duration, Instant};

use rumqttc::{Client, Connection, Event, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS};

use crate::child::BOUND;
use crate::node::Node;

const ALL: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

/// A connected client.
struct Peer {
    client: Client,
    connection: Connection,
    session_present: bool,
}

impl Peer {
    #[track_caller]
    fn open(node: &Node, client_id: &str, set: impl FnOnce(&mut MqttOptions)) -> Self {
        let mut options = MqttOptions::new(client_id, "127.0.0.1", node.port("mqtt").parse::<u16>().unwrap());
        options.set_keep_alive(Duration::from_secs(30)).set_max_packet_size(1 << 20, 1 << 20);
        set(&mut options);
        let (client, connection) = Client::new(options, 4096);
        let mut peer = Self { client, connection, session_present: false };
        peer.session_present = peer.until("CONNACK", |event| match event {
            Event::Incoming(Packet::ConnAck(answer)) => Some(answer.session_present),
            _ => None,
        });
        peer
    }

    /// Works until an event is the one that is looked for.
    #[track_caller]
    fn until<T>(&mut self, what: &str, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        // pings are events too, so that the wait for one event is no bound by itself
        let deadline = Instant::now() + BOUND;
        while Instant::now() < deadline {
            match self.connection.recv_timeout(BOUND) {
                Ok(Ok(event)) => {
                    if let Some(found) = pick(event) {
                        return found;
                    }
                }
                other => panic!("no {what}: {other:?}"),
            }
        }
        panic!("no {what} in time");
    }

    #[track_caller]
    fn subscribe(&mut self, filter: &str, qos: QoS) {
        self.client.subscribe(filter, qos).unwrap();
        self.until("SUBACK", |event| matches!(event, Event::Incoming(Packet::SubAck(_))).then_some(()));
    }

    /// Publishes and waits until that is complete.
    #[track_caller]
    fn publish(&mut self, topic: &str, qos: QoS, retain: bool, payload: &str) {
        self.client.publish(topic, qos, retain, payload).unwrap();
        self.completed(qos);
    }

    /// Waits for what completes a publish.
    #[track_caller]
    fn completed(&mut self, qos: QoS) {
        self.until("acknowledgement", |event| {
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
        self.until("message", |event| match event {
            Event::Incoming(Packet::Publish(publish)) => Some(publish),
            _ => None,
        })
    }

    /// A message as `topic QoS retain payload`.
    #[track_caller]
    fn line(&mut self) -> String {
        let Publish { topic, qos, retain, payload, .. } = self.message();
        format!("{topic} {} {} {}", qos as u8, u8::from(retain), String::from_utf8_lossy(&payload))
    }
}

#[test]
fn every_qos_to_every_qos() {
    let node = Node::start();
    let mut publisher = Peer::open(&node, "four-pub", |_| ());
    for asked in ALL {
        let mut subscriber = Peer::open(&node, "four-sub", |_| ());
        for filter in ["센서/+", "/hum"] {
            subscriber.subscribe(filter, asked);
        }
        for (topic, sent) in ["센서/온도", "/hum"].iter().flat_map(|topic| ALL.map(|qos| (topic, qos))) {
            publisher.publish(topic, sent, false, "값");
            let got = (sent as u8).min(asked as u8);
            assert_eq!(subscriber.line(), format!("{topic} {got} 0 값"));
        }
    }
}

#[test]
fn a_session_and_a_will_outlive_their_connection() {
    let node = Node::start();
    let mut publisher = Peer::open(&node, "four-pub", |_| ());
    publisher.publish("four/kept", QoS::AtLeastOnce, true, "26.70");
    let will = LastWill::new("four/유언", "떠남", QoS::ExactlyOnce, false);
    let persistent = |options: &mut MqttOptions| {
        options.set_clean_session(false).set_last_will(will.clone());
    };
    let mut dying = Peer::open(&node, "four-dying", persistent);
    assert!(!dying.session_present);
    dying.subscribe("four/#", QoS::ExactlyOnce);
    assert_eq!(dying.line(), "four/kept 1 1 26.70");

    let mut watcher = Peer::open(&node, "four-watcher", |_| ());
    watcher.subscribe("four/유언", QoS::ExactlyOnce);
    drop(dying);
    assert_eq!(watcher.line(), "four/유언 2 0 떠남");
    for number in 0..20 {
        publisher.publish("four/온도", ALL[1 + number % 2], false, &number.to_string());
    }
    let mut back = Peer::open(&node, "four-dying", persistent);
    assert!(back.session_present);
    // Will and readings have different publishers, so nothing fixes where among them the will arrives.
    let (wills, readings): (Vec<String>, Vec<String>) =
        (0..21).map(|_| back.line()).partition(|line| line.starts_with("four/유언"));
    assert_eq!(wills, ["four/유언 2 0 떠남"]);
    let expected: Vec<String> =
        (0..20).map(|number| format!("four/온도 {} 0 {number}", 1 + number % 2)).collect();
    assert_eq!(readings, expected);
}

#[test]
fn a_burst_arrives_in_order_at_each_qos() {
    let node = Node::start();
    for qos in ALL {
        let mut publisher = Peer::open(&node, "four-pub", |_| ());
        let mut subscriber = Peer::open(&node, "four-sub", |_| ());
        subscriber.subscribe("burst", qos);
        let publishing = std::thread::spawn(move || {
            for number in 0..1000 {
                publisher.client.publish("burst", qos, false, number.to_string()).unwrap();
            }
            (0..1000).for_each(|_| publisher.completed(qos));
        });
        for number in 0..1000 {
            assert_eq!(subscriber.line(), format!("burst {} 0 {number}", qos as u8));
        }
        publishing.join().unwrap();
    }
}
