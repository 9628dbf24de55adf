//! A WebSocket client of a few lines: handshake, masked frames, and a byte stream over binary frames.
//! Used by the tests of chapter 6 and of hostile WebSocket input; writes wrong frames when told to.

use std::io::{self, ErrorKind};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use crate::BOUND;
use crate::transport::{Transport, tcp};

/// Frame opcodes of RFC 6455.
#[allow(missing_docs, reason = "the names are the standard's")]
pub mod opcode {
    pub const CONTINUATION: u8 = 0;
    pub const TEXT: u8 = 1;
    pub const BINARY: u8 = 2;
    pub const CLOSE: u8 = 8;
    pub const PING: u8 = 9;
    pub const PONG: u8 = 10;
}

/// The key of the example in RFC 6455, section 1.3, and the answer it must get.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";
const MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// A frame as the server sent it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Opcode.
    pub opcode: u8,
    /// FIN.
    pub fin: bool,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The status code of a close frame.
    pub fn close_code(&self) -> Option<u16> {
        let code: [u8; 2] = self.payload.get(..2)?.try_into().ok()?;
        (self.opcode == opcode::CLOSE).then(|| u16::from_be_bytes(code))
    }
}

/// An open WebSocket; as a [`Transport`] it carries MQTT in one binary frame for each send.
pub struct WsStream<S = TcpStream> {
    stream: S,
    raw: Vec<u8>,
    data: Vec<u8>,
    /// The head of the server's answer.
    pub response: String,
    /// The close frame, once it came.
    pub closed: Option<Frame>,
}

/// The request line and headers of a handshake, ready to send.
pub fn upgrade_request(host: &str, path: &str, protocol: Option<&str>, more: &str) -> String {
    let protocol = protocol.map_or_else(String::new, |p| format!("Sec-WebSocket-Protocol: {p}\r\n"));
    format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n{protocol}{more}\r\n"
    )
}

/// Reads an HTTP response head; also gives the bytes that came after it. Empty when the server just closed.
pub fn response_head(stream: &mut impl Transport) -> (String, Vec<u8>) {
    let deadline = Instant::now() + BOUND;
    let mut raw = Vec::new();
    let mut chunk = [0; 4096];
    loop {
        if let Some(end) = raw.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = raw.split_off(end + 4);
            return (String::from_utf8_lossy(&raw).into_owned(), rest);
        }
        assert!(Instant::now() < deadline, "no answer to the handshake, only {raw:02x?}");
        match stream.receive(&mut chunk, BOUND) {
            Ok(count) if count > 0 => raw.extend_from_slice(&chunk[..count]),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            _ => return (String::from_utf8_lossy(&raw).into_owned(), Vec::new()),
        }
    }
}

impl WsStream {
    /// Connects to `ws://addr/mqtt` with subprotocol `mqtt`.
    pub fn connect(addr: &str) -> Self {
        Self::handshake(addr, "/mqtt", Some("mqtt")).unwrap_or_else(|head| panic!("no upgrade: {head}"))
    }

    /// Shakes hands with this path and subprotocol.
    ///
    /// # Errors
    /// The head of an answer that is no upgrade.
    pub fn handshake(addr: &str, path: &str, protocol: Option<&str>) -> Result<Self, String> {
        Self::handshake_over(tcp(addr), &upgrade_request(addr, path, protocol, ""))
    }
}

impl<S: Transport> WsStream<S> {
    /// Shakes hands over a stream of any kind with a whole request.
    ///
    /// # Errors
    /// The head of an answer that is no upgrade.
    pub fn handshake_over(mut stream: S, request: &str) -> Result<Self, String> {
        drop(stream.send(request.as_bytes()));
        let (response, raw) = response_head(&mut stream);
        if !response.starts_with("HTTP/1.1 101") {
            return Err(response);
        }
        let accept = header(&response, "sec-websocket-accept");
        assert_eq!(accept.as_deref(), Some(ACCEPT), "Sec-WebSocket-Accept in {response}");
        Ok(Self { stream, raw, data: Vec::new(), response, closed: None })
    }

    /// The subprotocol the server selected.
    pub fn protocol(&self) -> Option<String> {
        header(&self.response, "sec-websocket-protocol")
    }

