//! `[listener.NAME]`: one socket, or one for each loopback address, that MQTT clients connect to.
//! Read by `listener`, which binds it. Never looks at the network or at files itself.

use super::ConfigError;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

/// One listener.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct ListenerSettings {
    /// The name it has in the configuration.
    #[serde(skip)]
    pub(crate) name: String,
    /// What is spoken on it. Default `tcp`.
    pub(crate) protocol: Protocol,
    /// `localhost:PORT` (both loopback addresses), `:PORT` (all addresses), `IP:PORT`, or a path for `unix`. Default:
    /// localhost with the usual port of the protocol (1883, 8883, 8083, 8084).
    pub(crate) address: String,
    /// Connections of this listener alone. Default: only `limits.connections_max`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_connections: Option<u32>,
    /// Whether a load balancer in front tells the client's address. Default `off`.
    pub(crate) proxy_protocol: ProxyProtocol,
    /// The load balancers that are believed, as addresses or networks. Needed with `proxy_protocol = "accept"`.
    pub(crate) proxy_trusted: Vec<Network>,
    /// The path of WebSocket requests. Default `/mqtt`.
    pub(crate) ws_path: WebSocketPath,
    /// The `Origin`s of WebSocket requests that are let in. Default: empty, all of them.
    pub(crate) ws_origins: Vec<String>,
    /// Certificates; needed for `tls` and `wss`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) tls: Option<TlsFiles>,
}

/// What is spoken on a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Protocol {
    /// MQTT over TCP.
    #[default]
    Tcp,
    /// MQTT over TLS 1.2 or 1.3.
    Tls,
    /// MQTT over WebSocket.
    Ws,
    /// MQTT over WebSocket over TLS.
    Wss,
    /// MQTT over a unix stream socket.
    Unix,
}

impl Protocol {
    /// The word used in the configuration and in logs.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Tls => "tls",
            Self::Ws => "ws",
            Self::Wss => "wss",
            Self::Unix => "unix",
        }
    }

    /// Whether TLS is part of it.
    pub(crate) fn has_tls(self) -> bool {
        matches!(self, Self::Tls | Self::Wss)
    }

    /// What is spoken inside of TLS, as it is agreed on there (RFC 7301).
    pub(crate) fn alpn(self) -> &'static [u8] {
        if self == Self::Wss { b"http/1.1" } else { b"mqtt" }
    }

    /// Where it listens if nobody says; `None` for unix sockets, which have no usual path.
    fn default_address(self) -> Option<&'static str> {
        match self {
            Self::Tcp => Some("localhost:1883"),
            Self::Tls => Some("localhost:8883"),
            Self::Ws => Some("localhost:8083"),
            Self::Wss => Some("localhost:8084"),
            Self::Unix => None,
        }
    }
}

/// Whether the PROXY protocol is spoken on a listener.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum ProxyProtocol {
    /// Clients connect themselves.
    #[default]
    Off,
    /// Each connection starts with a header of version 1 or 2.
    Accept,
}

/// A network, `10.0.0.0/8`, or a single address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub(crate) struct Network(IpNet);

impl Network {
    /// Whether `address` is in it; an IPv4 address mapped into IPv6 counts as the IPv4 address.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(&address.to_canonical())
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let single = text.parse::<IpAddr>().map(IpNet::from);
        single.or_else(|_| text.parse::<IpNet>()).map(Self).map_err(|_| {
            format!("{text:?} is not allowed here: expected an address or a network such as \"10.0.0.0/8\" or \"::1\"")
        })
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.0.to_string()
    }
}

/// The path of WebSocket requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct WebSocketPath(pub(crate) String);

impl Default for WebSocketPath {
    fn default() -> Self {
        Self("/mqtt".into())
    }
}

