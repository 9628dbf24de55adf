//! WebSocket (RFC 6455), the server's side of it, as a stream of bytes over another stream.
//! `listener::handshake` makes it. Data passes straight through into the reader's buffer, however the client cuts it
//! into frames; no frame is ever collected, so that an announced length costs no memory.

mod frame;
mod request;
#[cfg(test)]
mod tests;

pub(super) use request::{RequestError, accept};

use frame::{Deframer, Fault, Reply, frame_header};
use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    task::{Context, Poll, ready},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most that one write takes, and so the most that waits for the socket.
const WRITE_MAX: usize = 64 << 10;

/// A pong is left out while more than this waits for the socket: a client that sends pings and reads nothing costs no
/// more than that.
const PONG_BACKLOG_MAX: usize = 256;

/// MQTT inside binary frames over `S`.
#[derive(Debug)]
pub(crate) struct WebSocket<S> {
    stream: S,
    deframer: Deframer,
    /// What came in together with the request; empty soon after.
    early: Vec<u8>,
    /// Whole frames, of which the first `written` bytes are with `stream`. Without memory when empty.
    out: Vec<u8>,
    written: usize,
    /// Why nothing more is read.
    end: Option<End>,
}

#[derive(Debug, Clone, Copy)]
enum End {
    /// The client closed it.
    Closed,
    /// The client broke the protocol.
    Broken(Fault),
}

impl<S> WebSocket<S> {
    /// A connection whose handshake is done; `early` is what the client has sent behind its request.
    fn new(stream: S, early: Vec<u8>) -> Self {
        Self { stream, deframer: Deframer::default(), early, out: Vec::new(), written: 0, end: None }
    }

    /// What carries it.
    pub(super) fn get_ref(&self) -> &S {
        &self.stream
    }

    /// The same; only for one who is done with the WebSocket.
    pub(super) fn get_mut(&mut self) -> &mut S {
        &mut self.stream
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Takes the frames out of what was just read into the part of `buf` from `start`, and leaves the data there.
    fn deframe(&mut self, buf: &mut ReadBuf<'_>, start: usize) {
        let (_, raw) = buf.filled_mut().split_at_mut(start);
        let (data, end) = self.deframer.feed(raw);
        buf.set_filled(start + data);
        match end {
            Ok(None) => {}
            Ok(Some(Reply::Pong(_))) if self.out.len() > PONG_BACKLOG_MAX => {}
            Ok(Some(Reply::Pong(payload))) => self.queue_frame(frame::PONG, &payload),
            Ok(Some(Reply::Close(payload))) => {
                self.queue_frame(frame::CLOSE, &payload);
                self.end = Some(End::Closed);
            }
            Err(fault) => {
                self.queue_frame(frame::CLOSE, &fault.code().to_be_bytes());
                self.end = Some(End::Broken(fault));
            }
        }
    }

    fn queue_frame(&mut self, opcode: u8, payload: &[u8]) {
        self.out.extend_from_slice(frame_header(opcode, payload.len()).as_slice());
        self.out.extend_from_slice(payload);
    }

    /// Reads into `buf` what the request brought along, else from the stream.
    fn poll_fill(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.early.is_empty() {
            return Pin::new(&mut self.stream).poll_read(cx, buf);
        }
        let count = buf.remaining().min(self.early.len());
        let rest = self.early.split_off(count);
        buf.put_slice(&mem::replace(&mut self.early, rest));
        Poll::Ready(Ok(()))
    }

    fn poll_drain(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while let Some(rest) = self.out.get(self.written..).filter(|rest| !rest.is_empty()) {
            let count = ready!(Pin::new(&mut self.stream).poll_write(cx, rest))?;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.written += count;
        }
        self.out = Vec::new();
        self.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Tries to send what a read has queued; what does not leave now leaves with the next read or write.
    fn answer(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.out.is_empty() {
            return Ok(());
        }
        match self.poll_drain(cx)? {
            Poll::Ready(()) => match Pin::new(&mut self.stream).poll_flush(cx)? {
                Poll::Ready(()) | Poll::Pending => Ok(()),
            },
            Poll::Pending => Ok(()),
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.answer(cx)?;
        loop {
            match this.end {
                Some(End::Closed) => return Poll::Ready(Ok(())),
                Some(End::Broken(fault)) => {
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, fault)));
                }
                None => {}
            }
            let start = buf.filled().len();
            ready!(this.poll_fill(cx, buf))?;
            if buf.filled().len() == start {
                return Poll::Ready(Ok(()));
            }
            this.deframe(buf, start);
            this.answer(cx)?;
            if buf.filled().len() > start {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(buf)])
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        let count = bufs.iter().map(|buf| buf.len()).sum::<usize>().min(WRITE_MAX);
        if count == 0 {
            return Poll::Ready(Ok(0));
        }
        this.out.reserve_exact(count + frame::HEADER_MAX);
        this.out.extend_from_slice(frame_header(frame::BINARY, count).as_slice());
        let mut left = count;
        for buf in bufs {
            let part = buf.get(..left).unwrap_or(buf);
            this.out.extend_from_slice(part);
            left -= part.len();
        }
        // It is taken, whether or not it can leave at once.
        match this.poll_drain(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(count)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.end.is_none() {
            this.queue_frame(frame::CLOSE, &frame::NORMAL_CLOSURE.to_be_bytes());
            this.end = Some(End::Closed);
        }
        ready!(this.poll_drain(cx))?;
        Pin::new(&mut this.stream).poll_shutdown(cx)
    }
}
