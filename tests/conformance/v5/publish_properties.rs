//! Section 3.3.2.3: the properties that are passed on unchanged, and those that are wrong.

use e2e_tests::packets::Publish;
use e2e_tests::parse::{PropList, Value};
use e2e_tests::unique;
use e2e_tests::wire::{Props, prop};

use crate::common::{BAD_UTF8, MALFORMED, World, persistent, topic};

/// Publishes with these properties and gives those a subscriber got: at once, from its queue, and retained.
#[track_caller]
fn forwarded(props: &Props) -> [PropList; 3] {
    let world = World::new();
    let (away, topic) = (unique("away"), topic());
    let mut here = world.subscriber(&topic, 0x20 | 2);
    world.absent(&away, &topic, 1);
    let mut publisher = world.client();
    publisher.publish_packet(Publish::v5(&topic, "p").props(props.clone()).retain(), 1);
    let live = here.receive().props;
    let queued = world.connect(&persistent(&away)).receive().props;
    let retained = world.subscriber(&topic, 1).receive().props;
    publisher.publish_packet(Publish::v5(&topic, "").retain(), 1);
    [live, queued, retained]
}

#[track_caller]
fn refused(props: Props) {
    World::new().refused(&Publish::v5("t", "p").props(props).bytes(), &[0x81, 0x82, 0x90]);
}

#[test]
fn mqtt5_3_3_2_4_payload_format_indicator_is_forwarded() {
    for format in [0, 1] {
        for props in forwarded(&Props::new().byte(prop::PAYLOAD_FORMAT, format)) {
            // 0 may be sent or left out: absent means 0.
            assert_eq!(props.number(prop::PAYLOAD_FORMAT).unwrap_or(0), u32::from(format));
        }
    }
    for props in forwarded(&Props::new()) {
        assert_eq!(props, PropList::default(), "nothing is added");
    }
}

#[test]
fn mqtt5_3_3_2_4_payload_format_indicator_is_0_or_1_and_single() {
    let world = World::new();
    for bad in [&[1, 2][..], &[1, 255], &[1, 1, 1, 1]] {
        let publish = Publish::v5("t", "p").props(Props::new().raw(bad));
        world.refused(&publish.bytes(), &[0x81, 0x82, 0x99]);
    }
}

#[test]
fn mqtt5_3_3_2_13_a_response_topic_is_utf8() {
    for bad in BAD_UTF8 {
        refused(Props::new().text(prop::RESPONSE_TOPIC, bad));
    }
}

#[test]
fn mqtt5_3_3_2_14_a_response_topic_is_a_topic_name() {
    for bad in ["a/#", "+", "a/+/b", "#"] {
        refused(Props::new().text(prop::RESPONSE_TOPIC, bad));
    }
}

#[test]
fn mqtt5_3_3_2_15_the_response_topic_is_forwarded() {
    for name in ["reply/to/me", "한국/응답", "/"] {
        for props in forwarded(&Props::new().text(prop::RESPONSE_TOPIC, name)) {
            assert_eq!(props.text(prop::RESPONSE_TOPIC).unwrap(), name);
        }
    }
}

#[test]
fn mqtt5_3_3_2_16_correlation_data_is_forwarded() {
    for data in [&[0, 1, 0xFF, 0xC3, 0x28][..], &[], &[7; 5000]] {
        for props in forwarded(&Props::new().text(prop::CORRELATION_DATA, data)) {
            assert_eq!(props.bytes(prop::CORRELATION_DATA).unwrap(), data);
        }
    }
}

#[test]
fn mqtt5_3_3_2_17_user_properties_are_forwarded() {
    for (name, value) in [("name", "value"), ("", ""), ("이름", "값"), ("n", &"v".repeat(4000))] {
        for props in forwarded(&Props::new().user(name, value)) {
            assert_eq!(props.user(), [(name.to_owned(), value.to_owned())]);
        }
    }
}

#[test]
fn mqtt5_3_3_2_18_user_properties_keep_their_order_and_repeats() {
    let pairs = [("b", "1"), ("a", "2"), ("b", "1"), ("b", "0"), ("c", "")];
    let with = pairs.iter().fold(Props::new(), |props, (name, value)| props.user(name, value));
    // Other properties between them change nothing.
    let mixed = Props::new()
        .user("b", "1")
        .text(prop::CONTENT_TYPE, "t")
        .user("a", "2")
        .user("b", "1")
        .byte(prop::PAYLOAD_FORMAT, 1)
        .user("b", "0")
        .four(prop::MESSAGE_EXPIRY, 1000)
        .user("c", "");
    for sent in [with, mixed] {
        for props in forwarded(&sent) {
            assert_eq!(props.user(), pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
        }
    }
}

#[test]
fn mqtt5_3_3_2_19_a_content_type_is_utf8() {
    for bad in BAD_UTF8 {
        refused(Props::new().text(prop::CONTENT_TYPE, bad));
    }
}

#[test]
fn mqtt5_3_3_2_20_the_content_type_is_forwarded() {
    for kind in ["application/json", "", "형식"] {
        for props in forwarded(&Props::new().text(prop::CONTENT_TYPE, kind)) {
            assert_eq!(props.text(prop::CONTENT_TYPE).unwrap(), kind);
        }
    }
}

#[test]
fn mqtt5_3_3_2_15_all_application_properties_are_forwarded_together() {
    let sent = Props::new()
        .byte(prop::PAYLOAD_FORMAT, 1)
        .text(prop::CONTENT_TYPE, "text/plain")
        .text(prop::RESPONSE_TOPIC, "reply")
        .text(prop::CORRELATION_DATA, [1, 2, 3])
        .user("n", "v");
    for props in forwarded(&sent) {
        assert_eq!(props.0.len(), 5, "{props:?}");
        assert!(props.0.contains(&(prop::CORRELATION_DATA, Value::Bytes(vec![1, 2, 3]))));
        assert_eq!(props.text(prop::CONTENT_TYPE).unwrap(), "text/plain");
        assert_eq!(props.text(prop::RESPONSE_TOPIC).unwrap(), "reply");
        assert_eq!(props.number(prop::PAYLOAD_FORMAT), Some(1));
    }
}

#[test]
fn mqtt5_4_13_1_1_publish_properties_are_those_of_publish_and_single() {
    let world = World::new();
    for bad in [
        &[0x11, 0, 0, 0, 1][..],
        &[0x21, 0, 1],
        &[0x7E],
        &[0x00],
        &[0x1F, 0, 1, b'x'],
        &[0x02, 0, 0, 0, 1, 0x02, 0, 0, 0, 1],
        &[0x03, 0, 0, 0x03, 0, 0],
        &[0x08, 0, 1, b'r', 0x08, 0, 1, b'r'],
        &[0x09, 0, 0, 0x09, 0, 0],
        &[0x23, 0, 1, 0x23, 0, 1],
        &[0x02, 0, 0],
    ] {
        world.refused(&Publish::v5("t", "p").props(Props::new().raw(bad)).bytes(), MALFORMED);
    }
}
