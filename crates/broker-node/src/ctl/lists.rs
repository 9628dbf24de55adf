//! What `quelea ctl` lists: asks for page after page until there are enough rows. Called by `act`; it chooses nothing that the
//! command line does not say.

use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand};

use super::connection::{Connection, Failed};
use super::rows::{CLIENTS, Listed, RETAINED, SESSIONS, SUBSCRIPTIONS, names, printable, takes_payload};
use crate::admin::proto::admin_client::AdminClient;
use crate::admin::proto::{
    DeleteSessionRequest, ListClientsRequest, ListRetainedRequest, ListSessionsRequest,
    ListSubscriptionsRequest, Page, Presence, PurgeRetainedRequest, Unheard,
};

/// Rows that are asked for at a time.
const PAGE_ROWS: u32 = 1_000;

/// How much is shown.
#[derive(Debug, Args)]
pub(super) struct Limit {
    /// Rows to show, 0 for all
    #[arg(long, value_name = "N", default_value_t = 100)]
    limit: u64,
}

#[derive(Debug, Args)]
pub(super) struct ClientsArgs {
    /// The client of this identifier
    #[arg(long, value_name = "ID", conflicts_with = "client_prefix")]
    client_id: Option<String>,
    /// Clients whose identifiers begin so
    #[arg(long, value_name = "TEXT")]
    client_prefix: Option<String>,
    /// Clients of this user
    #[arg(long, value_name = "NAME")]
    user: Option<String>,
    /// Clients of this node: its name, or its number
    #[arg(long, value_name = "NODE")]
    node: Option<String>,
    /// Clients at this address, or in this network
    #[arg(long, value_name = "IP|NETWORK")]
    address: Option<String>,
    /// What to show of each
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(names(CLIENTS)))]
    columns: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct SessionsArgs {
    #[command(subcommand)]
    action: Option<SessionsVerb>,
    #[command(flatten)]
    list: SessionsList,
}

#[derive(Debug, Subcommand)]
enum SessionsVerb {
    /// End a session for good, with all that waits for its client
    Delete {
        /// The client's identifier
        client_id: String,
    },
}

#[derive(Debug, Args)]
struct SessionsList {
    /// The session of this client
    #[arg(long, value_name = "ID", conflicts_with = "client_prefix")]
    client_id: Option<String>,
    /// Sessions of clients whose identifiers begin so
    #[arg(long, value_name = "TEXT")]
    client_prefix: Option<String>,
    /// Sessions whose clients are connected
    #[arg(long, conflicts_with = "absent")]
    connected: bool,
    /// Sessions whose clients are away
    #[arg(long)]
    absent: bool,
    /// Sessions with so many messages in their queues, or more
    #[arg(long, value_name = "N", default_value_t = 0)]
    queued_min: u64,
    /// What to show of each
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(names(SESSIONS)))]
    columns: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

impl SessionsList {
    fn presence(&self) -> Presence {
        match (self.connected, self.absent) {
            (true, _) => Presence::Connected,
            (false, true) => Presence::Absent,
            (false, false) => Presence::Unspecified,
        }
    }
}

#[derive(Debug, Args)]
pub(super) struct SubscriptionsArgs {
    /// Subscriptions of this client
    #[arg(long, value_name = "ID", conflicts_with = "client_prefix")]
    client_id: Option<String>,
    /// Subscriptions of clients whose identifiers begin so
    #[arg(long, value_name = "TEXT")]
    client_prefix: Option<String>,
    /// Subscriptions of this filter, to the character
    #[arg(long, value_name = "FILTER")]
    filter: Option<String>,
    /// Subscriptions that a message of this topic is for
    #[arg(long, value_name = "TOPIC")]
    topic: Option<String>,
    /// What to show of each
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(names(SUBSCRIPTIONS)))]
    columns: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct RetainedArgs {
    #[command(subcommand)]
    action: Option<RetainedVerb>,
    #[command(flatten)]
    list: RetainedList,
}

