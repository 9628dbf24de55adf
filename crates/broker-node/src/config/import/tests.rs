//! What the lines of a `mosquitto.conf` come to, and which of them are refused.

use std::fs;

use super::*;
use crate::config::{CertificateName, ClientIdPolicy, Protocol, Settings};

fn import_text(text: &str) -> Result<Imported, ImportError> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("mosquitto.conf");
    fs::write(&file, text).unwrap();
    import(&file)
}

fn settings(text: &str) -> Settings {
    let imported = import_text(text).unwrap();
    of_table(imported.toml.parse().unwrap()).unwrap()
}

fn error_of(text: &str) -> String {
    import_text(text).unwrap_err().to_string()
}

#[test]
fn what_is_set_there_is_set_here() {
    let settings = settings(
        "# users\npassword_file /etc/mosquitto/passwd\nacl_file /etc/mosquitto/acl\nmax_inflight_messages 40\n\
         max_queued_messages 5000\nmax_queued_bytes 1048576\nmax_packet_size 65536\nmax_keepalive 600\n\
         persistent_client_expiration 2w\nsys_interval 30\nmax_topic_alias 0\nlog_type error\nlog_type warning\n\
         listener 1883 127.0.0.1\nmax_connections 100\nlistener 1884\n",
    );
    assert_eq!(settings.auth.password.file.unwrap().to_str(), Some("/etc/mosquitto/passwd"));
    assert_eq!(settings.acl.mosquitto_file.unwrap().to_str(), Some("/etc/mosquitto/acl"));
    assert_eq!(settings.mqtt.receive_maximum, 40);
    assert_eq!(settings.mqtt.topic_alias_maximum, 0);
    assert_eq!(settings.mqtt.max_packet_size, 65_536);
    assert_eq!(settings.mqtt.max_keep_alive.unwrap().as_secs(), 600);
    assert_eq!(settings.mqtt.max_session_expiry.unwrap().as_secs(), 14 * 86_400);
    assert_eq!((settings.session.queue_messages_max, settings.session.queue_bytes_max), (5_000, 1 << 20));
    assert_eq!(settings.sys.interval.as_secs(), 30);
    assert_eq!(settings.log.level, "warn");
    assert_eq!(settings.listener["mqtt"].address, "127.0.0.1:1883");
    assert_eq!(settings.listener["mqtt"].max_connections, Some(100));
    assert_eq!(settings.listener["mqtt-2"].address, ":1884");
}

#[test]
fn listeners_have_their_protocols_and_certificates() {
    let settings = settings(
        "listener 8883\ncertfile s.pem\nkeyfile s.key\ncafile ca.pem\ncrlfile crl.pem\nrequire_certificate true\n\
         use_identity_as_username true\nuse_username_as_clientid true\ntls_version tlsv1.2\n\
         listener 8084 ::\nprotocol websockets\ncertfile s.pem\nkeyfile s.key\ncafile ca.pem\n\
         listener 0 /run/mqtt.sock\nallow_anonymous true\n",
    );
    let tls = settings.listener["tls"].tls.as_ref().unwrap();
    assert_eq!(settings.listener["tls"].protocol, Protocol::Tls);
    assert_eq!(tls.user_name_from, Some(CertificateName::Cn));
    assert!(tls.client_ca.is_some() && tls.crl.is_some());
    assert_eq!(settings.auth.client_ids, ClientIdPolicy::User);
    // Whoever shows a certificate there of their own will needs none here.
    let wss = &settings.listener["wss"];
    assert_eq!((wss.protocol, wss.address.as_str()), (Protocol::Wss, ":8084"));
    assert!(wss.tls.as_ref().unwrap().client_ca.is_none());
    assert_eq!(settings.listener["unix"].address, "/run/mqtt.sock");
    assert!(settings.auth.allow_anonymous);
}

#[test]
fn without_listeners_it_stays_local() {
    let imported = import_text("pid_file /run/m.pid\nuser mosquitto\n").unwrap();
    assert_eq!(imported.toml, "");
    assert!(imported.notes.iter().any(|note| note.contains("max_packet_size")), "{imported:?}");
    let settings = settings("port 1885\nallow_anonymous true\n");
    assert_eq!(settings.listener["mqtt"].address, ":1885");
    let settings = self::settings("bind_address 127.0.0.1\n");
    assert_eq!(settings.listener["mqtt"].address, "127.0.0.1:1883");
}

