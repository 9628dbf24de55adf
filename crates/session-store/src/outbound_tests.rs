//! Tests of the sending half of a session: order, packet ids, windows, resends, limits.
