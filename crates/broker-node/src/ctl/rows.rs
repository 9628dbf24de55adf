//! The columns of what `quelea ctl` lists, for people and for programs: one table for each list, from which both are made. Names
//! and meanings stay as they are; more may come.

use std::time::{Duration, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::table::render;
use crate::admin::proto::{Ban, Client, RetainedMessage, Session, Subscription, Unheard, banned::Kind};

/// A column: its name, whether it is shown where nobody chooses, and what is in it.
pub(super) type Column<R> = (&'static str, bool, fn(&R) -> Value);

/// Of clients.
pub(super) const CLIENTS: &[Column<Client>] = &[
    ("client_id", true, |of| of.client_id.as_str().into()),
    ("user", true, |of| given(&of.user)),
    ("node", true, |of| of.node.as_str().into()),
    ("address", true, |of| of.address.as_str().into()),
    ("protocol", true, |of| of.protocol.as_str().into()),
    ("mqtt", true, |of| of.mqtt.as_str().into()),
    ("persistent", true, |of| of.persistent.into()),
    ("connected_at", true, |of| time(of.connected_at_ms)),
    ("listener", false, |of| of.listener.as_str().into()),
    ("keep_alive_s", false, |of| of.keep_alive_s.into()),
    ("expiry_s", false, |of| expiry(of.expiry_s)),
    ("in_flight", false, |of| of.in_flight.into()),
    ("queued", false, |of| of.queued.into()),
];

/// Of persistent sessions.
pub(super) const SESSIONS: &[Column<Session>] = &[
    ("client_id", true, |of| of.client_id.as_str().into()),
    ("node", true, |of| given(&of.node)),
    ("queued", true, |of| of.queued.into()),
    ("queued_bytes", true, |of| of.queued_bytes.into()),
    ("in_flight", true, |of| of.in_flight.into()),
    ("subscriptions", true, |of| of.subscriptions.into()),
    ("expiry_s", true, |of| expiry(of.expiry_s)),
    ("absent_since", true, |of| time(of.absent_since_ms)),
    ("ends_at", false, |of| time(of.ends_at_ms)),
    ("shard", false, |of| of.shard.into()),
    ("dropped_full", false, |of| of.dropped_full.into()),
    ("dropped_expired", false, |of| of.dropped_expired.into()),
];

/// Of subscriptions.
pub(super) const SUBSCRIPTIONS: &[Column<Subscription>] = &[
    ("client_id", true, |of| of.client_id.as_str().into()),
    ("filter", true, |of| of.filter.as_str().into()),
    ("qos", true, |of| of.qos.into()),
    ("persistent", true, |of| of.persistent.into()),
    ("node", true, |of| given(&of.node)),
    ("no_local", false, |of| of.no_local.into()),
    ("retain_as_published", false, |of| of.retain_as_published.into()),
    ("identifier", false, |of| if of.identifier == 0 { Value::Null } else { of.identifier.into() }),
];

/// Of retained messages.
pub(super) const RETAINED: &[Column<RetainedMessage>] = &[
    ("topic", true, |of| of.topic.as_str().into()),
    ("qos", true, |of| of.qos.into()),
    ("payload_bytes", true, |of| of.payload_bytes.into()),
    ("expires_at", true, |of| time(of.expires_at_ms)),
    // Where it is text.
    ("payload", false, |of| of.payload.as_deref().and_then(|bytes| str::from_utf8(bytes).ok()).into()),
    ("payload_base64", false, |of| of.payload.as_deref().map(|bytes| STANDARD.encode(bytes)).into()),
];

/// Of bans.
pub(super) const BANS: &[Column<Ban>] = &[
    ("kind", true, |of| banned(of).map(|(kind, _)| kind).into()),
    ("banned", true, |of| banned(of).map(|(_, whom)| whom).into()),
    ("until", true, |of| of.until_ms.map_or("for good".into(), time)),
    ("why", true, |of| given(&of.why)),
];

fn banned(ban: &Ban) -> Option<(&'static str, &str)> {
    let whom = ban.whom.as_ref().and_then(|whom| whom.kind.as_ref())?;
    Some(match whom {
        Kind::Address(address) => ("address", address),
        Kind::User(name) => ("user", name),
        Kind::ClientId(id) => ("client_id", id),
    })
}

/// Whether what is wanted of retained messages takes their payloads.
pub(super) fn takes_payload(columns: &[String]) -> bool {
    columns.iter().any(|name| name.starts_with("payload") && name != "payload_bytes")
}

/// The names of columns.
pub(super) fn names<R>(columns: &'static [Column<R>]) -> impl Iterator<Item = &'static str> {
    columns.iter().map(|(name, ..)| *name)
}

/// Text that may be missing.
fn given(text: &str) -> Value {
    if text.is_empty() { Value::Null } else { text.into() }
}

/// Milliseconds since 1970 as people write them; 0 is no time.
pub(super) fn time(ms: u64) -> Value {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).filter(|_| ms > 0);
    at.map_or(Value::Null, |at| humantime::format_rfc3339_millis(at).to_string().into())
}

/// Seconds that may be for ever.
fn expiry(seconds: u32) -> Value {
    if seconds == session_store::command::EXPIRY_NEVER { "never".into() } else { seconds.into() }
}

/// Text without what a terminal would take for a command.
pub(super) fn printable(text: &str) -> String {
    let shown = |c: char| match c.is_control() {
        true => c.escape_default().collect::<String>(),
        false => c.to_string(),
    };
    text.chars().map(shown).collect()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(true) => "yes".to_owned(),
        Value::Bool(false) => "no".to_owned(),
        Value::String(text) => printable(text),
        other => other.to_string(),
    }
}

/// What was listed.
pub(super) struct Listed<R> {
    pub(super) rows: Vec<R>,
    /// Whether there are more.
    pub(super) more: bool,
    /// Whose rows are missing.
    pub(super) unheard: Vec<Unheard>,
}

impl<R> Listed<R> {
    /// For people: these columns, or the usual ones.
    pub(super) fn table(&self, columns: &'static [Column<R>], wanted: &[String]) -> String {
        let chosen = chosen(columns, wanted, |(_, is_usual, _)| *is_usual);
        let head: Vec<String> = chosen.iter().map(|(name, ..)| name.to_uppercase()).collect();
        let row = |row: &R| chosen.iter().map(|(_, _, of)| cell(&of(row))).collect();
        let mut text = render(head, self.rows.iter().map(row));
        if self.more {
            text += &format!("\n{} are shown, there are more: --limit\n", self.rows.len());
        }
        for of in &self.unheard {
            text += &format!("\n{} did not answer: {}\n", who(of), printable(&of.why));
        }
        text
    }

    /// For programs: these columns, or all.
    pub(super) fn json(&self, name: &str, (columns, wanted): (&'static [Column<R>], &[String])) -> String {
        let chosen = chosen(columns, wanted, |_| true);
        let row =
            |row: &R| chosen.iter().map(|(name, _, of)| ((*name).to_owned(), of(row))).collect::<Map<_, _>>();
        let rows: Vec<Value> = self.rows.iter().map(|of| Value::Object(row(of))).collect();
        let unheard =
            |of: &Unheard| serde_json::json!({ "node": given(&of.node), "shard": of.shard, "why": of.why });
        let unheard: Vec<Value> = self.unheard.iter().map(unheard).collect();
        let all = serde_json::json!({ name: rows, "more": self.more, "unheard": unheard });
        format!("{all:#}\n")
    }
}

/// Who was not heard.
pub(super) fn who(of: &Unheard) -> String {
    of.shard.map_or_else(|| format!("node {}", printable(&of.node)), |shard| format!("shard {shard}"))
}

/// The columns of these names, in their order, or those that are so where nobody chooses.
fn chosen<R>(
    columns: &'static [Column<R>],
    wanted: &[String],
    usual: impl Fn(&Column<R>) -> bool,
) -> Vec<&'static Column<R>> {
    match wanted {
        [] => columns.iter().filter(|column| usual(column)).collect(),
        names => names.iter().filter_map(|name| columns.iter().find(|(known, ..)| known == name)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listed() -> Listed<Client> {
        let client =
            Client {
                client_id: "a\x1b[2Jé".into(), node: "n".into(), persistent: true, ..Client::default()
            };
        let unheard = Unheard { node: "m".into(), shard: None, why: "it is silent".into() };
        Listed { rows: vec![client], more: true, unheard: vec![unheard] }
    }

    #[test]
    fn a_table_has_the_columns_that_are_asked_for_and_nothing_a_terminal_obeys() {
        let wanted = ["node", "client_id", "user", "persistent"].map(str::to_owned);
        let text = listed().table(CLIENTS, &wanted);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], "NODE  CLIENT_ID    USER  PERSISTENT");
        assert_eq!(lines[1], "n     a\\u{1b}[2Jé  -     yes");
        assert!(
            text.contains("1 are shown, there are more")
                && text.contains("node m did not answer: it is silent")
        );
        assert!(listed().table(CLIENTS, &[]).starts_with("CLIENT_ID"));
    }

    #[test]
    fn programs_get_all_columns_as_they_are() {
        let value: Value = serde_json::from_str(&listed().json("clients", (CLIENTS, &[]))).unwrap();
        assert_eq!(value["clients"][0]["client_id"], "a\x1b[2Jé");
        assert_eq!(value["clients"][0]["expiry_s"], 0);
        assert_eq!(value["clients"][0].as_object().unwrap().len(), CLIENTS.len());
        assert_eq!((&value["more"], &value["unheard"][0]["node"]), (&true.into(), &"m".into()));
    }

    #[test]
    fn a_payload_is_text_where_it_can_be() {
        let cells = |payload: Option<&[u8]>| {
            let message = RetainedMessage { payload: payload.map(Into::into), ..RetainedMessage::default() };
            let of = |wanted: &str| RETAINED.iter().find(|(name, ..)| *name == wanted).unwrap().2(&message);
            (of("payload"), of("payload_base64"))
        };
        assert_eq!(cells(Some(b"on")), ("on".into(), "b24=".into()));
        assert_eq!(cells(Some(b"\xff")), (Value::Null, "/w==".into()));
        assert_eq!(cells(None), (Value::Null, Value::Null));
        assert!(
            takes_payload(&["topic".into(), "payload".into()]) && !takes_payload(&["payload_bytes".into()])
        );
    }

    #[test]
    fn what_is_never_and_when_is_said_in_words() {
        assert_eq!((expiry(u32::MAX), expiry(7)), ("never".into(), 7.into()));
        assert_eq!((time(1_000), time(0)), ("1970-01-01T00:00:01.000Z".into(), Value::Null));
    }
}