#[derive(Debug, Subcommand)]
enum RetainedVerb {
    /// Remove retained messages; nobody is sent anything
    Purge {
        /// What their topics match
        filter: String,
    },
}

#[derive(Debug, Args)]
struct RetainedList {
    /// What topics match
    #[arg(long, value_name = "FILTER", default_value = "#")]
    filter: String,
    /// What to show of each; payloads, up to 64 KiB of each, where one of their columns is named
    #[arg(long, value_name = "NAME,...", value_delimiter = ',', value_parser = PossibleValuesParser::new(names(RETAINED)))]
    columns: Vec<String>,
    #[command(flatten)]
    limit: Limit,
}

/// The admin API.
type Client = AdminClient<Connection>;

/// A page, and the token of the next one.
pub(super) type Fetched<R> = (Vec<R>, String, Vec<Unheard>);

/// Asks for pages until there are as many rows as wanted, or no more.
pub(super) async fn all<R>(
    Limit { limit }: Limit,
    mut fetch: impl AsyncFnMut(Page) -> Result<Fetched<R>, Failed>,
) -> Result<Listed<R>, Failed> {
    let most = if limit == 0 { u64::MAX } else { limit };
    let mut listed = Listed { rows: Vec::new(), more: true, unheard: Vec::<Unheard>::new() };
    let mut token = String::new();
    while listed.more && (listed.rows.len() as u64) < most {
        let left = most - listed.rows.len() as u64;
        let size = u32::try_from(left).map_or(PAGE_ROWS, |left| left.min(PAGE_ROWS));
        let (rows, next, unheard) = fetch(Page { size, token }).await?;
        listed.rows.extend(rows);
        for one in unheard {
            // Once, whoever is silent for how many pages.
            if !listed.unheard.iter().any(|known| (&known.node, known.shard) == (&one.node, one.shard)) {
                listed.unheard.push(one);
            }
        }
        listed.more = !next.is_empty();
        token = next;
    }
    Ok(listed)
}

/// The clients that are connected.
///
/// # Errors
/// As the API says.
pub(super) async fn clients(api: &mut Client, args: ClientsArgs, as_json: bool) -> Result<String, Failed> {
    let request = ListClientsRequest {
        page: None,
        client_id: args.client_id.unwrap_or_default(),
        client_id_prefix: args.client_prefix.unwrap_or_default(),
        user: args.user.unwrap_or_default(),
        node: args.node.unwrap_or_default(),
        address: args.address.unwrap_or_default(),
    };
    let listed = all(args.limit, async |page| {
        let request = ListClientsRequest { page: Some(page), ..request.clone() };
        let reply = api.list_clients(request).await?.into_inner();
        Ok((reply.clients, reply.next, reply.unheard))
    });
    let listed = listed.await?;
    Ok(if as_json {
        listed.json("clients", (CLIENTS, &args.columns))
    } else {
        listed.table(CLIENTS, &args.columns)
    })
}

/// The persistent sessions, or the end of one.
///
/// # Errors
/// As the API says.
pub(super) async fn sessions(api: &mut Client, args: SessionsArgs, as_json: bool) -> Result<String, Failed> {
    if let Some(SessionsVerb::Delete { client_id }) = args.action {
        api.delete_session(DeleteSessionRequest { client_id: client_id.clone() }).await?;
        let words = format!("the session of {} has ended\n", printable(&client_id));
        return Ok(if as_json { "{}\n".to_owned() } else { words });
    }
    let presence = args.list.presence().into();
    let SessionsList { client_id, client_prefix, queued_min, columns, limit, .. } = args.list;
    let request = ListSessionsRequest {
        page: None,
        client_id: client_id.unwrap_or_default(),
        client_id_prefix: client_prefix.unwrap_or_default(),
        presence,
        queued_min,
    };
    let listed = all(limit, async |page| {
        let request = ListSessionsRequest { page: Some(page), ..request.clone() };
        let reply = api.list_sessions(request).await?.into_inner();
        Ok((reply.sessions, reply.next, reply.unheard))
    });
    let listed = listed.await?;
    Ok(if as_json { listed.json("sessions", (SESSIONS, &columns)) } else { listed.table(SESSIONS, &columns) })
}

