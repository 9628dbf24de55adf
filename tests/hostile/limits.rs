//! What one address or client may take of a node (G17, F30, B48): connections, and publishes, faster or more of them than allowed.
//! Each test has a broker of its own, see `guard`; addresses are those that a load balancer tells.

use e2e_tests::client::Read;
use e2e_tests::wire::{kind, prop};
use e2e_tests::{BOUND, Broker, Connect, PATIENCE, Props, Publish, RawClient, Version, pause, unique};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::guard::Guard;

const QUOTA: u8 = 0x97;

/// A broker under limits, with a listener whose clients are where a PROXY header says.
fn guard(limits: &str) -> Guard {
    Guard::with_config(&format!(
        r#"
[auth]
allow_anonymous = true
[limits]
{limits}
[http]
address = "127.0.0.1:0"
[listener.trusting]
protocol = "tcp"
address = "127.0.0.1:0"
proxy_protocol = "accept"
proxy_trusted = ["127.0.0.0/8"]
"#
    ))
}

/// The header of a client at this address.
fn header(address: &str) -> Vec<u8> {
    let family = if address.contains(':') { ("TCP6", "2001:db8::1") } else { ("TCP4", "192.0.2.1") };
    format!("PROXY {} {address} {} 51234 1883\r\n", family.0, family.1).into_bytes()
}

/// A connection from an address, on which this CONNECT was sent.
fn send_from(guard: &Guard, address: &str, connect: &Connect) -> RawClient {
    let mut client = RawClient::open(&guard.broker().addr("trusting"));
    client.speak(connect.version);
    client.be_patient();
    client.send(&[header(address), connect.bytes()].concat());
    client
}

/// What is said to it: the code of CONNACK, or `None` where it is closed without one.
fn answer(client: &mut RawClient, version: Version) -> Option<u8> {
    match client.read(PATIENCE) {
        Read::Packet(packet) => Some(packet.connack(version).reason),
        Read::Closed => None,
        Read::Nothing => panic!("neither answered nor closed"),
    }
}

/// A clean client at an address, who is let in.
#[track_caller]
fn client_at(guard: &Guard, address: &str, id: &str) -> RawClient {
    let mut client = send_from(guard, address, &Connect::v5(id));
    assert_eq!(answer(&mut client, Version::V5), Some(0), "{id} at {address}");
    client
}

/// A CONNECT from an address is answered so, and its connection closed.
#[track_caller]
fn refused_at(guard: &Guard, address: &str, connect: &Connect, code: u8) {
    let mut client = send_from(guard, address, connect);
    assert_eq!(answer(&mut client, connect.version), Some(code), "from {address}");
    assert!(client.expect_closed().is_empty());
}

fn limited(broker: &Broker, reason: &str) -> f64 {
    broker.metric(&format!("quelea_connections_limited_total{{reason=\"{reason}\"}}"))
}

/// Waits for something that must come to be.
#[track_caller]
fn wait_for(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is() {
        assert!(Instant::now() < deadline, "{what}");
        pause(Duration::from_millis(20));
    }
}

#[test]
fn f30_an_address_that_connects_too_often_is_closed_and_others_are_not() {
    let guard = guard("connects_per_second_per_address_max = 5");
    if guard.is_external() {
        return;
    }
    let flood = ["203.0.113.7", "2001:db8:7::1", "2001:db8:7::2"];
    let mut all: Vec<RawClient> =
        (0..300).map(|n| send_from(&guard, flood[n % flood.len()], &Connect::v5(unique("c")))).collect();
    let answers: Vec<Option<u8>> = all.iter_mut().map(|client| answer(client, Version::V5)).collect();
    let admitted = answers.iter().filter(|answer| **answer == Some(0)).count();
    let closed = answers.iter().filter(|answer| answer.is_none()).count();
    assert_eq!(admitted + closed, 300, "closed without a word: {answers:?}");
    assert!(admitted >= 10 && closed > 0, "{admitted} of 300 were admitted");
    wait_for("each is counted", || limited(guard.broker(), "address_rate") as usize == closed);
    client_at(&guard, "203.0.113.8", &unique("c")).ping();
    client_at(&guard, "2001:db8:8::1", &unique("c")).ping();
    drop(all);
}

