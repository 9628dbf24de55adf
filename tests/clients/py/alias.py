"""MQTT 5: topic aliases towards the broker and back; the topics that arrive are whole."""

from peer import Peer, arguments, show

TOPICS = ["alias/온도", "/hum", "alias/three"]


def resolve(message, known):
    """The topic of a message whose sender may have shortened it; paho leaves that to the application."""
    alias = getattr(message.properties, "TopicAlias", None)
    if alias is not None and not 1 <= alias <= 2:
        raise RuntimeError(f"alias {alias} was not allowed")
    if message.topic:
        if alias is not None:
            known[alias] = message.topic
        return message.topic
    return known[alias]


port, version = arguments()
publisher = Peer((port, version), "alias-pub")
subscriber = Peer((port, version), "alias-sub")
plain = Peer((port, version), "alias-none")
_, answer = publisher.connect()
subscriber.connect(TopicAliasMaximum=2)
plain.connect()
for peer in (subscriber, plain):
    peer.subscribe(("alias/#", 1), ("/hum", 1))
show("aliases allowed", answer.TopicAliasMaximum >= 3)

for number, topic in enumerate(TOPICS, start=1):
    publisher.publish(topic, f"first {number}", 1, TopicAlias=number)
    publisher.publish("", f"second {number}", 1, TopicAlias=number)
publisher.publish(TOPICS[2], "moved", 1, TopicAlias=1)
publisher.publish("", "after the move", 1, TopicAlias=1)

known = {}
for _ in range(8):
    short, whole = subscriber.receive(), plain.receive()
    show(resolve(short, known), short.payload.decode(), "same without", short.payload == whole.payload, whole.topic)
for peer in (publisher, subscriber, plain):
    peer.disconnect()
