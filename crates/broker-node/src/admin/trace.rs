//! A live trace of the whole cluster: each node is asked for its lines again and again, and all of them go into one stream. Called by
//! the service, and by `inside` for other nodes. Whoever reads slowly loses lines, which is counted, and nobody waits for them.

use std::net::IpAddr;
use std::time::Duration;

use futures_util::stream::{BoxStream, StreamExt, unfold};
use ipnet::IpNet;
use ring::rand::{SecureRandom, SystemRandom};
use session_store::NodeId;
use tokio::sync::mpsc;
use tokio::time::sleep;
use tonic::Status;
use topic_index::Filter;

use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{TraceFound, TraceWanted};
use super::proto::{TraceLine, TraceRequest};
use super::subject::{Belongs, Subject};
use super::whole::{ANSWER_WITHIN, NONSENSE, ask, belonging};
use crate::traces::{Line, PAYLOAD_BYTES_MAX, Wanted};

/// Lines of all nodes that wait for the socket.
const LINES_MAX: usize = 2_048;
/// Between two questions to a node.
const AGAIN: Duration = Duration::from_millis(250);

/// Lines as they come.
pub(super) type Lines = BoxStream<'static, Result<TraceLine, Status>>;

impl Subject {
    /// The lines of a trace here since this was asked last.
    ///
    /// # Errors
    /// The node starts, there are too many traces, or what is wanted makes no sense.
    pub(super) fn trace(&self, wanted: TraceWanted) -> Result<TraceFound, String> {
        let node = &self.running().ok_or("the node starts")?.node;
        let TraceWanted { number, wanted, ends } = wanted;
        if ends {
            node.traces.end(number);
            return Ok(TraceFound::default());
        }
        let wanted = parse(&wanted.unwrap_or_default())?;
        let (lines, lost) = node.traces.take(number, &wanted)?;
        let line = |Line { at, client, address, text, payload }: Line| TraceLine {
            node: self.name().to_owned(),
            at_ms: at.0,
            client_id: client,
            address,
            text,
            payload,
            ..TraceLine::default()
        };
        Ok(TraceFound { lines: lines.into_iter().map(line).collect(), lost })
    }
}

/// What a request says.
///
/// # Errors
/// It makes no sense.
fn parse(request: &TraceRequest) -> Result<Wanted, String> {
    let TraceRequest { client_id, filter, address, payload_bytes } = request;
    if client_id.is_empty() && filter.is_empty() && address.is_empty() {
        return Err("expected a client, a filter or an address: client_id, filter, address".to_owned());
    }
    let client = Some(client_id.as_str()).filter(|client| !client.is_empty()).map(Into::into);
    let filter = match filter.as_str() {
        "" => None,
        text => match Filter::parse(text, u16::MAX) {
            Ok(Filter::Plain(plain)) => Some(plain),
            Ok(Filter::Shared { .. }) => {
                return Err(format!("filter: {text:?} is that of a shared subscription"));
            }
            Err(error) => return Err(format!("filter: {text:?}: {error}")),
        },
    };
    let one = || Some(IpNet::from(address.parse::<IpAddr>().ok()?.to_canonical()));
    let network = match address.as_str() {
        "" => None,
        text => Some(text.parse().ok().or_else(one).ok_or_else(|| {
            format!("address: expected an address or a network such as 10.0.0.0/8, found {text:?}")
        })?),
    };
    if *payload_bytes > PAYLOAD_BYTES_MAX {
        return Err(format!("payload_bytes: {payload_bytes} is too much: {PAYLOAD_BYTES_MAX} at most"));
    }
    Ok(Wanted { client, filter, network, payload_bytes: *payload_bytes as usize })
}

/// What the audit log says that it is about.
pub(super) fn about(request: &TraceRequest) -> String {
    let TraceRequest { client_id, filter, address, payload_bytes } = request;
    let named = [("client", client_id), ("topic", filter), ("address", address)];
    let named = named.into_iter().filter(|(_, text)| !text.is_empty());
    let mut words: Vec<String> = named.map(|(what, text)| format!("{what} {text}")).collect();
    words.extend((*payload_bytes > 0).then(|| "with payloads".to_owned()));
    words.join(", ")
}

