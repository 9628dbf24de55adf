//! TLS, on the board that has it: the broker has to prove its name.
//! The others refuse to start where TLS is asked for; that is tested here too.

use std::fs;

use e2e_tests::{Broker, process};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use crate::device::{Board, Device};
use crate::readings::Subscriber;

/// A broker for `localhost`, and the file of the authority that says so.
fn broker() -> (Broker, String) {
    let folder = process::fresh_dir();
    let file = |name: &str| folder.join(name).display().to_string();
    let mut authority = CertificateParams::new(Vec::new()).unwrap();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let server = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    fs::write(file("server.pem"), server.signed_by(&key, &authority).unwrap().pem()).unwrap();
    fs::write(file("server.key"), key.serialize_pem()).unwrap();
    fs::write(file("ca.pem"), authority.pem()).unwrap();
    let broker = Broker::with_config(&format!(
        "[listener.mqtt]\nprotocol = \"tcp\"\naddress = \"127.0.0.1:0\"\n\
         [listener.secure]\nprotocol = \"tls\"\naddress = \"127.0.0.1:0\"\n\
         tls = {{ certificate = {:?}, key = {:?} }}\n",
        file("server.pem"),
        file("server.key"),
    ));
    (broker, file("ca.pem"))
}

fn port(broker: &Broker) -> String {
    broker.addr("secure").rsplit_once(':').unwrap().1.to_owned()
}

#[test]
fn readings_arrive_over_tls_at_a_broker_that_proves_its_name() {
    crate::run(readings_arrive, Board::Host);
}

fn readings_arrive(board: Board) {
    let (broker, ca) = broker();
    let mut subscriber = Subscriber::new(&broker.mqtt(), "ESP32/#");
    let port = port(&broker);
    // The authority says that it is `localhost`, and nothing of this address.
    let words = format!("--ca {ca} interval_ms=200 readings=5");
    let secure = ["mqtts://127.0.0.1", "mqtts://localhost"].map(|host| format!("{host}:{port}"));
    let mut device = Device::start_with(board, &secure.join(","), &words);
    device.wait_for("lost cause=tls", 1);
    device.finish();
    subscriber.expect_all("ESP32", &device.readings());
}

#[test]
fn a_board_without_tls_says_so_and_does_not_start() {
    crate::run(it_does_not_start, Board::Emulated);
}

/// Not even for another broker of its list: which one comes first is a matter of luck.
fn it_does_not_start(board: Board) {
    let mut device = Device::start_with(board, "10.0.2.2:1,mqtts://broker.lan", "");
    device.wait_for("boot arguments: `mqtts://broker.lan:8883`: this board has no TLS, expected mqtt://", 1);
    assert_eq!(device.wait_end().code(), Some(2));
    assert_eq!(device.lines("dialing"), [""; 0]);
}

#[test]
fn a_process_without_an_authority_to_trust_does_not_start() {
    crate::run(nobody_is_trusted, Board::Host);
}

fn nobody_is_trusted(board: Board) {
    let mut device = Device::start_with(board, "mqtts://broker.lan", "");
    assert_eq!(device.wait_end().code(), Some(2));
    assert_eq!(device.lines("dialing"), [""; 0]);
}
