//! The dashboard of groups and of what is below them: leaders, positions, commits, the log, the disk.

use super::{Dashboard, Row, lines, quiet};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "storage.json",
    title: "Quelea: groups and storage",
    one_node: false,
    rows: &[
        Row {
            title: "Groups",
            panels: &[
                lines(
                    "Leaders",
                    "none",
                    "Of each group who leads it.",
                    &[(
                        r#"quelea_raft_leader{job="$job",instance=~"$instance"} * on (job, instance) group_left (name) quelea_node_info{job="$job",instance=~"$instance"}"#,
                        "{{group}}: {{name}}",
                    )],
                ),
                lines(
                    "Terms",
                    "none",
                    "A term grows with each election.",
                    &[(
                        r#"max by (group) (quelea_raft_term{job="$job",instance=~"$instance"})"#,
                        "{{group}}",
                    )],
                ),
                quiet(lines(
                    "Behind",
                    "none",
                    "Entries that a replica has yet to apply, of those that any knows to be committed.",
                    &[(
                        r#"max by (job, group) (quelea_raft_commit_index{job="$job"}) - on (job, group) group_right () quelea_raft_last_applied{job="$job",instance=~"$instance"}"#,
                        "{{group}} on {{instance}}",
                    )],
                )),
                lines(
                    "Committed",
                    "cps",
                    "Entries of each group in a second.",
                    &[(
                        r#"max by (group) (rate(quelea_raft_commit_index{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{group}}",
                    )],
                ),
                lines(
                    "Commit latency",
                    "s",
                    "From proposing an entry until it is committed and applied, 99 of 100.",
                    &[(
                        r#"histogram_quantile(0.99, sum by (group, le) (rate(quelea_raft_commit_latency_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                        "{{group}}",
                    )],
                ),
                lines(
                    "Since the last checkpoint",
                    "none",
                    "Entries that a start would apply again.",
                    &[(
                        r#"quelea_raft_last_applied{job="$job",instance=~"$instance"} - quelea_raft_snapshot_index{job="$job",instance=~"$instance"}"#,
                        "{{group}} on {{instance}}",
                    )],
                ),
            ],
        },
        Row {
            title: "The log",
            panels: &[
                lines(
                    "Sync, 99 of 100",
                    "s",
                    "How long the disk takes.",
                    &[(
                        r#"histogram_quantile(0.99, sum by (instance, le) (rate(quelea_wal_sync_seconds_bucket{job="$job",instance=~"$instance"}[$__rate_interval])))"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Syncs",
                    "cps",
                    "Syncs of the log in a second.",
                    &[(
                        r#"rate(quelea_wal_syncs_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Appends that share a sync",
                    "none",
                    "How many are synced at once.",
                    &[(
                        r#"rate(quelea_wal_appends_total{job="$job",instance=~"$instance"}[$__rate_interval]) / rate(quelea_wal_syncs_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Written",
                    "Bps",
                    "Bytes written to the log.",
                    &[(
                        r#"rate(quelea_wal_written_bytes_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Bytes of the log",
                    "bytes",
                    "What no checkpoint has made needless.",
                    &[(r#"quelea_wal_bytes{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                quiet(lines(
                    "No room",
                    "cps",
                    "Times that the log had no room, on the disk or within its bound.",
                    &[(
                        r#"rate(quelea_wal_full_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                        "{{instance}}",
                    )],
                )),
            ],
        },
        Row {
            title: "The disk",
            panels: &[
                lines(
                    "Free",
                    "percentunit",
                    "What is free of the disk with the data.",
                    &[(
                        r#"quelea_disk_available_bytes{job="$job",instance=~"$instance"} / quelea_disk_size_bytes{job="$job",instance=~"$instance"}"#,
                        "{{instance}}",
                    )],
                ),
                lines(
                    "Log kept, by group",
                    "bytes",
                    "Bytes of the log that a group keeps from being used again.",
                    &[(
                        r#"max by (group) (quelea_raft_log_bytes{job="$job",instance=~"$instance"})"#,
                        "{{group}}",
                    )],
                ),
                quiet(lines(
                    "Segments",
                    "cps",
                    "Files of the log that were made, and used again.",
                    &[
                        (
                            r#"rate(quelea_wal_segments_created_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "{{instance}}: made",
                        ),
                        (
                            r#"rate(quelea_wal_segments_recycled_total{job="$job",instance=~"$instance"}[$__rate_interval])"#,
                            "{{instance}}: used again",
                        ),
                    ],
                )),
            ],
        },
    ],
};
