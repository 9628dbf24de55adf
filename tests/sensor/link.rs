//! A piece of cable between a device and a broker: a port that stays while brokers come and go behind it, and that can be cut.
//! Used by the scenarios. A cut link is silent; nobody is told.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use e2e_tests::pause;

/// How often a silent link looks whether it was cut or restored.
const LOOK: Duration = Duration::from_millis(20);

struct State {
    /// Where the broker is now.
    broker: String,
    cut: bool,
}

/// One link; connections go through it in both directions.
pub(crate) struct Link {
    port: u16,
    state: Arc<Mutex<State>>,
}

impl Link {
    /// To the broker at this address.
    pub(crate) fn to(broker: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::new(Mutex::new(State { broker: broker.to_owned(), cut: false }));
        let shared = state.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = shared.clone();
                std::thread::spawn(move || join(&stream, &shared));
            }
        });
        Self { port, state }
    }

    /// Where the device connects to, on loopback.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Connections from now on go to this broker.
    pub(crate) fn lead_to(&self, broker: &str) {
        self.state.lock().unwrap().broker = broker.to_owned();
    }

    /// From now on nothing gets through, or everything again.
    pub(crate) fn cut(&self, cut: bool) {
        self.state.lock().unwrap().cut = cut;
    }
}

/// Both directions until one ends; a broker that is not there ends it at once.
fn join(device: &TcpStream, state: &Arc<Mutex<State>>) {
    wait_while_cut(state);
    let address = state.lock().unwrap().broker.clone();
    let Ok(broker) = TcpStream::connect(address) else { return };
    std::thread::scope(|scope| {
        scope.spawn(|| carry(device, &broker, state));
        carry(&broker, device, state);
    });
}

fn carry(mut from: &TcpStream, mut to: &TcpStream, state: &Arc<Mutex<State>>) {
    from.set_read_timeout(Some(LOOK)).unwrap();
    let mut bytes = [0; 4096];
    loop {
        wait_while_cut(state);
        match from.read(&mut bytes) {
            Ok(count @ 1..) => {
                wait_while_cut(state);
                if to.write_all(&bytes[..count]).is_err() {
                    break;
                }
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => break,
        }
    }
    drop(from.shutdown(Shutdown::Both));
    drop(to.shutdown(Shutdown::Both));
}

fn wait_while_cut(state: &Arc<Mutex<State>>) {
    while state.lock().unwrap().cut {
        pause(LOOK);
    }
}
