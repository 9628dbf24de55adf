//! Clients that come through a load balancer: HAProxy, with compose's nodes behind it, and NGINX. The nodes hear who they are, none
//! gets to a node that drains, and one that was killed is left out.

use std::net::TcpStream;

use e2e_tests::parse::ConnAck;
use e2e_tests::ws::WsStream;
use e2e_tests::{Connect, RawClient};

use crate::compose::{Composed, PASSWORD};
use crate::container::{Container, Image};
use crate::until;

/// Checks that fail before a node that was killed gets no clients any more.
const CHECKS_MAX: u64 = 2;

/// A client with the password, and what it is told.
fn connect(address: &str, id: &str) -> (RawClient, ConnAck) {
    connect_over(RawClient::open(address), id)
}

/// The same over a connection that is there.
fn connect_over(mut client: RawClient, id: &str) -> (RawClient, ConnAck) {
    client.be_patient();
    let connack = client.handshake(&Connect::v5(id).user("quelea").password(PASSWORD));
    (client, connack)
}

/// A client that is taken at once.
fn client(address: &str, id: &str) -> RawClient {
    let (client, connack) = connect(address, id);
    assert_eq!(connack.reason, 0, "{connack:?}");
    client
}

/// A client that comes back while a node that is there has no lease, or has not heard of the death of another: it is told that the
/// server is unavailable (0x88).
fn client_in_the_end(address: &str, id: &str) -> RawClient {
    until("node that takes the client", || {
        let (client, connack) = connect(address, id);
        assert!(matches!(connack.reason, 0 | 0x88), "{connack:?}");
        (connack.reason == 0).then_some(client)
    })
}

/// Where a client has arrived, by the nodes' logs: the node's name, and the address it was told.
fn arrived(composed: &Composed, id: &str) -> (String, String) {
    until("word of the client", || {
        composed.nodes.iter().find_map(|(name, (container, _))| {
            let log = container.log();
            let line = log.lines().find(|line| line.contains(" connected ") && line.contains(id))?;
            let (_, peer) = line.split_once("peer=")?;
            Some((name.clone(), peer.split([' ', ':']).next()?.to_owned()))
        })
    })
}

#[test]
fn clients_arrive_through_haproxy_at_nodes_that_take_them() {
    let Some(mut composed) = Composed::up() else { return };
    let mqtt = composed.mqtt();
    // Whoever connects from here has the bridge's address, and not HAProxy's.
    let ours = TcpStream::connect(&mqtt).unwrap().local_addr().unwrap().ip().to_string();
    assert_ne!(ours, composed.balancer.as_ref().unwrap().1);
    let mut first = client(&mqtt, "first-one");
    first.ping();
    let (at, told) = arrived(&composed, "first-one");
    assert_eq!(told, ours, "the client's own address, at {at}");
    let refused = RawClient::open(&mqtt).handshake(&Connect::v5("wrong").user("quelea").password("no"));
    assert_eq!(refused.reason, 0x86);

    // By itself it would go to the one with the fewest clients: that is the one that is drained.
    let drained = ["quelea-0", "quelea-1", "quelea-2"].into_iter().find(|name| *name != at).unwrap();
    composed.nodes[&at].0.exec(&["ctl", "drain", drained]).unwrap();
    composed.until_taken(drained, false);
    for number in 0..6 {
        let id = format!("late-{number}-x");
        client(&mqtt, &id).ping();
        assert_ne!(arrived(&composed, &id).0, drained);
    }
    composed.nodes[&at].0.exec(&["ctl", "undrain", drained]).unwrap();
    composed.until_taken(drained, true);

    let (killed, _) = composed.nodes.remove(&at).unwrap();
    killed.kill();
    // From here on every check fails. The page says how many it takes.
    let failed = until("word of failed checks", || composed.failed_checks(&at));
    composed.until_taken(&at, false);
    let more = until("word of failed checks", || composed.failed_checks(&at)) - failed;
    assert!(more <= CHECKS_MAX, "it took {more}");
    for number in 0..4 {
        let id = format!("after-{number}-x");
        client_in_the_end(&mqtt, &id).ping();
        assert_ne!(arrived(&composed, &id).0, at);
    }
    // It comes back at another address, under its name.
    composed.start(&at);
    composed.until_taken(&at, true);
}

#[test]
fn clients_arrive_through_nginx() {
    let Some(mut composed) = Composed::up() else { return };
    let config = crate::repository("deploy/nginx/nginx.conf");
    let run = composed.lan.dir.join("nginx-run");
    for folder in ["run", "log", "lib"] {
        std::fs::create_dir_all(run.join(folder)).unwrap();
    }
    let image = Image {
        // One process, which leaves no workers behind.
        command: ["/usr/sbin/nginx", "-c", "/etc/nginx/nginx.conf", "-g", "master_process off;"]
            .map(str::to_owned)
            .to_vec(),
        mounts: vec![
            (config, "/etc/nginx/nginx.conf".to_owned(), false),
            ("/usr/sbin/nginx".into(), "/usr/sbin/nginx".to_owned(), false),
            // Its workers are somebody whom the system has to know.
            ("/etc/passwd".into(), "/etc/passwd".to_owned(), false),
            ("/etc/group".into(), "/etc/group".to_owned(), false),
            ("/usr/lib/nginx/modules".into(), "/usr/share/nginx/modules".to_owned(), false),
            (run.join("run"), "/run".to_owned(), true),
            (run.join("log"), "/var/log/nginx".to_owned(), true),
            (run.join("lib"), "/var/lib/nginx".to_owned(), true),
        ],
        ..Image::default()
    };
    let address = composed.lan.address();
    let nginx = Container::start(&composed.lan, &address, &image);
    let mqtt = format!("{address}:1883");
    until("NGINX", || TcpStream::connect(&mqtt).ok());
    let ours = TcpStream::connect(&mqtt).unwrap().local_addr().unwrap().ip().to_string();
    client_in_the_end(&mqtt, "by-nginx").ping();
    assert_eq!(arrived(&composed, "by-nginx").1, ours);
    let mut browser = until("node that takes the client by WebSocket", || {
        let stream = WsStream::handshake(&format!("{address}:8083"), "/mqtt", Some("mqtt")).ok()?;
        let (client, connack) = connect_over(RawClient::over(Box::new(stream)), "by-websocket");
        assert!(matches!(connack.reason, 0 | 0x88), "{connack:?}");
        (connack.reason == 0).then_some(client)
    });
    browser.ping();
    // It comes by HTTP, which has no PROXY header: the page says what that hides.
    assert_eq!(arrived(&composed, "by-websocket").1, address);

    // Without health checks it notices by refused connections, and tries another node with the same client.
    let (at, _) = arrived(&composed, "by-nginx");
    composed.nodes.remove(&at).unwrap().0.kill();
    for number in 0..4 {
        client_in_the_end(&mqtt, &format!("after-nginx-{number}")).ping();
    }
    drop(nginx);
}
