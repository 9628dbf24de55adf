//! mosquitto's clients and what outlives a connection: persistent sessions, wills, shared subscriptions.
//! Run in all three versions; what only MQTT 5 can say is in `paho`.

use std::time::Instant;

use e2e_tests::{PATIENCE, QUIET, pause};

use crate::mosquitto::{Mosquitto, VERSIONS, printed};
use crate::node::Node;
use crate::tools::{self, need};

#[test]
fn a_persistent_session_gets_what_came_while_it_was_away() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let client = Mosquitto::tcp(&node, version);
        let session = ["-c", "-i", "sleeper", "-q", "2", "-t", "away/#"];
        client.run("mosquitto_sub", &[&session[..], &["-E"]].concat()).lines();
        for qos in ["0", "1", "2"] {
            client.publish(&["-t", "away/온도", "-q", qos, "-m", &format!("{qos} missed")]);
        }
        client.publish(&["-t", "away/hum", "-q", "1", "-m", "40"]);
        let back = client.subscribe(&session);
        back.0.wait_for("MSG away/hum", 1);
        back.0.wait_for("MSG away/온도 2", 1);
        client.publish(&["-t", "away/end", "-q", "1", "-m", "live"]);
        back.0.wait_for("MSG away/end", 1);
        let mut got = back.messages(4);
        // queueing QoS 0 for a session that is away is the broker's choice; the others must come, each once
        got.retain(|line| line != "away/온도 0 0 0 missed");
        got.sort();
        let expected =
            ["away/end 1 0 live", "away/hum 1 0 40", "away/온도 1 0 1 missed", "away/온도 2 0 2 missed"];
        assert_eq!(got, expected, "version {version}");

        client.run("mosquitto_sub", &["-i", "sleeper", "-t", "other", "-E"]).lines();
        client.publish(&["-t", "away/온도", "-q", "1", "-m", "to nobody"]);
        let fresh = client.subscribe(&["-c", "-i", "sleeper", "-q", "1", "-t", "away/end"]);
        client.publish(&["-t", "away/end", "-q", "1", "-m", "a clean start forgets"]);
        assert_eq!(fresh.messages(1), ["away/end 1 0 a clean start forgets"], "version {version}");
        client.run("mosquitto_sub", &["-i", "sleeper", "-t", "other", "-E"]).lines();
    }
}

#[test]
fn a_killed_client_leaves_its_will_and_a_leaving_one_does_not() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        let client = Mosquitto::tcp(&node, version);
        let watcher = client.subscribe(&["-t", "will/#", "-q", "2"]);
        for qos in ["0", "1", "2"] {
            let will = ["--will-topic", "will/유언", "--will-payload", "떠남", "--will-qos", qos];
            let dying = client.subscribe(&[&["-t", "other"][..], &will].concat());
            drop(dying.0.kill());
            watcher.0.wait_for(&format!("MSG will/유언 {qos}"), 1);
            client.run("mosquitto_sub", &[&["-t", "other", "-E"][..], &will].concat()).lines();
        }
        let kept = ["--will-topic", "will/kept", "--will-payload", "kept", "--will-retain"];
        drop(client.subscribe(&[&["-t", "other"][..], &kept].concat()).0.kill());
        watcher.0.wait_for("MSG will/kept", 1);
        let late = client.subscribe(&["-t", "will/kept"]);
        assert_eq!(late.messages(1), ["will/kept 0 1 kept"], "version {version}");
        client.publish(&["-t", "will/kept", "-r", "-n"]);
        assert_eq!(
            watcher.messages(5),
            [
                "will/유언 0 0 떠남",
                "will/유언 1 0 떠남",
                "will/유언 2 0 떠남",
                "will/kept 0 0 kept",
                "will/kept 0 0 "
            ],
            "version {version}"
        );
    }
}

#[test]
fn a_shared_subscription_gives_each_message_to_one_member() {
    need!(tools::program("mosquitto_sub"));
    let node = Node::start();
    for version in VERSIONS {
        for filter in ["$share/일꾼/jobs/#", "$queue/jobs/#"] {
            if node.is_external() && filter.starts_with("$queue") {
                continue;
            }
            let client = Mosquitto::tcp(&node, version);
            let members = [1, 2, 3].map(|_| client.subscribe(&["-t", filter, "-q", "1"]));
            let all = client.subscribe(&["-t", "jobs/#", "-q", "1"]);
            let mut publisher = crate::child::Tool::start({
                let mut command = tools::mosquitto("mosquitto_pub").unwrap();
                command.args(["-p", &node.port("mqtt"), "-V", version, "-q", "1", "-t", "jobs/할일", "-l"]);
                command
            });
            let jobs: Vec<_> = (0..60).map(|number| format!("jobs/할일 1 0 {number:02}")).collect();
            (0..60).for_each(|number| publisher.say(&format!("{number:02}\n")));
            publisher.finish().lines();
            assert_eq!(all.messages(60), jobs, "version {version}, {filter}: an ordinary subscriber");
            let came = || members.iter().map(|member| printed(&member.0.said().0).len()).sum::<usize>();
            let deadline = Instant::now() + PATIENCE;
            while came() < jobs.len() && Instant::now() < deadline {
                pause(QUIET);
            }
            // What comes twice may come late.
            pause(2 * QUIET);
            let got = members.map(|member| printed(&member.0.kill()));
            assert!(got.iter().all(|jobs| !jobs.is_empty()), "a member was given nothing: {got:?}");
            let mut together = got.concat();
            together.sort();
            assert_eq!(together, jobs, "version {version}, {filter}: the members together");
        }
    }
}

#[test]
fn mosquittos_request_and_response_find_each_other() {
    need!(tools::program("mosquitto_rr"));
    let node = Node::start();
    let client = Mosquitto::tcp(&node, "5");
    let responder = client.subscribe_as("%R %D %p", &["-t", "ask", "-q", "1"]);
    let mut command = tools::mosquitto("mosquitto_rr").unwrap();
    command.args([
        "-p",
        &node.port("mqtt"),
        "-V",
        "5",
        "-q",
        "1",
        "-t",
        "ask",
        "-e",
        "답/42",
        "-m",
        "몇 도?",
    ]);
    command.args(["-D", "PUBLISH", "correlation-data", "nr-1", "-F", "%t %D %p"]);
    let asking = crate::child::Tool::start(command);
    assert_eq!(responder.messages(1), ["답/42 nr-1 몇 도?"]);
    client.publish(&["-t", "답/42", "-q", "1", "-m", "26.70", "-D", "PUBLISH", "correlation-data", "nr-1"]);
    assert_eq!(asking.finish().lines(), ["답/42 nr-1 26.70"]);
}
