//! The brokers that are compared and the configuration that each gets: limits that the load would reach are lifted,
//! nothing is logged. Called by `measure`. It measures nothing.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use super::process::Process;

/// One of them goes by the ending.
const CONFIGURATION: &str = "broker.toml";

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

/// What a measurement needs of a broker.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Needs {
    pub(crate) tls: bool,
    /// mosquitto is to write what it holds into its file. Quelea always does.
    pub(crate) file: bool,
    /// Quelea alone: `/metrics` and `/readyz`.
    pub(crate) http: bool,
    /// Quelea alone: further sections of its configuration.
    pub(crate) settings: &'static str,
}

/// A broker that runs, and where.
pub(crate) struct Running {
    pub(crate) process: Process,
    pub(crate) port: u16,
    /// Where Quelea serves HTTP; 0 where it does not.
    pub(crate) http: u16,
    folder: PathBuf,
    /// The certificate to trust, where it speaks TLS.
    pub(crate) authority: Option<PathBuf>,
}

impl Broker {
    pub(crate) fn new(kind: Kind, binary: PathBuf) -> Self {
        Self { kind, binary }
    }

    /// Starts it in an empty `folder` on a free port of the loopback and waits until it accepts connections.
    pub(crate) fn start(&self, folder: &Path, needs: Needs) -> Result<Running> {
        if folder.exists() {
            fs::remove_dir_all(folder).context("cannot empty the broker's folder")?;
        }
        fs::create_dir_all(folder).context("cannot make the broker's folder")?;
        let port = free_port()?;
        let http = if needs.http { free_port()? } else { 0 };
        let authority = if needs.tls { Some(certificate(folder)?) } else { None };
        let text = match self.kind {
            Kind::Quelea => quelea(port, http, folder, needs),
            Kind::Mosquitto => mosquitto(port, folder, needs.file),
            Kind::Rumqttd => rumqttd(port, free_port()?),
        };
        fs::write(folder.join(CONFIGURATION), text).context("cannot write the broker's configuration")?;
        let process = self.process(folder, port)?;
        Ok(Running { process, port, http, folder: folder.to_path_buf(), authority })
    }

    /// Kills it and starts it again on what it has left behind.
    pub(crate) fn kill_and_start(&self, running: Running) -> Result<Running> {
        let Running { process, port, http, folder, authority } = running;
        drop(process);
        Ok(Running { process: self.process(&folder, port)?, port, http, folder, authority })
    }

    fn process(&self, folder: &Path, port: u16) -> Result<Process> {
        let mut command = Command::new(&self.binary);
        match self.kind {
            Kind::Quelea => command.arg("run").arg("--config"),
            Kind::Mosquitto => command.arg("-c"),
            Kind::Rumqttd => command.args(["--quiet", "--config"]),
        }
        .arg(folder.join(CONFIGURATION));
        Process::start(command, &folder.join("broker.log"), port)
    }
}

fn quelea(port: u16, http: u16, folder: &Path, needs: Needs) -> String {
    let folder = folder.display();
    let http = if needs.http { format!("127.0.0.1:{http}") } else { "off".to_owned() };
    let listener = if needs.tls {
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
         [http]\naddress = \"{http}\"\n\
         [log]\nlevel = \"warn\"\n{}",
        needs.settings
    )
}

fn mosquitto(port: u16, folder: &Path, file: bool) -> String {
    let folder = folder.display();
    // As root it becomes another user, who may not read its configuration.
    format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n\
         persistence {file}\npersistence_location {folder}/\nlog_type none\nset_tcp_nodelay true\n\
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
pub(crate) fn free_port() -> Result<u16> {
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
