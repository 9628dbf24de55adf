//! What `quelea ctl` does about who may connect, on all nodes. Called by `act`.

use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use clap::builder::PossibleValuesParser;
use serde_json::json;

use super::connection::{Connection, Failed};
use super::lists::{Limit, all};
use super::rows::{BANS, names, printable};
use crate::admin::proto::admin_client::AdminClient;
use crate::admin::proto::{Ban, BanRequest, Banned, ListBansRequest, UnbanRequest, banned::Kind};

/// The admin API.
type Client = AdminClient<Connection>;

/// Who is meant.
#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
pub(super) struct Whom {
    /// A client identifier
    #[arg(long, value_name = "ID")]
    client_id: Option<String>,
    /// A user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// An address, or a network such as 10.0.0.0/8
    #[arg(long, value_name = "IP|NETWORK")]
    address: Option<String>,
}

impl Whom {
    /// For the API, and in words.
    fn said(self) -> (Option<Banned>, String) {
        let kind = match (self.client_id, self.user, self.address) {
            (Some(id), _, _) => Some((format!("client {id}"), Kind::ClientId(id))),
            (None, Some(name), _) => Some((format!("user {name}"), Kind::User(name))),
            (None, None, Some(address)) => Some((format!("address {address}"), Kind::Address(address))),
            (None, None, None) => None,
        };
        let (words, kind) = kind.unzip();
        (Some(Banned { kind }), printable(&words.unwrap_or_default()))
    }
}

#[derive(Debug, Args)]
pub(super) struct BanArgs {
    #[command(flatten)]
    whom: Whom,
    /// For how long, as 90s or 2h; for good where nothing is said
    #[arg(long = "for", value_name = "TIME", value_parser = in_a_while, conflicts_with = "until")]
    within: Option<u64>,
    /// Until when, as 2027-01-31T12:00:00Z
    #[arg(long, value_name = "TIME", value_parser = at)]
    until: Option<u64>,
    /// Why, for whoever reads the list
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    why: String,
}

#[derive(Debug, Args)]
pub(super) struct UnbanArgs {
    #[command(flatten)]
    whom: Whom,
}

#[derive(Debug, Args)]
pub(super) struct BansArgs {
    /// What to show of each
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(names(BANS)))]
    columns: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

fn ms(at: SystemTime) -> Option<u64> {
    at.duration_since(UNIX_EPOCH).ok().and_then(|since| u64::try_from(since.as_millis()).ok())
}

/// So long from now, in milliseconds since 1970.
fn in_a_while(text: &str) -> Result<u64, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    let end = time.and_then(|time| ms(SystemTime::now().checked_add(time)?));
    end.ok_or_else(|| "expected a time, as 90s or 2h".to_owned())
}

fn at(text: &str) -> Result<u64, String> {
    let end = humantime::parse_rfc3339(text).ok().and_then(ms);
    end.ok_or_else(|| "expected a time, as 2027-01-31T12:00:00Z".to_owned())
}

/// Bans somebody.
///
/// # Errors
/// As the API says.
pub(super) async fn ban(api: &mut Client, args: BanArgs, as_json: bool) -> Result<String, Failed> {
    let (whom, words) = args.whom.said();
    let ban = Ban { whom, until_ms: args.within.or(args.until), why: args.why };
    api.ban(BanRequest { ban: Some(ban) }).await?;
    Ok(if as_json { "{}\n".to_owned() } else { format!("{words} is banned on all nodes\n") })
}

/// Takes a ban back.
///
/// # Errors
/// As the API says.
pub(super) async fn unban(api: &mut Client, args: UnbanArgs, as_json: bool) -> Result<String, Failed> {
    let (whom, words) = args.whom.said();
    let was_banned = api.unban(UnbanRequest { whom }).await?.into_inner().was_banned;
    Ok(match (as_json, was_banned) {
        (true, was_banned) => format!("{}\n", json!({ "was_banned": was_banned })),
        (false, true) => format!("{words} is not banned any more\n"),
        (false, false) => format!("{words} was not banned\n"),
    })
}

/// Who is banned.
///
/// # Errors
/// As the API says.
pub(super) async fn bans(api: &mut Client, args: BansArgs, as_json: bool) -> Result<String, Failed> {
    let listed = all(args.limit, async |page| {
        let reply = api.list_bans(ListBansRequest { page: Some(page) }).await?.into_inner();
        Ok((reply.bans, reply.next, Vec::new()))
    });
    let listed = listed.await?;
    Ok(if as_json { listed.json("bans", (BANS, &args.columns)) } else { listed.table(BANS, &args.columns) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_they_are_written() {
        assert_eq!(at("1970-01-01T00:01:00Z"), Ok(60_000));
        assert!(in_a_while("2h").unwrap() > ms(SystemTime::now()).unwrap());
        assert!(["", "soon", "0s"].iter().all(|wrong| in_a_while(wrong).is_err() && at(wrong).is_err()));
    }
}
