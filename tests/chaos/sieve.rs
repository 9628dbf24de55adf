//! Loses a word between two nodes, as no network does: a frame of HTTP/2 that has whole messages, of which one says something
//! certain. What comes behind it on its way arrives. Used by the proxy for one direction of a connection.

/// What a client of HTTP/2 says first.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Length, type, flags and stream of a frame.
const HEADER: usize = 9;
/// The type of frames with messages.
const DATA: u8 = 0;
/// Whether it is compressed, and the length of a message of gRPC.
const PREFIX: usize = 5;

/// One direction of a connection. Frames leave it whole.
#[derive(Default)]
pub(crate) struct Sieve {
    buffer: Vec<u8>,
    begun: bool,
}

impl Sieve {
    /// What is to be passed on once this has come; without the first frame that is to be lost.
    pub(crate) fn pass(&mut self, bytes: &[u8], is_lost: impl Fn(&[u8]) -> bool) -> Vec<u8> {
        self.buffer.extend_from_slice(bytes);
        let mut passed = Vec::new();
        if !self.begun {
            let told = self.buffer.len().min(PREFACE.len());
            if self.buffer[..told] != PREFACE[..told] {
                // The other side, which begins with a frame.
                self.begun = true;
            } else if told == PREFACE.len() {
                passed.extend(self.buffer.drain(..told));
                self.begun = true;
            } else {
                return passed;
            }
        }
        while let Some(length) = frame(&self.buffer) {
            let (kind, content) = (self.buffer[3], &self.buffer[HEADER..length]);
            let lost = kind == DATA && are_messages(content) && is_lost(content);
            let frame = self.buffer.drain(..length);
            if !lost {
                passed.extend(frame);
            }
        }
        passed
    }
}

/// The length of the first frame, where all of it is there.
fn frame(buffer: &[u8]) -> Option<usize> {
    let length = HEADER + buffer.get(..3)?.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
    (buffer.len() >= length).then_some(length)
}

/// Whether these are messages, none of which goes on in another frame.
fn are_messages(mut content: &[u8]) -> bool {
    while let Some((prefix, rest)) = content.split_first_chunk::<PREFIX>() {
        let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
        let Some(behind) = rest.get(length..) else { return false };
        content = behind;
    }
    content.is_empty()
}

#[test]
fn one_frame_is_lost_and_all_else_passes_however_it_is_cut() {
    let of = |kind: u8, content: &[u8]| {
        let header = [0, 0, content.len() as u8, kind, 0, 0, 0, 0, 1];
        [&header, content].concat()
    };
    let message = |text: &[u8]| [&[0, 0, 0, 0, text.len() as u8], text].concat();
    let kept =
        [of(4, b""), of(DATA, &message(b"one")), of(1, b"lost"), of(DATA, b"\0\0\0\0\x09lost")].concat();
    let lost = of(DATA, &[message(b"is"), message(b"lost")].concat());
    let is_lost = |content: &[u8]| content.ends_with(b"lost");
    for preface in [PREFACE, b""] {
        let all = [preface, &kept, &lost, &kept].concat();
        for step in 1..all.len() {
            let mut sieve = Sieve::default();
            let passed: Vec<u8> = all.chunks(step).flat_map(|part| sieve.pass(part, is_lost)).collect();
            assert_eq!(passed, [preface, &kept, &kept].concat(), "{step}");
        }
    }
}
