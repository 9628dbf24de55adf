//! A server of the operator's that is asked about logins by HTTP, a POST of JSON for each: it lets a client in, with groups, rules and
//! an end where it has some, refuses it, or says nothing of it. Asked by `login`; what goes wrong refuses the client. Nothing that
//! a client has shown is logged, and no password kept: answers are remembered by a keyed digest of what was asked.

mod answer;

use anyhow::Context;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::Request;
use http::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use http_body_util::Full;
use mqtt_codec::{Connect, Text};
use serde_json::json;
use zeroize::Zeroizing;

pub(super) use self::answer::Said;
use super::asker::{Asked, Asker, Bounds, UNUSABLE};
use super::certificate;
use super::file::{BadFile, Watched};
use super::http::Server;
use super::jwt::now_s;
use super::queue::Busy;
use super::{Origin, Principal};
use crate::config::{CertificateName, HookSettings};

/// Bytes of an answer at most.
const ANSWER_BYTES_MAX: usize = 64 << 10;
/// Headers of the file at most, and bytes of each.
const HEADERS_MAX: usize = 16;

/// The headers that go with each request, whose values are secrets.
#[derive(Debug, Default)]
pub(super) struct Headers(HeaderMap);

/// The server that is asked.
#[derive(Debug)]
pub(super) struct Hook {
    asker: Asker,
    /// From a file.
    pub(super) headers: Option<Watched<Headers>>,
}

impl Hook {
    /// One that has asked nothing yet; `None` where nobody is to be asked.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn open(settings: &HookSettings) -> Result<Option<Self>, BadFile> {
        // The check of the settings has read it before.
        let Some(url) = settings.url.as_ref().and_then(|url| url.parse().ok()) else { return Ok(None) };
        let headers = settings.headers_file.as_deref().map(|path| Watched::open(path, Headers::parse));
        let server = Server::open(url, settings.ca.as_deref(), ANSWER_BYTES_MAX)?;
        let bounds = Bounds {
            timeout: settings.timeout,
            requests_max: settings.requests_max,
            cache_allowed: settings.cache_allowed,
            cache_denied: settings.cache_denied,
        };
        Ok(Some(Self {
            asker: Asker::new("by the HTTP hook", server, bounds),
            headers: headers.transpose()?,
        }))
    }

    /// Whether what clients show can be read on the way to it.
    pub(super) fn is_in_the_clear(&self) -> bool {
        self.asker.server.is_in_the_clear()
    }

    /// What is said of a login, and where that is from.
    ///
    /// # Errors
    /// Too many others wait, in all or from this address.
    pub(super) async fn ask(
        &self,
        connect: &Connect,
        (nobody, from): (&Principal, &Origin),
    ) -> Result<(Said, Asked), Busy> {
        let body = question(connect, nobody, from);
        let key = self.asker.key_of(&body);
        let asked = async |server: &Server| {
            let answer = server.ask(self.request(body)?).await?;
            let named = connect.user_name.as_ref().map(Text::as_str);
            let said = Said::parse(&answer, named, now_s()).map_err(anyhow::Error::msg);
            Ok((said.context(UNUSABLE)?, answer.len()))
        };
        self.asker.ask(key, nobody.address, asked).await
    }

    fn request(&self, body: Zeroizing<Vec<u8>>) -> anyhow::Result<Request<Full<Bytes>>> {
        let mut request = Request::post("/").body(Full::new(Bytes::from_owner(body)))?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        if let Some(own) = &self.headers {
            headers.extend(own.current().0.clone());
        }
        Ok(request)
    }
}

impl Headers {
    /// Reads a line `NAME: VALUE` for each.
    ///
    /// # Errors
    /// One of them is none; its value is not quoted.
    fn parse(text: &str) -> Result<Self, String> {
        let mut headers = HeaderMap::new();
        for (number, line) in text.lines().enumerate() {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let bad = |what: &str| format!("line {}: {what}", number + 1);
            let parts = line.split_once(':').ok_or_else(|| bad("expected NAME: VALUE"))?;
            let name = HeaderName::from_bytes(parts.0.trim().as_bytes());
            let name = name.map_err(|_| bad("expected the name of a header, and a colon"))?;
            let own = ["host", "content-type", "content-length", "transfer-encoding", "connection"];
            if own.contains(&name.as_str()) {
                return Err(bad("this header is set by the broker"));
            }
            let value = HeaderValue::from_str(parts.1.trim());
            let mut value = value.map_err(|_| bad("the value has characters that no header has"))?;
            value.set_sensitive(true);
            if headers.insert(name, value).is_some() {
                return Err(bad("this header has another line before"));
            }
        }
        if headers.is_empty() || headers.len() > HEADERS_MAX {
            return Err(format!("expected 1 to {HEADERS_MAX} headers"));
        }
        Ok(Self(headers))
    }
}

/// What is asked: who wants to log in, and how.
fn question(connect: &Connect, nobody: &Principal, from: &Origin) -> Zeroizing<Vec<u8>> {
    let shown = from.certificate.as_ref().map(|der| {
        let name = certificate::names(der, Some(CertificateName::San)).user;
        json!({ "common_name": nobody.common_name, "alternative_name": name })
    });
    let mut asked = json!({
        "client_id": connect.client_id.as_str(),
        "username": connect.user_name.as_ref().map(Text::as_str),
        "address": nobody.address.map(|address| address.to_canonical().to_string()),
        "listener": from.listener.name,
        "version": connect.version.to_string(),
        "certificate": shown,
    });
    let password = connect.password.as_deref();
    let (name, text) = match password.map(std::str::from_utf8) {
        Some(Err(_)) => ("password_base64", password.map(|bytes| STANDARD.encode(bytes))),
        text => ("password", text.and_then(Result::ok).map(str::to_owned)),
    };
    if let Some(object) = asked.as_object_mut() {
        object.insert(name.into(), text.into());
    }
    Zeroizing::new(asked.to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_and_never_shown() {
        let read = Headers::parse("# ours\n\nAuthorization: Bearer s3cret\nX-Key:k\n").unwrap();
        assert_eq!(read.0.len(), 2);
        assert!(!format!("{read:?}").contains("s3cret"));
        for (bad, why) in [
            ("Authorization\n", "line 1: expected NAME: VALUE"),
            ("Author ization: s3cret\n", "line 1: expected the name"),
            ("A: s3cret\nB: s3\u{1}cret\n", "line 2: the value"),
            ("A: s3cret\na: s3cret\n", "line 2: this header has another"),
            ("Host: s3cret\n", "line 1: this header is set"),
            ("# nothing\n", "expected 1 to 16 headers"),
        ] {
            let error = Headers::parse(bad).unwrap_err();
            assert!(error.starts_with(why) && !error.contains("s3cret"), "{error}");
        }
    }
}
