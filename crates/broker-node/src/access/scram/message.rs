//! The messages that a SCRAM client sends (RFC 5802, section 7), as far as their form tells. Read by the exchange; every length has a
//! bound, and nothing of a message is quoted in an error.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

/// Bytes of a message at most.
const BYTES_MAX: usize = 2_048;
/// Characters of a client's nonce at most.
const NONCE_MAX: usize = 256;

/// Why a message is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum BadMessage {
    /// It is larger than any that is looked at.
    #[error("it has more than {BYTES_MAX} bytes")]
    TooLong,
    /// It wants to be bound to the TLS connection.
    #[error("it asks for channel binding, which is not done here: use the method without -PLUS and \"n,,\"")]
    ChannelBinding,
    /// It wants to act as somebody else.
    #[error("it names an identity to act as, which is not done here")]
    OtherIdentity,
    /// It has an extension that has to be understood.
    #[error("it has the extension \"m\", which nothing is known about")]
    Extension,
    /// One of its parts.
    #[error("its {0} is not what a message has there")]
    Form(&'static str),
}

/// The first message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct First<'a> {
    /// What it says of channel binding.
    pub(super) header: &'a str,
    /// All behind that.
    pub(super) bare: &'a str,
    /// Who it is from.
    pub(super) user: String,
    /// What the client drew.
    pub(super) nonce: &'a str,
}

/// The last message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Last<'a> {
    /// All but the proof.
    pub(super) unproved: &'a str,
    /// What it says once more of channel binding, in base64.
    pub(super) binding: &'a str,
    /// What the client and the server drew.
    pub(super) nonce: &'a str,
    /// The proof.
    pub(super) proof: Vec<u8>,
}

impl<'a> First<'a> {
    /// Reads `n,,n=USER,r=NONCE`.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, BadMessage> {
        let text = text(data)?;
        let mut parts = text.splitn(3, ',');
        let (flag, identity, bare) = (parts.next(), parts.next(), parts.next());
        match flag {
            Some("n" | "y") => {}
            Some(other) if other.starts_with("p=") => return Err(BadMessage::ChannelBinding),
            _ => return Err(BadMessage::Form("beginning")),
        }
        if identity.is_some_and(|identity| !identity.is_empty()) {
            return Err(BadMessage::OtherIdentity);
        }
        let bare = bare.ok_or(BadMessage::Form("beginning"))?;
        let header = text.strip_suffix(bare).ok_or(BadMessage::Form("beginning"))?;
        let mut parts = bare.split(',');
        let user = parts.next().unwrap_or_default();
        if user.starts_with("m=") {
            return Err(BadMessage::Extension);
        }
        let user = user.strip_prefix("n=").and_then(name).ok_or(BadMessage::Form("user name"))?;
        let nonce = parts.next().and_then(|part| part.strip_prefix("r="));
        let nonce = nonce.filter(|nonce| nonce.len() <= NONCE_MAX && is_nonce(nonce));
        check_others(parts)?;
        Ok(Self { header, bare, user, nonce: nonce.ok_or(BadMessage::Form("nonce"))? })
    }
}

impl<'a> Last<'a> {
    /// Reads `c=BINDING,r=NONCE,p=PROOF`.
    ///
    /// # Errors
    /// It is none.
    pub(super) fn parse(data: &'a [u8]) -> Result<Self, BadMessage> {
        let (unproved, proof) = text(data)?.rsplit_once(",p=").ok_or(BadMessage::Form("proof"))?;
        let proof = STANDARD.decode(proof).map_err(|_| BadMessage::Form("proof"))?;
        let mut parts = unproved.split(',');
        let binding = parts.next().and_then(|part| part.strip_prefix("c="));
        let nonce = parts.next().and_then(|part| part.strip_prefix("r=")).filter(|nonce| is_nonce(nonce));
        check_others(parts)?;
        Ok(Self {
            unproved,
            binding: binding.ok_or(BadMessage::Form("channel binding"))?,
            nonce: nonce.ok_or(BadMessage::Form("nonce"))?,
            proof,
        })
    }
}

fn text(data: &[u8]) -> Result<&str, BadMessage> {
    if data.len() > BYTES_MAX {
        return Err(BadMessage::TooLong);
    }
    let text = std::str::from_utf8(data).map_err(|_| BadMessage::Form("text"))?;
    if text.contains('\0') { Err(BadMessage::Form("text")) } else { Ok(text) }
}

