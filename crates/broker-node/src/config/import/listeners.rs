//! The listeners of a `mosquitto.conf`, and the options that are about the listener before them. Used by the import alone.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};

use toml::{Table, Value};

use super::lines::Line;
use super::{ImportError, set};

/// What is known of them so far.
#[derive(Default)]
pub(super) struct Listeners {
    /// Before the first `listener`: the one that `port` and `bind_address` make.
    first: Listener,
    others: Vec<Listener>,
}

/// One listener.
#[derive(Default)]
struct Listener {
    port: Option<String>,
    /// Where it listens; nowhere in particular is everywhere.
    address: Option<String>,
    websocket: bool,
    max_connections: Option<i64>,
    origins: Vec<Value>,
    tls: BTreeMap<&'static str, String>,
    requires_certificate: bool,
    named_by: Option<&'static str>,
    /// A line that is about TLS.
    about_tls: Option<Line>,
}

impl Listeners {
    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.others.len() + usize::from(self.first.is_there())
    }

    /// Takes a line that is about a listener; says whether it was.
    pub(super) fn take(
        &mut self,
        line: &Line,
        notes: &mut Vec<String>,
        table: &mut Table,
    ) -> Result<bool, ImportError> {
        match line.option.as_str() {
            "listener" => self.others.push(Listener::begun(line)?),
            "port" => self.first.port = Some(port(line, line.text()?)?),
            "use_username_as_clientid" => {
                if line.boolean()? {
                    set(table, &["auth".into(), "client_ids".into()], Value::String("user".into()))?;
                    notes.push(format!(
                        "{}: {}: on all listeners a client's identifier has to be its user's name, alone or with a colon and \
                         anything behind it",
                        line.place, line.option
                    ));
                }
            }
            _ => return self.others.last_mut().unwrap_or(&mut self.first).take(line, notes),
        }
        Ok(true)
    }

    /// Writes them into a configuration.
    pub(super) fn put_into(self, table: &mut Table) -> Result<(), ImportError> {
        let first = self.first.is_there().then_some(self.first);
        let mut used: BTreeMap<&str, usize> = BTreeMap::new();
        for listener in first.into_iter().chain(self.others) {
            let protocol = listener.protocol();
            let count = used.entry(protocol).and_modify(|count| *count += 1).or_insert(1);
            let base = if protocol == "tcp" { "mqtt" } else { protocol };
            let name = if *count == 1 { base.to_owned() } else { format!("{base}-{count}") };
            let settings = Value::Table(listener.settings(protocol)?);
            set(table, &["listener".into(), name], settings)?;
        }
        Ok(())
    }
}

/// The port in a text.
fn port(line: &Line, text: &str) -> Result<String, ImportError> {
    match text.parse::<u16>() {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(line.wrong(format!("the port is {text:?}: expected 0 to 65535"))),
    }
}

/// An address that Mosquitto binds to, as it is written here.
fn address(line: &Line, text: &str) -> Result<String, ImportError> {
    let ip = text.parse::<IpAddr>();
    match ip {
        _ if text == "localhost" => Ok("localhost".to_owned()),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => Ok(String::new()),
        Ok(IpAddr::V6(ip)) => Ok(format!("[{ip}]")),
        Ok(IpAddr::V4(ip)) => Ok(ip.to_string()),
        Err(_) => Err(line
            .wrong(format!("the address is {text:?}: expected an IP address, names are not looked up here"))),
    }
}

impl Listener {
    /// From `listener PORT [ADDRESS]` or `listener 0 PATH`.
    fn begun(line: &Line) -> Result<Self, ImportError> {
        let (number, rest) = line.value.split_once(char::is_whitespace).unwrap_or((&line.value, ""));
        let rest = rest.trim();
        let mut begun = Self { port: Some(port(line, number)?), ..Self::default() };
        if rest.starts_with('/') {
            begun.port = None;
            begun.address = Some(rest.to_owned());
        } else if !rest.is_empty() {
            begun.address = Some(address(line, rest)?);
        }
        Ok(begun)
    }

    fn is_there(&self) -> bool {
        self.port.is_some() || self.address.is_some()
    }

