//! The end of a persistent session by the word of whoever administers the cluster: this node connects as its client, with a clean
//! start and a session that ends with the connection, and goes. All of that is in the log of the client's home, as a CONNECT is.

use std::sync::Arc;

use session_store::ClientId;
use session_store::command::{Connect, Connected, End, Refused, WillFate};

use super::connect::answer_of_home;
use crate::inbox::Inbox;
use crate::worker::Node;

/// How often it is tried where the client itself comes between.
const ATTEMPTS: u32 = 3;

/// What became of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cleared {
    /// It has ended.
    Done,
    /// Its client came between each time.
    Overtaken,
}

/// Ends the session of a client, and the connection that it has. Returns when that is committed; waits for the client's home
/// for as long as that takes.
pub(crate) async fn clear(node: Arc<Node>, client: ClientId) -> Cleared {
    let (shards, home) = (&node.shards, node.shards.home_of_client(&client));
    for _ in 0..ATTEMPTS {
        let inbox = Inbox::new(node.next_connection(), node.inbox);
        let connect = Connect {
            client: client.clone(),
            connection: inbox.id(),
            clean_start: true,
            expiry_s: 0,
            receive_maximum: 1,
            will: None,
        };
        shards.connect(home, connect, &inbox).await;
        let (answer, _nothing) = answer_of_home(&inbox).await;
        match answer {
            Ok(Connected { epoch, .. }) => {
                inbox.close();
                let (client, will, unsent) = (client.clone(), WillFate::Discard, Vec::new());
                shards.end(home, End { client, epoch, will, expiry_s: None, unsent }, &inbox).await;
                return Cleared::Done;
            }
            // Its session ended, or is that of whoever came between.
            Err(Refused::TakenOver | Refused::Quota) => {}
        }
    }
    Cleared::Overtaken
}
