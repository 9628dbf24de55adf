//! A broker in memory, scripted by the tests: it reads the device's packets byte by byte and answers as it is told to.
//! It shares no code with the client library, and no clock but the mock one.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::poll_fn;
use std::rc::Rc;
use std::string::{String, ToString};
use std::task::{Poll, Waker};
use std::vec::Vec;

use embassy_time::Instant;
use embedded_io_async::{ErrorType, Read, Write};

use crate::app::Dialer;
use crate::brokers::Broker;
use crate::event::DialError;

/// What the broker does about CONNECT.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Door {
    /// Nobody answers the dial.
    Unreachable,
    /// The dial never ends.
    Hangs,
    /// It takes bytes and says nothing.
    Mute,
    /// CONNACK with this "session present".
    Open { resumed: bool },
    /// CONNACK with this reason.
    Refuses(u8),
    /// CONNACK, and the end.
    Slams,
}

/// What the broker does about PUBLISH.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) enum Acks {
    /// PUBACK at once, with this reason.
    Reason(u8),
    /// Later: see [`World::release`].
    Held,
}

/// A PUBLISH as it came.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Got {
    pub(super) at_ms: u64,
    pub(super) topic: String,
    pub(super) payload: String,
    pub(super) retain: bool,
    pub(super) dup: bool,
    /// Of an answer.
    pub(super) correlation: Option<Vec<u8>>,
}

/// The broker, and the link to it.
pub(super) struct World {
    pub(super) door: Door,
    pub(super) acks: Acks,
    /// Reason of SUBACK.
    pub(super) suback: u8,
    /// Answers PINGREQ.
    pub(super) pongs: bool,
    /// Bytes that one read or write moves.
    pub(super) chunk: usize,
    pub(super) dials: Vec<String>,
    pub(super) connects: Vec<Vec<u8>>,
    pub(super) subscriptions: Vec<String>,
    pub(super) got: Vec<Got>,
    pub(super) pings: u32,
    /// The reason of a DISCONNECT that came.
    pub(super) left: Option<u8>,
    held: VecDeque<u16>,
    link: Option<Link>,
    links: u32,
}

/// One connection.
#[derive(Default)]
struct Link {
    number: u32,
    from_device: Vec<u8>,
    to_device: VecDeque<u8>,
    closed: bool,
    reader: Option<Waker>,
}

impl World {
    pub(super) fn new() -> Rc<RefCell<Self>> {
        Rc::new(RefCell::new(Self {
            door: Door::Open { resumed: false },
            acks: Acks::Reason(0),
            suback: 1,
            pongs: true,
            chunk: 1_000,
            dials: Vec::new(),
            connects: Vec::new(),
            subscriptions: Vec::new(),
            got: Vec::new(),
            pings: 0,
            left: None,
            held: VecDeque::new(),
            link: None,
            links: 0,
        }))
    }

    /// What came on a topic.
    pub(super) fn payloads(&self, topic: &str) -> Vec<String> {
        self.got.iter().filter(|got| got.topic == topic).map(|got| got.payload.clone()).collect()
    }

    /// Acknowledges what was held, in order, and everything from now on.
    pub(super) fn release(&mut self) {
        self.acks = Acks::Reason(0);
        while let Some(id) = self.held.pop_front() {
            self.puback(id, 0);
        }
    }

    /// The link breaks: the device notices.
    pub(super) fn cut(&mut self) {
        self.held.clear();
        if let Some(mut link) = self.link.take() {
            link.closed = true;
            if let Some(reader) = link.reader.take() {
                reader.wake();
            }
        }
    }

    /// A PUBLISH for the device, QoS 1, with a response topic if there is one.
    pub(super) fn ask(&mut self, topic: &str, payload: &str, response: Option<(&str, &[u8])>) {
        let mut properties = Vec::new();
        if let Some((topic, correlation)) = response {
            properties.push(0x08);
            properties.extend(field(topic.as_bytes()));
            properties.push(0x09);
            properties.extend(field(correlation));
        }
        let mut body = field(topic.as_bytes());
        body.extend([0, 77, u8::try_from(properties.len()).unwrap()]);
        body.extend(properties);
        body.extend(payload.as_bytes());
        self.say(0x32, &body);
    }

    fn say(&mut self, first: u8, body: &[u8]) {
        let Some(link) = &mut self.link else { return };
        link.to_device.extend([first, u8::try_from(body.len()).unwrap()]);
        link.to_device.extend(body);
        if let Some(reader) = link.reader.take() {
            reader.wake();
        }
    }

    fn puback(&mut self, id: u16, reason: u8) {
        let [high, low] = id.to_be_bytes();
        self.say(0x40, &[high, low, reason, 0]);
    }

    /// Takes every packet that is complete.
    fn serve(&mut self) {
        while let Some(packet) = self.link.as_mut().and_then(|link| take_packet(&mut link.from_device)) {
            self.packet(packet.0, &packet.1);
        }
    }

