//! What lies between the nodes of a cluster: proxies of the test, or namespaces that drop packets. It does what the faults
//! of both kinds have in common.

use e2e_tests::nodes::Number;

use crate::proxy::{Fate, Network};
use crate::spaces::{self, Spaces};

/// What lies between nodes.
pub(crate) enum Between {
    Proxies(Network),
    /// With the port of all nodes for each other.
    Spaces(Spaces, u16),
}

impl Between {
    /// From now on this becomes of what one node sends to another.
    pub(crate) fn set(&self, from: Number, to: Number, fate: Fate) {
        match self {
            Self::Proxies(network) => network.set(from, to, fate),
            Self::Spaces(spaces, _) => {
                assert_eq!(fate, Fate::Held, "packets are dropped or pass");
                spaces.drop_packets(from, to);
            }
        }
    }

    /// The same for both directions between a node and all others.
    pub(crate) fn set_around(&self, node: Number, fate: Fate) {
        for other in (1..=3).filter(|other| *other != node) {
            self.set(node, other, fate);
            self.set(other, node, fate);
        }
    }

    /// Everything passes, and everybody takes connections.
    pub(crate) fn heal(&self) {
        match self {
            Self::Proxies(network) => network.heal(),
            Self::Spaces(spaces, _) => spaces.heal(),
        }
    }

    /// Ends all connections to a node and refuses new ones, as a firewall does.
    pub(crate) fn refuse(&self, node: Number) {
        match self {
            Self::Proxies(network) => network.refuse(node),
            Self::Spaces(spaces, port) => spaces.reject(node, *port),
        }
    }

    /// A node's process has ended: nobody listens at its address any more.
    pub(crate) fn ended(&self, node: Number) {
        if let Self::Proxies(network) = self {
            network.refuse(node);
        }
    }

    /// Does something where a node's ports are that only its own machine reaches.
    pub(crate) fn at<T: Send>(&self, node: Number, what: impl FnOnce() -> T + Send) -> T {
        match self {
            Self::Proxies(_) => what(),
            Self::Spaces(..) => spaces::inside(node, what),
        }
    }

    /// The proxies, where it is them.
    pub(crate) fn proxies(&self) -> &Network {
        match self {
            Self::Proxies(network) => network,
            Self::Spaces(..) => panic!("there are no proxies"),
        }
    }
}
