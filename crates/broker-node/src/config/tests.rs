//! What a configuration may say, and what the node answers where it says something else.

use super::*;
use std::{fs, time::Duration};

fn load_text(text: &str) -> Result<Settings, ConfigError> {
    load_all(text, &[], &Flags::default())
}

fn load_all(text: &str, environment: &[(&str, &str)], flags: &Flags) -> Result<Settings, ConfigError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("quelea.toml");
    fs::write(&file, text).unwrap();
    load(Some(&file), environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())), flags)
}

fn error_of(text: &str) -> String {
    load_text(text).unwrap_err().to_string()
}

#[test]
fn the_defaults_are_a_listener_on_loopback_and_http() {
    let settings = load(None, std::iter::empty(), &Flags::default()).unwrap();
    assert_eq!(settings.listener.keys().collect::<Vec<_>>(), ["mqtt"]);
    assert_eq!(settings.listener["mqtt"].address, "localhost:1883");
    assert_eq!(settings.listener["mqtt"].name, "mqtt");
    assert_eq!(settings.http.address, "localhost:8080");
    assert_eq!(settings.mqtt.max_packet_size, 1_048_576);
}

#[test]
fn what_is_shown_can_be_read_again() {
    let text = r#"
        [mqtt]
        max_session_expiry = "1day"
        [listener.tls]
        protocol = "tls"
        tls = { certificate = "a", key = "b", sni = [{ names = ["x"], certificate = "c", key = "d" }] }
    "#;
    let settings = load_text(text).unwrap();
    assert_eq!(load_text(&to_toml(&settings).unwrap()).unwrap(), settings);
}