    fn packet(&mut self, first: u8, body: &[u8]) {
        match first >> 4 {
            1 => {
                self.connects.push(body.to_vec());
                match self.door {
                    Door::Open { resumed } => self.say(0x20, &[u8::from(resumed), 0, 0]),
                    Door::Refuses(reason) => self.say(0x20, &[0, reason, 0]),
                    Door::Slams => {
                        self.say(0x20, &[0, 0, 0]);
                        self.cut_after_reading();
                    }
                    Door::Unreachable | Door::Hangs | Door::Mute => {}
                }
            }
            3 => self.publish(first, body),
            4 => {}
            8 => {
                let topic = read_field(&body[3..]);
                self.subscriptions.push(String::from_utf8(topic.to_vec()).unwrap());
                self.say(0x90, &[body[0], body[1], 0, self.suback]);
            }
            12 => {
                self.pings += 1;
                if self.pongs {
                    self.say(0xD0, &[]);
                }
            }
            14 => self.left = Some(body.first().copied().unwrap_or(0)),
            other => panic!("packet of type {other}"),
        }
    }

    fn publish(&mut self, first: u8, body: &[u8]) {
        assert_eq!(first & 0b110, 0b010, "everything goes at QoS 1");
        let topic = read_field(body);
        let rest = &body[2 + topic.len()..];
        let id = u16::from_be_bytes([rest[0], rest[1]]);
        let properties = &rest[3..3 + usize::from(rest[2])];
        let correlation = (properties.first() == Some(&0x09)).then(|| read_field(&properties[1..]).to_vec());
        self.got.push(Got {
            at_ms: Instant::now().as_millis(),
            topic: String::from_utf8(topic.to_vec()).unwrap(),
            payload: String::from_utf8(rest[3 + properties.len()..].to_vec()).unwrap(),
            retain: first & 1 != 0,
            dup: first & 8 != 0,
            correlation,
        });
        match self.acks {
            Acks::Reason(reason) => self.puback(id, reason),
            Acks::Held => self.held.push_back(id),
        }
    }

    /// The other end is closed once the device has read what is on its way.
    fn cut_after_reading(&mut self) {
        if let Some(link) = &mut self.link {
            link.closed = true;
        }
    }
}

fn take_packet(bytes: &mut Vec<u8>) -> Option<(u8, Vec<u8>)> {
    let (mut length, mut at) = (0_usize, 1);
    loop {
        let byte = *bytes.get(at)?;
        length |= usize::from(byte & 0x7F) << (7 * (at - 1));
        at += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    if bytes.len() < at + length {
        return None;
    }
    let first = bytes[0];
    let body = bytes[at..at + length].to_vec();
    bytes.drain(..at + length);
    Some((first, body))
}

pub(super) fn field(bytes: &[u8]) -> Vec<u8> {
    let mut field = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    field.extend(bytes);
    field
}

pub(super) fn read_field(bytes: &[u8]) -> &[u8] {
    let length = usize::from(u16::from_be_bytes([bytes[0], bytes[1]]));
    &bytes[2..2 + length]
}

/// The device's end of a link.
pub(super) struct Wire {
    world: Rc<RefCell<World>>,
    number: u32,
}

impl ErrorType for Wire {
    type Error = Infallible;
}

impl Read for Wire {
    async fn read(&mut self, buffer: &mut [u8]) -> Result<usize, Infallible> {
        poll_fn(|context| {
            let mut world = self.world.borrow_mut();
            let chunk = world.chunk.min(buffer.len());
            let Some(link) = world.link.as_mut().filter(|link| link.number == self.number) else {
                return Poll::Ready(Ok(0));
            };
            let count = chunk.min(link.to_device.len());
            if count == 0 && !link.closed {
                link.reader = Some(context.waker().clone());
                return Poll::Pending;
            }
            for (place, byte) in buffer.iter_mut().zip(link.to_device.drain(..count)) {
                *place = byte;
            }
            Poll::Ready(Ok(count))
        })
        .await
    }
}

impl Write for Wire {
    async fn write(&mut self, bytes: &[u8]) -> Result<usize, Infallible> {
        let mut world = self.world.borrow_mut();
        let count = world.chunk.min(bytes.len());
        if let Some(link) = world.link.as_mut().filter(|link| link.number == self.number && !link.closed) {
            link.from_device.extend(&bytes[..count]);
        }
        world.serve();
        Ok(count)
    }

    async fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// The device's network.
pub(super) struct Network(pub(super) Rc<RefCell<World>>);

impl Dialer for Network {
    type Io<'a> = Wire;

    async fn dial(&mut self, broker: &Broker<'_>) -> Result<Wire, DialError> {
        let door = {
            let mut world = self.0.borrow_mut();
            world.dials.push(broker.to_string());
            world.door
        };
        match door {
            Door::Unreachable => Err(DialError::Unreachable),
            Door::Hangs => std::future::pending().await,
            _ => {
                let mut world = self.0.borrow_mut();
                world.cut();
                world.links += 1;
                let number = world.links;
                world.link = Some(Link { number, ..Link::default() });
                Ok(Wire { world: self.0.clone(), number })
            }
        }
    }
}
