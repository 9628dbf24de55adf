//! What of a node changes while it runs by the word of whoever administers it: its configuration is read again, and what it logs.
//! Called by the service, and by `inside` for other nodes; `live` and `logging` do it.

use session_store::NodeId;
use tokio::time::{Duration, timeout};
use tonic::Status;

use super::node_proto::answer::Kind as Answered;
use super::node_proto::question::Kind as Asked;
use super::node_proto::{LogSet, Reload, Reloaded, SetLog};
use super::proto::{ReloadReply, ReloadRequest, SetLogReply, SetLogRequest};
use super::service::find;
use super::subject::{Belongs, Subject};
use super::whole::{NONSENSE, ask, belonging};
use crate::logging;

/// How long a node may take to read its files, and what the way to another one takes besides.
const RELOAD_WITHIN: Duration = Duration::from_secs(10);
const WAY: Duration = Duration::from_secs(2);

impl Subject {
    /// Reads this node's configuration again.
    ///
    /// # Errors
    /// It cannot be used, or the node starts or stops.
    pub(super) async fn reload(&self) -> Result<Reloaded, String> {
        let running = self.running().ok_or("the node starts")?;
        let reloaded = timeout(RELOAD_WITHIN, running.node.live.reload_now()).await;
        let changed = reloaded.map_err(|_elapsed| "its files are not read in time".to_owned())??;
        Ok(Reloaded { changed: changed.into_iter().collect() })
    }
}

/// Changes what this node logs, or only tells it.
///
/// # Errors
/// It makes no sense.
pub(super) fn set_log(level: &str) -> Result<LogSet, String> {
    let level = if level.is_empty() { logging::level() } else { logging::say_level(level)? };
    Ok(LogSet { level })
}

/// The node that is meant, with its name: the one that is asked where none is named.
fn meant(subject: &Subject, belongs: &Belongs, node: &str) -> Result<(NodeId, String), Status> {
    if node.is_empty() {
        return Ok((belongs.me, subject.name().to_owned()));
    }
    let roster = belonging(&belongs.roster.borrow());
    let number = find(&roster, node)?;
    let name = roster.get(&number).map(|member| member.name.to_string());
    Ok((number, name.unwrap_or_default()))
}

/// What a node that is meant answers.
async fn told(
    subject: &Subject,
    belongs: &Belongs,
    (node, name, asked): (NodeId, &str, Asked),
) -> Result<Answered, Status> {
    match ask(subject, belongs, (node, asked, RELOAD_WITHIN + WAY)).await {
        Ok(Answered::Refused(why)) => Err(Status::failed_precondition(format!("node {name}: {why}"))),
        Ok(answer) => Ok(answer),
        Err(why) => Err(Status::unavailable(format!("node {name} did not answer: {why}"))),
    }
}

/// Has a node read its configuration again.
///
/// # Errors
/// There is no such node, it does not answer, or it cannot use its configuration.
pub(super) async fn reload(
    subject: &Subject,
    belongs: &Belongs,
    request: ReloadRequest,
) -> Result<ReloadReply, Status> {
    let (number, node) = meant(subject, belongs, &request.node)?;
    match told(subject, belongs, (number, &node, Asked::Reload(Reload {}))).await? {
        Answered::Reloaded(Reloaded { changed }) => Ok(ReloadReply { node, changed }),
        _ => Err(Status::internal(NONSENSE)),
    }
}

/// Changes what a node logs, or only tells it.
///
/// # Errors
/// There is no such node, it does not answer, or the level makes no sense.
pub(super) async fn log(
    subject: &Subject,
    belongs: &Belongs,
    request: SetLogRequest,
) -> Result<SetLogReply, Status> {
    let SetLogRequest { node, level } = request;
    if !level.is_empty() {
        logging::parse(&level).map_err(Status::invalid_argument)?;
    }
    let (number, node) = meant(subject, belongs, &node)?;
    match told(subject, belongs, (number, &node, Asked::SetLog(SetLog { level }))).await? {
        Answered::LogSet(LogSet { level }) => Ok(SetLogReply { node, level }),
        _ => Err(Status::internal(NONSENSE)),
    }
}
