//! A server on loopback that the broker asks by HTTP, over TLS or not, whatever about: it does what a test says, and remembers what it was
//! asked. Used by the tests of the HTTP hook, of keys that are fetched, and of introspection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::Value;

use crate::ca::{Authority, Files, Validity};

/// Where it is asked.
pub(crate) const PATH: &str = "/ask/here?tenant=7";

/// What the server does with a request.
#[derive(Clone)]
pub(crate) enum Does {
    /// Answers 200 with this.
    Says(Value),
    /// Answers with this status and body.
    Answers(&'static str, String),
    /// Answers 200 with what is at the path that is asked for, else 404.
    Has(Vec<(&'static str, String)>),
    /// Says that it has more than it sends.
    Breaks,
    /// Answers nothing, and does not close.
    Nothing,
    /// Answers once it does something else.
    Waits,
    /// Closes at once.
    Closes,
    /// Sends a body that does not end.
    Endless,
}

/// A request as it came.
#[derive(Clone)]
pub(crate) struct Asked {
    /// The request line and all headers.
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Asked {
    /// The body as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The method and the path.
    pub(crate) fn line(&self) -> &str {
        self.head.split(" HTTP/1.1").next().unwrap()
    }

    /// What a header says, by its name in lower case.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (found, value) = line.split_once(": ")?;
            (found.to_lowercase() == name).then_some(value)
        })
    }

    /// The name and the password by which it was asked (RFC 7617).
    pub(crate) fn basic(&self) -> Option<String> {
        let coded = self.header("authorization")?.strip_prefix("Basic ")?;
        Some(String::from_utf8(STANDARD.decode(coded).unwrap()).unwrap())
    }
}

type Shared = Arc<Mutex<(Does, Vec<Asked>)>>;

/// A server on loopback.
pub(crate) struct Server {
    pub(crate) port: u16,
    shared: Shared,
}

impl Server {
    /// One that speaks plain HTTP.
    pub(crate) fn start(does: Does) -> Self {
        Self::start_with(does, None)
    }

    /// One that speaks TLS, with a certificate of this authority for this name; gives the authority too, as PEM.
    pub(crate) fn start_tls(does: Does, authority: &Authority, name: &str) -> (Self, String) {
        let files = Files::write(&authority.issue(1, &[name], Validity::Now), authority, &[]);
        let chain = vec![CertificateDer::from_pem_file(files.path("server.pem")).unwrap()];
        let key = PrivateKeyDer::from_pem_file(files.path("server.key")).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let ca = std::fs::read_to_string(files.path("ca.pem")).unwrap();
        (Self::start_with(does, Some(Arc::new(tls))), ca)
    }

    fn start_with(does: Does, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let shared: Shared = Arc::new(Mutex::new((does, Vec::new())));
        let serving = Arc::clone(&shared);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (shared, tls) = (Arc::clone(&serving), tls.clone());
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    // A client that is gone is no fault of the server's.
                    let _gone = match tls {
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            serve(StreamOwned::new(connection, stream), &shared)
                        }
                        None => serve(stream, &shared),
                    };
                });
            }
        });
        Self { port, shared }
    }

    /// Where it is asked.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{}{PATH}", self.origin(scheme))
    }

    /// Where it is.
    pub(crate) fn origin(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}", self.port)
    }

    /// From now on it does something else.
    pub(crate) fn does(&self, does: Does) {
        self.shared.lock().unwrap().0 = does;
    }

    /// From now on it answers this.
    pub(crate) fn says(&self, answer: Value) {
        self.does(Does::Says(answer));
    }

    /// What it was asked.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.shared.lock().unwrap().1.clone()
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.shared.lock().unwrap().1.len()
    }
}

fn serve(stream: impl Read + Write, shared: &Shared) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head)? == 0 {
            return Ok(());
        }
    }
    let mut asked = Asked { head, body: Vec::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    asked.body.resize(length, 0);
    stream.read_exact(&mut asked.body)?;
    let path = asked.line().split_once(' ').unwrap().1.to_owned();
    let mut does = {
        let mut shared = shared.lock().unwrap();
        shared.1.push(asked);
        shared.0.clone()
    };
    while matches!(does, Does::Waits) {
        e2e_tests::pause(Duration::from_millis(20));
        does = shared.lock().unwrap().0.clone();
    }
    let stream = stream.get_mut();
    let mut answer = |status: &str, length: usize, body: &str| {
        write!(stream, "HTTP/1.1 {status}\r\nLocation: /other\r\nContent-Length: {length}\r\n\r\n{body}")?;
        stream.flush()
    };
    match does {
        Does::Says(said) => answer("200 OK", said.to_string().len(), &said.to_string()),
        Does::Answers(status, body) => answer(status, body.len(), &body),
        Does::Has(pages) => match pages.iter().find(|(place, _)| *place == path) {
            Some((_, body)) => answer("200 OK", body.len(), body),
            None => answer("404 Not Found", 0, ""),
        },
        Does::Breaks => answer("200 OK", 1_000, "{\"result\":\"allow\"}"),
        Does::Closes | Does::Waits => Ok(()),
        // Until the client gives up.
        Does::Nothing => stream.read(&mut [0]).map(drop),
        Does::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "400\r\n{}\r\n", " ".repeat(1_024))?;
            }
        }
    }
}
