//! `quelea ctl why`: why a client does not get the messages of a topic. Called by `act`; the node that is asked knows the reasons.

use clap::Args;
use serde_json::{Value, json};

use super::connection::{Connection, Failed};
use super::rows::{printable, who};
use crate::admin::proto::admin_client::AdminClient;
use crate::admin::proto::{Finding, Verdict, WhyReply, WhyRequest};

#[derive(Debug, Args)]
pub(super) struct WhyArgs {
    /// The topic of the message
    topic: String,
    /// Who does not get it: a client identifier
    #[arg(long, value_name = "ID")]
    client: String,
    /// Who publishes it, where that is known
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    publisher: String,
}

/// Says why.
///
/// # Errors
/// As the API says.
pub(super) async fn why(
    api: &mut AdminClient<Connection>,
    args: WhyArgs,
    as_json: bool,
) -> Result<String, Failed> {
    let request = WhyRequest { topic: args.topic, client_id: args.client, publisher_id: args.publisher };
    let reply = api.why(request).await?.into_inner();
    Ok(if as_json { for_programs(&reply) } else { for_people(&reply) })
}

/// What is said of a verdict.
fn name(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Unspecified => "unknown",
        Verdict::NothingFound => "nothing found",
        Verdict::NoRoute => "no route",
        Verdict::Denied => "denied",
        Verdict::QueueFull => "queue full",
        Verdict::Expired => "expired",
        Verdict::NoLocal => "no local",
        Verdict::NotConnected => "not connected",
        Verdict::SlowReader => "slow reader",
        Verdict::TooLarge => "too large",
    }
}

fn for_people(reply: &WhyReply) -> String {
    let line = |finding: &Finding| {
        let dropped = match finding.count {
            0 => String::new(),
            count => format!("{count} messages were dropped: "),
        };
        let last = match finding.last_topic.as_str() {
            "" => String::new(),
            topic => format!("; the last of them of {}", printable(topic)),
        };
        format!("{}: {dropped}{}{last}\n", name(finding.verdict()), printable(&finding.words))
    };
    let mut text: String = reply.findings.iter().map(line).collect();
    for of in &reply.unheard {
        text += &format!("\n{} did not answer: {}\n", who(of), printable(&of.why));
    }
    text
}

fn for_programs(reply: &WhyReply) -> String {
    let finding = |finding: &Finding| {
        json!({
            "verdict": name(finding.verdict()),
            "words": finding.words,
            "count": finding.count,
            "last_topic": if finding.last_topic.is_empty() { Value::Null } else { finding.last_topic.as_str().into() },
        })
    };
    let findings: Vec<Value> = reply.findings.iter().map(finding).collect();
    let unheard = reply.unheard.iter().map(|of| json!({ "node": of.node, "shard": of.shard, "why": of.why }));
    let verdict = reply.findings.first().map(|finding| name(finding.verdict()));
    let all = json!({ "verdict": verdict, "findings": findings, "unheard": unheard.collect::<Vec<_>>() });
    format!("{all:#}\n")
}
