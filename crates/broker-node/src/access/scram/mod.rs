//! SCRAM-SHA-256 and SCRAM-SHA-512 (RFC 5802, RFC 7677) as methods of enhanced authentication: a client shows that it knows its
//! password, and the server that it knows it too, without either saying it. Begun by `methods`; computes a few hashes a login, and
//! as many whether there is such a user or not.

mod keys;
mod message;

use std::fmt;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use ring::rand::{SecureRandom, SystemRandom};
use session_store::authentication::{Exchange, Step};
use subtle::ConstantTimeEq;
use tracing::debug;

pub(crate) use self::keys::{ITERATIONS, ITERATIONS_ALLOWED, Keys, Mechanism, PREFIX};
use self::message::{BadMessage, First, Last};
use super::methods::Shown;
use super::users::Users;

/// Random bytes of the server's part of a nonce.
const NONCE_BYTES: usize = 18;

/// Why an exchange comes to nothing.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
enum Failed {
    #[error("a message cannot be used: {0}")]
    Message(#[from] BadMessage),
    #[error("the last message is not one to the first: another nonce, or other words about channel binding")]
    Another,
    #[error("the user is unknown, or the proof is wrong")]
    Proof,
    #[error("the system has no random numbers")]
    NoRandom,
    #[error("it is over already")]
    Over,
}

/// The keys that a login is held against.
pub(crate) struct Candidate {
    /// Those of the user, or made up.
    pub(crate) keys: Keys,
    /// Whether there is such a user.
    pub(crate) exists: bool,
}

/// One login by SCRAM.
pub(super) struct Scram {
    mechanism: Mechanism,
    users: Arc<Users>,
    challenged: Option<Box<Challenged>>,
    begun: bool,
}

/// What was said until the client has to prove itself.
struct Challenged {
    user: String,
    candidate: Candidate,
    /// What the last message has to say of channel binding.
    binding: String,
    nonce: String,
    /// The first message, bare, and the challenge.
    said: String,
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scram").field("mechanism", &self.mechanism).finish_non_exhaustive()
    }
}

impl Scram {
    /// One that waits for the first message.
    pub(super) fn new(mechanism: Mechanism, users: Arc<Users>) -> Self {
        Self { mechanism, users, challenged: None, begun: false }
    }

    /// Answers the first message.
    fn challenge(&mut self, data: &[u8], drawn: &str) -> Result<Bytes, Failed> {
        let First { header, bare, user, nonce } = First::parse(data)?;
        let candidate = self.users.scram(self.mechanism, &user);
        let nonce = format!("{nonce}{drawn}");
        let Keys { salt, iterations, .. } = &candidate.keys;
        let challenge = format!("r={nonce},s={},i={iterations}", STANDARD.encode(salt));
        let (binding, said) = (STANDARD.encode(header), format!("{bare},{challenge}"));
        self.challenged = Some(Box::new(Challenged { user, candidate, binding, nonce, said }));
        Ok(challenge.into())
    }

    fn step_on(&mut self, data: &[u8]) -> Result<Step<Shown>, Failed> {
        if let Some(challenged) = self.challenged.take() {
            let proof = challenged.prove(data)?;
            let shown = Shown::Password(challenged.user.into());
            return Ok(Step::Accepted(Some(proof), shown));
        }
        if std::mem::replace(&mut self.begun, true) {
            return Err(Failed::Over);
        }
        let mut drawn = [0; NONCE_BYTES];
        SystemRandom::new().fill(&mut drawn).map_err(|_| Failed::NoRandom)?;
        self.challenge(data, &STANDARD.encode(drawn)).map(Step::Challenge)
    }
}

impl Challenged {
    /// Looks at the last message; gives what the server proves itself with.
    fn prove(&self, data: &[u8]) -> Result<Bytes, Failed> {
        let Last { unproved, binding, nonce, proof } = Last::parse(data)?;
        if binding != self.binding || nonce != self.nonce {
            return Err(Failed::Another);
        }
        let Candidate { keys, exists } = &self.candidate;
        let (mechanism, said) = (keys.mechanism, format!("{},{unproved}", self.said));
        let signature = mechanism.sign(&keys.stored, said.as_bytes());
        let client: Vec<u8> = signature.as_ref().iter().zip(&proof).map(|(a, b)| a ^ b).collect();
        let is_right = mechanism.hash(&client).as_ref().ct_eq(&keys.stored);
        let server = mechanism.sign(&keys.server, said.as_bytes());
        if !bool::from(is_right) || !exists || proof.len() != mechanism.bytes() {
            return Err(Failed::Proof);
        }
        Ok(format!("v={}", STANDARD.encode(server)).into())
    }
}

