//! The opening handshake of RFC 6455 section 4.2: reads a bounded request, checks it, answers it.
//! Called by `listener::handshake` under the connection's deadline. Speaks no other HTTP than this.

use super::{super::transport::linger, WebSocket};
use crate::config::ListenerSettings;
use base64::{Engine, prelude::BASE64_STANDARD};
use httparse::{EMPTY_HEADER, Header, Request, Status};
use ring::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Bytes of request line and headers.
const REQUEST_MAX: usize = 4096;
/// Headers of a request.
const HEADERS_MAX: usize = 64;
/// How a request begins.
const METHOD: &[u8] = b"GET ";
/// What is read at once.
const READ_STEP: usize = 1024;
/// Subprotocols, the better one first: [MQTT-6.0.0-3], and what was used before it was written down.
const SUBPROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];
/// Section 1.3 of RFC 6455.
const KEY_SUFFIX: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is refused.
#[derive(Debug, thiserror::Error)]
pub(in crate::listener) enum RequestError {
    /// The connection failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The client's fault; it was told so.
    #[error("websocket request refused with status {} {}: {}", .0.code(), .0.phrase(), .0.why())]
    Refused(Refusal),
}

/// What is wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::listener) enum Refusal {
    NotGet,
    NotWebSocket,
    TooLarge,
    Path,
    Version,
    Subprotocol,
    Origin,
}

impl Refusal {
    fn code(self) -> u16 {
        match self {
            Self::NotGet | Self::NotWebSocket | Self::Subprotocol => 400,
            Self::Origin => 403,
            Self::Path => 404,
            Self::Version => 426,
            Self::TooLarge => 431,
        }
    }

    fn phrase(self) -> &'static str {
        match self.code() {
            403 => "Forbidden",
            404 => "Not Found",
            426 => "Upgrade Required",
            431 => "Request Header Fields Too Large",
            _ => "Bad Request",
        }
    }

    fn why(self) -> &'static str {
        match self {
            Self::NotGet => "not an HTTP GET request",
            Self::NotWebSocket => "not a WebSocket handshake",
            Self::TooLarge => "request too large",
            Self::Path => "no such path",
            Self::Version => "WebSocket version 13 is spoken here",
            Self::Subprotocol => "the subprotocol mqtt is required",
            Self::Origin => "this origin is not allowed",
        }
    }

    fn response(self) -> String {
        let (code, phrase, why) = (self.code(), self.phrase(), self.why());
        let version =
            if self == Self::Version { "Sec-WebSocket-Version: 13\r\nUpgrade: websocket\r\n" } else { "" };
        let length = why.len() + 1;
        format!(
            "HTTP/1.1 {code} {phrase}\r\nConnection: close\r\n{version}Content-Type: text/plain\r\n\
             Content-Length: {length}\r\n\r\n{why}\n"
        )
    }
}

/// Does the handshake on `stream` and gives what MQTT goes over.
///
/// # Errors
/// Where the connection fails, or the request is refused, which the client was told then.
pub(in crate::listener) async fn accept<S: AsyncRead + AsyncWrite + Unpin>(
    mut stream: S,
    settings: &ListenerSettings,
) -> Result<WebSocket<S>, RequestError> {
    let checked = match read_head(&mut stream).await? {
        Ok((head, early)) => check(&head, settings).map(|response| (response, early)),
        Err(refusal) => Err(refusal),
    };
    match checked {
        Ok((response, early)) => {
            stream.write_all(response.as_bytes()).await?;
            stream.flush().await?;
            Ok(WebSocket::new(stream, early))
        }
        Err(refusal) => {
            if tell(&mut stream, refusal).await.is_ok() {
                linger(&mut stream).await;
            }
            Err(RequestError::Refused(refusal))
        }
    }
}

async fn tell<S: AsyncWrite + Unpin>(stream: &mut S, refusal: Refusal) -> io::Result<()> {
    stream.write_all(refusal.response().as_bytes()).await?;
    stream.shutdown().await
}

/// Reads to the end of the headers; what came behind them is the second part.
async fn read_head<S: AsyncRead + Unpin>(stream: &mut S) -> io::Result<Result<(Vec<u8>, Vec<u8>), Refusal>> {
    let mut head = Vec::with_capacity(READ_STEP);
    loop {
        // From three bytes back, as the end may have come in parts.
        let searched = head.len().saturating_sub(3);
        let room = REQUEST_MAX.saturating_sub(head.len()).min(READ_STEP) as u64;
        if room == 0 {
            return Ok(Err(Refusal::TooLarge));
        }
        if (&mut *stream).take(room).read_buf(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        // Whatever else comes to this port is told at once, and not at the deadline.
        if head.iter().zip(METHOD).any(|(found, expected)| found != expected) {
            return Ok(Err(Refusal::NotGet));
        }
        let unsearched = head.get(searched..).unwrap_or_default();
        if let Some(end) = unsearched.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            let early = head.split_off(searched + end + 4);
            return Ok(Ok((head, early)));
        }
    }
}

/// The response to a request that is in order.
fn check(head: &[u8], settings: &ListenerSettings) -> Result<String, Refusal> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(Refusal::TooLarge),
        _ => return Err(Refusal::NotGet),
    }
    let path = request.path.and_then(|path| path.split('?').next());
    if path != Some(settings.ws_path.0.as_str()) {
        return Err(Refusal::Path);
    }
    let headers: &[Header<'_>] = request.headers;
    let upgrades = has_token(headers, "upgrade", "websocket") && has_token(headers, "connection", "upgrade");
    if request.version != Some(1) || !upgrades {
        return Err(Refusal::NotWebSocket);
    }
    if !has_token(headers, "sec-websocket-version", "13") {
        return Err(Refusal::Version);
    }
    let key = value_of(headers, "sec-websocket-key").ok_or(Refusal::NotWebSocket)?;
    if BASE64_STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Refusal::NotWebSocket);
    }
    if !settings.ws_origins.is_empty() && !origin_allowed(headers, &settings.ws_origins) {
        return Err(Refusal::Origin);
    }
    let offered = |name: &&&str| tokens(headers, "sec-websocket-protocol").any(|token| token == **name);
    let subprotocol = SUBPROTOCOLS.iter().find(offered).ok_or(Refusal::Subprotocol)?;
    let accept =
        BASE64_STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, format!("{key}{KEY_SUFFIX}").as_bytes()));
    Ok(format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    ))
}

fn origin_allowed(headers: &[Header<'_>], allowed: &[String]) -> bool {
    value_of(headers, "origin")
        .is_some_and(|origin| allowed.iter().any(|one| one.eq_ignore_ascii_case(origin)))
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    let named = headers.iter().filter(move |header| header.name.eq_ignore_ascii_case(name));
    named.filter_map(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
}

/// The value of a header that may be there once.
fn value_of<'a>(headers: &'a [Header<'a>], name: &'a str) -> Option<&'a str> {
    let mut values = values(headers, name);
    values.next().filter(|_| values.next().is_none())
}

/// The parts of a list header.
fn tokens<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a str> {
    values(headers, name).flat_map(|value| value.split(',')).map(str::trim)
}

fn has_token(headers: &[Header<'_>], name: &str, expected: &str) -> bool {
    tokens(headers, name).any(|token| token.eq_ignore_ascii_case(expected))
}
