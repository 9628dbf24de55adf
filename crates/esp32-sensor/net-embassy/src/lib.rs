//! The device's network where there is no operating system: TCP and name look-ups by embassy-net.
//! Used by the emulated board and the ESP32's. It knows no hardware: the stack is made by the board.
#![no_std]
#![forbid(unsafe_code)]

use embassy_net::dns::DnsQueryType;
use embassy_net::tcp::TcpSocket;
use embassy_net::{IpAddress, Stack};
use embassy_time::Duration;
use sensor_core::{Broker, DialError, Dialer};

/// Bytes on their way in each direction: packets are bounded by the application and smaller than this.
const WINDOW_BYTES: usize = 2_048;
/// A peer that acknowledges no byte for so long is gone.
const TCP_TIMEOUT: Duration = Duration::from_secs(10);

/// The memory of the one connection that there is at a time.
#[derive(Debug)]
pub struct Buffers {
    rx: [u8; WINDOW_BYTES],
    tx: [u8; WINDOW_BYTES],
}

impl Buffers {
    /// Empty.
    pub const fn new() -> Self {
        Self { rx: [0; WINDOW_BYTES], tx: [0; WINDOW_BYTES] }
    }
}

impl Default for Buffers {
    fn default() -> Self {
        Self::new()
    }
}

/// Dials brokers over a stack that somebody else runs. There is no TLS.
pub struct Network<'a> {
    stack: Stack<'a>,
    buffers: &'a mut Buffers,
}

impl<'a> Network<'a> {
    /// The stack may have no address yet: a dial waits for it.
    pub fn new(stack: Stack<'a>, buffers: &'a mut Buffers) -> Self {
        Self { stack, buffers }
    }
}

impl Dialer for Network<'_> {
    type Io<'b>
        = TcpSocket<'b>
    where
        Self: 'b;

    async fn dial(&mut self, broker: &Broker<'_>) -> Result<TcpSocket<'_>, DialError> {
        if broker.tls {
            return Err(DialError::Tls);
        }
        self.stack.wait_config_up().await;
        let address = resolve(self.stack, broker.host).await?;
        let mut socket = TcpSocket::new(self.stack, &mut self.buffers.rx, &mut self.buffers.tx);
        socket.set_timeout(Some(TCP_TIMEOUT));
        socket.connect((address, broker.port)).await.map_err(|_| DialError::Unreachable)?;
        Ok(socket)
    }
}

/// An address as it is, and a name by the server that DHCP named.
async fn resolve(stack: Stack<'_>, host: &str) -> Result<IpAddress, DialError> {
    let addresses = stack.dns_query(host, DnsQueryType::A).await.map_err(|_| DialError::Name)?;
    addresses.first().copied().ok_or(DialError::Name)
}
