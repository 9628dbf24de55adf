//! What lies in the cluster of who may connect, for whoever administers it: has the cluster group take changes, and answers when
//! they are in force on all nodes; lists what there is. Called by the service.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ipnet::IpNet;
use prost::Message;
use raft_consensus::cluster::{ACCESS_LEVEL, BANNED_BYTES_MAX, Ban, Banned, Command, Refusal};
use session_store::Millis;
use tokio::time::timeout;
use tonic::Status;

use super::pages::{self, BYTES_MAX};
use super::proto::banned::Kind;
use super::proto::{self, ListBansReply, ListBansRequest};
use super::service::{DECIDE_WITHIN, decided};
use super::subject::{Belongs, Subject};

/// Has the cluster group make it so, and waits until that is in force.
///
/// # Errors
/// It is refused, or takes too long.
async fn decide(subject: &Subject, belongs: &Belongs, command: &Command) -> Result<(), Status> {
    // Whoever leads may not know the command yet.
    if *belongs.view.level.borrow() < ACCESS_LEVEL {
        return Err(Status::failed_precondition(Refusal::NotYet(ACCESS_LEVEL).to_string()));
    }
    let running = subject.running().ok_or_else(|| Status::unavailable("the node starts"))?;
    let stops = || Status::unavailable("the node stops");
    decided(belongs, command).await?;
    let index = belongs.asks.decided().await.map_err(|_gone| stops())?;
    let mut in_force = running.node.lease.in_force();
    let reached = timeout(DECIDE_WITHIN, in_force.wait_for(|reached| *reached >= index)).await;
    match reached {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(_)) => Err(stops()),
        Err(_elapsed) => Err(Status::deadline_exceeded(
            "it is decided, but not known to be in force on all nodes yet: one of them, or this one, is out of reach",
        )),
    }
}

/// In words, for the audit log.
pub(super) fn about(whom: Option<&proto::Banned>) -> String {
    match whom.and_then(|whom| whom.kind.as_ref()) {
        Some(Kind::Address(address)) => format!("address {address}"),
        Some(Kind::User(name)) => format!("user {name}"),
        Some(Kind::ClientId(id)) => format!("client {id}"),
        None => String::new(),
    }
}

/// Who is meant.
fn read(whom: Option<proto::Banned>) -> Result<Banned, Status> {
    let kind = whom.and_then(|whom| whom.kind);
    let kind = kind.ok_or_else(|| Status::invalid_argument("whom: an address, a user or a client_id"))?;
    let name = |key: &str, name: String| match name.len() {
        1..=BANNED_BYTES_MAX => Ok(name.into_boxed_str()),
        bytes => {
            let why = format!("whom.{key}: it has {bytes} bytes, and is to have 1 to {BANNED_BYTES_MAX}");
            Err(Status::invalid_argument(why))
        }
    };
    match kind {
        Kind::Address(text) => address(&text).ok_or_else(|| {
            let why =
                format!("whom.address: {text:?} is neither an address nor a network such as 10.0.0.0/8");
            Status::invalid_argument(why)
        }),
        Kind::User(user) => Ok(Banned::User(name("user", user)?)),
        Kind::ClientId(id) => Ok(Banned::Client(name("client_id", id)?)),
    }
}

/// An address or a network in the one way in which they are known: what IPv6 says of version 4 is of version 4, a network of one
/// address is that, and behind the first bits there is nothing.
fn address(text: &str) -> Option<Banned> {
    let network = match text.parse::<IpAddr>() {
        Ok(address) => IpNet::from(address),
        Err(_) => text.parse().ok()?,
    };
    let network = match (network.addr().to_canonical(), network.prefix_len().checked_sub(96)) {
        (IpAddr::V4(address), Some(bits)) if network.addr().is_ipv6() => {
            IpNet::new(address.into(), bits).ok()?
        }
        _ => network,
    };
    let network = network.trunc();
    Some(match network.prefix_len() == network.max_prefix_len() {
        true => Banned::Address(network.addr()),
        false => Banned::Network(network.addr(), network.prefix_len()),
    })
}

fn shown(whom: Banned) -> proto::Banned {
    let kind = match whom {
        Banned::Address(address) => Kind::Address(address.to_string()),
        Banned::Network(address, bits) => Kind::Address(format!("{address}/{bits}")),
        Banned::User(name) => Kind::User(name.into()),
        Banned::Client(id) => Kind::ClientId(id.into()),
    };
    proto::Banned { kind: Some(kind) }
}

