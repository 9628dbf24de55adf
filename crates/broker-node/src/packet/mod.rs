//! One file a packet that a client sends: what it does. Called by `session::inbound`, the one match over
//! all packets.

mod acks;
mod auth;
mod denied;
mod disconnect;
mod ping;
mod publish;
mod subscribe;
mod unsubscribe;

pub(crate) use self::denied::Denied;
