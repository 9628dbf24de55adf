"""Sessions that outlive their connection: what was queued arrives, in order for each topic, and expiry ends them."""

import time

from peer import Peer, arguments, show

port, version = arguments()
address = (port, version)
five = version == "5"
kept = {"SessionExpiryInterval": 60} if five else {}
publisher = Peer(address, "sessions-pub")
publisher.connect()

sleeper = Peer(address, "sleeper", clean=False)
show("session present", int(sleeper.connect(**kept)[0]))
show("granted", sleeper.subscribe(("sessions/0", 0), ("sessions/1", 1), ("sessions/2", 2)))
sleeper.disconnect()
for round in range(3):
    for qos in (1, 2):
        publisher.publish(f"sessions/{qos}", f"{round}", qos)
show("session present", int(sleeper.connect(**kept)[0]))
waiting = sorted((sleeper.receive() for _ in range(6)), key=lambda message: message.topic)
for message in waiting:
    show(message.topic, message.payload.decode(), message.qos, int(message.retain))
show("no more", sleeper.quiet(0.3))

usurper = Peer(address, "sleeper", clean=False)
show("taken over, session present", int(usurper.connect(**kept)[0]))
sleeper.disconnected.get(timeout=30)
publisher.publish("sessions/1", "to the new connection", 1)
show(usurper.receive().payload.decode())

if five:
    usurper.disconnect(SessionExpiryInterval=1)
    publisher.publish("sessions/1", "too late", 1)
    time.sleep(2.5)
    show("after its expiry, session present", int(usurper.connect(**kept)[0]), usurper.quiet(0.3))
    usurper.subscribe(("sessions/1", 1))
    usurper.disconnect()
    # paho closes without waiting for the broker, and what was sent before the broker heard of it cannot expire.
    time.sleep(1)
    publisher.publish("sessions/1", "expired", 1, MessageExpiryInterval=1)
    publisher.publish("sessions/1", "fresh", 1, MessageExpiryInterval=100)
    time.sleep(2.5)
    show("session present", int(usurper.connect(**kept)[0]))
    message = usurper.receive()
    show(message.payload.decode(), 60 <= message.properties.MessageExpiryInterval <= 98)
    usurper.disconnect(SessionExpiryInterval=0)
else:
    usurper.disconnect()
cleared = Peer(address, "sleeper")
show("clean, session present", int(cleared.connect()[0]))
cleared.disconnect()
publisher.disconnect()
