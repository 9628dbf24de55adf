//! Enhanced authentication (section 4.12 of MQTT 5.0) as pure transitions: which AUTH packet may come when,
//! and what it leads to, whatever the method. Kept by each connection; which methods there are is decided by
//! whoever runs it. Never touches a socket, and knows nothing of passwords.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use mqtt_codec::ReasonCode;

/// A method of enhanced authentication.
pub trait Method: fmt::Debug + Send + Sync {
    /// Its name, as clients spell it in CONNECT.
    fn name(&self) -> &str;

    /// Begins to authenticate, or to authenticate again.
    fn begin(&self) -> Box<dyn Exchange>;
}

/// One authentication under way.
pub trait Exchange: fmt::Debug {
    /// What the client's data leads to.
    fn step(&mut self, data: &[u8]) -> Step;
}

/// What one step of an exchange leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// More is needed; this goes to the client (`[MQTT-4.12.0-2]`).
    Challenge(Bytes),
    /// The client is who it says; this goes to it with the good news.
    Accepted(Bytes),
    /// It is not.
    Rejected,
}

/// What the client is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// AUTH with 0x18 and this data.
    Challenge(Bytes),
    /// It is authenticated: CONNACK before, AUTH with 0x00 after; with this data where there is a method.
    Accepted(Option<Bytes>),
}

/// Why the connection is refused or ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// There is no such method (`[MQTT-4.12.0-1]`).
    UnknownMethod,
    /// The client could not show who it is (`[MQTT-4.12.0-4]`, `[MQTT-4.12.1-2]`).
    Rejected,
    /// AUTH without a method in CONNECT, without a challenge, or to begin again in the middle
    /// (`[MQTT-4.12.0-7]`).
    OutOfTurn,
    /// Not the method of CONNECT (`[MQTT-4.12.0-5]`, `[MQTT-4.12.1-1]`).
    MethodChanged,
}

impl Refusal {
    /// The reason code that the client is told.
    #[must_use]
    pub fn reason(self) -> ReasonCode {
        match self {
            Self::UnknownMethod => ReasonCode::BadAuthenticationMethod,
            Self::Rejected => ReasonCode::NotAuthorized,
            Self::OutOfTurn | Self::MethodChanged => ReasonCode::ProtocolError,
        }
    }
}

/// How far a connection has got.
#[derive(Debug, Default)]
pub struct Authentication {
    /// The method of CONNECT.
    method: Option<Arc<dyn Method>>,
    /// What is under way.
    exchange: Option<Box<dyn Exchange>>,
    /// Whether CONNECT was accepted.
    connected: bool,
}

impl Authentication {
    /// CONNECT with this method and data, or with none.
    ///
    /// # Errors
    /// The method is unknown, or rejects the data.
    pub fn connect(
        &mut self,
        methods: &[Arc<dyn Method>],
        name: Option<&str>,
        data: &[u8],
    ) -> Result<Answer, Refusal> {
        let Some(name) = name else {
            self.connected = true;
            return Ok(Answer::Accepted(None));
        };
        let found = methods.iter().find(|method| method.name() == name);
        let method = found.ok_or(Refusal::UnknownMethod)?;
        self.method = Some(Arc::clone(method));
        self.exchange = Some(method.begin());
        self.step(data)
    }

    /// AUTH with this reason, method and data.
    ///
    /// # Errors
    /// It comes out of turn, names another method, or its data is rejected.
    pub fn auth(&mut self, reason: ReasonCode, name: Option<&str>, data: &[u8]) -> Result<Answer, Refusal> {
        let method = self.method.as_ref().ok_or(Refusal::OutOfTurn)?;
        if name != Some(method.name()) {
            return Err(Refusal::MethodChanged);
        }
        match (reason, self.exchange.is_some()) {
            (ReasonCode::ContinueAuthentication, true) => {}
            (ReasonCode::ReAuthenticate, false) if self.connected => self.exchange = Some(method.begin()),
            _ => return Err(Refusal::OutOfTurn),
        }
        self.step(data)
    }

