//! The socket of a connection with the bytes that came and are not handled: reads into memory that the
//! whole worker thread shares, so that an idle connection holds none.

use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use session_store::failpoint::{self, Point};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::frames::Frames;
use super::out::Out;
use crate::config::Protocol;
use crate::listener::Transport;
use crate::worker::Worker;

/// A socket.
pub(super) struct Socket {
    pub(super) worker: Rc<Worker>,
    pub(super) frames: Frames,
    transport: Transport,
    /// Something was written that the transport still holds.
    flushing: bool,
}

impl Socket {
    pub(super) fn new(worker: &Rc<Worker>, transport: Transport) -> Self {
        Self { worker: Rc::clone(worker), frames: Frames::default(), transport, flushing: false }
    }

    /// Reads once; gives the number of bytes, 0 at the end.
    pub(super) fn poll_read(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut scratch = self.worker.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut self.transport).poll_read(context, &mut buffer))?;
        let read = buffer.filled();
        self.frames.add(read);
        self.worker.counters.received_bytes.add(read.len() as u64);
        Poll::Ready(Ok(read.len()))
    }

    /// Whether there is anything to write: in `out`, or in the transport.
    pub(super) fn has_to_write(&self, out: &Out) -> bool {
        self.flushing || !out.is_empty()
    }

    /// Writes as much of `out` as the socket takes. Ready when all is out.
    pub(super) fn poll_write(
        &mut self,
        out: &mut Out,
        context: &mut Context<'_>,
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        let before = *written;
        let result = out.poll_write(&mut self.transport, context, written);
        self.worker.counters.sent_bytes.add((*written - before) as u64);
        self.flushing |= *written > before;
        ready!(result)?;
        ready!(Pin::new(&mut self.transport).poll_flush(context))?;
        self.flushing = false;
        failpoint::pass(Point::AfterAck);
        Poll::Ready(Ok(()))
    }

    /// Whether its client's certificate would still be accepted, where it has to show one.
    pub(super) fn is_trusted(&mut self) -> bool {
        self.transport.is_trusted()
    }

    /// What carries the bytes.
    pub(super) fn kind(&self) -> Protocol {
        self.transport.kind()
    }

    /// Closes it.
    pub(super) async fn close(self) {
        self.transport.close().await;
    }
}
