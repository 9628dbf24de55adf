//! What can be asked of a device on its command topic, and the answers. Called by the uplink.
//! It never sends: an answer goes where MQTT 5's response topic says, with the correlation data that came.

use core::fmt::Write;

use heapless::String;

use crate::config;

/// The one word that is known; with `=NUMBER` it sets, alone it asks.
const INTERVAL: &str = "interval_ms";

/// Room for every answer.
pub(crate) type Answer = String<64>;

/// What to do, and what to say.
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Decision {
    /// The new time between readings in milliseconds, if it is to change.
    pub(crate) interval_ms: Option<u32>,
    pub(crate) answer: Answer,
}

/// Reads a command. `now_ms` is the present time between readings, `shortest_ms` what the board's sensor needs.
pub(crate) fn decide(payload: &[u8], now_ms: u32, shortest_ms: u32) -> Decision {
    let text = core::str::from_utf8(payload).unwrap_or_default().trim();
    let mut answer = Answer::new();
    let asked = match text.split_once('=') {
        None if text == INTERVAL => Ok(None),
        Some((INTERVAL, value)) => {
            let wanted = config::interval_ms(value).filter(|wanted| *wanted >= shortest_ms);
            wanted.map(Some).ok_or(Some(shortest_ms.max(config::INTERVAL_MS_MIN)))
        }
        _ => Err(None),
    };
    let written = match asked {
        Ok(wanted) => write!(answer, "{INTERVAL}={}", wanted.unwrap_or(now_ms)),
        Err(Some(shortest)) => {
            write!(answer, "error: {INTERVAL} is {shortest} to {}", config::INTERVAL_MS_MAX)
        }
        Err(None) => write!(answer, "error: expected {INTERVAL} or {INTERVAL}=NUMBER"),
    };
    debug_assert!(written.is_ok(), "all answers fit");
    Decision { interval_ms: asked.ok().flatten(), answer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(payload: &str) -> (Option<u32>, Answer) {
        let Decision { interval_ms, answer } = decide(payload.as_bytes(), 2_000, 500);
        (interval_ms, answer)
    }

    #[test]
    fn it_sets_and_says_what_holds() {
        assert_eq!(ask("interval_ms=5000"), (Some(5_000), "interval_ms=5000".try_into().unwrap()));
        assert_eq!(ask(" interval_ms\n"), (None, "interval_ms=2000".try_into().unwrap()));
    }

    #[test]
    fn what_cannot_be_is_refused_with_what_can() {
        for payload in ["interval_ms=499", "interval_ms=3600001", "interval_ms=", "interval_ms=-1"] {
            assert_eq!(ask(payload), (None, "error: interval_ms is 500 to 3600000".try_into().unwrap()));
        }
        for payload in ["", "reboot", "interval=5", "interval_ms 5"] {
            assert!(ask(payload).1.starts_with("error: expected interval_ms"), "{payload}");
        }
        assert!(decide(&[0xFF, 0xFE], 2_000, 100).answer.starts_with("error"));
    }
}
