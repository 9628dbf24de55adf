//! What happens to a device, told to its board as it happens: for a log, and for tests.
//! Made by the application. What a board does with an event changes nothing.

use core::fmt;

use embassy_time::Duration;
use minimq::ReasonCode;

use crate::brokers::Broker;
use crate::pulses::PulseError;
use crate::reading::Reading;

/// Something happened.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A connection to this broker is attempted.
    Dialing(Broker<'a>),
    /// The broker has taken CONNECT.
    Connected {
        /// It still had the session.
        resumed: bool,
    },
    /// There is no connection (any more).
    Lost(Cause),
    /// The next attempt comes after this time.
    Waiting(Duration),
    /// The sensor was read, and both its measurements wait to be published.
    Read(Reading),
    /// The sensor could not be read; nothing is published for that.
    SensorFailed(SensorError),
    /// Measurements that the broker has acknowledged so far.
    Acknowledged(u32),
    /// Measurements that were dropped so far, since too many waited.
    Dropped(u32),
    /// The time between readings is another, in milliseconds.
    IntervalChanged(u32),
    /// What was asked on the command topic cannot be answered: no response topic, one that is too long, or too many at once.
    NoAnswer,
    /// The broker refused the command topic or the status; the device goes on without.
    Refused(ReasonCode),
    /// As many readings as configured are acknowledged.
    Finished,
}

/// Why there is no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// It could not be made.
    Dial(DialError),
    /// The broker said nothing for too long: to a dial, to CONNECT, or to what was published.
    Silent,
    /// The other end closed it, or the link broke.
    Closed,
    /// The broker refused CONNECT or a measurement.
    Refused(ReasonCode),
    /// The broker does not speak MQTT 5, or speaks it wrongly.
    Protocol,
}

/// Why a board could not connect.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DialError {
    /// The name is unknown.
    Name,
    /// Nobody answers there, or the link is down.
    Unreachable,
    /// The other end does not prove who it is, or the board has no TLS.
    Tls,
}

/// Why a board could not read its sensor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SensorError {
    /// The wire says something else than a sensor would.
    Wire(PulseError),
    /// The board could not look at the wire.
    Board,
}

impl fmt::Display for Event<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dialing(broker) => write!(f, "dialing broker={broker}"),
            Self::Connected { resumed } => write!(f, "connected resumed={resumed}"),
            Self::Lost(cause) => write!(f, "lost cause={cause}"),
            Self::Waiting(time) => write!(f, "waiting ms={}", time.as_millis()),
            Self::Read(Reading { deci_celsius, deci_percent }) => {
                write!(f, "read deci_celsius={deci_celsius} deci_percent={deci_percent}")
            }
            Self::SensorFailed(error) => write!(f, "sensor failed: {error}"),
            Self::Acknowledged(total) => write!(f, "acknowledged total={total}"),
            Self::Dropped(total) => write!(f, "dropped total={total}"),
            Self::IntervalChanged(interval_ms) => write!(f, "interval changed ms={interval_ms}"),
            Self::NoAnswer => write!(f, "a command cannot be answered"),
            Self::Refused(code) => write!(f, "refused code={:#04x}", u8::from(code)),
            Self::Finished => write!(f, "finished"),
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dial(DialError::Name) => write!(f, "unknown-name"),
            Self::Dial(DialError::Unreachable) => write!(f, "unreachable"),
            Self::Dial(DialError::Tls) => write!(f, "tls"),
            Self::Silent => write!(f, "silent"),
            Self::Closed => write!(f, "closed"),
            Self::Refused(code) => write!(f, "refused-{:#04x}", u8::from(code)),
            Self::Protocol => write!(f, "protocol"),
        }
    }
}

impl fmt::Display for SensorError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Wire(error) => write!(f, "{error}"),
            Self::Board => write!(f, "the board could not look at the wire"),
        }
    }
}
