//! AUTH of a connected client (section 3.15): it authenticates again (section 4.12.1).
//! Called by `session::inbound`; never waits.

use mqtt_codec::{Auth, Packet, ReasonCode, Text};
use session_store::authentication::Answer;

use crate::session::{Client, Ending};

impl Client {
    /// Goes on with an authentication, or refuses what comes out of turn.
    pub(crate) fn auth(&mut self, auth: &Auth) -> Result<(), Ending> {
        let method = auth.authentication_method.as_ref().map(Text::as_str);
        let data = auth.authentication_data.as_deref().unwrap_or(&[]);
        let answer = self
            .authentication
            .auth(auth.reason, method, data)
            .map_err(|refusal| Ending::told(refusal.reason(), "enhanced authentication failed"))?;
        let (reason, data) = match answer {
            Answer::Challenge(data) => (ReasonCode::ContinueAuthentication, Some(data)),
            Answer::Accepted(data) => (ReasonCode::Success, data),
        };
        let answer = Auth {
            reason,
            authentication_method: auth.authentication_method.as_ref().map(Text::detached),
            authentication_data: data,
            ..Auth::default()
        };
        self.send(&Packet::Auth(answer));
        Ok(())
    }
}
