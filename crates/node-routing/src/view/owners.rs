//! The owners of one filter, small: nearly every filter has one. Used by the index.

use mqtt_codec::QoS;

/// An owner's number within one view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct OwnerNumber(pub(super) u32);

/// Who has a route for a filter, in 16 bytes where nobody or one owner has.
#[derive(Debug, Default)]
pub(super) enum Owners {
    #[default]
    None,
    One(OwnerNumber, QoS),
    /// Two at least, each once.
    #[expect(clippy::box_collection, reason = "a vector itself would make the slot of every filter larger")]
    Many(Box<Vec<(OwnerNumber, QoS)>>),
}

const _: () = assert!(size_of::<Owners>() <= 16, "there is one in each node of the index");

impl Owners {
    pub(super) fn is_empty(&self) -> bool {
        matches!(self, Self::None)
    }

    /// Adds an owner, or takes over its QoS; says whether it is new.
    pub(super) fn set(&mut self, owner: OwnerNumber, qos: QoS) -> bool {
        match self {
            Self::None => *self = Self::One(owner, qos),
            Self::One(known, old) if *known == owner => {
                *old = qos;
                return false;
            }
            Self::One(known, old) => *self = Self::Many(Box::new(vec![(*known, *old), (owner, qos)])),
            Self::Many(many) => match many.iter_mut().find(|(known, _)| *known == owner) {
                Some((_, old)) => {
                    *old = qos;
                    return false;
                }
                None => many.push((owner, qos)),
            },
        }
        true
    }

    /// Removes an owner; says whether it was there.
    pub(super) fn remove(&mut self, owner: OwnerNumber) -> bool {
        match self {
            Self::One(known, _) if *known == owner => *self = Self::None,
            Self::Many(many) => {
                let before = many.len();
                many.retain(|(known, _)| *known != owner);
                let removed = many.len() < before;
                if let [(last, qos)] = many[..] {
                    *self = Self::One(last, qos);
                }
                return removed;
            }
            Self::None | Self::One(..) => return false,
        }
        true
    }

    pub(super) fn for_each(&self, mut found: impl FnMut(OwnerNumber, QoS)) {
        match self {
            Self::None => {}
            Self::One(owner, qos) => found(*owner, *qos),
            Self::Many(many) => many.iter().for_each(|(owner, qos)| found(*owner, *qos)),
        }
    }
}
