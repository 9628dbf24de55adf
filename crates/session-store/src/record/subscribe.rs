//! SUBSCRIBE and UNSUBSCRIBE as they are written. Called by `entry`.

use mqtt_codec::PacketId;
use topic_index::Filter;

use super::{Record, RecordError, all_from_wire, all_to_wire, required, wire};
use crate::command::{RetainedWanted, Subscribe, SubscribeTo, Unsubscribe};
use crate::ids::{ClientId, Epoch};
use crate::matching::Subscribed;

impl Record for RetainedWanted {
    type Wire = i32;

    fn to_wire(&self) -> i32 {
        let wanted = match self {
            Self::Always => wire::RetainedWanted::Always,
            Self::IfNew => wire::RetainedWanted::IfNew,
            Self::Never => wire::RetainedWanted::Never,
        };
        i32::from(wanted)
    }

    fn from_wire(wire: i32) -> Result<Self, RecordError> {
        match wire::RetainedWanted::try_from(wire) {
            Ok(wire::RetainedWanted::Always) => Ok(Self::Always),
            Ok(wire::RetainedWanted::IfNew) => Ok(Self::IfNew),
            Ok(wire::RetainedWanted::Never) => Ok(Self::Never),
            Ok(wire::RetainedWanted::Unspecified) | Err(_) => Err(RecordError::Invalid { field: "retained" }),
        }
    }
}

pub(super) fn place_to_wire(place: usize) -> u32 {
    // A packet of 256 MiB has fewer filters than that.
    u32::try_from(place).unwrap_or(u32::MAX)
}

pub(super) fn place_from_wire(place: u32) -> Result<usize, RecordError> {
    usize::try_from(place).map_err(|_| RecordError::Invalid { field: "place" })
}

impl Record for (usize, SubscribeTo) {
    type Wire = wire::SubscribeTo;

    fn to_wire(&self) -> wire::SubscribeTo {
        let (place, to) = self;
        wire::SubscribeTo {
            place: place_to_wire(*place),
            filter: to.filter.to_wire(),
            subscribed: Some(to.subscribed.to_wire()),
            retained: to.retained.to_wire(),
        }
    }

    fn from_wire(wire: wire::SubscribeTo) -> Result<Self, RecordError> {
        let to = SubscribeTo {
            filter: Filter::from_wire(wire.filter)?,
            subscribed: Subscribed::from_wire(required(wire.subscribed, "subscribed")?)?,
            retained: RetainedWanted::from_wire(wire.retained)?,
        };
        Ok((place_from_wire(wire.place)?, to))
    }
}

impl Record for Subscribe {
    type Wire = wire::Subscribe;

    fn to_wire(&self) -> wire::Subscribe {
        wire::Subscribe {
            client: self.client.to_wire(),
            epoch: self.epoch.0,
            packet_id: self.packet_id.to_wire(),
            filters: all_to_wire(&self.filters),
        }
    }

    fn from_wire(wire: wire::Subscribe) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            packet_id: PacketId::from_wire(wire.packet_id)?,
            filters: all_from_wire(wire.filters)?,
        })
    }
}

impl Record for (usize, Filter) {
    type Wire = wire::PlacedFilter;

    fn to_wire(&self) -> wire::PlacedFilter {
        wire::PlacedFilter { place: place_to_wire(self.0), filter: self.1.to_wire() }
    }

    fn from_wire(wire: wire::PlacedFilter) -> Result<Self, RecordError> {
        Ok((place_from_wire(wire.place)?, Filter::from_wire(wire.filter)?))
    }
}

impl Record for Unsubscribe {
    type Wire = wire::Unsubscribe;

    fn to_wire(&self) -> wire::Unsubscribe {
        wire::Unsubscribe {
            client: self.client.to_wire(),
            epoch: self.epoch.0,
            packet_id: self.packet_id.to_wire(),
            filters: all_to_wire(&self.filters),
        }
    }

    fn from_wire(wire: wire::Unsubscribe) -> Result<Self, RecordError> {
        Ok(Self {
            client: ClientId::from_wire(wire.client)?,
            epoch: Epoch(wire.epoch),
            packet_id: PacketId::from_wire(wire.packet_id)?,
            filters: all_from_wire(wire.filters)?,
        })
    }
}