/// A user name, in which a comma is `=2C` and an equals sign `=3D`.
fn name(coded: &str) -> Option<String> {
    let mut parts = coded.split('=');
    let mut name = parts.next()?.to_owned();
    for part in parts {
        let (sign, rest) = if let Some(rest) = part.strip_prefix("2C") {
            (',', rest)
        } else {
            ('=', part.strip_prefix("3D")?)
        };
        name.push(sign);
        name.push_str(rest);
    }
    (!name.is_empty()).then_some(name)
}

/// Printable ASCII without a comma.
fn is_nonce(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && byte != b',')
}

/// Extensions that need not be understood.
fn check_others<'a>(mut parts: impl Iterator<Item = &'a str>) -> Result<(), BadMessage> {
    let known = |part: &str| match part.as_bytes() {
        [b'm', b'=', ..] => false,
        [name, b'=', _, ..] => name.is_ascii_alphabetic(),
        _ => false,
    };
    if parts.all(known) { Ok(()) } else { Err(BadMessage::Form("extension")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_messages_are_read() {
        let first = First::parse(b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL").unwrap();
        assert_eq!((first.header, first.bare), ("n,,", "n=user,r=fyko+d2lbbFgONRv9qkxdawL"));
        assert_eq!((first.user.as_str(), first.nonce), ("user", "fyko+d2lbbFgONRv9qkxdawL"));
        let first = First::parse("y,,n=a=2Cb=3Dé=3D2C,r=x,t=1,u=2".as_bytes()).unwrap();
        assert_eq!((first.header, first.user.as_str(), first.nonce), ("y,,", "a,b=é=2C", "x"));
    }

    #[test]
    fn what_is_no_first_message_says_why() {
        use BadMessage::{ChannelBinding, Extension, Form, OtherIdentity, TooLong};
        let long = |len: usize| format!("n,,n=u,r={}", "x".repeat(len));
        assert!(First::parse(long(NONCE_MAX).as_bytes()).is_ok());
        for (text, error) in [
            ("p=tls-exporter,,n=u,r=x", ChannelBinding),
            ("n,a=bob,n=u,r=x", OtherIdentity),
            ("n,,m=x,n=u,r=x", Extension),
            ("n,,n=,r=x", Form("user name")),
            ("n,,n=a=2,r=x", Form("user name")),
            ("n,,n=a=2c,r=x", Form("user name")),
            ("n,,n=a=,r=x", Form("user name")),
            ("n,,r=x", Form("user name")),
            ("n,,n=u", Form("nonce")),
            ("n,,n=u,r=", Form("nonce")),
            ("n,,n=u,r=a b", Form("nonce")),
            ("n,,n=u,r=é", Form("nonce")),
            (&long(NONCE_MAX + 1), Form("nonce")),
            ("n,,n=u,r=x,", Form("extension")),
            ("n,,n=u,r=x,m=1", Form("extension")),
            ("n,,n=u,r=x,1=1", Form("extension")),
            ("", Form("beginning")),
            ("n,", Form("beginning")),
            ("x,,n=u,r=x", Form("beginning")),
            ("n,,n=a\0,r=x", Form("text")),
            (&long(BYTES_MAX), TooLong),
        ] {
            assert_eq!(First::parse(text.as_bytes()), Err(error), "{text:.40}");
        }
        assert_eq!(First::parse(b"n,,n=\xff,r=x"), Err(Form("text")));
    }

    #[test]
    fn last_messages_are_read_or_say_why_not() {
        use BadMessage::{Form, TooLong};
        let last = Last::parse(b"c=biws,r=xy,t=1,p=AAEC").unwrap();
        assert_eq!((last.unproved, last.binding, last.nonce), ("c=biws,r=xy,t=1", "biws", "xy"));
        assert_eq!(last.proof, [0, 1, 2]);
        for (text, error) in [
            ("c=biws,r=xy", Form("proof")),
            ("c=biws,r=xy,p=AAE", Form("proof")),
            ("c=biws,r=xy,p=AAEC,x=1", Form("proof")),
            ("r=xy,c=biws,p=AAEC", Form("channel binding")),
            ("c=biws,p=AAEC", Form("nonce")),
            ("c=biws,r=,p=AAEC", Form("nonce")),
            ("c=biws,r=xy,m=1,p=AAEC", Form("extension")),
            ("", Form("proof")),
            (&"c".repeat(BYTES_MAX + 1), TooLong),
        ] {
            assert_eq!(Last::parse(text.as_bytes()), Err(error), "{text:.40}");
        }
    }
}