    /// Takes a line that is about it; says whether it was.
    fn take(&mut self, line: &Line, notes: &mut Vec<String>) -> Result<bool, ImportError> {
        let mut note = |why| notes.push(format!("{}: {}: {why}", line.place, line.option));
        match line.option.as_str() {
            "bind_address" => self.address = Some(address(line, line.text()?)?),
            "max_connections" => self.max_connections = Some(line.number()?).filter(|max| *max >= 0),
            "protocol" => {
                self.websocket = match line.text()? {
                    "mqtt" => false,
                    "websockets" => true,
                    other => {
                        let problem = format!("{other:?} is not spoken here: expected mqtt or websockets");
                        return Err(line.wrong(problem));
                    }
                };
                if self.websocket {
                    note("clients ask for the path /mqtt here (ws_path), Mosquitto takes any");
                }
            }
            "max_qos" if line.number()? < 2 => note("QoS 2 is always there; rules may allow less (qos=)"),
            "max_qos" => {}
            "websockets_origin" => self.origins.push(Value::String(line.text()?.to_owned())),
            "bind_interface" => {
                return Err(line.wrong(
                    "not known here, where it would listen on all interfaces: give an IP address to listener",
                ));
            }
            "mount_point" => {
                return Err(line.wrong(
                    "not known here: its clients would see the topics of all; take it out and use rules",
                ));
            }
            "http_dir" => note("files are not served here"),
            "socket_domain" | "websockets_headers_size" => {}
            _ => return self.take_tls(line, notes),
        }
        Ok(true)
    }

    fn take_tls(&mut self, line: &Line, notes: &mut Vec<String>) -> Result<bool, ImportError> {
        let mut note = |why| notes.push(format!("{}: {}: {why}", line.place, line.option));
        let option = line.option.as_str();
        match option {
            "certfile" | "keyfile" | "cafile" | "crlfile" => {
                let key = match option {
                    "certfile" => "certificate",
                    "keyfile" => "key",
                    "cafile" => "client_ca",
                    _ => "crl",
                };
                self.tls.insert(key, line.text()?.to_owned());
            }
            "require_certificate" => self.requires_certificate = line.boolean()?,
            "use_identity_as_username" if line.boolean()? => self.named_by = Some("cn"),
            "use_subject_as_username" if line.boolean()? => self.named_by = Some("dn"),
            "use_identity_as_username" | "use_subject_as_username" => return Ok(true),
            "capath" => {
                return Err(line
                    .wrong("folders are not read here: put the authorities into one file, and use cafile"));
            }
            "psk_file" | "psk_hint" | "use_psk_identity" => {
                return Err(line.wrong(
                    "TLS with pre-shared keys is not there: take it out, and give this listener certificates",
                ));
            }
            "tls_version" => note("TLS is 1.2 or 1.3 here"),
            "ciphers"
            | "ciphers_tls1.3"
            | "dhparamfile"
            | "tls_engine"
            | "tls_engine_kpass_sha1"
            | "tls_keyform" => {
                note("cannot be chosen here; all that there is has forward secrecy");
                return Ok(true);
            }
            "tls_keylog" | "disable_client_cert_date_checks" => {
                return Err(line.wrong("not known here: take it out"));
            }
            _ => return Ok(false),
        }
        self.about_tls = Some(line.clone());
        Ok(true)
    }

    fn protocol(&self) -> &'static str {
        match (self.websocket, self.tls.contains_key("certificate")) {
            _ if self.is_unix() => "unix",
            (false, false) => "tcp",
            (false, true) => "tls",
            (true, false) => "ws",
            (true, true) => "wss",
        }
    }

    fn is_unix(&self) -> bool {
        self.address.as_ref().is_some_and(|address| address.starts_with('/'))
    }

    fn settings(self, protocol: &str) -> Result<Table, ImportError> {
        let mut table = Table::new();
        let mut put = |key: &str, value: Value| table.insert(key.to_owned(), value);
        put("protocol", Value::String(protocol.to_owned()));
        let (host, port) = (self.address.clone().unwrap_or_default(), self.port.clone());
        let address =
            if self.is_unix() { host } else { format!("{host}:{}", port.as_deref().unwrap_or("1883")) };
        put("address", Value::String(address));
        if let Some(max) = self.max_connections {
            put("max_connections", Value::Integer(max));
        }
        if !self.origins.is_empty() {
            put("ws_origins", Value::Array(self.origins.clone()));
        }
        if let Some(tls) = self.tls()? {
            put("tls", Value::Table(tls));
        }
        Ok(table)
    }

    /// Its certificates. Those of clients count only where they have to have one.
    fn tls(self) -> Result<Option<Table>, ImportError> {
        let Some(line) = self.about_tls else { return Ok(None) };
        if !(self.tls.contains_key("certificate") && self.tls.contains_key("key")) {
            return Err(line.wrong("its listener has no TLS: expected certfile and keyfile there too"));
        }
        if self.requires_certificate && !self.tls.contains_key("client_ca") {
            return Err(line.wrong("require_certificate needs cafile"));
        }
        if self.named_by.is_some() && !self.requires_certificate {
            return Err(line
                .wrong("who is named by a certificate has to have one here: set require_certificate true"));
        }
        let mut tls = Table::new();
        for (key, path) in self.tls {
            if self.requires_certificate || matches!(key, "certificate" | "key") {
                tls.insert(key.to_owned(), Value::String(path));
            }
        }
        if let Some(named_by) = self.named_by {
            tls.insert("user_name_from".to_owned(), Value::String(named_by.to_owned()));
        }
        Ok(Some(tls))
    }
}