/// Where certificates and keys are, as PEM files. They are read again when they change.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// The certificate chain, the server's own first; used where no name in `sni` matches.
    pub(crate) certificate: PathBuf,
    /// Its private key (PKCS #8, PKCS #1 or SEC 1).
    pub(crate) key: PathBuf,
    /// Authorities of client certificates. If given, every client must have a certificate of one of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) client_ca: Option<PathBuf>,
    /// Revocation lists of those authorities. If given, a client certificate must be covered by one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) crl: Option<PathBuf>,
    /// What of a client's certificate is its user name: then it needs no password. Default none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) user_name_from: Option<CertificateName>,
    /// Further certificates, chosen by the name that the client asks for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) sni: Vec<SniFiles>,
}

/// What of a client's certificate is its user name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum CertificateName {
    /// The common name of its subject.
    Cn,
    /// The whole subject, as RFC 4514 spells it: `CN=device,O=Acme`.
    Dn,
    /// The first of its subject's alternative names that is one of a host, a mailbox or a resource.
    San,
}

/// A certificate for some names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct SniFiles {
    /// Host names; `*.example.org` stands for one more label.
    pub(crate) names: Vec<String>,
    /// The certificate chain, the server's own first.
    pub(crate) certificate: PathBuf,
    /// Its private key.
    pub(crate) key: PathBuf,
}

/// What an `address` means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum ListenAddress {
    /// 127.0.0.1, and ::1 where there is one.
    Localhost(u16),
    /// All addresses, IPv4 and IPv6.
    Any(u16),
    /// This address alone.
    Ip(SocketAddr),
    /// A unix socket.
    Path(PathBuf),
}

impl ListenAddress {
    /// Reads `localhost:PORT`, `:PORT`, `IPv4:PORT` or `[IPv6]:PORT`; `None` for anything else.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if let Ok(address) = text.parse::<SocketAddr>() {
            return Some(Self::Ip(address));
        }
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        match host {
            "" => Some(Self::Any(port)),
            "localhost" => Some(Self::Localhost(port)),
            _ => None,
        }
    }

    /// Whether only programs on this machine can connect to it.
    pub(crate) fn is_local(&self) -> bool {
        match self {
            Self::Localhost(_) | Self::Path(_) => true,
            Self::Any(_) => false,
            Self::Ip(address) => address.ip().to_canonical().is_loopback(),
        }
    }
}

impl ListenerSettings {
    /// Fills in the name, and the address where none is given.
    pub(super) fn complete(&mut self, name: &str) {
        self.name = name.to_owned();
        if self.address.is_empty()
            && let Some(address) = self.protocol.default_address()
        {
            self.address = address.to_owned();
        }
    }

    /// Whether each of its clients shows by a certificate who it is.
    pub(crate) fn names_clients(&self) -> bool {
        self.tls.as_ref().is_some_and(|tls| tls.user_name_from.is_some())
    }

    /// What `address` means for this protocol.
    ///
    /// # Errors
    /// Where it is none of the forms that are allowed.
    pub(crate) fn listen_address(&self) -> Result<ListenAddress, ConfigError> {
        let key = || format!("listener.{}.address", self.name);
        if self.protocol == Protocol::Unix {
            return match self.address.as_str() {
                "" => Err(ConfigError::value(key(), "\"\"", "the path of the unix socket")),
                path => Ok(ListenAddress::Path(path.into())),
            };
        }
        ListenAddress::parse(&self.address)
            .ok_or_else(|| ConfigError::value(key(), &format!("{:?}", self.address), ADDRESS_EXPECTED))
    }

    /// A listener in which every optional key has a value.
    pub(super) fn sample() -> Self {
        let sni =
            vec![SniFiles { names: vec![String::new()], certificate: PathBuf::new(), key: PathBuf::new() }];
        Self {
            max_connections: Some(1),
            tls: Some(TlsFiles {
                certificate: PathBuf::new(),
                key: PathBuf::new(),
                client_ca: Some(PathBuf::new()),
                crl: Some(PathBuf::new()),
                user_name_from: Some(CertificateName::Cn),
                sni,
            }),
            ..Self::default()
        }
    }
}

/// What an address may be, for errors.
pub(super) const ADDRESS_EXPECTED: &str =
    r#""localhost:PORT" (this machine), ":PORT" (all addresses), "IP:PORT" or "[IPv6]:PORT""#;
