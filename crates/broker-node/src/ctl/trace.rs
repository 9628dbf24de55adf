//! `quelea ctl trace`: the packets of a client, a topic or an address as they come and go, on all nodes. Called by `act`; prints by
//! itself, since it may never end.

use std::io::{self, Write};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::json;
use tokio::time::{Instant, timeout_at};

use super::connection::{Api, Failed};
use super::rows::{printable, time};
use crate::admin::proto::{TraceLine, TraceRequest};

/// Where nobody says for how long.
const LONG: Duration = Duration::from_secs(365 * 24 * 3_600);

#[derive(Debug, Args)]
pub(super) struct TraceArgs {
    /// Packets of the client with this identifier
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    client: String,
    /// PUBLISH packets whose topic matches this filter
    #[arg(long, value_name = "FILTER", default_value = "", hide_default_value = true)]
    topic: String,
    /// Packets of clients at this address, or in this network
    #[arg(long, value_name = "IP|NETWORK", default_value = "", hide_default_value = true)]
    address: String,
    /// Show so many bytes of each payload, which takes the role admin
    #[arg(long, value_name = "BYTES", default_value_t = 0)]
    payload: u32,
    /// Show so many packets and end; 0 goes on until it is interrupted
    #[arg(long, value_name = "N", default_value_t = 0)]
    count: u64,
    /// End after this time, as 30s or 10m
    #[arg(long = "for", value_name = "TIME", value_parser = humantime::parse_duration)]
    time: Option<Duration>,
}

/// Shows lines for as long as is asked for, or until nobody reads them.
///
/// # Errors
/// As the API says, or no node answers any more.
pub(super) async fn run(api: &mut Api, args: TraceArgs, as_json: bool) -> Result<String, Failed> {
    let TraceArgs { client, topic, address, payload, count, time } = args;
    let request = TraceRequest { client_id: client, filter: topic, address, payload_bytes: payload };
    let end = Instant::now() + time.unwrap_or(LONG);
    let mut shown = 0;
    loop {
        let mut lines = api.client.trace(request.clone()).await?.into_inner();
        // A node ends each connection after a few minutes; what is missed between two is not known.
        while let Ok(next) = timeout_at(end, lines.message()).await {
            let Ok(Some(line)) = next else { break };
            shown += u64::from(!line.text.is_empty());
            let text = if as_json { for_programs(&line) } else { for_people(&line) };
            let mut out = io::stdout().lock();
            if out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_err()
                || shown == count && count > 0
            {
                return Ok(String::new());
            }
        }
        if Instant::now() >= end {
            return Ok(String::new());
        }
        api.again().await?;
    }
}

fn for_people(line: &TraceLine) -> String {
    let TraceLine { node, client_id, address, text, lost, silent, at_ms, payload } = line;
    let node = printable(node);
    if !silent.is_empty() {
        return format!("node {node} does not answer: {}\n", printable(silent));
    }
    if text.is_empty() {
        return format!("{lost} packets of node {node} are missing here: there are too many\n");
    }
    let at = time(*at_ms);
    let at = at.as_str().unwrap_or("-");
    let payload = payload.as_deref().map(|bytes| format!(" {}", printable(&String::from_utf8_lossy(bytes))));
    let (client, text, payload) = (printable(client_id), printable(text), payload.unwrap_or_default());
    format!("{at} {node} {client} {address} {text}{payload}\n")
}

/// One line for each.
fn for_programs(line: &TraceLine) -> String {
    let TraceLine { node, client_id, address, text, lost, silent, at_ms, payload } = line;
    let line = if !silent.is_empty() {
        json!({ "node": node, "silent": silent })
    } else if text.is_empty() {
        json!({ "node": node, "lost": lost })
    } else {
        let mut line = json!({ "node": node, "at": time(*at_ms), "client_id": client_id, "address": address, "text": text });
        if let (Some(payload), Some(all)) = (payload, line.as_object_mut()) {
            all.insert("payload".to_owned(), str::from_utf8(payload).ok().into());
            all.insert("payload_base64".to_owned(), STANDARD.encode(payload).into());
        }
        line
    };
    format!("{line}\n")
}
