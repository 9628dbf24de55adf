//! Enhanced authentication (section 4.12 of MQTT 5.0) as pure transitions: which AUTH packet may come when,
//! and what it leads to, whatever the method. Kept by each connection; which methods there are, and who they find, is
//! decided by whoever runs it. Never touches a socket, and knows nothing of passwords.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use mqtt_codec::ReasonCode;

/// A method of enhanced authentication, which finds a `W`.
pub trait Method<W>: fmt::Debug + Send + Sync {
    /// Its name, as clients spell it in CONNECT.
    fn name(&self) -> &str;

    /// Begins to authenticate, or to authenticate again.
    fn begin(&self) -> Box<dyn Exchange<W>>;
}

/// One authentication under way.
pub trait Exchange<W>: fmt::Debug {
    /// What the client's data leads to.
    fn step(&mut self, data: &[u8]) -> Step<W>;

    /// What a step leads to that said [`Step::Wait`]; is asked until it is ready, and then never again.
    fn poll(&mut self, _context: &mut Context<'_>) -> Poll<Step<W>> {
        Poll::Ready(Step::Rejected)
    }
}

/// What one step of an exchange leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step<W> {
    /// More is needed; this goes to the client (`[MQTT-4.12.0-2]`).
    Challenge(Bytes),
    /// It has to be looked up: [`Exchange::poll`] tells.
    Wait,
    /// The client is this one; what goes to it with the good news.
    Accepted(Option<Bytes>, W),
    /// It is not who it says.
    Rejected,
}

/// What comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer<W> {
    /// AUTH with 0x18 and this data is sent.
    Challenge(Bytes),
    /// Nothing until [`Authentication::poll`] tells.
    Wait,
    /// The client is this one: CONNACK is sent before, AUTH with 0x00 after; with this data.
    Accepted(Option<Bytes>, W),
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

/// How far a connection has got. As it begins it is one without a method, on which every AUTH is out of turn.
#[derive(Debug)]
pub struct Authentication<W> {
    /// The method of CONNECT.
    method: Option<Arc<dyn Method<W>>>,
    /// What is under way.
    exchange: Option<Box<dyn Exchange<W>>>,
    /// Whether the exchange has something to look up, so that the client has nothing to say.
    waits: bool,
    /// Whether CONNECT was accepted.
    connected: bool,
}

impl<W> Default for Authentication<W> {
    fn default() -> Self {
        Self { method: None, exchange: None, waits: false, connected: false }
    }
}