#[test]
fn f30_without_a_load_balancer_the_socket_s_address_counts() {
    let config = "[limits]\nconnects_per_second_per_address_max = 1\n[http]\naddress = \"127.0.0.1:0\"\n";
    let broker = Broker::with_config(config);
    if broker.is_external() {
        return;
    }
    let mut all: Vec<RawClient> = (0..60)
        .map(|_| {
            let mut client = RawClient::open(&broker.mqtt());
            client.send(&Connect::v5(unique("c")).bytes());
            client
        })
        .collect();
    let answers = all.iter_mut().map(|client| answer(client, Version::V5));
    let closed = answers.filter(Option::is_none).count();
    assert!((1..60).contains(&closed), "{closed} of 60 were closed");
    wait_for("each is counted", || limited(&broker, "address_rate") as usize == closed);
    drop(all);
    // A second later there is room for one again, for whoever tries again and again.
    wait_for("an address may come again", || {
        let mut client = RawClient::open(&broker.mqtt());
        client.send(&Connect::v5(unique("c")).bytes());
        answer(&mut client, Version::V5) == Some(0)
    });
}

#[test]
fn f30_connections_above_the_node_s_rate_wait_and_are_all_served() {
    let guard = guard("connects_per_second_max = 10");
    if guard.is_external() {
        return;
    }
    let mut all: Vec<RawClient> = (0..60)
        .map(|_| {
            let mut client = RawClient::open(guard.addr());
            client.send(&Connect::v5(unique("c")).bytes());
            client
        })
        .collect();
    for client in &mut all {
        assert_eq!(answer(client, Version::V5), Some(0), "nobody is refused");
    }
    assert!(guard.broker().metric("quelea_connects_delayed_total") >= 1.0);
    all.into_iter().for_each(RawClient::disconnect);
}

#[test]
fn g17_an_address_has_so_many_clients_and_takes_its_own_over() {
    let guard = guard("connections_per_address_max = 6");
    if guard.is_external() {
        return;
    }
    let (here, there) = ("203.0.113.7", "203.0.113.8");
    let session = Connect::v5("kept").props(Props::new().four(prop::SESSION_EXPIRY, 3_600));
    let mut kept = send_from(&guard, there, &session);
    assert_eq!(answer(&mut kept, Version::V5), Some(0));
    kept.subscribe("kept/topic", 1);
    kept.disconnect();
    let mut clients: Vec<RawClient> = (0..6).map(|n| client_at(&guard, here, &format!("c{n}"))).collect();
    refused_at(&guard, here, &Connect::v5("c6"), QUOTA);
    refused_at(&guard, here, &Connect::v3("c6"), 3);
    // Whose session it is, and that it was to begin anew, has no effect.
    refused_at(&guard, here, &Connect::v5("kept"), QUOTA);
    assert_eq!(limited(guard.broker(), "address_connections") as u32, 3);
    let _elsewhere = client_at(&guard, there, "c6");
    let mut again = send_from(&guard, there, &session.clean(false));
    assert!(again.expect(kind::CONNACK).connack(Version::V5).session_present, "its session is as it was");
    // A client that comes back while its old connection is still there is let in in its place.
    let taken_over = client_at(&guard, here, "c0");
    let mut old = std::mem::replace(&mut clients[0], taken_over);
    assert_eq!(old.expect(kind::DISCONNECT).reasoned().reason, 0x8E);
    refused_at(&guard, here, &Connect::v5("c7"), QUOTA);
    clients.pop().unwrap().disconnect();
    clients.push(client_at(&guard, here, "c7"));
    // Nor is a place lost with a connection that was cut.
    clients.pop().unwrap().drop_connection();
    wait_for("the place is free", || {
        answer(&mut send_from(&guard, here, &Connect::v5("c8")), Version::V5) == Some(0)
    });
    again.disconnect();
    RawClient::v5(guard.addr(), "kept").disconnect();
}

#[test]
fn g17_strangers_without_connect_take_nobody_s_place() {
    let guard = guard("connections_per_address_max = 6");
    if guard.is_external() {
        return;
    }
    let silent = |_| {
        let mut client = RawClient::open(&guard.broker().addr("trusting"));
        client.send(&header("203.0.113.7"));
        client
    };
    let strangers: Vec<RawClient> = (0..20).map(silent).collect();
    let clients: Vec<RawClient> =
        (0..6).map(|n| client_at(&guard, "203.0.113.7", &format!("c{n}"))).collect();
    drop((strangers, clients));
}

/// CONNECT and QoS 1 publishes to a topic, numbered from 1, as one piece.
fn connect_and_publish(connect: &Connect, topic: &str, count: u16) -> Vec<u8> {
    let publishes = (1..=count).map(|n| Publish::v5(topic, n.to_string()).qos(1, n).bytes());
    [connect.bytes()].into_iter().chain(publishes).collect::<Vec<_>>().concat()
}

/// Expects CONNACK and so many PUBACKs.
#[track_caller]
fn expect_pubacks(client: &mut RawClient, count: u16) {
    assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, 0);
    for n in 1..=count {
        let ack = client.expect_ack(kind::PUBACK);
        assert!(ack.packet_id == n && ack.code() < 0x80, "{ack:?}");
    }
}