/// Subscriptions.
///
/// # Errors
/// As the API says.
pub(super) async fn subscriptions(
    api: &mut Client,
    args: SubscriptionsArgs,
    as_json: bool,
) -> Result<String, Failed> {
    let request = ListSubscriptionsRequest {
        page: None,
        client_id: args.client_id.unwrap_or_default(),
        client_id_prefix: args.client_prefix.unwrap_or_default(),
        filter: args.filter.unwrap_or_default(),
        topic: args.topic.unwrap_or_default(),
    };
    let listed = all(args.limit, async |page| {
        let request = ListSubscriptionsRequest { page: Some(page), ..request.clone() };
        let reply = api.list_subscriptions(request).await?.into_inner();
        Ok((reply.subscriptions, reply.next, reply.unheard))
    });
    let (listed, of) = (listed.await?, (SUBSCRIPTIONS, args.columns.as_slice()));
    Ok(if as_json { listed.json("subscriptions", of) } else { listed.table(of.0, of.1) })
}

/// Retained messages, or their end.
///
/// # Errors
/// As the API says.
pub(super) async fn retained(api: &mut Client, args: RetainedArgs, as_json: bool) -> Result<String, Failed> {
    if let Some(RetainedVerb::Purge { filter }) = args.action {
        let mut purged = 0;
        loop {
            let request = PurgeRetainedRequest { filter: filter.clone() };
            let reply = api.purge_retained(request).await?.into_inner();
            purged += reply.purged;
            if !reply.more {
                break;
            }
        }
        let words = format!("{purged} retained messages were removed\n");
        return Ok(if as_json { format!("{}\n", serde_json::json!({ "purged": purged })) } else { words });
    }
    let RetainedList { filter, columns, limit } = args.list;
    let payload = takes_payload(&columns);
    let listed = all(limit, async |page| {
        let request = ListRetainedRequest { page: Some(page), filter: filter.clone(), payload };
        let reply = api.list_retained(request).await?.into_inner();
        Ok((reply.retained, reply.next, reply.unheard))
    });
    let listed = listed.await?;
    Ok(if as_json { listed.json("retained", (RETAINED, &columns)) } else { listed.table(RETAINED, &columns) })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is shown of a list of so many rows, in pages of 3 with empty ones between.
    async fn shown(limit: u64, count: u32) -> (Vec<u32>, bool) {
        let fetch = async |page: Page| {
            let unheard = vec![Unheard { node: "n".into(), ..Unheard::default() }];
            if let Some(from) = page.token.strip_prefix('x') {
                return Ok((Vec::new(), from.to_owned(), unheard));
            }
            let from: u32 = page.token.parse().unwrap_or(0);
            let end = count.min(from + page.size.min(3));
            let next = if end == count { String::new() } else { format!("x{end}") };
            Ok(((from..end).collect(), next, unheard))
        };
        let Ok(listed) = all(Limit { limit }, fetch).await else { panic!("refused") };
        assert_eq!(listed.unheard.len(), 1);
        (listed.rows, listed.more)
    }

    #[tokio::test]
    async fn pages_are_asked_for_until_there_are_enough_rows() {
        let (rows, more) = shown(2, 10).await;
        assert_eq!((rows, more), (vec![0, 1], true));
        let (rows, more) = shown(1_000, 2).await;
        assert_eq!((rows, more), (vec![0, 1], false));
        let (rows, more) = shown(0, 10).await;
        assert_eq!((rows, more), ((0..10).collect(), false));
    }
}
