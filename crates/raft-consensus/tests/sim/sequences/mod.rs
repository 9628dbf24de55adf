//! The sequences of interleavings that concern consensus and sessions, each as a schedule of its own, named by its number.

mod b2_node_down_without_a_leader;
mod b3_connect_after_node_down;
mod b4_repeated_requests;
mod b5_take_over_keeps_acks;
mod b6_stale_leader;
mod b7_many_ends;
mod c1_gaps_are_refused;
mod c2_outbox_streams;
mod c7_members_are_chosen_by_the_log;
mod c9_kind_of_a_session;
mod d1_packet_ids_are_free_again;
mod d2_dup_after_failover;
mod d3_acks_before_publishes;
mod d4_expiry_of_what_was_sent;
mod d5_positions_and_smaller_windows;
mod d6_retained_by_pages;
mod e12_full_follower;
mod e7_one_wrong_clock;
mod e8_no_writes_while_idle;
mod e9_apply_level;