#[test]
fn b48_a_client_that_publishes_too_fast_is_slowed_and_loses_nothing() {
    let mut guard = guard("publishes_per_second_max = 20");
    if guard.is_external() {
        return;
    }
    let mut reader = guard.v5();
    reader.be_patient();
    reader.subscribe("b48/fast", 1);
    // It is silent for longer than its keep alive while it waits, since it is not heard.
    let mut fast = RawClient::open(guard.addr());
    fast.be_patient();
    fast.send(&connect_and_publish(&Connect::v5(unique("c")).keep_alive(1), "b48/fast", 90));
    guard.neighbours_talk();
    expect_pubacks(&mut fast, 90);
    for n in 1..=90 {
        assert_eq!(reader.receive().text(), n.to_string(), "all of it, in its order");
    }
    assert!(guard.broker().metric("quelea_publishes_throttled_total") >= 1.0);
}

#[test]
fn b48_a_client_is_slowed_by_the_bytes_of_what_it_publishes() {
    let mut guard = guard("publish_bytes_per_second_max = \"20 KiB\"");
    if guard.is_external() {
        return;
    }
    let mut client = RawClient::open(guard.addr());
    client.be_patient();
    // Five times as much as a second has.
    let large = Publish::v5("b48/large", vec![b'x'; 100 << 10]).qos(1, 1).bytes();
    let small = Publish::v5("b48/large", "x").qos(1, 2).bytes();
    client.send(&[Connect::v5(unique("c")).bytes(), large, small].concat());
    assert_eq!(client.expect(kind::CONNACK).connack(Version::V5).reason, 0);
    assert_eq!(
        client.expect_ack(kind::PUBACK).packet_id,
        1,
        "a message that is too large for a second passes"
    );
    guard.neighbours_talk();
    assert_eq!(client.expect_ack(kind::PUBACK).packet_id, 2, "and what is behind it comes in its turn");
    assert!(guard.broker().metric("quelea_publishes_throttled_total") >= 1.0);
    client.ping();
}

#[test]
fn b48_a_slowed_client_still_gets_messages_and_can_be_sent_away() {
    let guard = guard("publishes_per_second_max = 1");
    if guard.is_external() {
        return;
    }
    let id = unique("c");
    let mut slow = RawClient::v5(guard.addr(), &id);
    slow.be_patient();
    slow.subscribe("b48/to", 0);
    let publish = Publish::v5("b48/from", "x").bytes();
    slow.send(&publish.repeat(50));
    wait_for("it is slowed", || guard.broker().metric("quelea_publishes_throttled_total") >= 1.0);
    guard.v5().publish("b48/to", "hello", 1);
    assert_eq!(slow.receive().text(), "hello");
    let new = RawClient::v5(guard.addr(), &id);
    assert_eq!(slow.expect(kind::DISCONNECT).reasoned().reason, 0x8E, "taken over");
    new.disconnect();
    assert!(matches!(slow.read(BOUND), Read::Closed));
}

const BANNED: u8 = 0x8A;
const BUSY: u8 = 0x89;

/// The log says something, and does not repeat it.
#[track_caller]
fn logged_once(broker: &Broker, what: &str) {
    wait_for("the log says so", || broker.log().contains(what));
    assert_eq!(broker.log().matches(what).count(), 1, "{}", broker.log());
}

#[test]
fn f31_a_client_that_connects_again_and_again_is_banned_and_others_are_not() {
    let guard = guard("flapping = { connects_max = 5, window = \"1h\", ban = \"1h\" }");
    if guard.is_external() {
        return;
    }
    let id = unique("flaps");
    for _ in 0..5 {
        RawClient::v5(guard.addr(), &id).disconnect();
    }
    for (connect, code) in [(Connect::v5(&id), BANNED), (Connect::v3(&id), 5), (Connect::v5(&id), BANNED)] {
        let mut client = RawClient::open(guard.addr());
        assert_eq!(client.handshake(&connect).reason, code);
        assert!(client.expect_closed().is_empty());
    }
    guard.v5().ping();
    assert_eq!(limited(guard.broker(), "flapping") as u32, 3);
    assert_eq!(guard.broker().metric("quelea_flapping_bans_total") as u32, 1);
    logged_once(guard.broker(), "connects too often");
}

