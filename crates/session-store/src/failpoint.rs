//! Places where a test may have the process end, and faults that it may build in. Called all over the node; without the
//! feature `failpoints`, and so in every binary that is shipped, each call here compiles to nothing.

/// A place that the node passes. It is counted where it can be told: not before whoever armed it wants it to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Point {
    /// Records that somebody waits for are written to the log and not synced.
    AfterAppend,
    /// They are synced, and nobody was told.
    AfterSync,
    /// An entry of this run of the node is committed and not applied.
    AfterCommit,
    /// PUBACK or PUBREC may leave and has not.
    BeforeAck,
    /// PUBACK or PUBREC was given to the socket.
    AfterAck,
}

/// A fault that tests must notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mutant {
    /// Publishes are answered when they are proposed, not when they are committed.
    AckBeforeCommit,
    /// Packet ids of a session are used again while they are in use.
    ReusePacketId,
    /// What is proposed is applied, and so answered, before it is committed.
    ApplyBeforeCommit,
    /// What an older connection of a client says counts.
    SkipEpochCheck,
    /// Publishes for a shard that another node leads are answered when they are sent there.
    AckBeforeRemote,
    /// A SUBSCRIBE is answered before its routes are in force.
    SubackWithoutBarrier,
    /// Whether the node may act on what was matched is decided by a clock that was read before the bytes.
    ClockBeforeMatch,
    /// What comes behind something that is missing is taken, and what was missing is a repeat then.
    SkipPredecessor,
}

/// Ends the process where a point was armed and this is the passage that was meant.
#[cfg(not(feature = "failpoints"))]
#[inline]
pub fn pass(_point: Point) {}

/// Whether this fault is built in.
#[cfg(not(feature = "failpoints"))]
#[inline]
#[must_use]
pub fn has(_mutant: Mutant) -> bool {
    false
}

/// The time by which it is decided whether the node may act on what was matched: the one that is given.
#[cfg(not(feature = "failpoints"))]
#[inline]
#[must_use]
pub fn match_time(now: std::time::Duration) -> std::time::Duration {
    now
}

#[cfg(feature = "failpoints")]
pub use armed::{arm, build_in, has, match_time, pass};

#[cfg(feature = "failpoints")]
mod armed {
    //! The switches, set once at start. Global, unlike anything else: a process is what ends.

    use std::cell::Cell;
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use super::{Mutant, Point};

    const POINTS: [(&str, Point); 5] = [
        ("after-append", Point::AfterAppend),
        ("after-sync", Point::AfterSync),
        ("after-commit", Point::AfterCommit),
        ("before-ack", Point::BeforeAck),
        ("after-ack", Point::AfterAck),
    ];
    const MUTANTS: [(&str, Mutant); 8] = [
        ("ack-before-commit", Mutant::AckBeforeCommit),
        ("reuse-packet-id", Mutant::ReusePacketId),
        ("apply-before-commit", Mutant::ApplyBeforeCommit),
        ("skip-epoch-check", Mutant::SkipEpochCheck),
        ("ack-before-remote", Mutant::AckBeforeRemote),
        ("suback-without-barrier", Mutant::SubackWithoutBarrier),
        ("clock-before-match", Mutant::ClockBeforeMatch),
        ("skip-predecessor", Mutant::SkipPredecessor),
    ];

    #[derive(Debug)]
    enum Armed {
        /// A point, and how many passages are left.
        Point(Point, AtomicU64),
        Mutant(Mutant),
    }

    static ARMED: OnceLock<Armed> = OnceLock::new();

    thread_local! {
        /// An acknowledgement was made on this thread and not yet written.
        static OWED: Cell<bool> = const { Cell::new(false) };
        static BUILT_IN: Cell<Option<Mutant>> = const { Cell::new(None) };
        /// What [`match_time`] was given last on this thread.
        static MATCHED_AT: Cell<Option<Duration>> = const { Cell::new(None) };
    }

    /// Builds a fault into everything that this thread does from now on, or none: for simulations, of which a process
    /// runs many.
    pub fn build_in(mutant: Option<Mutant>) {
        BUILT_IN.set(mutant);
    }

    /// Arms `POINT:N`, the process ending at its Nth passage, or a mutant by its name. Only the first call counts.
    ///
    /// # Errors
    /// No point and no mutant is called that.
    pub fn arm(text: &str) -> Result<(), String> {
        let (name, count) = text.split_once(':').unwrap_or((text, ""));
        let point = POINTS.iter().find(|(known, _)| *known == name).zip(count.parse().ok());
        let mutant = MUTANTS.iter().find(|(known, _)| *known == text);
        let armed = match (point, mutant) {
            (Some(((_, point), count)), _) => Armed::Point(*point, AtomicU64::new(count)),
            (None, Some((_, mutant))) => Armed::Mutant(*mutant),
            (None, None) => {
                return Err(format!("no failpoint `{text}`: expected {POINTS:?}, with `:N`, or {MUTANTS:?}"));
            }
        };
        ARMED.set(armed).map_err(|_| "a failpoint is armed already".to_owned())
    }

    /// Ends the process where a point was armed and this is the passage that was meant.
    pub fn pass(point: Point) {
        let counts = match point {
            Point::BeforeAck => {
                OWED.set(true);
                true
            }
            Point::AfterAck => OWED.take(),
            Point::AfterAppend | Point::AfterSync | Point::AfterCommit => true,
        };
        if let Some(Armed::Point(armed, left)) = ARMED.get()
            && counts
            && *armed == point
            && left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            std::process::abort();
        }
    }

    /// The time by which it is decided whether the node may act on what was matched: the one that is given, or with
    /// [`Mutant::ClockBeforeMatch`] the one that was given before on this thread.
    #[must_use]
    pub fn match_time(now: Duration) -> Duration {
        if !has(Mutant::ClockBeforeMatch) {
            return now;
        }
        MATCHED_AT.replace(Some(now)).unwrap_or(now)
    }

    /// Whether this fault is built in.
    #[must_use]
    pub fn has(mutant: Mutant) -> bool {
        BUILT_IN.get() == Some(mutant)
            || matches!(ARMED.get(), Some(Armed::Mutant(armed)) if *armed == mutant)
    }
}
