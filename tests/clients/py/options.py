"""MQTT 5: no local, retain as published, retain handling, overlapping filters with identifiers, response information."""

from peer import Peer, SubscribeOptions, arguments, show

port, version = arguments()
alone = Peer((port, version), "options-alone")
other = Peer((port, version), "options-other")
session_present, answer = alone.connect(RequestResponseInformation=1)
show("session present", session_present, "client id assigned", hasattr(answer, "AssignedClientIdentifier"))
other.connect()

show("granted", alone.subscribe(("options/own", SubscribeOptions(qos=1, noLocal=True))))
alone.publish("options/own", "mine", 1)
other.publish("options/own", "yours", 1)
show("no local", alone.receive().payload, alone.quiet(0.3))

other.publish("options/kept", "kept", 1, retain=True)
for handling in range(3):
    for time in ("first", "again"):
        alone.subscribe(("options/kept", SubscribeOptions(qos=1, retainHandling=handling)))
        show("retain handling", handling, time, "silent" if alone.quiet(0.3) else "sent")
    alone.unsubscribe("options/kept")

for as_published in (False, True):
    alone.subscribe(("options/rap", SubscribeOptions(qos=1, retainAsPublished=as_published, retainHandling=2)))
    other.publish("options/rap", "live", 1, retain=True)
    show("retain as published", as_published, alone.receive().retain)
    alone.unsubscribe("options/rap")

alone.subscribe(("options/over/#", 1), SubscriptionIdentifier=1)
alone.subscribe(("options/over/+", 2), SubscriptionIdentifier=2)
other.publish("options/over/lap", "once or twice", 2)
identifiers = []
while len(identifiers) < 2:
    identifiers += alone.receive().properties.SubscriptionIdentifier
show("identifiers", sorted(identifiers), alone.quiet(0.3))

nameless = Peer((port, version), "")
_, answer = nameless.connect()
show("named by the broker", len(answer.AssignedClientIdentifier) > 0)
for topic in ("options/kept", "options/rap"):
    other.publish(topic, b"", 1, retain=True)
for peer in (alone, other, nameless):
    peer.disconnect()
