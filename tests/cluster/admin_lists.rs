//! What `quelea ctl` lists of the whole cluster, whichever node is asked: page by page, by what is asked for, for people and for
//! programs; and clients that are made to go.

use std::collections::BTreeSet;
use std::time::Duration;

use e2e_tests::client::Read;
use e2e_tests::packets;
use e2e_tests::wire::kind;
use e2e_tests::{Connect, PATIENCE, Props, RawClient, Version};
use serde_json::Value;

use crate::ctl::{refuses, run, says, until};
use crate::nodes::Nodes;
use crate::stubborn::{Publisher, drain, session};

fn admin(nodes: &Nodes, number: usize) -> String {
    nodes.up[&number].addr("admin")
}

/// What a list says to programs.
fn list(asked: &str, arguments: &[&str]) -> Value {
    serde_json::from_str(&says(asked, &[arguments, &["--json"]].concat())).unwrap()
}

/// The same once everybody is heard: a shard may be without a leader for a moment.
fn whole(asked: &str, arguments: &[&str]) -> Value {
    until("answer of all", || {
        Some(list(asked, arguments)).filter(|told| told["unheard"].as_array().unwrap().is_empty())
    })
}

/// One column of a list.
fn column(told: &Value, list: &str, name: &str) -> Vec<String> {
    let rows = told[list].as_array().unwrap();
    rows.iter().map(|row| row[name].as_str().unwrap().to_owned()).collect()
}

/// The identifiers of the clients that are found.
fn clients(asked: &str, arguments: &[&str]) -> Vec<String> {
    column(&whole(asked, &[&["clients", "--limit", "0"], arguments].concat()), "clients", "client_id")
}

/// Clients that come back wherever they lose their connection, as on a machine that is so busy that a node is taken for dead.
struct Crowd<'a> {
    nodes: &'a Nodes,
    come: fn(&str, &str) -> RawClient,
    clients: Vec<(String, usize, RawClient)>,
}

impl<'a> Crowd<'a> {
    /// Each connects to a node as `come` says.
    fn of(
        nodes: &'a Nodes,
        come: fn(&str, &str) -> RawClient,
        who: impl Iterator<Item = (String, usize)>,
    ) -> Self {
        let connect = |(id, number): (String, usize)| {
            let client = come(&id, &nodes.mqtt(number));
            (id, number, client)
        };
        Self { nodes, come, clients: who.map(connect).collect() }
    }

    /// Waits until a list says what it is to say while all of them are there.
    fn until(&mut self, what: &str, look: impl Fn() -> bool) {
        until(what, || {
            for (id, number, client) in &mut self.clients {
                if matches!(client.read(Duration::from_millis(1)), Read::Closed) {
                    *client = (self.come)(id, &self.nodes.mqtt(*number));
                }
            }
            look().then_some(())
        });
    }
}

/// Subscribes a client, unless it loses its connection.
fn subscribed(client: &mut RawClient, filters: &[(&str, u8)]) -> Option<()> {
    client.send(&packets::subscribe(Version::V5, 1, filters, &Props::new()));
    loop {
        match client.read(PATIENCE) {
            Read::Packet(packet) if packet.kind() == kind::SUBACK => return Some(()),
            Read::Packet(_) => {}
            Read::Closed | Read::Nothing => return None,
        }
    }
}

/// With a session that outlives the connection.
fn persistent(id: &str, node: &str) -> RawClient {
    session(id, &[node.to_owned()])
}

/// With a session that does not, and two subscriptions.
fn transient(id: &str, node: &str) -> RawClient {
    until("transient session", || {
        let mut client = RawClient::open(node);
        client.be_patient();
        client.send(&Connect::v5(id).bytes());
        match client.read(PATIENCE) {
            Read::Packet(packet) if packet.connack(Version::V5).reason == 0 => {}
            _ => return None,
        }
        let filters = [(format!("own/{id}"), 1), ("t/+".to_owned(), 0)];
        let filters = filters.each_ref().map(|(filter, qos)| (filter.as_str(), *qos));
        subscribed(&mut client, &filters).map(|()| client)
    })
}

/// A session with a subscription, whose client is away.
fn leave(id: &str, filter: &str, node: &str) {
    until("subscription", || {
        let mut client = persistent(id, node);
        subscribed(&mut client, &[(filter, 2)]).map(|()| client.disconnect())
    });
}

/// Three clients on each node.
fn three_each() -> impl Iterator<Item = (String, usize)> {
    (1..=3).flat_map(|number| (0..3).map(move |at| (format!("c-{number}-{at}"), number)))
}