impl<W> Authentication<W> {
    /// CONNECT with this method and data.
    ///
    /// # Errors
    /// The method is unknown, or rejects the data.
    pub fn connect(
        &mut self,
        methods: &[Arc<dyn Method<W>>],
        name: &str,
        data: &[u8],
    ) -> Result<Answer<W>, Refusal> {
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
    pub fn auth(
        &mut self,
        reason: ReasonCode,
        name: Option<&str>,
        data: &[u8],
    ) -> Result<Answer<W>, Refusal> {
        let method = self.method.as_ref().ok_or(Refusal::OutOfTurn)?;
        if name != Some(method.name()) {
            return Err(Refusal::MethodChanged);
        }
        match (reason, self.exchange.is_some()) {
            (ReasonCode::ContinueAuthentication, true) if !self.waits => {}
            (ReasonCode::ReAuthenticate, false) if self.connected => self.exchange = Some(method.begin()),
            _ => return Err(Refusal::OutOfTurn),
        }
        self.step(data)
    }

    /// What came of what had to be looked up. Never ready where nothing has.
    ///
    /// # Errors
    /// The client is not who it says.
    pub fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<Answer<W>, Refusal>> {
        let Some(exchange) = self.exchange.as_mut().filter(|_| self.waits) else { return Poll::Pending };
        exchange.poll(context).map(|step| self.stepped(step))
    }

    /// The method of CONNECT, to be named in every AUTH and in CONNACK.
    #[must_use]
    pub fn method(&self) -> Option<&str> {
        self.method.as_ref().map(|method| method.name())
    }

    /// Whether an authentication has begun and not come to its end.
    #[must_use]
    pub fn is_under_way(&self) -> bool {
        self.exchange.is_some()
    }

    fn step(&mut self, data: &[u8]) -> Result<Answer<W>, Refusal> {
        let exchange = self.exchange.as_mut().ok_or(Refusal::OutOfTurn)?;
        let step = exchange.step(data);
        self.stepped(step)
    }

    fn stepped(&mut self, step: Step<W>) -> Result<Answer<W>, Refusal> {
        self.waits = matches!(step, Step::Wait);
        match step {
            Step::Challenge(data) => Ok(Answer::Challenge(data)),
            Step::Wait => Ok(Answer::Wait),
            Step::Accepted(data, who) => {
                self.exchange = None;
                self.connected = true;
                Ok(Answer::Accepted(data, who))
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
    use std::task::Waker;

    use super::*;

    /// Asks twice: the answers are "one" and "two"; "look" has it look up who that is.
    #[derive(Debug)]
    struct Twice;

    #[derive(Debug)]
    struct Asking(usize);

    impl Method<&'static str> for Twice {
        fn name(&self) -> &str {
            "TWICE"
        }

        fn begin(&self) -> Box<dyn Exchange<&'static str>> {
            Box::new(Asking(0))
        }
    }

    impl Exchange<&'static str> for Asking {
        fn step(&mut self, data: &[u8]) -> Step<&'static str> {
            self.0 += 1;
            match (self.0, data) {
                (1, b"") => Step::Challenge(Bytes::from_static(b"first")),
                (2, b"one") => Step::Challenge(Bytes::from_static(b"second")),
                (3, b"two") => Step::Accepted(Some(Bytes::from_static(b"welcome")), "ann"),
                (1, b"look") => Step::Wait,
                _ => Step::Rejected,
            }
        }

        fn poll(&mut self, _context: &mut Context<'_>) -> Poll<Step<&'static str>> {
            self.0 += 1;
            if self.0 < 3 { Poll::Pending } else { Poll::Ready(Step::Accepted(None, "bob")) }
        }
    }

    type State = Authentication<&'static str>;

    const CONTINUE: ReasonCode = ReasonCode::ContinueAuthentication;
    const AGAIN: ReasonCode = ReasonCode::ReAuthenticate;

    fn methods() -> [Arc<dyn Method<&'static str>>; 1] {
        [Arc::new(Twice)]
    }

    fn begun() -> State {
        let mut state = Authentication::default();
        let challenge = state.connect(&methods(), "TWICE", b"");
        assert_eq!(challenge, Ok(Answer::Challenge(Bytes::from_static(b"first"))));
        state
    }

    fn done() -> State {
        let mut state = begun();
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"one"), Ok(Answer::Challenge(_))));
        assert!(state.is_under_way());
        let welcome = Ok(Answer::Accepted(Some(Bytes::from_static(b"welcome")), "ann"));
        assert_eq!(state.auth(CONTINUE, Some("TWICE"), b"two"), welcome);
        assert!(!state.is_under_way());
        state
    }

    fn poll(state: &mut State) -> Poll<Result<Answer<&'static str>, Refusal>> {
        state.poll(&mut Context::from_waker(Waker::noop()))
    }

    #[test]
    fn without_a_method_auth_is_out_of_turn() {
        let mut state = State::default();
        assert_eq!(state.auth(AGAIN, Some("TWICE"), b""), Err(Refusal::OutOfTurn));
        assert_eq!(state.auth(CONTINUE, None, b""), Err(Refusal::OutOfTurn));
        assert_eq!(state.method(), None);
        assert_eq!(poll(&mut state), Poll::Pending);
    }

    #[test]
    fn an_unknown_method_is_refused_with_its_code() {
        let refused = State::default().connect(&[], "TWICE", b"");
        assert_eq!(refused, Err(Refusal::UnknownMethod));
        assert_eq!(Refusal::UnknownMethod.reason().value(), 0x8C);
    }

    #[test]
    fn challenges_go_on_until_the_client_is_accepted_and_it_may_authenticate_again() {
        let mut state = done();
        assert_eq!(state.method(), Some("TWICE"));
        assert!(matches!(state.auth(AGAIN, Some("TWICE"), b""), Ok(Answer::Challenge(_))));
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"one"), Ok(Answer::Challenge(_))));
        assert!(matches!(state.auth(CONTINUE, Some("TWICE"), b"two"), Ok(Answer::Accepted(..))));
    }

    #[test]
    fn while_something_is_looked_up_the_client_has_nothing_to_say() {
        let mut state = State::default();
        assert_eq!(state.connect(&methods(), "TWICE", b"look"), Ok(Answer::Wait));
        assert_eq!(poll(&mut state), Poll::Pending);
        assert_eq!(state.auth(CONTINUE, Some("TWICE"), b"one"), Err(Refusal::OutOfTurn));
        assert_eq!(poll(&mut state), Poll::Ready(Ok(Answer::Accepted(None, "bob"))));
        assert_eq!(poll(&mut state), Poll::Pending, "told once");
        assert_eq!(state.auth(AGAIN, Some("TWICE"), b"look"), Ok(Answer::Wait));
        assert_eq!(state.auth(AGAIN, Some("TWICE"), b"look"), Err(Refusal::OutOfTurn));
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
