//! What rules mean, as files have them.

use std::net::IpAddr;

use super::*;
use topic_index::Filter;

fn user(name: &str) -> Principal {
    Principal { user: Some(name.into()), ..Principal::default() }
}

fn rights(text: &str, who: &Principal, client: &str) -> Rights {
    Rules::parse(text).unwrap().rights_of(who, client)
}

fn publishes(rights: &Rights, topic: &str) -> bool {
    rights.may_publish(topic.as_bytes(), QoS::AtMostOnce, false)
}

fn subscribes(rights: &Rights, filter: &str) -> Option<QoS> {
    rights.may_subscribe(Filter::parse(filter, 128).unwrap().plain())
}

#[test]
fn the_first_rule_that_fits_decides_and_the_rest_is_denied() {
    let text = "deny all a/secret\nallow publish a/#\nallow subscribe b\ndeny all a/late\n";
    let rights = rights(text, &Principal::default(), "c");
    assert!(publishes(&rights, "a/x") && publishes(&rights, "a/late"));
    assert!(!publishes(&rights, "a/secret") && !publishes(&rights, "b") && !publishes(&rights, "c"));
    assert_eq!((subscribes(&rights, "b"), subscribes(&rights, "a/x")), (Some(QoS::ExactlyOnce), None));
    let nothing = Rules::parse("# no rule\n").unwrap().rights_of(&user("ann"), "c");
    assert!(!publishes(&nothing, "x") && subscribes(&nothing, "x").is_none() && !nothing.may_receive(b"x"));
}

#[test]
fn a_filter_is_granted_only_where_nothing_of_it_is_denied() {
    let rights = rights("deny subscribe a/secret/+\nallow subscribe a/#\n", &Principal::default(), "c");
    for filter in ["a/open", "a/open/#", "a/secret", "a/+"] {
        assert!(subscribes(&rights, filter).is_some(), "{filter}");
    }
    for filter in ["a/#", "#", "a/secret/x", "a/+/x", "a/secret/#", "b"] {
        assert!(subscribes(&rights, filter).is_none(), "{filter}");
    }
    assert!(rights.may_receive(b"a/open") && !rights.may_receive(b"a/secret/x"));
}

#[test]
fn a_rule_is_about_those_of_whom_all_holds() {
    let text = "group staff ann \"bob b\"\n\
                allow publish u user=ann\nallow publish g group=staff\nallow publish c client=c1\n\
                allow publish n address=10.0.0.0/8\nallow publish one address=::1\nallow publish cn cn=device\n\
                allow publish anon anonymous\nallow publish two user=ann client=c1\n";
    let rules = Rules::parse(text).unwrap();
    let at = |address: &str| Principal {
        address: Some(address.parse::<IpAddr>().unwrap()),
        ..Principal::default()
    };
    let device = Principal { common_name: Some("device".into()), ..user("eve") };
    let cases: [(Principal, &str, &[&str]); 8] = [
        (user("ann"), "c1", &["u", "g", "c", "two"]),
        (user("ann"), "c2", &["u", "g"]),
        (user("bob b"), "c2", &["g"]),
        (user("eve"), "c1", &["c"]),
        (at("10.1.2.3"), "c", &["n", "anon"]),
        (at("11.1.2.3"), "c", &["anon"]),
        (at("::1"), "c", &["one", "anon"]),
        (device, "c", &["cn"]),
    ];
    for (who, client, allowed) in cases {
        let rights = rules.rights_of(&who, client);
        let found: Vec<&str> = ["u", "g", "c", "n", "one", "cn", "anon", "two"]
            .into_iter()
            .filter(|topic| publishes(&rights, topic))
            .collect();
        let mut allowed = allowed.to_vec();
        allowed.sort_unstable_by_key(|topic| found.iter().position(|one| one == topic));
        assert_eq!(found, allowed, "{who:?} {client}");
    }
}

#[test]
fn quality_of_service_and_retain_are_limited() {
    let rights = rights("allow all t qos=1 retain=no\nallow publish r\n", &Principal::default(), "c");
    assert!(rights.may_publish(b"t", QoS::AtLeastOnce, false));
    assert!(!rights.may_publish(b"t", QoS::ExactlyOnce, false));
    assert!(!rights.may_publish(b"t", QoS::AtMostOnce, true));
    assert!(rights.may_publish(b"r", QoS::ExactlyOnce, true));
    assert_eq!(subscribes(&rights, "t"), Some(QoS::AtLeastOnce), "less is granted");
}

