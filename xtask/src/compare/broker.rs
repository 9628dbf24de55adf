//! The brokers that are compared and the configuration that each gets: limits that the load would reach are lifted,
//! everything stays in memory, nothing is logged. Called by `measure`. It measures nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::process::Process;

/// Which broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Quelea,
    Mosquitto,
    Rumqttd,
}

impl Kind {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Quelea => "Quelea",
            Self::Mosquitto => "mosquitto",
            Self::Rumqttd => "rumqttd",
        }
    }
}

/// A broker that can be started.
pub(crate) struct Broker {
    pub(crate) kind: Kind,
    binary: PathBuf,
}

/// A broker that runs, and where.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// The certificate to trust, where it speaks TLS.
    pub(crate) authority: Option<PathBuf>,
}

impl Broker {
    pub(crate) fn new(kind: Kind, binary: PathBuf) -> Self {
        Self { kind, binary }
    }

    /// Starts it in an empty `folder` on a free port of the loopback and waits until it accepts connections.
    pub(crate) fn start(&self, folder: &Path, tls: bool) -> Result<Running> {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot empty the broker's folder")?;
        }
        fs::create_dir_all(folder).context("cannot make the broker's folder")?;
        let port = free_port()?;
        let authority = if tls { Some(certificate(folder)?) } else { None };
        // One of them goes by the ending.
        let file = folder.join("broker.toml");
        let text = match self.kind {
            Kind::Quelea => quelea(port, folder, tls),
            Kind::Mosquitto => mosquitto(port),
            Kind::Rumqttd => rumqttd(port, free_port()?),
        };
        fs::write(&file, text).context("cannot write the broker's configuration")?;
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Quelea => command.arg("run").arg("--config"),
            Kind::Mosquitto => command.arg("-c"),
            Kind::Rumqttd => command.args(["--quiet", "--config"]),
        }
        .arg(&file);
        let process = Process::start(command, &folder.join("broker.log"), port)?;
        Ok(Running { process, port, authority })
    }
}

fn quelea(port: u16, folder: &Path, tls: bool) -> String {
    let folder = folder.display();
    let listener = if tls {
        format!(
            "protocol = \"tls\"\n\
             tls = {{ certificate = \"{folder}/certificate.pem\", key = \"{folder}/key.pem\" }}\n"
        )
    } else {
        "protocol = \"tcp\"\n".to_owned()
    };
    format!(
        "[node]\ndata_dir = \"{folder}/data\"\n\
         [listener.mqtt]\naddress = \"127.0.0.1:{port}\"\n{listener}\
         [http]\naddress = \"off\"\n\
         [log]\nlevel = \"warn\"\n"
    )
}

fn mosquitto(port: u16) -> String {
    // As root it becomes another user, who may not read its configuration.
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n\
         persistence false\nlog_type none\nset_tcp_nodelay true\n\
         max_inflight_messages 100\nmax_queued_messages 0\nmax_queued_bytes 0\nmax_connections -1\n"
    )
}

fn rumqttd(port: u16, port_v5: u16) -> String {
    let server = |version: &str, port: u16| {
        format!(
            "[{version}.1]\nname = \"{version}\"\nlisten = \"127.0.0.1:{port}\"\nnext_connection_delay_ms = 0\n\
             [{version}.1.connections]\nconnection_timeout_ms = 60000\nmax_payload_size = 1048576\n\
             max_inflight_count = 100\ndynamic_filters = true\n"
        )
    };
    format!(
        "id = 0\n[router]\nid = 0\nmax_connections = 10010\nmax_outgoing_packet_count = 200\n\
         max_segment_size = 104857600\nmax_segment_count = 10\n{}{}",
        server("v4", port),
        server("v5", port_v5)
    )
}

/// A port that was free a moment ago.
fn free_port() -> Result<u16> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).context("no free port")?;
    Ok(listener.local_addr()?.port())
}

/// A certificate for `localhost` that clients trust as it is; its file.
fn certificate(folder: &Path) -> Result<PathBuf> {
    let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()])?;
    let file = folder.join("certificate.pem");
    fs::write(&file, made.cert.pem())?;
    fs::write(folder.join("key.pem"), made.signing_key.serialize_pem())?;
    Ok(file)
}
