//! The bounds of connections between nodes, the same for who dials and for who accepts. Given by the broker; checked
//! by both ends when they begin.

use std::time::Duration;

/// Bounds of connections between nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one message at most. It has to hold the largest entry of a log.
    pub message_bytes_max: usize,
    /// Bytes of a stream that may be on their way unread.
    pub stream_window_bytes: u32,
    /// Bytes of a connection that may be on their way unread.
    pub connection_window_bytes: u32,
    /// Requests and streams of a connection at a time: one for each group and a few more.
    pub streams_max: u32,
    /// Connections that are accepted at a time: three of each other node and a few more.
    pub connections_max: usize,
    /// From the beginning of a connection until both ends know who is at the other.
    pub greet_within: Duration,
    /// Without word from the other end before it is asked whether it is there.
    pub keep_alive: Duration,
    /// How long it may take to say so.
    pub keep_alive_within: Duration,
    /// What one request may take where it arrives, whatever its sender allows.
    pub answer_within: Duration,
    /// Between two times that a node is said to be gone.
    pub gone_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            message_bytes_max: 8 << 20,
            stream_window_bytes: 4 << 20,
            connection_window_bytes: 16 << 20,
            streams_max: 1_024,
            connections_max: 256,
            greet_within: Duration::from_secs(2),
            keep_alive: Duration::from_secs(2),
            keep_alive_within: Duration::from_secs(3),
            answer_within: Duration::from_secs(30),
            gone_pause: Duration::from_secs(1),
        }
    }
}

/// The largest window that HTTP/2 knows, in bytes.
const WINDOW_MAX: u32 = (1 << 31) - 1;

/// Bounds that do not fit together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadLimits {
    /// Nothing would ever pass, or without a pause.
    #[error("{0} is 0, expected more than that")]
    Zero(&'static str),
    /// A stream may not have more on its way than its connection, and that not more than HTTP/2 allows.
    #[error(
        "windows of {stream} bytes for a stream and {connection} for a connection, expected them in this order and at most {WINDOW_MAX}"
    )]
    Windows {
        /// That of a stream.
        stream: u32,
        /// That of a connection.
        connection: u32,
    },
}

impl Limits {
    /// Checks that the bounds fit together.
    ///
    /// # Errors
    /// [`BadLimits`], which names them.
    pub fn validate(&self) -> Result<(), BadLimits> {
        let least = [
            ("message_bytes_max", self.message_bytes_max as u128),
            ("stream_window_bytes", u128::from(self.stream_window_bytes)),
            ("streams_max", u128::from(self.streams_max)),
            ("connections_max", self.connections_max as u128),
            ("greet_within", self.greet_within.as_nanos()),
            ("keep_alive", self.keep_alive.as_nanos()),
            ("keep_alive_within", self.keep_alive_within.as_nanos()),
            ("answer_within", self.answer_within.as_nanos()),
            ("gone_pause", self.gone_pause.as_nanos()),
        ];
        if let Some((name, _)) = least.iter().find(|(_, value)| *value == 0) {
            return Err(BadLimits::Zero(name));
        }
        let (stream, connection) = (self.stream_window_bytes, self.connection_window_bytes);
        if stream > connection || connection > WINDOW_MAX {
            return Err(BadLimits::Windows { stream, connection });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_fit_and_what_does_not_is_named() {
        let fits = Limits::default();
        assert_eq!(fits.validate(), Ok(()));
        assert_eq!(Limits { streams_max: 0, ..fits }.validate(), Err(BadLimits::Zero("streams_max")));
        let keep_alive = Duration::ZERO;
        assert_eq!(Limits { keep_alive, ..fits }.validate(), Err(BadLimits::Zero("keep_alive")));
        let gone_pause = Duration::ZERO;
        assert_eq!(Limits { gone_pause, ..fits }.validate(), Err(BadLimits::Zero("gone_pause")));
        let (stream, connection) = (5 << 20, 4 << 20);
        let windows = Limits { stream_window_bytes: stream, connection_window_bytes: connection, ..fits };
        assert_eq!(windows.validate(), Err(BadLimits::Windows { stream, connection }));
        let connection = WINDOW_MAX + 1;
        assert!(Limits { connection_window_bytes: connection, ..fits }.validate().is_err());
    }
}
