//! What publishers sent and what sessions received in a round: written by the clients, read by the checker.
//! Plain values; it judges nothing.

/// A message: who published it, and the how manieth of this publisher it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Message {
    /// The publisher's number.
    pub publisher: u32,
    /// From 1 on.
    pub sequence: u32,
}

impl Message {
    /// The payload that says which message it is, of a length that differs from message to message.
    pub fn payload(self) -> String {
        format!("{} {} {}", self.publisher, self.sequence, ".".repeat(self.sequence as usize % 500))
    }

    /// The message of a payload, which must be whole.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let text = std::str::from_utf8(payload).ok()?;
        let mut words = text.split(' ');
        let [publisher, sequence] = [words.next()?.parse().ok()?, words.next()?.parse().ok()?];
        let message = Self { publisher, sequence };
        (message.payload() == text).then_some(message)
    }
}

/// A message as its publisher knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sent {
    /// Which.
    pub message: Message,
    /// The topic's number, of this publisher.
    pub topic: u32,
    /// QoS 1 or 2.
    pub qos: u8,
    /// How often a PUBLISH of it was sent, repeats included.
    pub times: u32,
    /// PUBACK or PUBREC came, with a code of success.
    pub acknowledged: bool,
}

impl Sent {
    /// Where it was published.
    pub fn topic_name(&self) -> String {
        format!("load/{}/{}", self.message.publisher, self.topic)
    }
}

/// A PUBLISH as a session got it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Received {
    /// The topic name.
    pub topic: String,
    /// The payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// DUP.
    pub dup: bool,
    /// Packet id.
    pub packet_id: u16,
    /// QoS 2: the packet id was open at the receiver, which therefore passes nothing on to its application.
    pub repeat: bool,
}

/// A session that gets every message of the load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reader {
    /// Its client.
    pub name: String,
    /// The QoS that its subscription was granted.
    pub granted: u8,
    /// Whether everything acknowledged must arrive.
    pub persistent: bool,
    /// What came, in order.
    pub received: Vec<Received>,
}

/// A round.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    /// All messages.
    pub sent: Vec<Sent>,
    /// All sessions.
    pub readers: Vec<Reader>,
}
