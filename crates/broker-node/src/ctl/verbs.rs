//! What `quelea ctl` has a node do that changes no cluster: publish a message, read its settings again, log more or less. Called by
//! `act`; it checks what only this end can check.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use clap::{ArgGroup, Args};
use serde_json::json;
use tonic::Status;

use super::connection::{Connection, Failed};
use super::rows::printable;
use crate::admin::PAYLOAD_BYTES_MAX;
use crate::admin::proto::admin_client::AdminClient;
use crate::admin::proto::{PublishRequest, ReloadRequest, SetLogRequest, UserProperty};

type Client = AdminClient<Connection>;

/// As those of `mosquitto_pub`, where they mean the same.
#[derive(Debug, Args)]
#[command(group = ArgGroup::new("payload").required(true))]
pub(super) struct PublishArgs {
    /// The topic
    #[arg(short, long)]
    topic: String,
    /// The payload
    #[arg(short, long, value_name = "TEXT", group = "payload")]
    message: Option<String>,
    /// A file with the payload, 48 KiB at most; - is standard input
    #[arg(short, long, value_name = "FILE", group = "payload")]
    file: Option<PathBuf>,
    /// No payload; with --retain, the topic's retained message ends
    #[arg(short, long, group = "payload")]
    null_message: bool,
    /// Quality of service; the command ends when a client of that would have its acknowledgement
    #[arg(short, long, value_name = "0|1|2", default_value_t = 1)]
    qos: u32,
    /// Retain it
    #[arg(short, long)]
    retain: bool,
    /// How long it is worth something, as 90s or 2h
    #[arg(long, value_name = "TIME", value_parser = seconds)]
    expiry: Option<u32>,
    /// What the payload is, as application/json
    #[arg(long, value_name = "TYPE", default_value = "", hide_default_value = true)]
    content_type: String,
    /// Where an answer is to go
    #[arg(long, value_name = "TOPIC", default_value = "", hide_default_value = true)]
    response_topic: String,
    /// What an answer is to carry
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    correlation_data: String,
    /// A user property; may be given more than once
    #[arg(long, value_name = "NAME=VALUE", value_parser = user_property)]
    user_property: Vec<UserProperty>,
}

fn seconds(text: &str) -> Result<u32, String> {
    let expected = || "expected a time, as 90s or 2h".to_owned();
    let time = humantime::parse_duration(text).map_err(|_| expected())?;
    u32::try_from(time.as_secs()).ok().filter(|seconds| *seconds > 0).ok_or_else(expected)
}

fn user_property(text: &str) -> Result<UserProperty, String> {
    let (name, value) = text.split_once('=').ok_or("expected NAME=VALUE")?;
    Ok(UserProperty { name: name.to_owned(), value: value.to_owned() })
}

/// The payload of a file.
fn payload_of(file: &Path) -> Result<Vec<u8>, Failed> {
    let failed = |error: io::Error| -> Failed {
        Status::invalid_argument(format!("cannot read {}: {error}", file.display())).into()
    };
    let most = PAYLOAD_BYTES_MAX as u64 + 1;
    let mut payload = Vec::new();
    let read = if file.as_os_str() == "-" {
        io::stdin().take(most).read_to_end(&mut payload)
    } else {
        File::open(file).map_err(failed)?.take(most).read_to_end(&mut payload)
    };
    read.map_err(failed)?;
    if payload.len() > PAYLOAD_BYTES_MAX {
        let why = format!("{} is larger than {PAYLOAD_BYTES_MAX} bytes", file.display());
        return Err(Status::invalid_argument(why).into());
    }
    Ok(payload)
}

/// Publishes a message.
///
/// # Errors
/// As the API says, or the file cannot be used.
pub(super) async fn publish(api: &mut Client, args: PublishArgs, as_json: bool) -> Result<String, Failed> {
    let payload = match (args.message, args.file) {
        (Some(text), _) => text.into_bytes(),
        (None, Some(file)) => payload_of(&file)?,
        (None, None) => Vec::new(),
    };
    let request = PublishRequest {
        topic: args.topic,
        payload,
        qos: args.qos,
        retain: args.retain,
        expiry_s: args.expiry,
        content_type: args.content_type,
        response_topic: args.response_topic,
        correlation_data: args.correlation_data.into_bytes(),
        is_text: false,
        user_properties: args.user_property,
    };
    let matched = api.publish(request).await?.into_inner().matched;
    Ok(match (as_json, matched) {
        (true, matched) => format!("{}\n", json!({ "matched": matched })),
        (false, true) => "published\n".to_owned(),
        (false, false) => "published; nobody has subscribed to it\n".to_owned(),
    })
}

#[derive(Debug, Args)]
pub(super) struct ReloadArgs {
    /// The node's name, or its number; the one that is asked where none is given
    #[arg(default_value = "", hide_default_value = true)]
    node: String,
}

/// Has a node read its configuration again.
///
/// # Errors
/// As the API says.
pub(super) async fn reload(api: &mut Client, args: ReloadArgs, as_json: bool) -> Result<String, Failed> {
    let reply = api.reload(ReloadRequest { node: args.node }).await?.into_inner();
    if as_json {
        return Ok(format!("{}\n", json!({ "node": reply.node, "changed": reply.changed })));
    }
    let changed = match reply.changed.as_slice() {
        [] => "nothing of the configuration has changed".to_owned(),
        keys => format!("changed: {}", keys.join(", ")),
    };
    Ok(format!("node {} has read its settings again; {changed}\n", printable(&reply.node)))
}

#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// off, error, warn, info, debug or trace, also of one target: quelea::listener=debug. Without it: what is in force
    #[arg(value_name = "LEVEL|TARGET=LEVEL", default_value = "", hide_default_value = true)]
    level: String,
    /// The node's name, or its number; the one that is asked where none is given
    #[arg(long, value_name = "NODE", default_value = "", hide_default_value = true)]
    node: String,
}

/// Has a node log more or less.
///
/// # Errors
/// As the API says.
pub(super) async fn log(api: &mut Client, args: LogArgs, as_json: bool) -> Result<String, Failed> {
    let reply = api.set_log(SetLogRequest { node: args.node, level: args.level }).await?.into_inner();
    Ok(match as_json {
        true => format!("{}\n", json!({ "node": reply.node, "level": reply.level })),
        false => format!("node {} logs {}\n", printable(&reply.node), printable(&reply.level)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_properties_are_read_as_they_are_written() {
        assert_eq!((seconds("90s"), seconds("2h")), (Ok(90), Ok(7_200)));
        assert!(["", "soon", "0s", "200y"].iter().all(|wrong| seconds(wrong).is_err()));
        let both = user_property("a=b=c").unwrap();
        assert_eq!((both.name.as_str(), both.value.as_str()), ("a", "b=c"));
        assert!(user_property("ab").is_err());
    }
}