    /// Sends one frame, masked as a client must, with FIN or without.
    pub fn send_frame(&mut self, opcode: u8, fin: bool, payload: &[u8]) -> io::Result<()> {
        self.stream.send(&frame(opcode, fin, payload, true))
    }

    /// Sends bytes under the framing as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.stream.send(bytes)
    }

    /// The next frame, or `None` at the end of the stream.
    pub fn read_frame(&mut self, timeout: Duration) -> io::Result<Option<Frame>> {
        let deadline = Instant::now() + timeout;
        let mut chunk = [0; 16 * 1024];
        loop {
            if let Some(frame) = take_frame(&mut self.raw) {
                return Ok(Some(frame));
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            match self.stream.receive(&mut chunk, left)? {
                0 => return Ok(None),
                count => self.raw.extend_from_slice(&chunk[..count]),
            }
        }
    }

    /// Waits for the connection to end; gives the code of the close frame before it, if there was one.
    pub fn expect_closed(&mut self) -> Option<u16> {
        let mut code = None;
        loop {
            match self.read_frame(BOUND) {
                Ok(Some(frame)) if frame.opcode == opcode::CLOSE => {
                    code = frame.close_code();
                    drop(self.send_frame(opcode::CLOSE, true, &frame.payload));
                }
                Ok(Some(_)) => {}
                Err(error) if error.kind() == ErrorKind::TimedOut => panic!("the WebSocket was not closed"),
                Ok(None) | Err(_) => return code,
            }
        }
    }
}

impl<S: Transport> Transport for WsStream<S> {
    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.send_frame(opcode::BINARY, true, bytes)
    }

    fn receive(&mut self, buffer: &mut [u8], timeout: Duration) -> io::Result<usize> {
        while self.data.is_empty() {
            let Some(frame) = self.read_frame(timeout)? else { return Ok(0) };
            match frame.opcode {
                opcode::BINARY | opcode::CONTINUATION => self.data.extend(frame.payload),
                opcode::PING => self.send_frame(opcode::PONG, true, &frame.payload)?,
                opcode::CLOSE => {
                    self.closed = Some(frame);
                    return Ok(0);
                }
                other => panic!("frame with opcode {other} from the broker"),
            }
        }
        let count = buffer.len().min(self.data.len());
        buffer[..count].copy_from_slice(&self.data[..count]);
        self.data.drain(..count);
        Ok(count)
    }

    fn shutdown(&mut self) {
        self.stream.shutdown();
    }
}

/// The bytes of a frame, in the shortest length form.
pub fn frame(opcode: u8, fin: bool, payload: &[u8], masked: bool) -> Vec<u8> {
    let mask_bit = u8::from(masked) << 7;
    let mut out = vec![u8::from(fin) << 7 | opcode];
    match payload.len() {
        length @ 0..=125 => out.push(mask_bit | length as u8),
        length @ 126..=0xFFFF => {
            out.push(mask_bit | 126);
            out.extend((length as u16).to_be_bytes());
        }
        length => {
            out.push(mask_bit | 127);
            out.extend((length as u64).to_be_bytes());
        }
    }
    if masked {
        out.extend(MASK);
        out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    } else {
        out.extend_from_slice(payload);
    }
    out
}

fn take_frame(raw: &mut Vec<u8>) -> Option<Frame> {
    let (first, second) = (*raw.first()?, *raw.get(1)?);
    assert!(second & 0x80 == 0, "a server's frame is not masked");
    let (length, at) = match second {
        126 => (u64::from(u16::from_be_bytes(raw.get(2..4)?.try_into().ok()?)), 4),
        127 => (u64::from_be_bytes(raw.get(2..10)?.try_into().ok()?), 10),
        short => (u64::from(short), 2),
    };
    let end = at + length as usize;
    if raw.len() < end {
        return None;
    }
    let payload = raw[at..end].to_vec();
    raw.drain(..end);
    Some(Frame { opcode: first & 0x0F, fin: first & 0x80 != 0, payload })
}

fn header(head: &str, name: &str) -> Option<String> {
    head.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().to_owned())
    })
}
