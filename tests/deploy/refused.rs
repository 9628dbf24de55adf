//! What cannot work is refused by the chart, each with a sentence that names the key: what is wrong by itself by its schema, and
//! combinations by its checks. It starts nothing but `helm`.

use std::path::Path;

use crate::chart::{helm, render};

/// Values, and what is said of them.
const REFUSED: [(&[&str], &str); 67] = [
    // The schema names the key.
    (&["replicas=3"], "'replicas' not allowed"),
    (&["replicaCount=0"], "/replicaCount"),
    (&["image.tagg=1"], "'tagg' not allowed"),
    (&["listeners.mqtt.prot=tcp"], "/listeners/mqtt"),
    (&["listeners.mqtt.protocol=udp"], "/listeners/mqtt/protocol"),
    (&["drain.timeoutSeconds=soon"], "/drain/timeoutSeconds"),
    (&["persistence.size=large"], "/persistence/size"),
    (&["cluster.profile=wan"], "/cluster/profile"),
    (&["config.mqtt=1"], "/config/mqtt"),
    (&["cluster.tls.enabled=true"], "/cluster/tls"),
    (&["scaleDown.timeoutSeconds=0"], "/scaleDown/timeoutSeconds"),
    (&["persistence=null"], "missing property 'persistence'"),
    (&["drain.timeoutSeconds=null"], "missing property 'timeoutSeconds'"),
    (&["externalService.listeners=null"], "missing property 'listeners'"),
    (&["listeners.Own.enabled=true"], "'Own' not allowed"),
    (&["listeners.a--b.enabled=true"], "'a--b' not allowed"),
    (&["listeners.mqtt.maxConnections=4294967296"], "/listeners/mqtt/maxConnections"),
    (&["config.a b.x=1"], "'a b' not allowed"),
    (&["drain.clientsPerSecond=1000001"], "/drain/clientsPerSecond"),
    (&["clusterDomain=a..b"], "/clusterDomain"),
    (&["fullnameOverride=1broker"], "/fullnameOverride"),
    (&["service.listeners={mqtt,mqtt}"], "/service/listeners"),
    // The checks say what is wrong.
    (&["replicaCount=2"], "two nodes survive the death of none"),
    (&["podDisruptionBudget.maxUnavailable=0"], "no machine could ever be emptied"),
    (&["podDisruptionBudget.maxUnavailable=2"], "survives the loss of one"),
    (&["terminationGracePeriodSeconds=30"], "nodes would be killed while they drain"),
    (&["drain.timeoutSeconds=60", "terminationGracePeriodSeconds=75"], "a stop may take 75 s"),
    (&["persistence.enabled=false"], "lost what the others count on"),
    (&["listeners.mqtts.enabled=true"], "there is no certificate"),
    (&["tls.certManager.enabled=true"], "nobody would issue"),
    (&["listeners.mqtt.proxyProtocol=true"], "no load balancer would be believed"),
    (&["listeners.mqtt.port=8080"], "taken by metrics and probes"),
    (&["listeners.mqtt.port=9884"], "taken by scaleDown.port"),
    (&["cluster.tls.certManager.enabled=true"], "cluster.tls.certManager.issuerRef.name is empty"),
    (
        &["cluster.tls.certManager.enabled=true", "cluster.tls.existingSecret=nodes"],
        "only one of them can count",
    ),
    (
        &["cluster.tls.existingSecret=nodes", "cluster.existingSecret=secret"],
        "know each other by one of them",
    ),
    (&["listeners.mqtt.enabled=false"], "nobody could connect"),
    (&["service.listeners={mqtts}"], "no listener that is enabled"),
    (&["ingress.enabled=true", "ingress.hosts={example.org}"], "no listener that is enabled"),
    (&["config.cluster.seeds=a"], "config.cluster.seeds is set by the chart itself"),
    (&["cluster.port=8080"], "cluster.port 8080 is taken"),
    (
        &["ingress.enabled=true", "ingress.listener=mqtt", "ingress.hosts={a.org}"],
        "an Ingress passes on HTTP alone",
    ),
    (&["listeners.ws.enabled=true", "ingress.enabled=true"], "ingress.hosts is empty"),
    (
        &["externalService.enabled=true"],
        "externalService.listeners names mqtts, which is no listener that is enabled",
    ),
    (
        &["tls.certManager.enabled=true", "tls.existingSecret=own"],
        "tls.existingSecret and tls.certManager.enabled are both set",
    ),
    (
        &["listeners.more.enabled=true", "listeners.more.protocol=tcp", "listeners.more.port=1883"],
        "taken by listener more",
    ),
    (&["acl.rules=allow all #", "acl.existingConfigMap=rules"], "only one of them can count"),
    (
        &["listeners.http.enabled=true", "listeners.http.protocol=tcp", "listeners.http.port=2000"],
        "listeners.http: the chart has a port of that name",
    ),
    (
        &["listeners.cluster.enabled=true", "listeners.cluster.protocol=tcp", "listeners.cluster.port=2000"],
        "listeners.cluster: the chart has",
    ),
    (
        &[
            "listeners.scale-down.enabled=true",
            "listeners.scale-down.protocol=tcp",
            "listeners.scale-down.port=2000",
        ],
        "listeners.scale-down: the chart has",
    ),
    (
        &[
            "listeners.of-too-many-chars.enabled=false",
            "listeners.of-too-many-chars.protocol=tcp",
            "listeners.of-too-many-chars.port=2000",
        ],
        "listeners.of-too-many-chars: names of ports have 15 characters at most, this one has 17",
    ),
    (
        &["persistence.whenScaled=Delete", "scaleDown.enabled=false"],
        "persistence.whenScaled is Delete, but scaleDown.enabled is false",
    ),
    (
        &[
            "listeners.ws.enabled=true",
            "ingress.enabled=true",
            "ingress.hosts={a.org}",
            "service.listeners={mqtt}",
        ],
        "ingress.listener is ws, which is not in service.listeners",
    ),
    (
        &[
            "listeners.ws.enabled=true",
            "listeners.ws.proxyProtocol=true",
            "proxyTrusted={10.0.0.0/8}",
            "ingress.enabled=true",
            "ingress.hosts={a.org}",
            "ingress.annotations=null",
        ],
        "listeners.ws.proxyProtocol is true and ingress.listener is ws",
    ),
    (
        &["commonLabels.app\\.kubernetes\\.io/name=x"],
        "commonLabels has app.kubernetes.io/name, which the chart sets itself",
    ),
    (&["podLabels.app\\.kubernetes\\.io/component=x"], "podLabels has app.kubernetes.io/component"),
    (
        &["monitoring.serviceMonitor.labels.helm\\.sh/chart=x"],
        "monitoring.serviceMonitor.labels has helm.sh/chart",
    ),
    (&["podAnnotations.checksum/config=x"], "podAnnotations has checksum/config"),
    (&["extraEnv[0].name=QUELEA__NODE__NAME", "extraEnv[0].value=same"], "extraEnv has QUELEA__NODE__NAME"),
    (
        &["extraEnv[0].name=QUELEA__CLUSTER__SEEDS", "extraEnv[0].value=[]"],
        "extraEnv has QUELEA__CLUSTER__SEEDS",
    ),
    (
        &[
            "externalService.enabled=true",
            "externalService.listeners={mqtt}",
            "externalService.nodePorts.mqtts=30883",
        ],
        "externalService.nodePorts names mqtts, which is not in externalService.listeners",
    ),
    (&["auth.password=a", "auth.existingSecret=users"], "auth.password and auth.existingSecret are both set"),
    (
        &["cluster.secret=0123456789abcdef0123456789abcdef", "cluster.existingSecret=nodes"],
        "cluster.secret and cluster.existingSecret are both set",
    ),
    (&["tls.clientCertificates=true"], "tls.clientCertificates is true, but no listener with TLS is enabled"),
    (
        &["monitoring.serviceMonitor.enabled=true", "monitoring.serviceMonitor.scrapeTimeout=1m"],
        "monitoring.serviceMonitor.scrapeTimeout is 1m",
    ),
    (
        &[
            "tls.certManager.enabled=true",
            "tls.certManager.issuerRef.name=a",
            "tls.certManager.renewBefore=2159h60m",
        ],
        "tls.certManager.renewBefore is 2159h60m",
    ),
    (
        &[
            "cluster.tls.certManager.enabled=true",
            "cluster.tls.certManager.issuerRef.name=a",
            "cluster.tls.certManager.duration=24h",
        ],
        "cluster.tls.certManager.renewBefore is 720h",
    ),
];

