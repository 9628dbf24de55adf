"""Every publishing QoS to every subscribing QoS, retained or not: delivered once, at the lower of the two."""

from peer import Peer, arguments, show

port, version = arguments()
address = (port, version)
publisher = Peer(address, "paho-pub")
publisher.connect()
subscribers = []
for qos in range(3):
    subscriber = Peer(address, f"paho-sub-{qos}")
    subscriber.connect()
    show("granted", subscriber.subscribe((f"paho/{version}/+", qos), ("/hum", qos), ("센서/#", qos)))
    subscribers.append(subscriber)

for topic in (f"paho/{version}/qos", "/hum", "센서/온도"):
    for qos in range(3):
        publisher.publish(topic, f"{qos} 도", qos)
        for asked, subscriber in enumerate(subscribers):
            got = subscriber.receive()
            show(got.topic, f"published {qos} asked {asked} got {got.qos}", "retain", int(got.retain), got.payload.decode())

publisher.publish(f"paho/{version}/kept", b"\x00\xff\x01", 1, retain=True)
for asked, subscriber in enumerate(subscribers):
    live = subscriber.receive()
    show("live", live.qos, int(live.retain), live.payload.hex())
    subscriber.unsubscribe(f"paho/{version}/+")
    subscriber.subscribe((f"paho/{version}/kept", asked))
    kept = subscriber.receive()
    show("kept", kept.qos, int(kept.retain), kept.payload.hex())
publisher.publish(f"paho/{version}/kept", b"", 1, retain=True)
show("nothing twice", all(subscriber.receive().payload == b"" and subscriber.quiet(0.3) for subscriber in subscribers))
for peer in (publisher, *subscribers):
    peer.disconnect()