#[test]
fn clients_of_all_nodes_are_found_by_any_of_them() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    let mut crowd = Crowd::of(&nodes, persistent, three_each());
    let all: Vec<String> = three_each().map(|(id, _)| id).collect();
    for number in 1..=3 {
        crowd.until("all of them, in order", || {
            let told = whole(&admin(&nodes, number), &["clients"]);
            let on: BTreeSet<String> = column(&told, "clients", "node").into_iter().collect();
            column(&told, "clients", "client_id") == all && on.len() == 3 && told["more"] == false
        });
    }
    let asked = admin(&nodes, 2);
    crowd.until("the first of them", || {
        let first = whole(&asked, &["clients", "--limit", "4"]);
        column(&first, "clients", "client_id") == all[..4] && first["more"] == true
    });
    for (arguments, expected) in [
        (["--client-id", "c-3-1"].as_slice(), vec!["c-3-1"]),
        (&["--client-id", "c-3-"], vec![]),
        (&["--client-prefix", "c-3-"], vec!["c-3-0", "c-3-1", "c-3-2"]),
        (&["--node", "node-1", "--address", "127.0.0.0/8"], vec!["c-1-0", "c-1-1", "c-1-2"]),
        (&["--address", "10.0.0.1"], vec![]),
        (&["--user", "ann"], vec![]),
    ] {
        crowd.until(&format!("{expected:?} for {arguments:?}"), || clients(&asked, arguments) == expected);
    }
    let wanted = ["clients", "--client-id", "c-1-2", "--columns", "mqtt,node,client_id,persistent"];
    let expected = "MQTT  NODE    CLIENT_ID  PERSISTENT\n5.0   node-1  c-1-2      yes\n";
    crowd.until("a table", || says(&asked, &wanted) == expected);
    drop(crowd);

    let (code, said) = refuses(&asked, &["clients", "--node", "node-9"]);
    assert!(code == 1 && ["node-9", "node-1 (", "node-3 ("].iter().all(|word| said.contains(word)), "{said}");
    let (code, said) = refuses(&asked, &["clients", "--columns", "node,height"]);
    assert!(
        code == 2 && ["height", "client_id", "in_flight"].iter().all(|word| said.contains(word)),
        "{said}"
    );
    let (code, said) = refuses(&asked, &["clients", "--address", "here"]);
    assert!(code == 1 && said.contains("address: expected"), "{said}");

    nodes.kill(3);
    let new = [("new".to_owned(), 1)];
    Crowd::of(&nodes, persistent, new.into_iter()).until("those of the others", || {
        let told = list(&asked, &["clients", "--client-prefix", "new"]);
        column(&told, "clients", "node") == ["node-1"] && told["unheard"][0]["node"] == "node-3"
    });
    assert!(says(&asked, &["clients"]).contains("node node-3 did not answer: "));
}

#[test]
fn a_client_is_made_to_go_from_wherever_it_is() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let asked = admin(&nodes, 1);
    let others = || three_each().filter(|(id, _)| id != "c-3-1");
    let mut others = Crowd::of(&nodes, persistent, others());
    let mut kicked = until("client that is there", || {
        let there = session("c-3-1", &[nodes.mqtt(3)]);
        let output = run(&asked, &["kick", "c-3-1"]);
        (output.stdout == b"c-3-1 was disconnected from node-3\n").then_some(there)
    });
    let last = kicked.expect_closed_within(PATIENCE).pop().expect("it is told why");
    assert_eq!((last.kind(), last.reasoned().reason), (kind::DISCONNECT, 0x98));
    others.until("nobody else has gone", || clients(&asked, &[]).len() == 8);
    let (code, said) = refuses(&asked, &["kick", "c-3-1"]);
    assert!(code == 1 && said.contains("no client \"c-3-1\" is connected"), "{said}");
    // It may come back, to its session.
    let back = [("c-3-1".to_owned(), 2)];
    Crowd::of(&nodes, persistent, back.into_iter()).until("it is back", || {
        let told = list(&asked, &["clients", "--client-id", "c-3-1"]);
        column(&told, "clients", "node") == ["node-2"]
    });
}

/// Of each session in a list what is asked for.
fn sessions(asked: &str, arguments: &[&str], name: &str) -> Vec<(String, Value)> {
    let told = whole(asked, &[&["sessions", "--limit", "0"], arguments].concat());
    assert_eq!(told["more"], false);
    let rows = told["sessions"].as_array().unwrap();
    rows.iter().map(|row| (row["client_id"].as_str().unwrap().to_owned(), row[name].clone())).collect()
}