#[test]
fn folders_are_read_in_the_order_of_names() {
    let dir = tempfile::tempdir().unwrap();
    let included = dir.path().join("conf.d");
    fs::create_dir(&included).unwrap();
    fs::write(included.join("b.conf"), "max_queued_messages 2\n").unwrap();
    fs::write(included.join("a.conf"), "max_queued_messages 1\n").unwrap();
    fs::write(included.join("README"), "not read\n").unwrap();
    let file = dir.path().join("mosquitto.conf");
    fs::write(&file, format!("include_dir {}\n", included.display())).unwrap();
    assert!(import(&file).unwrap().toml.contains("queue_messages_max = 2"));
    fs::write(included.join("b.conf"), "max_queued_mesages 2\n").unwrap();
    let error = import(&file).unwrap_err().to_string();
    assert!(error.contains("b.conf, line 1") && error.contains("max_queued_mesages"), "{error}");
}

#[test]
fn bridges_are_left_out_and_said_to_be() {
    let imported =
        import_text("connection far\naddress far:1883\ntopic # out 1\nlistener 1883 localhost\n").unwrap();
    assert_eq!(imported.notes.iter().filter(|note| note.contains("bridges are not imported")).count(), 1);
    assert!(imported.toml.contains("localhost:1883"), "{imported:?}");
}

#[test]
fn what_would_let_others_in_is_refused() {
    for (text, names) in [
        ("plugin /usr/lib/auth.so", "auth and acl"),
        ("auth_opt_host db", "auth and acl"),
        ("per_listener_settings true\nlistener 1\nlistener 2", "same for all listeners"),
        ("listener 1\nmount_point a/", "rules"),
        ("listener 1\npsk_file f", "pre-shared"),
        ("listener 1\ncapath d", "cafile"),
        ("listener 1\nbind_interface eth0", "all interfaces"),
        ("listener 1 broker.example.org", "IP address"),
        ("listener 1\ncertfile a\nkeyfile b\nrequire_certificate true", "cafile"),
        ("listener 1\ncertfile a\nkeyfile b\ncafile c\nuse_identity_as_username true", "require_certificate"),
        ("listener 1\ncafile c\nrequire_certificate true", "certfile"),
        ("listener 1", "auth.password.file"),
        ("clientid_prefixes a-", "auth.client_ids"),
    ] {
        let error = error_of(text);
        assert!(error.contains(names), "{text}: {error}");
    }
}

#[test]
fn bad_lines_are_named() {
    for (text, names) in [
        ("\n\nallow_anonymus true", ["line 3", "allow_anonymus"]),
        ("allow_anonymous yes", ["line 1", "true or false"]),
        ("max_queued_messages many", ["line 1", "whole number"]),
        ("persistent_client_expiration 14", ["line 1", "h, d, w, m or y"]),
        ("persistent_client_expiration é", ["line 1", "h, d, w, m or y"]),
        ("listener 70000", ["line 1", "65535"]),
        ("listener", ["line 1", "65535"]),
        ("password_file", ["line 1", "something"]),
        ("listener 1\nprotocol http_api", ["line 2", "mqtt or websockets"]),
        ("max_inflight_messages 70000", ["mqtt.receive_maximum", "70000"]),
    ] {
        let error = error_of(text);
        assert!(names.iter().all(|name| error.contains(name)), "{text}: {error}");
    }
    let dir = tempfile::tempdir().unwrap();
    assert!(import(&dir.path().join("none")).unwrap_err().to_string().contains("cannot read"));
    let large = "#\n".repeat(600_000);
    assert!(error_of(&large).contains("1 MiB"));
}

#[test]
fn no_bound_there_is_the_default_here() {
    let imported =
        import_text("max_queued_messages 0\nmax_packet_size 0\nmax_inflight_messages 0\n").unwrap();
    assert!(imported.toml.contains("receive_maximum = 65535"), "{imported:?}");
    assert!(!imported.toml.contains("queue_messages_max"), "{imported:?}");
    assert!(
        imported.notes.iter().any(|note| note.contains("line 1") && note.contains("100,000")),
        "{imported:?}"
    );
}

#[test]
fn log_types_are_a_level() {
    let level =
        |types: &[&str]| options::log_level(&types.iter().map(|&name| name.to_owned()).collect::<Vec<_>>());
    assert_eq!(level(&[]), None);
    assert_eq!(level(&["error", "warning", "notice", "information"]), None);
    assert_eq!(level(&["error", "warning"]), Some("warn"));
    assert_eq!(level(&["error"]), Some("error"));
    assert_eq!(level(&["none"]), Some("off"));
    assert_eq!(level(&["all"]), Some("debug"));
    assert_eq!(level(&["notice", "debug"]), Some("debug"));
}
