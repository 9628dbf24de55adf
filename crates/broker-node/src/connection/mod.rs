//! The connections of MQTT clients, from the end of the handshakes to the end of the socket.
//! The listeners' worker threads call it with each connection that is accepted.

use crate::{
    config::Settings,
    listener::{Accepted, Handler},
    stop::Stop,
};
use std::sync::Arc;
use tokio::{io::AsyncReadExt, time::timeout_at};
use tracing::debug;

/// Serves connections.
#[derive(Debug, Clone)]
pub(crate) struct Connections {
    settings: Arc<Settings>,
    stop: Stop,
}

impl Connections {
    /// What all connections share.
    pub(crate) fn new(settings: Arc<Settings>, stop: Stop) -> Self {
        Self { settings, stop }
    }

    /// The counters as the text of `/metrics`.
    pub(crate) fn metrics(&self) -> String {
        String::new()
    }
}

impl Handler for Connections {
    type Worker = Self;

    fn worker(&self, number: usize) -> Self {
        debug!(number, "worker thread started");
        self.clone()
    }

    fn serve(worker: &Self, accepted: Accepted) -> impl Future<Output = ()> + 'static {
        let mut this = worker.clone();
        async move {
            let Accepted { mut transport, peer, listener, deadline } = accepted;
            let kind = transport.kind().as_str();
            debug!(listener = listener.name, %peer, kind, trace = this.settings.packet_trace, "connected");
            tokio::select! {
                _ = timeout_at(deadline, transport.read_u8()) => {}
                () = this.stop.requested() => {}
            }
            transport.close().await;
        }
    }
}
