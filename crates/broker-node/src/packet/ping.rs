//! PINGREQ of a client (section 3.12), and the bound on how many a second are answered.
//! Called by `session::inbound`; never waits.

use mqtt_codec::{Packet, ReasonCode};

use crate::session::{Client, Ending, Pings};

impl Client {
    /// Answers (`[MQTT-3.12.4-1]`); a client that sends more a second than configured is disconnected.
    pub(crate) fn pingreq(&mut self) -> Result<(), Ending> {
        let max = self.worker.node.live.now().limits.pings_per_second_max;
        if max > 0 {
            let second = self.worker.node.clock.uptime().as_secs();
            if self.pings.second != second {
                self.pings = Pings { second, count: 0 };
            }
            self.pings.count += 1;
            if self.pings.count > max {
                return Err(Ending::told(
                    ReasonCode::MessageRateTooHigh,
                    "more PINGREQs a second than allowed",
                ));
            }
        }
        self.send(&Packet::PingResp);
        Ok(())
    }
}
