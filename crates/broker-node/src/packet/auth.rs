//! AUTH of a connected client (section 3.15): it authenticates again (section 4.12.1), while everything else goes on.
//! Called by `session::inbound`, and by the connection when something that had to be looked up is there; never waits.

use std::task::{Context, Poll, ready};

use mqtt_codec::{Auth, Packet, ReasonCode, Text};
use session_store::authentication::{Answer, Refusal};
use tokio::time::Instant;

use crate::access::Shown;
use crate::session::{Client, Ending};

impl Client {
    /// Goes on with an authentication, or refuses what comes out of turn.
    pub(crate) fn auth(&mut self, auth: &Auth) -> Result<(), Ending> {
        let method = auth.authentication_method.as_ref().map(Text::as_str);
        let data = auth.authentication_data.as_deref().unwrap_or(&[]);
        let answer = self.authentication.auth(auth.reason, method, data);
        self.answer_auth(answer)
    }

    /// Goes on with an authentication for which something was looked up; ready when it was.
    pub(crate) fn poll_auth(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Ending>> {
        let answer = ready!(self.authentication.poll(context));
        Poll::Ready(self.answer_auth(answer))
    }

    fn answer_auth(&mut self, answer: Result<Answer<Shown>, Refusal>) -> Result<(), Ending> {
        let answer = answer.map_err(|refusal| {
            self.worker.counters.reauthentications_failed.add(1);
            Ending::told(refusal.reason(), "enhanced authentication failed")
        })?;
        self.time_authentication();
        let (reason, data) = match answer {
            Answer::Wait => return Ok(()),
            Answer::Challenge(data) => (ReasonCode::ContinueAuthentication, Some(data)),
            Answer::Accepted(data, shown) => {
                self.stand_as(shown)?;
                self.worker.counters.reauthentications.add(1);
                (ReasonCode::Success, data)
            }
        };
        let answer = Auth {
            reason,
            authentication_method: self.authentication.method().and_then(|name| Text::new(name).ok()),
            authentication_data: data,
            ..Auth::default()
        };
        self.send(&Packet::Auth(answer));
        Ok(())
    }

    /// Sets the time that an authentication has, from its beginning to its end.
    fn time_authentication(&mut self) {
        let time = self.worker.node.live.now().limits.connect_timeout;
        self.ends.authentication = match (self.authentication.is_under_way(), self.ends.authentication) {
            (false, _) => None,
            (true, None) => Instant::now().checked_add(time),
            (true, begun) => begun,
        };
        self.ends.have_moved = true;
    }
}