/// Cut off anywhere a file of rules allows no more than the whole, or is no file of rules.
#[test]
fn no_part_of_a_file_allows_more_than_the_whole() {
    let text = "group banned eve mallory\ndeny all # group=banned\ndeny all a/secret user=ann\n\
                allow publish a/# user=ann qos=0 retain=no\nallow subscribe b/# address=10.0.0.0/8\n";
    let whole = Rules::parse(text).unwrap();
    let topics = ["a", "a/secret", "a/x", "b", "b/x", "x"];
    for end in 0..text.len() {
        let part = &text[..end];
        // What reads files refuses those without a last line's end.
        if !part.ends_with('\n') {
            continue;
        }
        let Ok(part) = Rules::parse(part) else { continue };
        for who in [user("ann"), user("eve"), user("mallory"), Principal::default()] {
            let (part, whole) = (part.rights_of(&who, "c"), whole.rights_of(&who, "c"));
            for topic in topics {
                assert!(!publishes(&part, topic) || publishes(&whole, topic), "{who:?} publishes {topic}");
                assert!(!part.may_receive(topic.as_bytes()) || whole.may_receive(topic.as_bytes()));
                assert!(subscribes(&part, topic) <= subscribes(&whole, topic), "{who:?} subscribes {topic}");
            }
        }
    }
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    for (text, expected) in [
        ("allow\n", "line 1: expected \"allow\""),
        ("\npermit all #\n", "line 2: expected \"allow\" or \"deny\""),
        ("allow read #\n", "line 1: expected \"publish\""),
        ("allow all a/#/b\n", "line 1: \"a/#/b\" is no topic filter"),
        ("allow all $share/g/a\n", "line 1: rules are for the filter inside"),
        ("allow all a group=nobody\n", "line 1: no group \"nobody\""),
        ("group g a\ngroup g b\n", "line 2: the group \"g\" has a line before"),
        ("allow all a usr=ann\n", "line 1: unknown word \"usr\""),
        ("allow all a user=\n", "line 1: expected user=NAME"),
        ("allow all a ann\n", "line 1: expected user=NAME"),
        ("allow all a address=10.0.0.0/99\n", "line 1: \"10.0.0.0/99\" is neither"),
        ("allow all a qos=3\n", "line 1: expected qos=0"),
        ("deny all a qos=1\n", "line 1: \"qos=1\" limits"),
        ("allow subscribe a retain=no\n", "line 1: expected retain=no in a rule about publishing"),
        ("allow all \"a\n", "line 1: a quote has no end"),
    ] {
        let error = Rules::parse(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
    let quoted = rights("allow publish \"a \\\"b\\\"/#\" \"user=jane doe\"\n", &user("jane doe"), "c");
    assert!(publishes(&quoted, "a \"b\"/c"));
}

#[test]
fn mosquittos_files_mean_what_they_mean_there() {
    let text = "topic read public/#\ntopic readwrite chat\n\nuser ann\ntopic own/ann/#\ntopic deny own/ann/secret\n\
                topic write with blanks/#\n# comment\nuser bob\ntopic read own/bob\n\
                pattern write dev/%c/up\npattern read dev/%u/down\npattern deny dev/%c/raw\n";
    let rules = Rules::parse_mosquitto(text).unwrap();
    let (nobody, ann, bob) = (
        rules.rights_of(&Principal::default(), "c"),
        rules.rights_of(&user("ann"), "c"),
        rules.rights_of(&user("bob"), "+"),
    );
    assert!(subscribes(&nobody, "public/x").is_some() && !publishes(&nobody, "public/x"));
    assert!(publishes(&nobody, "chat") && nobody.may_receive(b"chat") && publishes(&nobody, "dev/c/up"));
    assert!(!ann.may_receive(b"public/x"), "lines before the first user are about those without a name");
    assert!(publishes(&ann, "own/ann/x") && ann.may_receive(b"own/ann/x"));
    assert!(
        !publishes(&ann, "own/ann/secret") && !ann.may_receive(b"own/ann/secret"),
        "denied, though later in the file"
    );
    assert!(publishes(&ann, "with blanks/x") && publishes(&ann, "dev/c/up") && !publishes(&ann, "dev/c/raw"));
    assert!(ann.may_receive(b"dev/ann/down") && !ann.may_receive(b"dev/bob/down"));
    assert!(bob.may_receive(b"own/bob") && !publishes(&bob, "own/bob"));
    // CVE-2017-7650: a client identifier that looks like a wildcard.
    assert!(!publishes(&bob, "dev/c/up") && subscribes(&bob, "dev/+/down").is_none());
    for (text, expected) in [
        ("topc a\n", "line 1: expected \"user NAME\""),
        ("user\n", "line 1: expected \"user NAME\""),
        ("topic read a/#/b\n", "line 1: \"a/#/b\" is no topic filter"),
        ("topic\n", "line 1: \"\" is no topic filter"),
        ("pattern read a/b\n", "line 1: a pattern has %c or %u"),
    ] {
        let error = Rules::parse_mosquitto(text).unwrap_err();
        assert!(error.starts_with(expected), "{text}: {error}");
    }
}
