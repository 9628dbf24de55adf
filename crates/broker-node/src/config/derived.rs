//! What follows from the settings: bounds as the codec, the sessions and the mailboxes take them.
//! Used when a node starts and by its connections; checks nothing, `check` has done that.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use mqtt_codec::{Limits, Version};
use node_routing::lease::{BadProfile, Profile};
use node_routing::limits::Limits as PeerLimits;
use raft_consensus::wal::{Durability, PoisonHook, WalError, WalOptions};
use session_store::limits::{QueueLimits, QueuePolicy as Policy, ShardLimits};

use super::{DurabilitySetting, ProfileSetting, QueuePolicy, Settings};
use crate::failure::Fails;
use crate::inbox::InboxLimits;

/// Bytes of a CONNECT at most, whatever `mqtt.max_packet_size` allows to clients that are connected: its
/// sender has not shown yet who it is.
const CONNECT_BYTES_MAX: u32 = 128 * 1024;
/// Bytes of an entry of the log besides its largest message.
const ENTRY_BYTES: u64 = 1 << 20;
/// Sizes of segments are multiples of this.
const SEGMENT_UNIT: u64 = 4096;
/// Between two syncs of the log with `interval`.
const SYNC_INTERVAL: Duration = Duration::from_millis(100);
/// What a message between nodes and its answer take at most, in one network and in several zones.
const LAN_ROUND_TRIP: Duration = Duration::from_millis(20);
const ZONES_ROUND_TRIP: Duration = Duration::from_millis(100);
/// The longest keep alive of 5.0 clients where none is set: they are told of it.
const KEEP_ALIVE_DEFAULT: Duration = Duration::from_hours(1);

impl Settings {
    /// Threads that serve connections. One core is left to the shards and to the kernel's part of the work:
    /// with a thread on each, connections would wait for these on two cores, and most messages would
    /// change threads.
    pub(crate) fn worker_threads(&self) -> usize {
        match self.node.worker_threads {
            0 => thread::available_parallelism().map_or(1, |cores| NonZeroUsize::get(cores).max(2) - 1),
            count => count.into(),
        }
    }

    /// Bounds of the packets of connected clients.
    pub(crate) fn codec_limits(&self) -> Limits {
        Limits {
            packet_bytes_max: self.mqtt.max_packet_size,
            topic_levels_max: self.mqtt.topic_levels_max,
            user_properties_max: self.mqtt.user_properties_max,
            user_properties_bytes_max: self.mqtt.user_properties_bytes_max,
            ..Limits::default()
        }
    }

    /// Bounds of CONNECT.
    pub(crate) fn connect_limits(&self) -> Limits {
        let limits = self.codec_limits();
        Limits { packet_bytes_max: limits.packet_bytes_max.min(CONNECT_BYTES_MAX), ..limits }
    }

    /// Bounds of a session's queue.
    pub(crate) fn queue_limits(&self) -> QueueLimits {
        let policy = match self.session.queue_policy {
            QueuePolicy::DropNewest => Policy::DropNewest,
            QueuePolicy::DropOldest => Policy::DropOldest,
            QueuePolicy::Disconnect => Policy::Disconnect,
        };
        QueueLimits {
            messages_max: to_usize(self.session.queue_messages_max),
            bytes_max: to_usize(self.session.queue_bytes_max),
            policy,
        }
    }

    /// Bounds of a connection's mailbox.
    pub(crate) fn inbox_limits(&self) -> InboxLimits {
        InboxLimits {
            messages_max: self.session.queue_messages_max,
            bytes_max: self.session.queue_bytes_max,
            qos0_bytes_max: self.session.qos0_queue_bytes_max,
            policy: self.queue_limits().policy,
        }
    }

    /// Bounds of one of `shards` shards: those of the node are shared out, rounded up.
    pub(crate) fn shard_limits(&self, shards: u16) -> ShardLimits {
        let share = |total: u64| to_usize(total.div_ceil(u64::from(shards.max(1))));
        ShardLimits {
            queue: self.queue_limits(),
            sessions_max: share(self.session.sessions_max.into()),
            subscriptions_max: to_usize(self.mqtt.subscriptions_per_client_max),
            retained_messages_max: share(self.retained.messages_max.into()),
            retained_bytes_max: share(self.retained.bytes_max),
        }
    }

    /// Bytes of one file of the log. A record takes half of it at most, and an entry holds one large message at most.
    fn segment_bytes(&self) -> u64 {
        let largest = 2 * (u64::from(self.mqtt.max_packet_size) + ENTRY_BYTES);
        self.storage.segment_size.max(largest).next_multiple_of(SEGMENT_UNIT)
    }

    /// The times of the cluster.
    ///
    /// # Errors
    /// They do not nest, which is a mistake in this binary.
    pub(crate) fn profile(&self) -> Result<Profile, BadProfile> {
        match self.cluster.profile {
            ProfileSetting::Lan => Profile::lan(LAN_ROUND_TRIP),
            ProfileSetting::Zones => Profile::zones(ZONES_ROUND_TRIP),
        }
    }

    /// Bounds of connections between nodes: whatever the log takes goes into one message.
    pub(crate) fn peer_limits(&self) -> PeerLimits {
        let limits = PeerLimits::default();
        let largest = to_usize(self.segment_bytes() / 2 + ENTRY_BYTES);
        PeerLimits { message_bytes_max: limits.message_bytes_max.max(largest), ..limits }
    }

    /// How the log is kept; `fails` is told when it cannot go on.
    pub(crate) fn log_options(&self, fails: Fails) -> WalOptions {
        let segment_bytes = self.segment_bytes();
        let durability = match self.storage.durability {
            DurabilitySetting::Always => Durability::Always,
            DurabilitySetting::Interval => Durability::Interval(SYNC_INTERVAL),
        };
        let poisoned = move |error: &WalError| fails.say(error.clone().into());
        WalOptions {
            segment_bytes,
            log_bytes_max: self.storage.log_bytes_max.max(8 * segment_bytes),
            durability,
            on_poison: Some(PoisonHook(Arc::new(poisoned))),
            ..WalOptions::default()
        }
    }

    /// The longest session expiry, in seconds; `None` is no bound.
    pub(crate) fn max_session_expiry_s(&self) -> Option<u32> {
        let seconds = self.mqtt.max_session_expiry?.as_secs();
        Some(u32::try_from(seconds).unwrap_or(u32::MAX))
    }

    /// The longest keep alive of a client that speaks `version`, in seconds; `None` is no bound.
    pub(crate) fn max_keep_alive_s(&self, version: Version) -> Option<u16> {
        let default = version.is_v5().then_some(KEEP_ALIVE_DEFAULT);
        let maximum = self.mqtt.max_keep_alive.or(default)?;
        Some(u16::try_from(maximum.as_secs()).unwrap_or(u16::MAX))
    }
}

fn to_usize(n: impl Into<u64>) -> usize {
    usize::try_from(n.into()).unwrap_or(usize::MAX)
}