#[test]
fn durations_and_sizes_are_written_for_people() {
    let settings = load_text(
        "[limits]\nconnect_timeout = \"1m 30s\"\n[mqtt]\nmax_packet_size = \"256 MiB\"\nuser_properties_bytes_max = 5",
    )
    .unwrap();
    assert_eq!(settings.limits.connect_timeout, Duration::from_secs(90));
    assert_eq!(settings.mqtt.max_packet_size, 256 << 20);
    assert_eq!(settings.mqtt.user_properties_bytes_max, 5);
    for bad in ["1 MB1", "MiB", "-1", "99999999999 GiB", "1.5 MiB", ""] {
        let error = error_of(&format!("[mqtt]\nmax_packet_size = {bad:?}"));
        assert!(error.contains("mqtt.max_packet_size") && error.contains("1 MiB"), "{error}");
    }
    let error = error_of("[limits]\nwrite_timeout = \"soon\"");
    assert!(
        error.contains("limits.write_timeout") && error.contains("soon") && error.contains("10s"),
        "{error}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_nearest_neighbour() {
    let error = error_of("[limits]\nconnection_max = 5");
    assert!(
        error.contains("\"limits.connection_max\"") && error.contains("\"limits.connections_max\""),
        "{error}"
    );
    let error = error_of("[listener.door]\nprotocoll = \"tcp\"");
    assert!(
        error.contains("listener.door.protocoll") && error.contains("\"listener.door.protocol\""),
        "{error}"
    );
    let error = error_of("[listener.t]\ntls = { certificate = \"a\", key = \"b\", sni = [{ nams = [] }] }");
    assert!(error.contains("listener.t.tls.sni[0].nams") && error.contains("names"), "{error}");
    let error = error_of("[zzz]\nx = 1");
    assert!(error.contains("\"zzz\"") && error.contains("node, "), "{error}");
}

#[test]
fn a_value_of_the_wrong_kind_or_out_of_range_is_named_with_what_is_allowed() {
    for (text, words) in [
        ("[mqtt]\nreceive_maximum = 0", ["mqtt.receive_maximum", "1 to 65535"]),
        ("[mqtt]\nreceive_maximum = \"many\"", ["mqtt.receive_maximum", "u16"]),
        ("[mqtt]\nmax_packet_size = \"257 MiB\"", ["mqtt.max_packet_size", "\"256 MiB\""]),
        ("[mqtt]\nshared_strategy = \"best\"", ["mqtt.shared_strategy", "round-robin"]),
        ("[log]\nlevel = \"a=b=c\"", ["log.level", "debug"]),
        ("[http]\naddress = \"example.org\"", ["http.address", "off"]),
        ("[listener.a]\naddress = \"1883\"", ["listener.a.address", "localhost:PORT"]),
        ("[listener.a]\nprotocol = \"unix\"", ["listener.a.address", "path"]),
        ("[listener.a]\nprotocol = \"tls\"", ["listener.a.tls", "certificate"]),
        ("[listener.a]\nproxy_protocol = \"accept\"", ["listener.a.proxy_trusted", "load balancers"]),
        (
            "[listener.a]\nproxy_protocol = \"accept\"\nproxy_trusted = [\"x\"]",
            ["listener.a.proxy_trusted", "10.0.0.0/8"],
        ),
        (
            "[limits]\nconnects_per_second_max = 100000001",
            ["limits.connects_per_second_max", "0 to 100000000"],
        ),
        ("[limits]\nconnections_per_user_max = -1", ["limits.connections_per_user_max", "u32"]),
        (
            "[limits]\npublish_bytes_per_second_max = \"fast\"",
            ["limits.publish_bytes_per_second_max", "\"64 KiB\""],
        ),
        ("[limits]\nmemory_max = \"1 MiB\"", ["limits.memory_max", "\"16 MiB\" to "]),
        ("[limits]\nlag_max = \"1ms\"", ["limits.lag_max", "\"10ms\" to "]),
        ("[limits.flapping]\nby = [\"host\"]", ["limits.flapping.by", "address"]),
        ("[limits.flapping]\nby = []", ["limits.flapping.by", "\"client\""]),
        ("[limits.flapping]\nwindow = \"1ms\"", ["limits.flapping.window", "\"1s\" to "]),
        ("[node]\nname = \"a b\"", ["node.name", "a-z"]),
        ("node = 5", ["node", "expected"]),
        ("[node", ["quelea.toml", "line 1"]),
    ] {
        let error = error_of(text);
        assert!(words.iter().all(|word| error.contains(word)), "{text}: {error}");
    }
}

#[test]
fn the_environment_wins_over_the_file_and_flags_over_both() {
    let environment = [
        ("QUELEA__NODE__NAME", "from-environment"),
        ("QUELEA__MQTT__RECEIVE_MAXIMUM", "7"),
        ("QUELEA__AUTH__ALLOW_ANONYMOUS", "true"),
        ("QUELEA__MQTT__MAX_SESSION_EXPIRY", "1h"),
        ("QUELEA__LISTENER__MQTT__ADDRESS", "127.0.0.1:1"),
        ("QUELEA__LISTENER__WEB__PROTOCOL", "ws"),
        ("QUELEA__LISTENER__WEB__WS_ORIGINS", "http://a, http://b"),
        ("QUELEA__LISTENER__WEB__MAX_CONNECTIONS", "9"),
        ("OTHER", "x"),
    ];
    let flags = Flags { mqtt: Some(":1883".into()), packet_trace: true, ..Flags::default() };
    let settings =
        load_all("[node]\nname = \"from-file\"\nworker_threads = 3", &environment, &flags).unwrap();
    assert_eq!(settings.node.name, "from-environment");
    assert_eq!(settings.node.worker_threads, 3);
    assert_eq!(settings.mqtt.receive_maximum, 7);
    assert_eq!(settings.mqtt.max_session_expiry, Some(Duration::from_hours(1)));
    assert_eq!(settings.listener["mqtt"].address, ":1883");
    assert_eq!(settings.listener["web"].ws_origins, ["http://a", "http://b"]);
    assert_eq!(settings.listener["web"].max_connections, Some(9));
    assert!(settings.packet_trace);
}

#[test]
fn a_bad_environment_variable_is_named() {
    for (name, value, words) in [
        ("QUELEA__NODE__NAMES", "x", vec!["QUELEA__NODE__NAMES", "node.name"]),
        ("QUELEA__NODES__NAME", "x", vec!["QUELEA__NODES__NAME", "\"node\""]),
        ("QUELEA__NODE", "x", vec!["node", "QUELEA__NODE__"]),
        ("QUELEA__NODE__NAME__X", "x", vec!["node.name.x", "QUELEA__NODE__NAME__X"]),
        ("QUELEA__MQTT__RECEIVE_MAXIMUM", "lots", vec!["mqtt.receive_maximum", "lots", "u16"]),
        ("QUELEA__LISTENER__A__TLS__SNI", "x", vec!["listener.a.tls.sni", "file"]),
    ] {
        let error = load_all("", &[(name, value)], &Flags::default()).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{name}: {error}");
    }
}

#[test]
fn anonymous_clients_from_elsewhere_need_a_word_of_the_operator() {
    for address in [":1883", "0.0.0.0:1883", "192.0.2.1:1883", "[::]:1883", "[2001:db8::1]:1883"] {
        let error = error_of(&format!("[listener.lan]\naddress = {address:?}"));
        assert!(error.contains("\"lan\"") && error.contains(address), "{error}");
        assert!(error.contains("auth.allow_anonymous = true"), "{error}");
        load_text(&format!("[auth]\nallow_anonymous = true\n[listener.lan]\naddress = {address:?}")).unwrap();
    }
    for address in ["localhost:0", "127.0.0.1:1", "127.1.2.3:1", "[::1]:1", "[::ffff:127.0.0.1]:1"] {
        load_text(&format!("[listener.lan]\naddress = {address:?}")).unwrap();
    }
    load_text("[listener.lan]\nprotocol = \"unix\"\naddress = \"/run/q.sock\"").unwrap();
}

#[test]
fn the_admin_api_is_for_this_machine_or_for_those_with_a_token() {
    for address in [":9883", "0.0.0.0:9883", "192.0.2.1:9883", "[::]:9883", "example.org:9883"] {
        let error = error_of(&format!("[admin]\nlisten = {address:?}"));
        assert!(error.contains("admin.listen") && error.contains("localhost:PORT"), "{error}");
    }
    for address in ["off", "localhost:0", "127.0.0.1:9883", "[::1]:9883"] {
        load_text(&format!("[admin]\nlisten = {address:?}")).unwrap();
    }
    let (tokens, tls) = ("tokens_file = \"t\"", "tls = { certificate = \"a\", key = \"b\" }");
    load_text(&format!("[admin]\nlisten = \":9883\"\n{tokens}\n{tls}")).unwrap();
    load_text(&format!("[admin]\nlisten = \"localhost:9883\"\n{tokens}")).unwrap();
    for (half, missing) in [(tokens, "admin.tls"), (tls, "admin.tokens_file")] {
        let error = error_of(&format!("[admin]\nlisten = \":9883\"\n{half}"));
        assert!(error.contains("admin.listen") && error.contains(missing), "{error}");
        let error = error_of(&format!("[admin]\n{half}"));
        assert!(error.contains("admin.listen"), "nothing is read and ignored: {error}");
    }
}

#[test]
fn the_admin_api_is_for_nodes_where_these_know_each_other() {
    let secured = "[cluster]\nlisten = \"localhost:7883\"\nsecret_file = \"s\"\n";
    for address in ["off", ":9884", "localhost:0"] {
        load_text(&format!("{secured}[admin]\ncluster_listen = {address:?}")).unwrap();
    }
    let error = error_of(&format!("{secured}[admin]\ncluster_listen = \"9884\""));
    assert!(error.contains("admin.cluster_listen") && error.contains("9884"), "{error}");
    for alone in ["", "[cluster]\nlisten = \"localhost:7883\"\n"] {
        let error = error_of(&format!("{alone}[admin]\ncluster_listen = \"localhost:9884\""));
        assert!(error.contains("admin.cluster_listen") && error.contains("cluster.secret_file"), "{error}");
    }
}

#[test]
fn addresses_mean_what_the_manual_says() {
    assert_eq!(ListenAddress::parse("localhost:7"), Some(ListenAddress::Localhost(7)));
    assert_eq!(ListenAddress::parse(":7"), Some(ListenAddress::Any(7)));
    assert_eq!(ListenAddress::parse("[::1]:7"), Some(ListenAddress::Ip("[::1]:7".parse().unwrap())));
    for bad in ["", "7", "host:7", "localhost", "localhost:65536", "::1:7", "127.0.0.1"] {
        assert_eq!(ListenAddress::parse(bad), None, "{bad}");
    }
}

#[test]
fn segments_hold_any_packet_that_is_allowed() {
    for packet in [128, 33_000_001, 256 << 20] {
        let mut settings = Settings::default();
        settings.mqtt.max_packet_size = packet;
        let (fails, _failure) = crate::failure::failure_pair();
        let segment = settings.log_options(fails).segment_bytes;
        assert!(segment.is_multiple_of(4096) && segment / 2 > u64::from(packet), "{packet}: {segment}");
    }
}

#[test]
fn a_node_with_a_cluster_address_says_where_others_find_it_and_who_founds() {
    let settings =
        load_text("[cluster]\nlisten = \"localhost:7883\"\nseeds = [\"a.example:7883\", \"[::1]:1\"]")
            .unwrap();
    assert_eq!(settings.cluster.seeds, ["a.example:7883", "[::1]:1"]);
    for (text, key, expected) in [
        ("seeds = [\"a:1\"]", "cluster.listen", "cluster.seeds"),
        ("bootstrap = true", "cluster.listen", "cluster.bootstrap"),
        ("listen = \":7883\"", "cluster.advertise", "HOST:PORT"),
        ("listen = \"0.0.0.0:7883\"", "cluster.advertise", "HOST:PORT"),
        ("listen = \":7883\"\nadvertise = \"a\"", "cluster.advertise", "HOST:PORT"),
        ("listen = \"7883\"", "cluster.listen", "off"),
        ("listen = \"localhost:1\"\nseeds = [\"a:0\"]", "cluster.seeds", "HOST:PORT"),
        ("listen = \"localhost:1\"\nseeds = [\"a:1\"]\nexpected_nodes = 3", "cluster.seeds", "at least 2"),
        (
            "listen = \"localhost:1\"\nbootstrap = true\nexpected_nodes = 1",
            "cluster.bootstrap",
            "cluster.expected_nodes",
        ),
        ("listen = \"localhost:1\"\n[storage]\ndurability = \"interval\"", "storage.durability", "always"),
    ] {
        let error = error_of(&format!("[cluster]\n{text}"));
        assert!(error.contains(key) && error.contains(expected), "{text}: {error}");
    }
}

#[test]
fn the_flags_of_a_cluster_win_over_the_file() {
    let flags = Flags {
        cluster: Some("localhost:7883".into()),
        join: vec!["a:1".into(), "b:2".into()],
        ..Flags::default()
    };
    let settings = load_all("[cluster]\nlisten = \"off\"\nseeds = []", &[], &flags).unwrap();
    assert_eq!((settings.cluster.listen.as_str(), settings.cluster.seeds.len()), ("localhost:7883", 2));
    let environment = [("QUELEA__CLUSTER__SEEDS", "c:3"), ("QUELEA__CLUSTER__LISTEN", "localhost:1")];
    let settings = load_all("", &environment, &Flags { bootstrap: true, ..Flags::default() }).unwrap();
    assert_eq!((settings.cluster.bootstrap, settings.cluster.seeds), (true, vec!["c:3".to_owned()]));
}

#[test]
fn a_port_for_nodes_that_others_reach_needs_what_tells_nodes_from_others() {
    let open = "[cluster]\nlisten = \"10.0.0.1:7883\"";
    let error = error_of(open);
    let ways =
        ["\"10.0.0.1:7883\"", "cluster.secret_file", "QUELEA__CLUSTER__SECRET ", "cluster.tls", "loopback"];
    assert!(ways.iter().all(|way| error.contains(way)), "{error}");
    assert!(error_of("[cluster]\nlisten = \":7883\"\nadvertise = \"a:1\"").contains("cluster.secret_file"));
    let tls = "[cluster.tls]\ncertificate = \"a\"\nkey = \"b\"\nca = \"c\"\ndomain = \"d.example\"";
    for way in ["secret = \"x\"", "secret_file = \"x\"", tls] {
        load_text(&format!("{open}\n{way}")).unwrap();
        load_text(&format!("[cluster]\nlisten = \"localhost:7883\"\n{way}")).unwrap();
        let error = error_of(&format!("[cluster]\n{way}"));
        assert!(error.contains("cluster.listen"), "nothing is read and ignored: {error}");
    }
    let error = error_of(&format!("{open}\nsecret_file = \"x\"\n{tls}"));
    assert!(error.contains("cluster.secret_file") && error.contains("as cluster.tls is set"), "{error}");
    let error = error_of(&format!("{open}\n{}", tls.replace("d.example", ".d")));
    assert!(error.contains("cluster.tls.domain"), "{error}");
}

/// Wherever settings are shown, secrets are not.
#[test]
fn a_secret_is_never_shown() {
    let hidden = [("QUELEA__CLUSTER__SECRET", "hunter2hunter2hunter2hunter2hunter2")];
    let settings = load_all("[cluster]\nlisten = \":1\"\nadvertise = \"a:1\"", &hidden, &Flags::default());
    let settings = settings.unwrap();
    let shown = to_toml(&settings).unwrap();
    assert!(shown.contains("secret = \"(hidden)\"") && !shown.contains("hunter2"), "{shown}");
    assert!(!format!("{settings:?}").contains("hunter2"));
    assert!(error_of(&shown).contains("stands for a secret"), "what is shown is no secret itself");
    for bad in ["secret = 77777777", "secret = [\"hunter2\"]", "secret = \"hunter2\"\ntls = 1"] {
        let error = error_of(&format!("[cluster]\nlisten = \":1\"\nadvertise = \"a:1\"\n{bad}"));
        assert!(!error.contains("hunter2") && !error.contains("777"), "{error}");
    }
}
