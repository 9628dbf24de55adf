//! Who issues tokens for the tests, and where its keys are fetched. Used by the tests of tokens; nothing it signs is good for anything
//! else.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};

/// Seconds since 1970.
pub(crate) fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs()
}

/// A key that signs tokens by ES256.
pub(crate) struct Issuer {
    id: &'static str,
    key: EcdsaKeyPair,
}

impl Issuer {
    /// With a new key.
    pub(crate) fn new(id: &'static str) -> Self {
        let random = SystemRandom::new();
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, document.as_ref(), &random);
        Self { id, key: key.unwrap() }
    }

    /// Its key as a JWKS has it.
    pub(crate) fn jwk(&self) -> Value {
        let point = self.key.public_key().as_ref();
        let (x, y) = point[1..].split_at(32);
        let coded = |part| URL_SAFE_NO_PAD.encode::<&[u8]>(part);
        json!({"kty": "EC", "crv": "P-256", "use": "sig", "kid": self.id, "x": coded(x), "y": coded(y)})
    }

    /// A token with these claims alone.
    pub(crate) fn sign(&self, claims: &Value) -> String {
        let header = json!({"alg": "ES256", "typ": "JWT", "kid": self.id});
        let coded = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
        let text = format!("{}.{}", coded(&header), coded(claims));
        let signature = self.key.sign(&SystemRandom::new(), text.as_bytes()).unwrap();
        format!("{text}.{}", URL_SAFE_NO_PAD.encode(signature))
    }

    /// One of a user for an hour, with more claims.
    pub(crate) fn token_with(&self, user: &str, more: Value) -> String {
        let mut claims = json!({"sub": user, "exp": now_s() + 3_600});
        claims.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.sign(&claims)
    }

    /// One of a user for an hour.
    pub(crate) fn token(&self, user: &str) -> String {
        self.token_with(user, json!({}))
    }
}

/// The keys of these as a file.
pub(crate) fn set(issuers: &[&Issuer]) -> String {
    let keys: Vec<Value> = issuers.iter().map(|issuer| issuer.jwk()).collect();
    json!({ "keys": keys }).to_string()
}

/// What a server of keys does with a request.
#[derive(Clone)]
pub(crate) enum Does {
    /// Answers with this status and body.
    Answers(&'static str, String),
    /// Answers nothing, and does not close.
    Nothing,
    /// Sends a body that does not end.
    Endless,
}

/// A server of keys on loopback.
pub(crate) struct Server {
    port: u16,
    does: Arc<Mutex<Does>>,
    requests: Arc<AtomicUsize>,
}

impl Server {
    /// One that speaks plain HTTP, or TLS with this.
    pub(crate) fn start(does: Does, tls: Option<Arc<ServerConfig>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let does = Arc::new(Mutex::new(does));
        let requests = Arc::new(AtomicUsize::new(0));
        let (doing, counted) = (Arc::clone(&does), Arc::clone(&requests));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let (doing, counted, tls) = (Arc::clone(&doing), Arc::clone(&counted), tls.clone());
                std::thread::spawn(move || {
                    let stream = stream.unwrap();
                    // A client that is gone is no fault of the server's.
                    let _gone = match tls {
                        Some(tls) => {
                            let connection = ServerConnection::new(tls).unwrap();
                            serve(StreamOwned::new(connection, stream), &doing, &counted)
                        }
                        None => serve(stream, &doing, &counted),
                    };
                });
            }
        });
        Self { port, does, requests }
    }

    /// Where it is.
    pub(crate) fn url(&self, scheme: &str) -> String {
        format!("{scheme}://localhost:{}/keys/jwks.json?tenant=7", self.port)
    }

    /// From now on it does something else.
    pub(crate) fn does(&self, does: Does) {
        *self.does.lock().unwrap() = does;
    }

    /// How often it was asked.
    pub(crate) fn requests(&self) -> usize {
        self.requests.load(Ordering::SeqCst)
    }
}

fn serve(stream: impl Read + Write, does: &Mutex<Does>, requests: &AtomicUsize) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line)? == 0 {
            return Ok(());
        }
        if line == "\r\n" {
            break;
        }
        head.push(line);
    }
    assert_eq!(head[0], "GET /keys/jwks.json?tenant=7 HTTP/1.1\r\n");
    assert!(head.iter().any(|line| line.to_lowercase().starts_with("host: localhost:")), "{head:?}");
    requests.fetch_add(1, Ordering::SeqCst);
    let doing = does.lock().unwrap().clone();
    let stream = stream.get_mut();
    match doing {
        Does::Answers(status, body) => {
            let len = body.len();
            write!(stream, "HTTP/1.1 {status}\r\nLocation: /keys\r\nContent-Length: {len}\r\n\r\n{body}")?;
            stream.flush()
        }
        Does::Nothing => {
            // Until the client gives up.
            stream.read(&mut [0]).map(drop)
        }
        Does::Endless => {
            write!(stream, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")?;
            loop {
                write!(stream, "400\r\n{}\r\n", " ".repeat(1_024))?;
            }
        }
    }
}
