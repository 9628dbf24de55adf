//! The receiving end of words: hands on what another node says until its stream ends, and reports that something may be
//! lost with it. Called by the node's services; it reads no word.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{StreamExt, stream};
use raft_consensus::types::NodeId;
use tonic::{Request, Response, Status, Streaming};

use super::Hears;
use crate::proto::session::shards_server::Shards;
use crate::refusal;
use crate::server::Known;

/// Hears what other nodes say.
#[derive(Clone)]
pub(crate) struct Listener(pub(crate) Arc<dyn Hears>);

/// What one node says on one lane. When this is dropped, however that comes, it was the last.
struct Hearing {
    hears: Arc<dyn Hears>,
    from: NodeId,
    words: Streaming<Bytes>,
}

impl Drop for Hearing {
    fn drop(&mut self) {
        self.hears.lost(self.from);
    }
}

impl Hearing {
    /// Hears all there is; the error is for whoever said it.
    async fn run(mut self) -> Option<Status> {
        loop {
            match self.words.message().await {
                Ok(Some(words)) => {
                    if let Err(refusal) = self.hears.hear(self.from, words) {
                        return Some(refusal::status(&refusal));
                    }
                }
                Ok(None) => return None,
                Err(status) => return Some(status),
            }
        }
    }
}

#[tonic::async_trait]
impl Shards for Listener {
    type SayStream = BoxStream<'static, Result<Bytes, Status>>;

    async fn say(&self, request: Request<Streaming<Bytes>>) -> Result<Response<Self::SayStream>, Status> {
        let Some(Known(sender)) = request.extensions().get::<Known>().copied() else {
            return Err(Status::internal("nobody knows who asks"));
        };
        let hearing = Hearing { hears: Arc::clone(&self.0), from: sender.node, words: request.into_inner() };
        let ended = stream::once(hearing.run()).filter_map(|error| std::future::ready(error.map(Err)));
        Ok(Response::new(ended.boxed()))
    }
}