    /// The method of CONNECT, to be named in every AUTH and in CONNACK.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_ref().map(|method| method.name())
    }

    fn step(&mut self, data: &[u8]) -> Result<Answer, Refusal> {
        let exchange = self.exchange.as_mut().ok_or(Refusal::OutOfTurn)?;
        match exchange.step(data) {
            Step::Challenge(data) => Ok(Answer::Challenge(data)),
            Step::Accepted(data) => {
                self.exchange = None;
                self.connected = true;
                Ok(Answer::Accepted(Some(data)))
            }
            Step::Rejected => {
                self.exchange = None;
                Err(Refusal::Rejected)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Asks twice: the answers are "one" and "two".
    #[derive(Debug)]
    struct Twice;

    #[derive(Debug)]
    struct Asking(usize);

    impl Method for Twice {
        fn name(&self) -> &str {
            "TWICE"
        }

        fn begin(&self) -> Box<dyn Exchange> {
            Box::new(Asking(0))
        }
    }

    impl Exchange for Asking {
        fn step(&mut self, data: &[u8]) -> Step {
            self.0 += 1;
            match (self.0, data) {
                (1, b"") => Step::Challenge(Bytes::from_static(b"first")),
                (2, b"one") => Step::Challenge(Bytes::from_static(b"second")),
                (3, b"two") => Step::Accepted(Bytes::from_static(b"welcome")),
                _ => Step::Rejected,
            }
        }
    }

    const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
    const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

    fn begun() -> Authentication {
        let methods: [Arc<dyn Method>; 1] = [Arc::new(Twice)];
        let mut state = Authentication::default();
        let challenge = state.connect(&methods, Some("TWICE"), b"");
        assert_eq!(challenge, Ok(Answer::Challenge(Bytes::from_static(b"first"))));
        state
    }

    fn done() -> Authentication {
        let mut state = begun();
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"one"), Ok(Answer::Challenge(_))));
        let welcome = Ok(Answer::Accepted(Some(Bytes::from_static(b"welcome"))));
        assert_eq!(state.auth(CONTINUE, Some("TWICE"), b"two"), welcome);
        state
    }

    #[test]
    fn without_a_method_there_is_nothing_to_do_and_auth_is_out_of_turn() {
        let mut state = Authentication::default();
        assert_eq!(state.connect(&[], None, b""), Ok(Answer::Accepted(None)));
        assert_eq!(state.auth(AGAIN, Some("TWICE"), b""), Err(Refusal::OutOfTurn));
        assert_eq!(state.auth(CONTINUE, None, b""), Err(Refusal::OutOfTurn));
    }

    #[test]
    fn an_unknown_method_is_refused_with_its_code() {
        let refused = Authentication::default().connect(&[], Some("TWICE"), b"");
        assert_eq!(refused, Err(Refusal::UnknownMethod));
        assert_eq!(Refusal::UnknownMethod.reason().value(), 0x8C);
    }

    #[test]
    fn challenges_go_on_until_the_client_is_accepted_and_it_may_authenticate_again() {
        let mut state = done();
        assert_eq!(state.method(), Some("TWICE"));
        assert!(matches!(state.auth(AGAIN, Some("TWICE"), b""), Ok(Answer::Challenge(_))));
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"one"), Ok(Answer::Challenge(_))));
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"two"), Ok(Answer::Accepted(_))));
    }

    #[test]
    fn wrong_answers_and_packets_out_of_turn_are_refused() {
        assert_eq!(begun().auth(CONTINUE, Some("TWICE"), b"wrong"), Err(Refusal::Rejected));
        assert_eq!(begun().auth(CONTINUE, Some("OTHER"), b"one"), Err(Refusal::MethodChanged));
        assert_eq!(begun().auth(CONTINUE, None, b"one"), Err(Refusal::MethodChanged));
        assert_eq!(begun().auth(AGAIN, Some("TWICE"), b""), Err(Refusal::OutOfTurn), "before CONNACK");
        assert_eq!(done().auth(CONTINUE, Some("TWICE"), b"one"), Err(Refusal::OutOfTurn));
        let mut again = done();
        assert!(again.auth(AGAIN, Some("TWICE"), b"").is_ok());
        assert_eq!(again.auth(AGAIN, Some("TWICE"), b""), Err(Refusal::OutOfTurn), "in the middle");
        assert_eq!(done().auth(AGAIN, Some("TWICE"), b"wrong"), Err(Refusal::Rejected));
    }
}
