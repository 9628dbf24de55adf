//! Who in shared groups takes what the outbox sends, as the log says it, and what becomes of that when a transient member
//! is gone: another item is for its group, so that no target ever gets something at a position that it has passed.
//! Called by `Shard::apply`; picks nobody itself.

use std::ops::RangeInclusive;

use mqtt_codec::QoS;

use super::Shard;
use super::out::Out;
use crate::command::PICKS_LEVEL;
use crate::ids::ConnectionId;
use crate::matching::GroupRef;
use crate::message::MessageRef;
use crate::picks::{InGroup, PickedItem, Taker};

impl Shard {
    /// Takes note of who takes items. Who has died meanwhile has had nothing of them.
    pub(super) fn picked(&mut self, items: Vec<PickedItem>, out: &mut Out<'_>) {
        for picked in items {
            let position = picked.position;
            if self.outbox.pick(picked).is_some() {
                self.keeper.touch_item(position);
                for (group, message) in self.take_back(position..=position, |_, _, of, dead| dead(of)) {
                    self.redispatch(group, message, out);
                }
            }
        }
    }

    /// Every target has the outbox's items up to this position. Where the log says who takes them, one that is for a
    /// group alone and was picked for nobody was for a group whose last member had left.
    pub(super) fn relayed(&mut self, up_to: u64) {
        let for_nobody = self.outbox.retire(up_to);
        if self.apply_level >= PICKS_LEVEL {
            self.queue_counters.dropped_no_member += for_nobody;
        }
    }

    /// A transient member is gone: what it was to have, from here on, is for others of its groups.
    pub(super) fn given_back(&mut self, from: &InGroup, out: &mut Out<'_>) {
        let item = self.outbox.get(from.position);
        let Some(Taker::Member(gone)) = item.and_then(|item| item.picks.taker(&from.group)) else { return };
        let is_behind = |position, group: &GroupRef| position > from.position || *group >= from.group;
        let back = self.take_back(from.position..=u64::MAX, |position, group, of, _| {
            of == gone && is_behind(position, group)
        });
        for (group, message) in back {
            self.redispatch(group, message, out);
        }
    }

    /// Hosts have died, and with them transient members, which may have had what they were picked for: at QoS 1 others
    /// have it as well, at QoS 2 it is given up (section 4.8.2 of MQTT 5.0).
    pub(super) fn members_died(&mut self, out: &mut Out<'_>) {
        for (group, message) in self.take_back(0..=u64::MAX, |_, _, of, dead| dead(of)) {
            match message.qos {
                QoS::AtMostOnce => self.queue_counters.dropped_no_member += 1,
                QoS::AtLeastOnce => self.redispatch(group, message, out),
                QoS::ExactlyOnce => self.queue_counters.qos2_in_doubt += 1,
            }
        }
    }

    /// Takes out the picks of members that are gone, by their positions, groups and connections; the last argument of
    /// `gone` says whether a connection's host is dead.
    fn take_back(
        &mut self,
        positions: RangeInclusive<u64>,
        gone: impl Fn(u64, &GroupRef, ConnectionId, &dyn Fn(ConnectionId) -> bool) -> bool,
    ) -> Vec<(GroupRef, MessageRef)> {
        let lowest_live = &self.lowest_live;
        let dead = |of: ConnectionId| {
            lowest_live.get(&of.host.node).is_some_and(|lowest| of.host.incarnation < *lowest)
        };
        let back = self.outbox.take_back(positions, |position, group, of| gone(position, group, of, &dead));
        let touched = back.iter().map(|(from, _)| from.position);
        touched.for_each(|position| self.keeper.touch_item(position));
        back.into_iter().map(|(from, message)| (from.group, message)).collect()
    }
}