fn now() -> Millis {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

/// Bans somebody.
///
/// # Errors
/// It makes no sense, is refused, or takes too long.
pub(super) async fn ban(
    subject: &Subject,
    belongs: &Belongs,
    asked: Option<proto::Ban>,
) -> Result<(), Status> {
    let proto::Ban { whom, until_ms, why } = asked.unwrap_or_default();
    let until = until_ms.map(Millis);
    if until.is_some_and(|until| until <= now()) {
        return Err(Status::invalid_argument("until_ms: that is over already"));
    }
    let ban = Ban { whom: read(whom)?, until, why: why.into() };
    decide(subject, belongs, &Command::Ban(ban)).await
}

/// Takes a ban back; says whether there was one.
///
/// # Errors
/// As for [`ban`].
pub(super) async fn unban(
    subject: &Subject,
    belongs: &Belongs,
    whom: Option<proto::Banned>,
) -> Result<bool, Status> {
    let whom = read(whom)?;
    let known = whom.clone();
    let was_banned = belongs.asks.look(move |state| state.has_ban(&known)).await;
    let was_banned = was_banned.map_err(|_gone| Status::unavailable("the node stops"))?;
    decide(subject, belongs, &Command::Unban(whom)).await?;
    Ok(was_banned)
}

/// A page of those who are banned, as this node knows them.
///
/// # Errors
/// The page makes no sense, or the node stops.
pub(super) async fn bans(belongs: &Belongs, request: ListBansRequest) -> Result<ListBansReply, Status> {
    let most = pages::size(request.page.as_ref())? as usize;
    let token = request.page.map(|page| page.token).filter(|token| !token.is_empty());
    let last = token.map(|token| place(&token).ok_or_else(pages::bad_token)).transpose()?;
    let now = now();
    let found = belongs.asks.look(move |state| {
        let counts = |ban: &Ban| ban.until.is_none_or(|until| until > now);
        match last {
            Some(last) => state.bans_behind(&last).filter(counts).take(most + 1).collect(),
            None => state.bans().filter(counts).take(most + 1).collect::<Vec<_>>(),
        }
    });
    let found = found.await.map_err(|_gone| Status::unavailable("the node stops"))?;
    let count = found.len();
    let (mut bytes, mut rows) = (0, Vec::new());
    for ban in found.into_iter().take(most) {
        let Ban { whom, until, why } = ban;
        let row =
            proto::Ban { whom: Some(shown(whom)), until_ms: until.map(|until| until.0), why: why.into() };
        bytes += row.encoded_len();
        if bytes > BYTES_MAX {
            break;
        }
        rows.push(row);
    }
    let more = rows.len() < count;
    let last = rows.last().and_then(|row| row.whom.as_ref()).filter(|_| more);
    let next = last.map_or_else(String::new, |whom| URL_SAFE_NO_PAD.encode(whom.encode_to_vec()));
    Ok(ListBansReply { bans: rows, next })
}

fn place(token: &str) -> Option<Banned> {
    let bytes = URL_SAFE_NO_PAD.decode(token).ok()?;
    read(Some(proto::Banned::decode(bytes.as_slice()).ok()?)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_known_in_one_way() {
        let network = |text: &str, bits| Banned::Network(text.parse().unwrap(), bits);
        for (text, expected) in [
            ("192.0.2.7", Banned::Address([192, 0, 2, 7].into())),
            ("::ffff:192.0.2.7", Banned::Address([192, 0, 2, 7].into())),
            ("192.0.2.7/32", Banned::Address([192, 0, 2, 7].into())),
            ("10.1.2.3/8", network("10.0.0.0", 8)),
            ("::ffff:10.1.2.3/104", network("10.0.0.0", 8)),
            ("::/0", network("::", 0)),
            ("2001:db8::7/32", network("2001:db8::", 32)),
            ("2001:db8::7/128", Banned::Address("2001:db8::7".parse().unwrap())),
        ] {
            let whom = address(text).unwrap();
            assert_eq!(whom, expected, "{text}");
            let again = read(Some(shown(whom.clone()))).unwrap();
            assert_eq!(again, whom, "what is listed is what can be taken back");
        }
        for wrong in ["", "eve", "10.0.0.0/33", "10.0.0.0/", "1.2.3"] {
            assert_eq!(address(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn nobody_and_who_has_too_long_a_name_are_told_so() {
        let named = |kind| read(Some(proto::Banned { kind })).unwrap_err().message().to_owned();
        assert!(named(None).contains("an address, a user or a client_id"));
        assert!(named(Some(Kind::User(String::new()))).contains("whom.user"));
        assert!(named(Some(Kind::ClientId("c".repeat(BANNED_BYTES_MAX + 1)))).contains("1025 bytes"));
        assert!(named(Some(Kind::Address("nowhere".into()))).contains("\"nowhere\""));
    }
}