#[test]
fn f31_an_address_that_connects_again_and_again_is_banned_and_its_clients_stay() {
    let guard = guard("flapping = { connects_max = 20, window = \"1h\", ban = \"1h\", by = [\"address\"] }");
    if guard.is_external() {
        return;
    }
    let here = "203.0.113.7";
    let mut stays = client_at(&guard, here, "stays");
    for n in 0..19 {
        client_at(&guard, here, &format!("c{n}")).disconnect();
    }
    refused_at(&guard, here, &Connect::v5("c"), BANNED);
    refused_at(&guard, here, &Connect::v3("c"), 5);
    stays.ping();
    client_at(&guard, "203.0.113.8", "c").ping();
}

/// What `/readyz` answers.
fn readyz(broker: &Broker) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = e2e_tests::transport::tcp(&broker.addr("http"));
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn f36_with_too_much_memory_in_use_new_clients_are_refused_and_others_go_on() {
    let config = "[limits]\nmemory_max = \"160 MiB\"\n[http]\naddress = \"127.0.0.1:0\"\n";
    let broker = Broker::with_config(config);
    if broker.is_external() {
        return;
    }
    let mut client = RawClient::v5(&broker.mqtt(), "fills");
    client.be_patient();
    let large = vec![b'x'; 1_000_000];
    let mut n = 0;
    while broker.metric("quelea_overloaded") < 1.0 {
        assert!(n < 600, "600 MB are kept in {} KiB", broker.rss_kib());
        let id = client.fresh_id();
        client.send(&Publish::v5(format!("f36/{n}"), &large).retain().qos(1, id).bytes());
        assert!(client.expect_ack(kind::PUBACK).code() < 0x80);
        // Memory is looked at once a second: without this a fast machine would fill much more of it first.
        pause(Duration::from_millis(20));
        n += 1;
    }
    let mut refused = 0;
    for (connect, code) in [(Connect::v5("new"), BUSY), (Connect::v3("new"), 3)] {
        let mut late = RawClient::open(&broker.mqtt());
        let reason = late.handshake(&connect).reason;
        // It may have given some back meanwhile.
        assert!([0, code].contains(&reason), "{reason:#04x}");
        refused += u32::from(reason == code);
    }
    assert!(limited(&broker, "memory") as u32 >= refused);
    client.ping();
    client.publish("f36/more", "x", 1);
    assert!(readyz(&broker).starts_with("HTTP/1.1 200"), "it is ready all the same");
    wait_for("the log says so", || broker.log().contains("too much memory is in use"));
}

#[test]
fn f36_a_node_that_has_no_room_from_the_beginning_lets_nobody_in() {
    let config = "[limits]\nmemory_max = \"16 MiB\"\n[http]\naddress = \"127.0.0.1:0\"\n";
    let broker = Broker::with_config(config);
    if broker.is_external() {
        return;
    }
    for (connect, code) in [(Connect::v5("c"), BUSY), (Connect::v3("c"), 3), (Connect::v5("c"), BUSY)] {
        let mut client = RawClient::open(&broker.mqtt());
        assert_eq!(client.handshake(&connect).reason, code);
        assert!(client.expect_closed().is_empty());
    }
    assert_eq!(limited(&broker, "memory") as u32, 3);
    assert_eq!(broker.metric("quelea_overloaded") as u32, 1);
    assert_eq!(broker.metric("quelea_memory_limit_bytes") as u64, 16 << 20);
    assert!(readyz(&broker).starts_with("HTTP/1.1 200"));
    logged_once(&broker, "too much memory is in use");
}

/// Sets a flag when it is dropped.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn f36_a_node_that_is_late_again_and_again_sheds_new_clients_until_it_is_not() {
    let broker = Broker::with_config("[limits]\nlag_max = \"20ms\"\n[http]\naddress = \"127.0.0.1:0\"\n");
    if broker.is_external() {
        return;
    }
    let (pid, done) = (broker.pid(), AtomicBool::new(false));
    let signal = |name: &str| {
        let sent = std::process::Command::new("kill").args(["-s", name, &pid.to_string()]).status();
        assert!(sent.unwrap().success());
    };
    let reason = || {
        let mut client = RawClient::open(&broker.mqtt());
        client.send(&Connect::v5(unique("c")).bytes());
        // It may be too late for an answer.
        answer(&mut client, Version::V5)
    };
    std::thread::scope(|scope| {
        let stops = scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                signal("STOP");
                pause(Duration::from_millis(250));
                signal("CONT");
                pause(Duration::from_millis(30));
            }
        });
        // Whatever becomes of the test, the other thread ends.
        let ends = Ends(&done);
        wait_for("it is overloaded", || reason() == Some(BUSY));
        drop(ends);
        stops.join().unwrap();
    });
    assert!(limited(&broker, "lag") >= 1.0);
    wait_for("it is not any more", || reason() == Some(0));
}