/// Begins a trace on all nodes.
///
/// # Errors
/// It makes no sense, or there are too many.
pub(super) async fn trace(
    subject: &Subject,
    belongs: &Belongs,
    request: TraceRequest,
) -> Result<Lines, Status> {
    parse(&request).map_err(Status::invalid_argument)?;
    let mut bytes = [0; 8];
    SystemRandom::new().fill(&mut bytes).map_err(|_| Status::internal("there are no random numbers"))?;
    let wanted = TraceWanted { number: u64::from_be_bytes(bytes), wanted: Some(request), ends: false };
    // Here first, so that too many are refused at once.
    subject.trace(wanted.clone()).map_err(Status::resource_exhausted)?;
    let (lines, taken) = mpsc::channel(LINES_MAX);
    for (node, member) in belonging(&belongs.roster.borrow()) {
        let follow = Follow {
            subject: subject.clone(),
            node,
            name: member.name.to_string(),
            wanted: wanted.clone(),
            lines: lines.clone(),
        };
        tokio::spawn(follow.run());
    }
    Ok(unfold(taken, async |mut taken| Some((Ok(taken.recv().await?), taken))).boxed())
}

/// Asks a node for its lines, until nobody reads them.
struct Follow {
    subject: Subject,
    node: NodeId,
    name: String,
    wanted: TraceWanted,
    lines: mpsc::Sender<TraceLine>,
}

impl Follow {
    async fn run(self) {
        self.follow().await;
        // Else it would take a place for a while. Who does not hear it ends it by itself.
        let _unheard = self.ask(true).await;
    }

    async fn follow(&self) {
        let (mut was_silent, mut lost) = (String::new(), 0_u64);
        loop {
            let (found, silent) = match self.ask(false).await {
                Ok(found) => (found, String::new()),
                Err(why) => (TraceFound::default(), why),
            };
            let of_node = |line: TraceLine| TraceLine { node: self.name.clone(), ..line };
            lost += found.lost;
            let missing = (lost > 0).then(|| TraceLine { lost, ..TraceLine::default() });
            let is_news = !silent.is_empty() && silent != was_silent;
            let news = is_news.then(|| TraceLine { silent: silent.clone(), ..TraceLine::default() });
            if let Some(line) = missing
                && self.lines.try_send(of_node(line)).is_ok()
            {
                lost = 0;
            }
            if news.is_none_or(|line| self.lines.try_send(of_node(line)).is_ok()) {
                was_silent = silent;
            }
            for line in found.lines {
                lost += u64::from(self.lines.try_send(line).is_err());
            }
            tokio::select! {
                () = sleep(AGAIN) => {}
                () = self.lines.closed() => return,
            }
        }
    }

    async fn ask(&self, ends: bool) -> Result<TraceFound, String> {
        let belongs = self.subject.belongs().ok_or("the node starts")?;
        let question = Asked::Trace(TraceWanted { ends, ..self.wanted.clone() });
        match ask(&self.subject, belongs, (self.node, question, ANSWER_WITHIN)).await? {
            Answered::Trace(found) => Ok(found),
            Answered::Refused(why) => Err(why),
            _ => Err(NONSENSE.to_owned()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_of_something_that_makes_sense() {
        let of = |client_id: &str, filter: &str, address: &str| {
            let [client_id, filter, address] = [client_id, filter, address].map(str::to_owned);
            parse(&TraceRequest { client_id, filter, address, payload_bytes: 0 })
        };
        let wanted = |payload_bytes: u32| {
            parse(&TraceRequest { client_id: "c".into(), payload_bytes, ..TraceRequest::default() })
        };
        assert_eq!(wanted(1_024).unwrap().payload_bytes, 1_024);
        assert!(wanted(1_025).unwrap_err().contains("payload_bytes: 1025 is too much"));
        assert!(of("c", "a/#", "10.0.0.0/8").is_ok() && of("", "", "::1").is_ok());
        for (wrong, words) in [
            (of("", "", ""), "expected a client"),
            (of("", "a#", ""), "filter: \"a#\""),
            (of("", "$share/g/a", ""), "shared subscription"),
            (of("", "", "here"), "address: expected"),
        ] {
            assert!(wrong.unwrap_err().contains(words));
        }
    }
}
