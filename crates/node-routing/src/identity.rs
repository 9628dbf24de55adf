//! Who speaks: what every request between nodes carries in its headers, and how it is held against who is asked. Used by
//! both ends of a connection.

use http::{HeaderMap, HeaderName, HeaderValue};
use raft_consensus::cluster::ClusterId;
use raft_consensus::network::Refusal;
use raft_consensus::types::NodeId;
use session_store::Incarnation;

use crate::peers::Peers;
use crate::proto::routing::Welcome;
use crate::security::Who;

/// The version of what nodes say to each other that this binary speaks.
pub const PROTOCOL: u32 = 1;

const VERSION: HeaderName = HeaderName::from_static("quelea-protocol");
const CLUSTER: HeaderName = HeaderName::from_static("quelea-cluster");
const FROM: HeaderName = HeaderName::from_static("quelea-from");
const RUN: HeaderName = HeaderName::from_static("quelea-run");
const TO: HeaderName = HeaderName::from_static("quelea-to");

/// Who a node is: its number in its cluster, and which of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The cluster that it belongs to.
    pub cluster: ClusterId,
    /// Its number.
    pub node: NodeId,
    /// Its run.
    pub incarnation: Incarnation,
}

/// Who sends a request, as its headers say and the node that is asked has found right.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sender {
    /// Its number.
    pub(crate) node: NodeId,
    /// Its run.
    pub(crate) incarnation: Incarnation,
}

impl Identity {
    /// What its requests to a node carry.
    pub(crate) fn headers(&self, to: NodeId) -> HeaderMap {
        let cluster = HeaderValue::try_from(self.cluster.to_string())
            .expect("a cluster's id is written in hexadecimal digits, which any header takes");
        HeaderMap::from_iter([
            (VERSION, HeaderValue::from(PROTOCOL)),
            (CLUSTER, cluster),
            (FROM, HeaderValue::from(self.node)),
            (RUN, HeaderValue::from(self.incarnation.0)),
            (TO, HeaderValue::from(to)),
        ])
    }

    /// Holds what a request carries against who is asked; says who asks.
    ///
    /// # Errors
    /// The version, the cluster, the node that is meant, or whoever asks is not right; looked at in this order, so that
    /// nothing of another version or cluster is read any further.
    pub(crate) fn check(&self, headers: &HeaderMap, peers: &Peers) -> Result<Sender, Refusal> {
        let found = read(headers, &VERSION)?;
        if found != PROTOCOL {
            return Err(Refusal::WrongVersion { expected: PROTOCOL, found });
        }
        if read::<ClusterId>(headers, &CLUSTER)? != self.cluster {
            return Err(Refusal::WrongCluster);
        }
        let expected = read(headers, &TO)?;
        if expected != self.node {
            return Err(Refusal::WrongNode { expected, found: self.node });
        }
        let sender = Sender { node: read(headers, &FROM)?, incarnation: Incarnation(read(headers, &RUN)?) };
        check_run(sender.node, sender.incarnation, peers)?;
        Ok(sender)
    }

    /// What a node answers to a greeting.
    pub(crate) fn welcome(&self) -> Welcome {
        let cluster = self.cluster.0.to_vec().into();
        Welcome { protocol: PROTOCOL, cluster, node: self.node, incarnation: self.incarnation.0 }
    }

    /// Holds the answer to a greeting against who was meant.
    ///
    /// # Errors
    /// As [`Self::check`], in the words of whoever answered.
    pub(crate) fn check_welcome(
        &self,
        welcome: &Welcome,
        expected: NodeId,
        peers: &Peers,
    ) -> Result<(), Refusal> {
        if welcome.protocol != PROTOCOL {
            return Err(Refusal::WrongVersion { expected: welcome.protocol, found: PROTOCOL });
        }
        if welcome.cluster != self.cluster.0.as_slice() {
            return Err(Refusal::WrongCluster);
        }
        if welcome.node != expected {
            return Err(Refusal::WrongNode { expected, found: welcome.node });
        }
        check_run(welcome.node, Incarnation(welcome.incarnation), peers)
    }
}

/// Holds what a node has shown against its name, where both are known.
///
/// # Errors
/// It has shown to be somebody else.
pub(crate) fn check_name(node: NodeId, who: &Who, peers: &Peers) -> Result<(), Refusal> {
    let name = peers.get(&node).map_or("", |peer| &*peer.name);
    if who.may_be(name) { Ok(()) } else { Err(Refusal::WrongName(name.to_owned())) }
}

