//! What the chart makes of single values: what restarts nodes and what does not, values that YAML could take for something else,
//! and the nodes' configuration. It starts nothing but `helm`.

use std::path::Path;

use serde_json::Value;

use crate::chart::{helm, render};
use crate::manifest::{documents, list, text};
use crate::objects::understood;

/// What the chart makes, as text.
#[track_caller]
fn rendered(helm: &Path, arguments: &[&str]) -> String {
    let done = render(helm, arguments);
    assert!(done.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap()
}

/// The one object of a kind.
#[track_caller]
fn one(text: &str, kind: &str) -> Value {
    let found: Vec<Value> = documents(text).into_iter().filter(|object| object["kind"] == kind).collect();
    let [one] = found.as_slice() else { panic!("{} of {kind}", found.len()) };
    one.clone()
}

/// What pods are made of: where it is the same, an upgrade restarts nobody.
#[track_caller]
fn pods(helm: &Path, values: &[&str]) -> Value {
    let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
    one(&rendered(helm, &arguments), "StatefulSet")["spec"]["template"].clone()
}

#[test]
fn nodes_restart_for_another_user_and_configuration_but_not_for_more_nodes() {
    let Some(helm) = helm() else { return };
    let before = pods(&helm, &["auth.password=one"]);
    for values in [
        &["auth.password=another"][..],
        &["auth.password=one", "auth.user=another"],
        &["auth.password=one", "auth.clientIds=user"],
        &["auth.password=one", "config.mqtt.receive_maximum=9"],
    ] {
        let after = pods(&helm, values);
        assert!(before["metadata"]["annotations"] != after["metadata"]["annotations"], "{values:?}");
    }
    for values in [
        &["auth.password=one", "acl.existingConfigMap="][..],
        &["auth.password=one", "replicaCount=5"],
        &["auth.password=one", "minReadySeconds=60"],
    ] {
        assert_eq!(before, pods(&helm, values), "{values:?}");
    }
    // A password that is drawn stays in the Secret, and is another one each time here.
    assert_eq!(pods(&helm, &[]), pods(&helm, &[]));
    // Nobody knows it by what everybody sees, and files of others say themselves that they changed.
    assert!(!before.to_string().contains("\"one\""), "{before}");
    let others = pods(&helm, &["auth.existingSecret=users"]);
    assert!(others["metadata"]["annotations"].get("checksum/user").is_none(), "{others}");
}

#[test]
fn texts_stay_texts_whatever_yaml_could_take_them_for() {
    let Some(helm) = helm() else { return };
    let odd = "auth.user=dev #1,priorityClassName=123,serviceAccount.name=456,externalService.loadBalancerClass=789,nameOverride=0,image.repository=1,image.tag=30";
    let on = "listeners.on.enabled=true,listeners.on.protocol=ws,listeners.on.port=2000,externalService.enabled=true,externalService.listeners={on},ingress.enabled=true,ingress.listener=on,ingress.hosts={on}";
    let arguments =
        ["--set-string", odd, "--set", on, "--set-string", "ingress.className=1,ingress.tlsSecretName=2"];
    let all = rendered(&helm, &[&arguments[..], &["--namespace", "12"]].concat());
    for object in documents(&all) {
        let understood = understood(&object).unwrap_or_else(|error| panic!("{error}: {object:#}"));
        assert_eq!(understood, object);
        assert_eq!(object["metadata"]["namespace"], "12");
    }
    // Other programs take this one for a truth value.
    let is_bare = |line: &&str| line.ends_with(": on") || line.ends_with("- on") || line.contains(": on,");
    assert_eq!(all.lines().find(is_bare), None);
    let pod = one(&all, "StatefulSet")["spec"]["template"]["spec"].clone();
    assert_eq!(pod["priorityClassName"], "123");
    assert_eq!(pod["initContainers"][0]["command"][4], "dev #1");
    let test = one(&all, "Pod")["spec"]["containers"][0]["args"].clone();
    assert!(list(&test).contains(&"--username=dev #1".into()), "{test}");
    let users = rendered(&helm, &["--set-string", "auth.existingSecret=1,auth.existingSecretKey=2"]);
    let pod = one(&users, "StatefulSet")["spec"]["template"]["spec"].clone();
    let auth = list(&pod["volumes"]).iter().find(|volume| volume["name"] == "auth").expect("a volume");
    assert_eq!(auth["secret"]["secretName"], "1");
    assert_eq!(auth["secret"]["items"][0]["key"], "2");
}

#[test]
fn the_configuration_is_toml_whatever_its_keys_and_numbers() {
    let Some(helm) = helm() else { return };
    let values = r#"config={"mqtt": {"none": null, "a b": 1, "most": 9007199254740992, "list": [1, {"c d": 2, "none": null}]}, "own": {"e.f": {"g": "x"}}}"#;
    let all = rendered(&helm, &["--set-json", values]);
    let maps: Vec<Value> =
        documents(&all).into_iter().filter(|object| object["kind"] == "ConfigMap").collect();
    let toml = text(&maps[0]["data"]["quelea.toml"]);
    let lines = [
        "\n\"a b\" = 1\n",
        "\nmost = 9007199254740992\n",
        "\nlist = [1, { \"c d\" = 2 }]\n",
        "\n[own.\"e.f\"]\ng = \"x\"\n",
    ];
    for said in lines {
        assert!(toml.contains(said), "no {said:?} in {toml}");
    }
    assert!(!toml.contains("none"), "{toml}");
    let all = rendered(&helm, &["--set", "config.mqtt.receive_maximum=null"]);
    assert!(!all.contains("receive_maximum"));
}

#[test]
fn an_ingress_has_the_path_of_its_listener_or_the_brokers_own() {
    let Some(helm) = helm() else { return };
    let values = "listeners.own.enabled=true,listeners.own.protocol=ws,listeners.own.port=2000,ingress.enabled=true,ingress.hosts={a.org},ingress.listener=own";
    for (more, path) in [("", "/mqtt"), (",listeners.own.path=/other", "/other")] {
        let ingress = one(&rendered(&helm, &["--set", &format!("{values}{more}")]), "Ingress");
        assert_eq!(ingress["spec"]["rules"][0]["http"]["paths"][0]["path"], path);
    }
}

#[test]
fn volumes_have_the_storage_class_that_is_given_the_default_one_or_none() {
    let Some(helm) = helm() else { return };
    for (given, class) in [("", Value::Null), ("fast", "fast".into()), ("-", "".into())] {
        let set = one(
            &rendered(&helm, &["--set", &format!("persistence.storageClassName={given}")]),
            "StatefulSet",
        );
        assert_eq!(set["spec"]["volumeClaimTemplates"][0]["spec"]["storageClassName"], class, "{given:?}");
    }
}
