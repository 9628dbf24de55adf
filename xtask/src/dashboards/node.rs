//! The dashboard of one node: what its process takes, what it does, what it says to other nodes.

use super::{Dashboard, Row, lines, number, quiet, stack};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "node.json",
    title: "Quelea: one node",
    one_node: true,
    rows: &[
        Row {
            title: "State",
            panels: &[
                number(
                    "Uptime",
                    "s",
                    "Time since the node started.",
                    &[(r#"quelea_uptime_seconds{job="$job",instance=~"$instance"}"#, "")],
                ),
                number(
                    "Serves clients",
                    "none",
                    "1 while /readyz says 200.",
                    &[(r#"quelea_ready{job="$job",instance=~"$instance"}"#, "")],
                ),
                number(
                    "Holds a lease",
                    "none",
                    "1 while the node may act on its view of the cluster.",
                    &[(r#"quelea_lease_held{job="$job",instance=~"$instance"}"#, "")],
                ),
                number(
                    "Clients",
                    "none",
                    "Clients that are connected.",
                    &[(r#"quelea_clients_connected{job="$job",instance=~"$instance"}"#, "")],
                ),
                number(
                    "Memory",
                    "bytes",
                    "Resident memory.",
                    &[(r#"quelea_process_resident_memory_bytes{job="$job",instance=~"$instance"}"#, "")],
                ),
                number(
                    "Disk",
                    "percentunit",
                    "What is free of the disk with its data.",
                    &[(
                        r#"quelea_disk_available_bytes{job="$job",instance=~"$instance"} / quelea_disk_size_bytes{job="$job",instance=~"$instance"}"#,
                        "",
                    )],
                ),
            ],
        },
        Row {
            title: "Process",
            panels: &[
                lines(
                    "Processor",
                    "none",
                    "Cores in use.",
                    &[(
                        r#"rate(quelea_process_cpu_seconds_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "cores",
                    )],
                ),
                lines(
                    "Resident memory",
                    "bytes",
                    "Now, and the most that it ever was.",
                    &[
                        (r#"quelea_process_resident_memory_bytes{job="$job",instance=~"$instance"}"#, "now"),
                        (
                            r#"quelea_process_resident_memory_max_bytes{job="$job",instance=~"$instance"}"#,
                            "at most",
                        ),
                    ],
                ),
                lines(
                    "Open descriptors",
                    "none",
                    "Each connection is one.",
                    &[
                        (r#"quelea_process_open_fds{job="$job",instance=~"$instance"}"#, "open"),
                        (r#"quelea_process_max_fds{job="$job",instance=~"$instance"}"#, "limit"),
                    ],
                ),
            ],
        },
        Row {
            title: "Traffic",
            panels: &[
                lines(
                    "Messages",
                    "cps",
                    "PUBLISH packets from and to clients.",
                    &[
                        (
                            r#"rate(quelea_publish_received_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "received",
                        ),
                        (
                            r#"rate(quelea_publish_sent_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "sent",
                        ),
                    ],
                ),
                lines(
                    "Payload",
                    "Bps",
                    "Bytes in them.",
                    &[
                        (
                            r#"rate(quelea_publish_received_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "received",
                        ),
                        (
                            r#"rate(quelea_publish_sent_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "sent",
                        ),
                    ],
                ),
                stack(
                    "Packets received, by type",
                    "cps",
                    "Control packets from clients.",
                    &[(
                        r#"rate(quelea_packets_received_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{type}}",
                    )],
                ),
                stack(
                    "Packets sent, by type",
                    "cps",
                    "Control packets to clients.",
                    &[(
                        r#"rate(quelea_packets_sent_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{type}}",
                    )],
                ),
                lines(
                    "Connections",
                    "none",
                    "Open network connections, and the clients among them.",
                    &[
                        (r#"quelea_connections{job="$job",instance=~"$instance"}"#, "connections"),
                        (r#"quelea_clients_connected{job="$job",instance=~"$instance"}"#, "clients"),
                    ],
                ),
                quiet(lines(
                    "Dropped, by reason",
                    "cps",
                    "Messages that a subscriber or a group did not get.",
                    &[(
                        r#"rate(quelea_messages_dropped_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{session}}: {{reason}}",
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
                    "Sync of the log",
                    "s",
                    "How long the disk takes.",
                    &[
                        (
                            r#"histogram_quantile(0.5, sum by (le) (rate(quelea_wal_sync_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "median",
                        ),
                        (
                            r#"histogram_quantile(0.99, sum by (le) (rate(quelea_wal_sync_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                            "99 %",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "Other nodes",
            panels: &[
                lines(
                    "Bytes between nodes",
                    "Bps",
                    "Requests to other nodes, and their answers.",
                    &[
                        (
                            r#"rate(quelea_peer_sent_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "sent",
                        ),
                        (
                            r#"rate(quelea_peer_received_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "received",
                        ),
                    ],
                ),
                lines(
                    "Words and messages",
                    "cps",
                    "What hosts and leaders of shards say, and in how many messages.",
                    &[
                        (
                            r#"rate(quelea_peer_words_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "words",
                        ),
                        (
                            r#"rate(quelea_peer_batches_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "messages",
                        ),
                    ],
                ),
                lines(
                    "Links",
                    "none",
                    "1 where there is a connection to the other node.",
                    &[(r#"quelea_peer_up{job="$job",instance=~"$instance"}"#, "to node {{peer}}")],
                ),
                quiet(lines(
                    "Broken, late, lost",
                    "cps",
                    "Connections to other nodes that broke, requests that were not answered in time, words that were not sent.",
                    &[
                        (
                            r#"rate(quelea_peer_connections_broken_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "broken",
                        ),
                        (
                            r#"rate(quelea_peer_calls_late_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "late",
                        ),
                        (
                            r#"rate(quelea_peer_words_lost_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "lost",
                        ),
                    ],
                )),
                quiet(lines(
                    "Strangers",
                    "cps",
                    "Connections at the port for nodes that were no node of this cluster.",
                    &[
                        (
                            r#"rate(quelea_peer_strangers_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "strangers",
                        ),
                        (
                            r#"rate(quelea_peer_refusals_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "refusals",
                        ),
                        (
                            r#"rate(quelea_peer_misfits_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "misfits",
                        ),
                    ],
                )),
            ],
        },
        Row {
            title: "Users and rules",
            panels: &[
                quiet(lines(
                    "Logins refused",
                    "cps",
                    "Wrong names and passwords, and logins that had to wait too long.",
                    &[
                        (
                            r#"rate(quelea_logins_refused_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "refused",
                        ),
                        (
                            r#"rate(quelea_logins_busy_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "busy",
                        ),
                    ],
                )),
                quiet(lines(
                    "Denied",
                    "cps",
                    "Messages and filters that no rule allows.",
                    &[
                        (
                            r#"rate(quelea_messages_refused_total{job="$job",instance=~"$instance",reason="denied"}[$__rate_interval])"#,
                            "publish",
                        ),
                        (
                            r#"rate(quelea_denied_subscribes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "subscribe",
                        ),
                    ],
                )),
                quiet(lines(
                    "Files out of force",
                    "none",
                    "1 while the configuration, or the file with users or that with rules, cannot be used.",
                    &[
                        (r#"quelea_config_stale{job="$job",instance=~"$instance"}"#, "configuration"),
                        (r#"quelea_users_stale{job="$job",instance=~"$instance"}"#, "users"),
                        (r#"quelea_rules_stale{job="$job",instance=~"$instance"}"#, "rules"),
                    ],
                )),
            ],
        },
    ],
};