impl Exchange<Shown> for Scram {
    fn step(&mut self, data: &[u8]) -> Step<Shown> {
        self.step_on(data).unwrap_or_else(|why| {
            debug!(target: "quelea::access", method = self.mechanism.name(), %why, "a client has not shown who it is");
            Step::Rejected
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The user of RFC 7677.
    const USERS: &str = "user:SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=\n";
    const FIRST: &[u8] = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO";
    const DRAWN: &str = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0";
    const LAST: &str = "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=";

    fn scram() -> Scram {
        Scram::new(Mechanism::Sha256, Arc::new(Users::parse(USERS).unwrap()))
    }

    fn challenged() -> Scram {
        let mut scram = scram();
        scram.begun = true;
        scram.challenge(FIRST, DRAWN).unwrap();
        scram
    }

    /// Section 3 of RFC 7677.
    #[test]
    fn the_example_of_the_rfc_is_accepted_word_by_word() {
        let mut scram = scram();
        let challenge = scram.challenge(FIRST, DRAWN).unwrap();
        let expected =
            "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";
        assert_eq!(challenge, expected);
        let proof = Bytes::from_static(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(scram.step(LAST.as_bytes()), Step::Accepted(Some(proof), Shown::Password("user".into())));
        scram.begun = true;
        assert_eq!(scram.step(LAST.as_bytes()), Step::Rejected, "it is over");
        assert_eq!(format!("{scram:?}"), "Scram { mechanism: Sha256, .. }");
    }

    #[test]
    fn nothing_but_the_right_proof_to_the_same_first_message_counts() {
        for (old, new) in [
            ("biws", "eSws"),
            ("biws", "biw="),
            ("NEkqO%", "NEkqO&"),
            ("p=dHzb", "p=dHzc"),
            ("ndVQ=", "ndVQ=AAAA"),
            ("p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=", "p="),
            ("k0,p=", "k0,x=1,p="),
        ] {
            let last = LAST.replace(old, new);
            assert_ne!(last, LAST);
            assert_eq!(challenged().step(last.as_bytes()), Step::Rejected, "{last}");
        }
        assert_eq!(challenged().step(FIRST), Step::Rejected);
        assert_eq!(scram().step(LAST.as_bytes()), Step::Rejected);
    }

    #[test]
    fn nonces_are_drawn_anew() {
        let drawn = || match scram().step(FIRST) {
            Step::Challenge(challenge) => challenge,
            other => panic!("{other:?}"),
        };
        let (one, two) = (drawn(), drawn());
        assert_ne!(one, two);
        assert!(
            one.starts_with(b"r=rOprNGfwEbeRWgbNEkqO")
                && one.ends_with(b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096")
        );
    }

    /// A name that nobody has is challenged like one that somebody has, each time the same, and no proof counts for it.
    #[test]
    fn strangers_are_challenged_as_users_are() {
        let salt = |users: &str, mechanism: Mechanism, name: &str| {
            let users = Arc::new(Users::parse(users).unwrap());
            let mut scram = Scram::new(mechanism, users);
            let first = format!("n,,n={name},r=x");
            let challenge = scram.challenge(first.as_bytes(), "y").unwrap();
            let last = format!("c=biws,r=xy,p={}", STANDARD.encode(vec![0; mechanism.bytes()]));
            assert_eq!(scram.step(last.as_bytes()), Step::Rejected);
            String::from_utf8(challenge.to_vec()).unwrap()
        };
        let [sha256, sha512] = Mechanism::ALL;
        let eve = salt(USERS, sha256, "eve");
        assert_eq!(eve.len(), salt(USERS, sha256, "user").len());
        assert!(eve.ends_with(",i=4096"));
        assert_eq!(eve, salt(USERS, sha256, "eve"), "as on another node, and after a restart");
        let more =
            format!("{USERS}bob:{}\n", Keys::text_of(sha512, b"x", 5_000.try_into().unwrap()).unwrap());
        assert_eq!(eve, salt(&more, sha256, "eve"), "whoever comes into the file changes nothing");
        assert_ne!(eve, salt(USERS, sha256, "eva"));
        assert!(salt(&more, sha512, "user").ends_with(",i=5000"), "a user without keys of this kind is one");
        assert!(salt(USERS, sha512, "user").ends_with(&format!(",i={ITERATIONS}")));
    }
}
