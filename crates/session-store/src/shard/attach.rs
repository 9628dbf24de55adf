//! What is said again to a host that may have missed it, since the way to it broke or another replica leads now, and
//! what a new leader has to begin anew. Changes nothing: whatever must not be lost is in the state.

use std::ops::Bound;

use super::Shard;
use crate::command::{Push, Reply};
use crate::effect::Effect;
use crate::ids::{ClientId, Host, SessionKey};
use crate::session::Session;

impl Shard {
    /// Says everything again that the clients of a host wait for and that is no answer to a numbered request: what is
    /// in flight to them, and that a connection is to stop. A host leaves out what it has by the positions.
    pub fn say_again(&self, host: Host, effects: &mut Vec<Effect>) {
        let from = (host, ClientId::new(""));
        let hosted = self.hosted.range((Bound::Included(from), Bound::Unbounded));
        for (_, id) in hosted.take_while(|(of, _)| *of == host) {
            let Some(client) = self.clients.get(id) else { continue };
            let Some(connection) = client.connection else { continue };
            let session = client.session.and_then(|key| Some((key, self.sessions.get(&key)?)));
            let pushes = session.map(|(key, session)| pushes_again(key, session));
            let pushes = pushes.filter(|pushes| !pushes.is_empty());
            effects.extend(pushes.map(|pushes| Effect::Push(connection, pushes)));
            effects.extend(client.waiting.is_some().then_some(Effect::Reply(connection, Reply::Stop)));
        }
    }

    /// Asks for the pages again that scans wait for: who was asked before this replica led may be gone.
    pub fn ask_again(&self, effects: &mut Vec<Effect>) {
        for session in self.sessions.values().filter(|session| session.connection.is_some()) {
            let ask = session.scans.asked();
            effects.extend(ask.map(|ask| Effect::Scan(session.client.clone(), ask)));
        }
    }
}

fn pushes_again(key: SessionKey, session: &Session) -> Vec<Push> {
    let in_flight = session.outbound.in_flight_again().map(|packet| session.push(key, packet));
    in_flight.chain(session.scans.sending().map(Push::PageEnd)).collect()
}
