"""MQTT 5: what the sender says about a message reaches the receiver unchanged and in order, retained or live."""

from peer import Peer, SubscribeOptions, arguments, show

SENT = {
    "PayloadFormatIndicator": 1,
    "ContentType": "text/plain; 문자=utf-8",
    "ResponseTopic": "paho/답/42",
    "CorrelationData": bytes(range(256)),
    "UserProperty": [("a", "1"), ("", ""), ("a", "2"), ("키", "값"), ("a", "1"), ("long", "x" * 3000)],
    "MessageExpiryInterval": 3600,
}


def differences(message):
    """The names of the properties that did not arrive as they were sent."""
    for name, value in SENT.items():
        got = getattr(message.properties, name, None)
        if name == "MessageExpiryInterval":
            same = got is not None and value - 60 <= got <= value
        else:
            same = got == value
        if not same:
            yield f"{name}={got!r}"


port, version = arguments()
publisher = Peer((port, version), "props-pub")
subscriber = Peer((port, version), "props-sub")
publisher.connect()
subscriber.connect()
subscriber.subscribe(("paho/props/+", 2), SubscriptionIdentifier=268435455)
for qos in range(3):
    publisher.publish("paho/props/live", "온도", qos, **SENT)
    live = subscriber.receive()
    show("live", live.qos, list(differences(live)), live.properties.SubscriptionIdentifier)

publisher.publish("paho/props/kept", b"kept", 1, retain=True, **SENT)
show("live", list(differences(subscriber.receive())))
late = Peer((port, version), "props-late")
late.connect()
late.subscribe(("paho/props/#", 1), SubscriptionIdentifier=7)
kept = late.receive()
show("kept", int(kept.retain), list(differences(kept)), kept.properties.SubscriptionIdentifier)
late.subscribe(("paho/props/kept", 0), SubscriptionIdentifier=8)
kept = late.receive()
show("kept", int(kept.retain), list(differences(kept)), kept.properties.SubscriptionIdentifier)
publisher.publish("paho/props/kept", b"", 1, retain=True)

bare = subscriber.receive()
show("bare", bare.payload, sorted(name for name in bare.properties.json() if name != "SubscriptionIdentifier"))
for peer in (publisher, subscriber, late):
    peer.disconnect()
