//! The dashboard of a whole cluster: whether it is well, what goes through it, and how long that takes.

use super::{Dashboard, Row, lines, number, quiet, stack};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "cluster.json",
    title: "Quelea: cluster",
    one_node: false,
    rows: &[
        Row {
            title: "Health",
            panels: &[
                number(
                    "Nodes that answer",
                    "none",
                    "Nodes whose /metrics Prometheus reaches.",
                    &[(r#"sum(up{job="$job",instance=~"$instance"})"#, "")],
                ),
                number(
                    "Nodes that serve",
                    "none",
                    "Nodes that take clients: /readyz says 200.",
                    &[(r#"sum(quelea_ready{job="$job",instance=~"$instance"})"#, "")],
                ),
                number(
                    "Clients",
                    "none",
                    "Clients that are connected.",
                    &[(r#"sum(quelea_clients_connected{job="$job",instance=~"$instance"})"#, "")],
                ),
                quiet(number(
                    "Groups without a leader",
                    "none",
                    "Groups that nobody leads: their clients wait.",
                    &[(r#"sum(max by (group) (quelea_raft_leader{job="$job"}) == bool 0)"#, "")],
                )),
                quiet(number(
                    "Nodes without a lease",
                    "none",
                    "Nodes that may acknowledge nothing, since they do not reach a majority.",
                    &[(r#"sum(1 - quelea_lease_held{job="$job",instance=~"$instance"})"#, "")],
                )),
                quiet(number(
                    "Links down",
                    "none",
                    "Pairs of nodes, counted from each end, without a connection.",
                    &[(r#"sum(1 - quelea_peer_up{job="$job",instance=~"$instance"})"#, "")],
                )),
            ],
        },
        Row {
            title: "Messages",
            panels: &[
                stack(
                    "Received",
                    "cps",
                    "PUBLISH packets from clients, by node.",
                    &[(
                        r#"sum by (instance) (rate(quelea_publish_received_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{instance}}",
                    )],
                ),
                stack(
                    "Sent",
                    "cps",
                    "PUBLISH packets to clients, by node.",
                    &[(
                        r#"sum by (instance) (rate(quelea_publish_sent_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Bytes",
                    "Bps",
                    "Bytes of MQTT, of all nodes.",
                    &[
                        (
                            r#"sum(rate(quelea_received_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "received",
                        ),
                        (
                            r#"sum(rate(quelea_sent_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "sent",
                        ),
                    ],
                ),
                quiet(stack(
                    "Dropped, by reason",
                    "cps",
                    "Messages that a subscriber or a group did not get.",
                    &[(
                        r#"sum by (reason) (rate(quelea_messages_dropped_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{reason}}",
                    )],
                )),
                quiet(stack(
                    "Refused, by reason",
                    "cps",
                    "Messages of clients that went nowhere.",
                    &[(
                        r#"sum by (reason) (rate(quelea_messages_refused_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{reason}}",
                    )],
                )),
                quiet(lines(
                    "Without a subscriber",
                    "cps",
                    "Messages that nobody had subscribed to.",
                    &[(
                        r#"sum(rate(quelea_messages_without_subscriber_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "messages",
                    )],
                )),
            ],
        },
        Row {
            title: "Latency",
            panels: &[
                lines(
                    "Publish to acknowledgement",
                    "s",
                    "From reading a QoS 1 or 2 PUBLISH to its PUBACK or PUBREC.",
                    &[
                        (
                            r#"histogram_quantile(0.5, sum by (le) (rate(quelea_publish_ack_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "median",
                        ),
                        (
                            r#"histogram_quantile(0.99, sum by (le) (rate(quelea_publish_ack_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "99 %",
                        ),
                    ],
                ),
                lines(
                    "Acknowledgement to delivery",
                    "s",
                    "From the mailbox of a subscriber's connection to the buffer of its socket.",
                    &[
                        (
                            r#"histogram_quantile(0.5, sum by (le) (rate(quelea_delivery_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "median",
                        ),
                        (
                            r#"histogram_quantile(0.99, sum by (le) (rate(quelea_delivery_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "99 %",
                        ),
                    ],
                ),
                lines(
                    "Takeover",
                    "s",
                    "How long a CONNECT waits for another connection of its client to stop.",
                    &[(
                        r#"histogram_quantile(0.99, sum by (le) (rate(quelea_takeover_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                        "99 %",
                    )],
                ),
            ],
        },
        Row {
            title: "Clients",
            panels: &[
                stack(
                    "Connected clients",
                    "none",
                    "Clients that are connected, by node.",
                    &[(r#"quelea_clients_connected{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                lines(
                    "Connects and ends",
                    "cps",
                    "CONNECTs that were accepted, and connections of clients that ended.",
                    &[
                        (
                            r#"sum(rate(quelea_connects_accepted_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "accepted",
                        ),
                        (
                            r#"sum(rate(quelea_clients_ended_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "ended",
                        ),
                        (
                            r#"sum(rate(quelea_connects_refused_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "refused",
                        ),
                    ],
                ),
                quiet(stack(
                    "Broken off, by reason",
                    "cps",
                    "Connections that the broker ended, and those that never came to MQTT.",
                    &[
                        (
                            r#"sum by (reason) (rate(quelea_connections_broken_off_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "{{reason}}",
                        ),
                        (
                            r#"sum by (reason) (rate(quelea_handshakes_failed_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "handshake: {{reason}}",
                        ),
                    ],
                )),
            ],
        },
        Row {
            title: "Limits",
            panels: &[
                quiet(stack(
                    "Connections refused, by limit",
                    "cps",
                    "Connections that a limit of [limits] refused: by address, by user, since they come too often, or for lack of memory or time.",
                    &[(
                        r#"sum by (reason) (rate(quelea_connections_limited_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{reason}}",
                    )],
                )),
                quiet(lines(
                    "Slowed down and banned",
                    "cps",
                    "Times that a client was not read for a while since it published more than it may, and those who were banned for a while since they connected too often.",
                    &[
                        (
                            r#"sum(rate(quelea_publishes_throttled_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "slowed down",
                        ),
                        (
                            r#"sum(rate(quelea_flapping_bans_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "banned",
                        ),
                    ],
                )),
                quiet(stack(
                    "Overloaded nodes",
                    "none",
                    "Nodes that refuse new clients, since they have nearly no memory left or their threads are late.",
                    &[(r#"quelea_overloaded{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                )),
            ],
        },
        Row {
            title: "The cluster itself",
            panels: &[
                lines(
                    "Members and votes",
                    "none",
                    "Nodes that belong to the cluster, and votes of the group that has the fewest.",
                    &[
                        (r#"max(quelea_cluster_members{job="$job"})"#, "members"),
                        (r#"min(quelea_cluster_voters_least{job="$job"})"#, "votes, at least"),
                    ],
                ),
                stack(
                    "Shards led, by node",
                    "none",
                    "Every node leads as many shards as any other, or one more, once all is calm.",
                    &[(r#"quelea_cluster_shards_led{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                lines(
                    "Routes",
                    "none",
                    "Filters that nodes and shards have subscribers for, as the cluster knows them.",
                    &[(r#"max(quelea_cluster_routes{job="$job"})"#, "routes")],
                ),
            ],
        },
    ],
};
