//! A name server of a test's own: answers what the test tells it to over UDP, and nothing else. Used by tests of discovery.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex};

/// What a name stands for: addresses, or services at port and name.
#[derive(Clone, Debug)]
pub enum Record {
    /// An address.
    A(Ipv4Addr),
    /// A service, at this port of this name.
    Srv(u16, String),
}

/// Names, in lower case and without a dot at the end, and what they stand for.
type Zone = BTreeMap<String, Vec<Record>>;

/// A server that answers until the test ends.
pub struct NameServer {
    /// Where it is.
    pub address: SocketAddr,
    zone: Arc<Mutex<Zone>>,
}

const A: u16 = 1;
const SRV: u16 = 33;
/// Flags of an answer: recursion was wanted and is there; and with the code for a name that does not exist.
const FLAGS: u16 = 0x8180;
const NO_SUCH_NAME: u16 = 3;

impl NameServer {
    /// On a free port of loopback, knowing no name.
    pub fn start() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let server = Self { address: socket.local_addr().unwrap(), zone: Arc::default() };
        let zone = Arc::clone(&server.zone);
        std::thread::spawn(move || {
            let mut query = [0; 1_024];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                if let Some(answer) = answer(&query[..length], &zone.lock().unwrap()) {
                    let _nobody_waits = socket.send_to(&answer, from);
                }
            }
        });
        server
    }

    /// From now on a name stands for this.
    pub fn set(&self, name: &str, records: &[Record]) {
        self.zone.lock().unwrap().insert(name.to_owned(), records.to_vec());
    }
}

fn answer(query: &[u8], zone: &Zone) -> Option<Vec<u8>> {
    let mut labels = Vec::new();
    let mut at = 12;
    loop {
        let length = usize::from(*query.get(at)?);
        at += 1;
        if length == 0 {
            break;
        }
        labels.push(String::from_utf8(query.get(at..at + length)?.to_ascii_lowercase()).ok()?);
        at += length;
    }
    let kind = u16::from_be_bytes([*query.get(at)?, *query.get(at + 1)?]);
    let question = query.get(12..at + 4)?;
    let known = zone.get(&labels.join("."));
    let records: Vec<Vec<u8>> =
        known.into_iter().flatten().filter_map(|record| rdata(record, kind)).collect();
    let flags = if known.is_some() { FLAGS } else { FLAGS | NO_SUCH_NAME };
    let mut answer = query.get(..2)?.to_vec();
    for number in [flags, 1, u16::try_from(records.len()).ok()?, 0, 0] {
        answer.extend(number.to_be_bytes());
    }
    answer.extend(question);
    for data in records {
        // The name of the question, in this class, for no time at all.
        answer.extend([0xC0, 0x0C]);
        answer.extend(kind.to_be_bytes());
        answer.extend([0, 1, 0, 0, 0, 0]);
        answer.extend(u16::try_from(data.len()).ok()?.to_be_bytes());
        answer.extend(data);
    }
    Some(answer)
}

fn rdata(record: &Record, kind: u16) -> Option<Vec<u8>> {
    match record {
        Record::A(address) if kind == A => Some(address.octets().to_vec()),
        Record::Srv(port, target) if kind == SRV => {
            let mut data = vec![0; 4];
            data.extend(port.to_be_bytes());
            for label in target.split('.') {
                data.push(u8::try_from(label.len()).ok()?);
                data.extend(label.as_bytes());
            }
            data.push(0);
            Some(data)
        }
        _ => None,
    }
}
