//! What a connection has to send: packets encoded one behind the other, so that one system call writes
//! many; large payloads are kept as they are and written from where they lie.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::AsyncWrite;

/// Pieces given to one system call.
const SLICES: usize = 16;
/// Memory kept while there is nothing to send.
const KEEP: usize = 4 * 1024;

/// The outgoing bytes of one connection.
#[derive(Debug, Default)]
pub(crate) struct Out {
    /// Complete pieces before `tail`, in order.
    pieces: VecDeque<Bytes>,
    /// Bytes in `pieces`.
    pieces_len: usize,
    /// Where packets are encoded.
    tail: BytesMut,
}

impl Out {
    /// Bytes that wait.
    pub(crate) fn len(&self) -> usize {
        self.pieces_len + self.tail.len()
    }

    /// Whether nothing waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where to encode the next packet.
    pub(crate) fn tail(&mut self) -> &mut BytesMut {
        &mut self.tail
    }

    /// Appends bytes without copying them, behind all that was encoded.
    pub(crate) fn append(&mut self, piece: Bytes) {
        let before = self.tail.split().freeze();
        for piece in [before, piece] {
            if !piece.is_empty() {
                self.pieces_len += piece.len();
                self.pieces.push_back(piece);
            }
        }
    }

    /// Writes as much as the socket takes, and adds that to `written`. Ready once all is out; pending with
    /// some left where the socket is full.
    pub(crate) fn poll_write(
        &mut self,
        socket: &mut (impl AsyncWrite + Unpin),
        context: &mut Context<'_>,
        written: &mut usize,
    ) -> Poll<io::Result<()>> {
        while !self.is_empty() {
            let mut socket = Pin::new(&mut *socket);
            let result = if self.pieces.is_empty() {
                socket.as_mut().poll_write(context, &self.tail)
            } else {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let pieces = self.pieces.iter().map(|piece| piece.as_ref());
                for (slice, bytes) in slices.iter_mut().zip(pieces.chain([self.tail.as_ref()])) {
                    *slice = IoSlice::new(bytes);
                }
                socket.as_mut().poll_write_vectored(context, &slices)
            };
            match result {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(n)) => {
                    *written += n;
                    self.advance(n);
                }
            }
        }
        if self.tail.capacity() > KEEP {
            self.tail = BytesMut::new();
        }
        Poll::Ready(Ok(()))
    }

    fn advance(&mut self, mut n: usize) {
        while let Some(front) = self.pieces.front_mut() {
            if n < front.len() {
                front.advance(n);
                self.pieces_len -= n;
                return;
            }
            n -= front.len();
            self.pieces_len -= front.len();
            self.pieces.pop_front();
        }
        self.tail.advance(n.min(self.tail.len()));
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use bytes::BufMut;
    use tokio::io::AsyncReadExt;

    use super::*;

    #[tokio::test]
    async fn pieces_and_packets_keep_their_order() {
        let (mut near, mut far) = tokio::io::duplex(3);
        let reader = tokio::spawn(async move {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.map(|_| all)
        });
        let mut out = Out::default();
        out.tail().put_slice(b"ab");
        out.append(Bytes::from_static(b"cdefgh"));
        out.tail().put_slice(b"ij");
        out.append(Bytes::from_static(b"k"));
        out.tail().put_slice(b"l");
        assert_eq!(out.len(), 12);
        let mut written = 0;
        poll_fn(|context| out.poll_write(&mut near, context, &mut written)).await.unwrap();
        drop(near);
        assert_eq!(written, 12);
        assert!(out.is_empty());
        assert_eq!(reader.await.unwrap().unwrap(), b"abcdefghijkl");
    }
}