#[test]
fn sessions_are_told_by_the_leaders_of_their_shards_whoever_is_asked() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    let names: Vec<String> = (0..30).map(|at| format!("s-{at:02}")).collect();
    for name in &names {
        leave(name, "t/#", &nodes.mqtt(1));
    }
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(2)]);
    (0..3).for_each(|number| publisher.publish(&format!("t/{number}"), b"x", 2));
    let here = [("s-07".to_owned(), 3)];
    let mut here = Crowd::of(&nodes, persistent, here.into_iter());
    // The publisher's own session is one too.
    let queued = |number: usize| sessions(&admin(&nodes, number), &["--client-prefix", "s-"], "queued");
    let expected: Vec<(String, Value)> = names.iter().map(|name| (name.clone(), 3.into())).collect();
    (1..=3).for_each(|number| assert_eq!(queued(number), expected));

    let asked = admin(&nodes, 1);
    let at = |arguments: &[&str]| sessions(&asked, &[&["--client-prefix", "s-"], arguments].concat(), "node");
    here.until("one that is connected", || {
        at(&["--connected"]) == [("s-07".to_owned(), "node-3".into())] && at(&["--absent"]).len() == 29
    });
    assert_eq!((at(&["--queued-min", "3"]).len(), at(&["--queued-min", "4"]).len()), (30, 0));
    let only = whole(&asked, &["sessions", "--client-id", "s-11"]);
    let one = &only["sessions"][0];
    assert_eq!((&one["subscriptions"], &one["expiry_s"]), (&1.into(), &3_600.into()));
    assert!(
        one["absent_since"].is_string() && one["ends_at"].is_string() && one["node"].is_null(),
        "{one:#}"
    );
    let first = whole(&asked, &["sessions", "--client-prefix", "s-", "--limit", "7"]);
    assert_eq!(
        (column(&first, "sessions", "client_id"), &first["more"]),
        (names[..7].to_vec(), &true.into())
    );
    assert!(says(&asked, &["sessions", "--limit", "7"]).contains("7 are shown, there are more"));
    let (code, said) = refuses(&asked, &["sessions", "--columns", "weight"]);
    assert!(code == 2 && ["weight", "queued_bytes"].iter().all(|word| said.contains(word)), "{said}");

    // Others lead what the dead node led, and know the same.
    nodes.kill(3);
    let asked = admin(&nodes, 1);
    let known = until("end of the client that was there", || {
        let known = sessions(&asked, &["--client-prefix", "s-", "--absent"], "queued");
        (known.len() == 30).then_some(known)
    });
    assert_eq!(known, expected);
}

/// G11: whoever finds a session that was ended would get what waits in it.
#[test]
fn a_session_that_is_ended_does_not_come_back_whoever_dies() {
    let mut nodes = Nodes::started();
    nodes.until_replicated();
    for name in ["gone", "kept"] {
        leave(name, "t", &nodes.mqtt(1));
    }
    Publisher::new("pub", vec![nodes.mqtt(2)]).publish("t", b"x", 2);
    let mut there = persistent("gone", &nodes.mqtt(3));
    let asked = admin(&nodes, 1);
    until("end of the session", || {
        // On a busy machine the answer may come too late, and the session has ended all the same.
        run(&asked, &["sessions", "delete", "gone"]);
        sessions(&asked, &["--client-id", "gone"], "queued").is_empty().then_some(())
    });
    there.expect_closed_within(PATIENCE);
    until("word that there is none", || {
        let (code, said) = refuses(&asked, &["sessions", "delete", "gone"]);
        (code == 1 && said.contains("\"gone\" has no persistent session")).then_some(())
    });
    for number in 1..=3 {
        nodes.kill(number);
        nodes.start(&[number], Duration::ZERO);
    }
    assert!(sessions(&admin(&nodes, 1), &["--client-id", "gone"], "queued").is_empty(), "it came back");
    assert_eq!(
        sessions(&admin(&nodes, 1), &["--client-id", "kept"], "queued"),
        [("kept".to_owned(), 1.into())]
    );
}