#[test]
fn what_cannot_work_is_refused_with_a_sentence() {
    let Some(helm) = helm() else { return };
    for (values, said) in REFUSED {
        let arguments: Vec<&str> = values.iter().flat_map(|value| ["--set", value]).collect();
        is_refused(&helm, &arguments, said);
    }
    is_refused(&helm, &["--set-json", "config.mqtt.x=12345678901234567890"], "config.mqtt.x is 1234567890");
    is_refused(&helm, &["--set-json", "config.mqtt.x=[null]"], "config.mqtt.x has an item that is null");
    for (release, name) in [("9q", "9q-quelea"), ("a.b", "a.b-quelea")] {
        let said = format!("objects called {name}, but names of Services begin with a letter");
        is_refused(&helm, &["--name-template", release], &said);
    }
}

#[track_caller]
fn is_refused(helm: &Path, arguments: &[&str], said: &str) {
    let done = render(helm, arguments);
    let error = String::from_utf8_lossy(&done.stderr);
    assert!(!done.status.success() && error.contains(said), "{arguments:?}: {error}");
}

#[test]
fn what_only_looks_as_if_it_could_not_work_is_taken() {
    let Some(helm) = helm() else { return };
    for values in [
        "replicaCount=2,allowTwoReplicas=true",
        // Without the Job volumes may be kept, and without volumes nothing is deleted.
        "scaleDown.enabled=false",
        "scaleDown.enabled=false,persistence.whenScaled=Delete,persistence.enabled=false,replicaCount=1",
        // Labels that are not the chart's own, and what HAProxy's Ingress controller is told.
        r"commonLabels.app\.kubernetes\.io/part-of=plant",
        r"listeners.ws.enabled=true,listeners.ws.proxyProtocol=true,proxyTrusted={10.0.0.0/8},ingress.enabled=true,ingress.hosts={a.org},ingress.annotations.haproxy\.org/send-proxy-protocol=proxy-v2",
        "extraEnv[0].name=QUELEA__MQTT__RECEIVE_MAXIMUM,extraEnv[0].value=9",
        // What is off is not looked at.
        "tls.certManager.duration=1h,monitoring.serviceMonitor.scrapeTimeout=1h",
        "listeners.mqtt=null,listeners.plain.enabled=true,listeners.plain.protocol=tcp,listeners.plain.port=1883",
    ] {
        let done = render(&helm, &["--set", values]);
        assert!(done.status.success(), "{values}: {}", String::from_utf8_lossy(&done.stderr));
    }
    let named = render(&helm, &["--name-template", "9q", "--set", "fullnameOverride=broker"]);
    assert!(named.status.success(), "{}", String::from_utf8_lossy(&named.stderr));
}
