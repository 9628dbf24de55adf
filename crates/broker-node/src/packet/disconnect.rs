//! DISCONNECT of a client (section 3.14).
//! Called by `session::inbound`; never writes, `connection::end` does.

use mqtt_codec::{Disconnect, Offence, ReasonCode};
use session_store::command::{EXPIRY_NEVER, WillFate};

use crate::session::{Client, Ending};

impl Client {
    /// The client ends its connection; 0x00 drops its will (`[MQTT-3.14.4-3]`), and it may shorten or
    /// lengthen its session's expiry, but not raise it from 0.
    pub(crate) fn disconnect(&self, disconnect: &Disconnect) -> Ending {
        let asked = disconnect.session_expiry_s;
        if self.terms.expiry_s == 0 && asked.is_some_and(|seconds| seconds > 0) {
            return Offence::SessionExpiryRaised.into();
        }
        let maximum = self.worker.node.live.now().max_session_expiry_s().unwrap_or(EXPIRY_NEVER);
        let will = match disconnect.reason {
            ReasonCode::Success => WillFate::Discard,
            _ => WillFate::Keep,
        };
        let expiry_s = asked.map(|seconds| seconds.min(maximum));
        Ending { reason: None, will, expiry_s, why: format!("client disconnected: {}", disconnect.reason) }
    }
}