#[test]
fn subscriptions_of_all_sessions_are_found_by_client_by_filter_and_by_topic() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let here = (1..=3).map(|number| (format!("here-{number}"), number));
    let mut here = Crowd::of(&nodes, transient, here);
    for at in 0..20 {
        leave(&format!("away-{at:02}"), "$share/g/t/#", &nodes.mqtt(at % 3 + 1));
    }
    let found = |number: usize, arguments: &[&str]| -> Vec<(String, String)> {
        let told = whole(&admin(&nodes, number), &[&["subscriptions", "--limit", "0"], arguments].concat());
        assert_eq!(told["more"], false);
        let of = |name: &str| column(&told, "subscriptions", name);
        of("client_id").into_iter().zip(of("filter")).collect()
    };
    let pair = |client: &str, filter: &str| (client.to_owned(), filter.to_owned());
    let mut expected: Vec<_> = (0..20).map(|at| pair(&format!("away-{at:02}"), "$share/g/t/#")).collect();
    for number in 1..=3 {
        let client = format!("here-{number}");
        expected.extend([pair(&client, &format!("own/here-{number}")), pair(&client, "t/+")]);
    }
    for number in 1..=3 {
        here.until("all subscriptions", || found(number, &[]) == expected);
    }
    here.until("those of a topic", || found(1, &["--topic", "t/x"]).len() == 23);
    assert_eq!(found(2, &["--topic", "t/x/y"]).len(), 20);
    here.until("those of a filter", || {
        found(3, &["--filter", "own/here-2"]) == [pair("here-2", "own/here-2")]
    });
    assert_eq!(found(3, &["--client-id", "away-07"]), [pair("away-07", "$share/g/t/#")]);
    let asked = admin(&nodes, 1);
    here.until("the first of them", || {
        let first = whole(&asked, &["subscriptions", "--limit", "21"]);
        column(&first, "subscriptions", "client_id").len() == 21 && first["more"] == true
    });
    let columns = "client_id,filter,qos,node,persistent";
    let wanted = ["subscriptions", "--client-id", "here-3", "--columns", columns];
    let expected = "CLIENT_ID  FILTER      QOS  NODE    PERSISTENT\n\
        here-3     own/here-3  1    node-3  no\n\
        here-3     t/+         0    node-3  no\n";
    here.until("a table", || says(&asked, &wanted) == expected);
    let (code, said) = refuses(&asked, &["subscriptions", "--topic", "t/#"]);
    assert!(code == 1 && said.contains("topic: \"t/#\" is a filter"), "{said}");
    drop(here);
    until("end of those that are transient", || (found(2, &[]).len() == 20).then_some(()));
}

#[test]
fn retained_messages_are_listed_and_removed_from_any_node() {
    let nodes = Nodes::started();
    nodes.until_replicated();
    let mut publisher = Publisher::new("pub", vec![nodes.mqtt(1)]);
    for at in 0..70 {
        publisher.retain(&format!("plant/{at:02}/state"), format!("on-{at}").as_bytes());
    }
    publisher.retain("other", &[0xff, 0]);
    let found = |number: usize, filter: &str| {
        let told = whole(&admin(&nodes, number), &["retained", "--limit", "0", "--filter", filter]);
        assert_eq!(told["more"], false);
        assert!(told["retained"].as_array().unwrap().iter().all(|row| row["payload"].is_null()));
        column(&told, "retained", "topic").into_iter().collect::<BTreeSet<_>>()
    };
    (1..=3).for_each(|number| assert_eq!(found(number, "#").len(), 71));
    assert_eq!(found(2, "plant/+/state").len(), 70);
    let asked = admin(&nodes, 3);
    let columns = ["--columns", "payload,payload_base64,payload_bytes"];
    let one = whole(&asked, &[&["retained", "--filter", "plant/07/state"], columns.as_slice()].concat());
    assert_eq!(
        one["retained"][0],
        serde_json::json!({ "payload": "on-7", "payload_base64": "b24tNw==", "payload_bytes": 4 })
    );
    let other = whole(&asked, &[&["retained", "--filter", "other"], columns.as_slice()].concat());
    assert_eq!(
        (&other["retained"][0]["payload"], &other["retained"][0]["payload_base64"]),
        (&Value::Null, &"/wA=".into())
    );
    let first = whole(&asked, &["retained", "--limit", "9"]);
    assert_eq!((first["retained"].as_array().unwrap().len(), &first["more"]), (9, &true.into()));
    for wrong in ["a#", "$share/g/a"] {
        let (code, said) = refuses(&asked, &["retained", "purge", wrong]);
        assert!(code == 1 && said.contains("filter: "), "{said}");
    }
    let purge = || {
        let output = run(&asked, &["retained", "purge", "plant/#"]);
        output.status.success().then(|| String::from_utf8(output.stdout).unwrap())
    };
    until("removal", purge);
    assert_eq!(found(1, "#"), BTreeSet::from(["other".to_owned()]));
    assert_eq!(until("nothing to remove", purge), "0 retained messages were removed\n");
    leave("late", "#", &nodes.mqtt(2));
    let late = drain("late", 1, &[nodes.mqtt(2)]);
    assert!(late.iter().all(|payload| *payload == [0xff, 0]), "what was removed is sent to nobody: {late:?}");
}
