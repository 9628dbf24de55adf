//! `quelea bench` against a running broker: each scenario delivers everything, and says so in JSON.
//! Run by `cargo xtask test`. No test asserts speed: numbers are counts.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "test code: a panic with a message is how a test fails"
)]

use std::net::TcpListener;
use std::process::Output;

use e2e_tests::{Broker, process, unique};
use serde_json::Value;

/// Runs `quelea bench` with these arguments to its end.
fn bench(arguments: &str) -> Output {
    let mut command = process::bound_to_us(&process::binary());
    command.arg("bench").args(arguments.split_whitespace());
    command.output().unwrap()
}

/// The result of a load that must go well; `{host}` is the shared broker.
fn result(arguments: &str) -> Value {
    let broker = Broker::shared();
    let output = bench(&format!("{arguments} --host {} --json", broker.mqtt()));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{arguments}: {errors}\n{}", text(&output.stdout));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Everything was published and arrived, once and in order.
fn assert_complete(result: &Value, published: u64, delivered: u64) {
    assert_eq!(result["published"], published, "{result:#}");
    assert_eq!(result["delivered"], delivered, "{result:#}");
    for none in ["lost", "duplicates", "out_of_order"] {
        assert_eq!(result[none], 0, "{none} in {result:#}");
    }
    assert!(result["latency_us"]["p99"].as_f64().unwrap() > 0.0, "{result:#}");
    assert_eq!(result["first_error"], Value::Null);
}

#[test]
fn pairs_at_each_qos_and_version() {
    for protocol in ["3.1", "3.1.1", "5"] {
        for qos in 0..3 {
            let result =
                result(&format!("pairs --pairs 3 --count 999 --window 20 --qos {qos} --protocol {protocol}"));
            assert_complete(&result, 999, 999);
            assert_eq!(result["acknowledged"], if qos == 0 { 0 } else { 999 });
        }
    }
}

#[test]
fn one_to_many_and_many_to_one() {
    assert_complete(&result("fan-out --subscribers 50 --count 40 --qos 1"), 40, 2000);
    assert_complete(&result("fan-in --publishers 20 --count 1000 --qos 1"), 1000, 1000);
}

#[test]
fn a_shared_group_gets_each_message_once() {
    let result = result("shared --publishers 3 --members 4 --count 1200 --qos 1");
    assert_eq!((&result["lost"], &result["duplicates"]), (&Value::from(0), &Value::from(0)), "{result:#}");
    assert_eq!(result["delivered"], 1200);
    assert_eq!(result["by_subscriber"].as_array().unwrap().len(), 4);
}

#[test]
fn a_steady_rate_ends_with_its_time() {
    let result = result("pairs --pairs 4 --rate 200 --duration 1s --qos 1");
    let published = result["published"].as_u64().unwrap();
    assert!((1..=260).contains(&published), "{result:#}");
    assert_complete(&result, published, published);
}

#[test]
fn payloads_larger_than_a_buffer() {
    assert_complete(&result("pairs --pairs 2 --count 20 --size 300000 --qos 2"), 20, 20);
    // Too small for a stamp: counted, not followed.
    let small = result("pairs --pairs 1 --count 100 --size 3 --qos 1");
    assert_eq!((&small["delivered"], &small["latency_us"]), (&Value::from(100), &Value::Null));
}

#[test]
fn retained_messages_reach_a_later_subscriber() {
    let name = unique("bench");
    result(&format!("pub --publishers 2 --topic {name}/%i/%n --retain --count 500 --qos 1"));
    let result = result(&format!("sub --filter {name}/# --count 500 --qos 1 --duration 20s"));
    assert_eq!(result["delivered"], 500, "{result:#}");
}

#[test]
fn absent_subscribers_come_back_for_everything() {
    for protocol in ["3.1", "3.1.1", "5"] {
        for qos in [1, 2] {
            let arguments = format!(
                "pairs --pairs 3 --count 999 --qos {qos} --protocol {protocol} \
                 --persistent=subscribers --absent --client-id {}",
                unique("b")
            );
            let result = result(&arguments);
            assert_complete(&result, 999, 999);
            assert_eq!(result["acknowledged"], 999);
            for time in ["fill_seconds", "drain_seconds", "filled_per_s", "drained_per_s"] {
                assert!(result[time].as_f64().unwrap() > 0.0, "{time} in {result:#}");
            }
        }
    }
    assert_eq!(result("pairs --pairs 1 --count 1 --qos 1")["fill_seconds"], Value::Null);
}

#[test]
fn absent_subscribers_each_get_what_one_publisher_sent() {
    let name = unique("b");
    let absent = "--persistent=subscribers --absent";
    assert_complete(
        &result(&format!("fan-out --subscribers 5 --count 300 --qos 1 {absent} --client-id {name}")),
        300,
        1500,
    );
}

#[test]
fn a_persistent_session_is_resumed_by_the_next_run() {
    let name = unique("bench");
    let subscribe = format!("sub --filter {name}/# --qos 1 --persistent --client-id {name}");
    result(&format!("{subscribe} --duration 100ms"));
    result(&format!("pub --publishers 2 --topic {name}/%i --count 500 --qos 1"));
    let queued = result(&format!("{subscribe} --count 500 --duration 20s"));
    assert_eq!(queued["delivered"], 500, "{queued:#}");
    result(&format!("pub --publishers 2 --topic {name}/%i --count 500 --qos 1"));
    let other = result(&format!("sub --filter {name}/# --qos 1 --duration 300ms"));
    assert_eq!(other["delivered"], 0, "a session of its own: {other:#}");
}

#[test]
fn connections_are_opened_and_closed() {
    for arguments in ["conn --count 100", "conn --count 100 --close", "conn --count 20 --rate 100"] {
        let result = result(arguments);
        assert_eq!(result["connected"], if arguments.contains("20") { 20 } else { 100 }, "{result:#}");
    }
}

#[test]
fn arguments_without_sense_are_refused() {
    for arguments in
        ["pairs --pairs 0", "pub --qos 3", "sub --filter a/#/b", "conn --window 0", "pairs --no-such"]
    {
        let output = bench(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments}");
        assert!(text(&output.stderr).starts_with("error: "), "{}", text(&output.stderr));
    }
}

#[test]
fn a_broker_that_is_not_there_is_an_error() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    let output = bench(&format!("pairs --host 127.0.0.1:{port}"));
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("refused"), "{}", text(&output.stderr));
}
