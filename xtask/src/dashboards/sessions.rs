//! The dashboard of what sessions hold: queues, subscriptions, retained messages, wills. What replicas have is told by each.

use super::{Dashboard, Row, lines, quiet};

pub(super) const DASHBOARD: Dashboard = Dashboard {
    file: "sessions.json",
    title: "Quelea: sessions and queues",
    one_node: false,
    rows: &[
        Row {
            title: "Sessions",
            panels: &[
                lines(
                    "Persistent sessions",
                    "none",
                    "Sessions that outlive their connection, by node that has a replica of them.",
                    &[
                        (
                            r#"quelea_sessions_persistent{job="$job",instance=~"$instance"}"#,
                            "{{instance}}: all",
                        ),
                        (
                            r#"quelea_sessions_away{job="$job",instance=~"$instance"}"#,
                            "{{instance}}: client away",
                        ),
                    ],
                ),
                lines(
                    "Created, resumed, ended",
                    "cps",
                    "What became of sessions.",
                    &[
                        (
                            r#"sum(rate(quelea_sessions_created_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "created",
                        ),
                        (
                            r#"sum(rate(quelea_sessions_resumed_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "resumed",
                        ),
                        (
                            r#"sum(rate(quelea_sessions_taken_over_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "taken over",
                        ),
                        (
                            r#"sum(rate(quelea_sessions_expired_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "expired",
                        ),
                    ],
                ),
                quiet(lines(
                    "Refused sessions",
                    "cps",
                    "CONNECTs and requests that a bound refused.",
                    &[
                        (
                            r#"sum(rate(quelea_sessions_refused_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "sessions_max reached",
                        ),
                        (
                            r#"sum(rate(quelea_messages_refused_total{job="$job",instance=~"$instance",reason="retained_quota"}[$__rate_interval]))"#,
                            "retained messages",
                        ),
                    ],
                )),
                lines(
                    "Subscriptions",
                    "none",
                    "Of transient sessions on the node, and of the persistent ones that it has.",
                    &[
                        (r#"quelea_subscriptions{job="$job",instance=~"$instance"}"#, "{{instance}}: all"),
                        (
                            r#"quelea_subscriptions_shared{job="$job",instance=~"$instance"}"#,
                            "{{instance}}: shared",
                        ),
                    ],
                ),
                lines(
                    "Subscribes",
                    "cps",
                    "Topic filters that were subscribed to, or no more.",
                    &[
                        (
                            r#"sum(rate(quelea_subscribes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "subscribed",
                        ),
                        (
                            r#"sum(rate(quelea_unsubscribes_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "unsubscribed",
                        ),
                    ],
                ),
                lines(
                    "Wills",
                    "cps",
                    "Wills that were published, or taken back.",
                    &[
                        (
                            r#"sum(rate(quelea_wills_published_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "published",
                        ),
                        (
                            r#"sum(rate(quelea_wills_cancelled_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "taken back",
                        ),
                    ],
                ),
            ],
        },
        Row {
            title: "Queues",
            panels: &[
                lines(
                    "Queued messages",
                    "none",
                    "Messages in queues of persistent sessions, and those of them that are not in memory.",
                    &[
                        (r#"quelea_queued_messages{job="$job",instance=~"$instance"}"#, "{{instance}}: all"),
                        (
                            r#"quelea_queued_stored_messages{job="$job",instance=~"$instance"}"#,
                            "{{instance}}: in the store",
                        ),
                    ],
                ),
                lines(
                    "Queued bytes",
                    "bytes",
                    "Bytes in queues of persistent sessions.",
                    &[(r#"quelea_queued_bytes{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                lines(
                    "In and out",
                    "cps",
                    "QoS 1 and 2 messages that entered queues of persistent sessions, and that were sent from them.",
                    &[
                        (
                            r#"sum(rate(quelea_persistent_queued_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "queued",
                        ),
                        (
                            r#"sum(rate(quelea_persistent_sent_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "sent",
                        ),
                    ],
                ),
                quiet(lines(
                    "Dropped from queues",
                    "cps",
                    "Messages that a session did not get.",
                    &[(
                        r#"sum by (session, reason) (rate(quelea_messages_dropped_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                        "{{session}}: {{reason}}",
                    )],
                )),
                quiet(lines(
                    "Outboxes",
                    "none",
                    "Wills, QoS 2 messages of persistent sessions and messages of shared groups on their way.",
                    &[(r#"quelea_outbox_messages{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                )),
                quiet(lines(
                    "Lagging targets",
                    "none",
                    "Shards and nodes that take nothing of an outbox, where others do.",
                    &[(r#"quelea_outbox_targets_lagging{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                )),
            ],
        },
        Row {
            title: "Retained messages",
            panels: &[
                lines(
                    "Retained messages",
                    "none",
                    "By node that has a replica of them.",
                    &[(r#"quelea_retained_messages{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                lines(
                    "Retained bytes",
                    "bytes",
                    "Their bytes.",
                    &[(r#"quelea_retained_bytes{job="$job",instance=~"$instance"}"#, "{{instance}}")],
                ),
                lines(
                    "Stored and removed",
                    "cps",
                    "Retained messages that came, and that went.",
                    &[
                        (
                            r#"sum(rate(quelea_retained_stored_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "stored",
                        ),
                        (
                            r#"sum(rate(quelea_retained_removed_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "removed",
                        ),
                        (
                            r#"sum(rate(quelea_retained_expired_total{job="$job",instance=~"$instance"}[$__rate_interval]))"#,
                            "expired",
                        ),
                    ],
                ),
            ],
        },
    ],
};
