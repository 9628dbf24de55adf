"""QoS 2 over connections that break half-way, on both sides: every message once, in order."""

import queue
import time

from peer import WAIT_S, Peer, arguments, show

COUNT = 2000
BREAKS = 4
port, version = arguments()
kept = {"SessionExpiryInterval": 600} if version == "5" else {}
subscriber = Peer((port, version), "once-sub", clean=False)
subscriber.connect(**kept)
subscriber.subscribe(("once/#", 2))
publisher = Peer((port, version), "once-pub", clean=False)
publisher.connect(**kept)

got = []


def collect(seconds):
    """Reads what arrives until it stops for so long, or all is there."""
    while len(got) < COUNT:
        try:
            got.append(int(subscriber.messages.get(timeout=seconds).payload))
        except queue.Empty:
            return


for part in range(BREAKS):
    for number in range(part * COUNT // BREAKS, (part + 1) * COUNT // BREAKS):
        publisher.client.publish("once/only", str(number), 2)
    broken = publisher if part % 2 == 0 else subscriber
    time.sleep(0.02)
    broken.drop()
    show("break", part, "session present", int(broken.connect(**kept)[0]))

collect(WAIT_S)
show("messages", len(got), "in order", got == sorted(got), "each once", sorted(set(got)) == list(range(COUNT)))
show("no more", subscriber.quiet(1))
for _ in range(COUNT):
    publisher.acknowledged.get(timeout=WAIT_S)
show("every publish completed")
for peer in (publisher, subscriber):
    peer.clean = True
    peer.disconnect(**({"SessionExpiryInterval": 0} if version == "5" else {}))
