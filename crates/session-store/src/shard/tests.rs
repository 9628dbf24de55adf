//! Tests of a shard: connections, sessions, wills, retained messages, shared groups.