/// Whoever is not in the view is no stranger yet, whatever its run: a node that lags may hear from one that joined after
/// what it knows.
fn check_run(node: NodeId, run: Incarnation, peers: &Peers) -> Result<(), Refusal> {
    match peers.get(&node).map(|peer| peer.lowest_live) {
        Some(lowest_live) if run < lowest_live => {
            Err(Refusal::DeadRun { found: run.0, lowest_live: lowest_live.0 })
        }
        _ => Ok(()),
    }
}

fn read<T: std::str::FromStr>(headers: &HeaderMap, name: &HeaderName) -> Result<T, Refusal> {
    let value = headers.get(name).and_then(|value| value.to_str().ok()).and_then(|text| text.parse().ok());
    value.ok_or_else(|| Refusal::Malformed(format!("the header {name} is missing or none")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peers::Peer;

    const ONE: Identity = Identity { cluster: ClusterId([7; 16]), node: 1, incarnation: Incarnation(4) };
    const TWO: Identity = Identity { node: 2, ..ONE };

    fn peers(lowest_live: u32) -> Peers {
        let peer = Peer { address: String::new(), name: "one".into(), lowest_live: Incarnation(lowest_live) };
        Peers::from([(1, peer)])
    }

    fn asked(from: Identity, to: NodeId) -> Result<NodeId, Refusal> {
        TWO.check(&from.headers(to), &peers(4)).map(|sender| sender.node)
    }

    #[test]
    fn who_belongs_is_let_in_and_everybody_else_is_told_why_not() {
        assert_eq!(asked(ONE, 2), Ok(1));
        assert_eq!(asked(Identity { node: 9, ..ONE }, 2), Ok(9), "nobody knows it yet");
        assert_eq!(asked(ONE, 3), Err(Refusal::WrongNode { expected: 3, found: 2 }));
        let stranger = Identity { cluster: ClusterId([8; 16]), ..ONE };
        assert_eq!(asked(stranger, 2), Err(Refusal::WrongCluster));
        let dead = Identity { incarnation: Incarnation(3), ..ONE };
        assert_eq!(asked(dead, 2), Err(Refusal::DeadRun { found: 3, lowest_live: 4 }));
    }

    #[test]
    fn a_node_is_who_its_certificate_names() {
        let named = |name: &str| Who::Named([name.into()].into());
        assert_eq!(check_name(1, &named("one"), &peers(4)), Ok(()));
        assert_eq!(check_name(1, &Who::Any, &peers(4)), Ok(()));
        assert_eq!(check_name(1, &named("two"), &peers(4)), Err(Refusal::WrongName("one".to_owned())));
        assert_eq!(check_name(9, &named("two"), &peers(4)), Ok(()), "nobody knows it yet");
    }

    #[test]
    fn another_version_is_refused_whatever_else_it_carries() {
        let headers = HeaderMap::from_iter([(VERSION, HeaderValue::from_static("2"))]);
        let refused = Refusal::WrongVersion { expected: PROTOCOL, found: 2 };
        assert_eq!(TWO.check(&headers, &peers(0)), Err(refused));
    }

    #[test]
    fn headers_that_are_missing_or_none_are_named() {
        for name in [&VERSION, &CLUSTER, &FROM, &RUN, &TO] {
            let mut headers = ONE.headers(2);
            headers.remove(name);
            let missing = TWO.check(&headers, &peers(0)).unwrap_err();
            headers.insert(name, HeaderValue::from_static("x"));
            assert_eq!(TWO.check(&headers, &peers(0)).unwrap_err(), missing);
            assert!(missing.to_string().contains(name.as_str()), "{missing}");
        }
    }

    #[test]
    fn an_answer_of_somebody_else_is_no_welcome() {
        let check = |welcome: Welcome| ONE.check_welcome(&welcome, 2, &Peers::new());
        assert_eq!(check(TWO.welcome()), Ok(()));
        let found = Welcome { protocol: 3, ..TWO.welcome() };
        assert_eq!(check(found), Err(Refusal::WrongVersion { expected: 3, found: PROTOCOL }));
        let other = Welcome { cluster: vec![8; 16].into(), ..TWO.welcome() };
        assert_eq!(check(other), Err(Refusal::WrongCluster));
        let short = Welcome { cluster: vec![7; 15].into(), ..TWO.welcome() };
        assert_eq!(check(short), Err(Refusal::WrongCluster));
        let third = Welcome { node: 3, ..TWO.welcome() };
        assert_eq!(check(third), Err(Refusal::WrongNode { expected: 2, found: 3 }));
    }
}
