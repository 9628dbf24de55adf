"""MQTT 5 flow control: the broker never has more unacknowledged messages out than the client's Receive Maximum."""

import queue

from peer import Peer, arguments, show

QUIET_S = 0.4
port, version = arguments()
publisher = Peer((port, version), "flow-pub")
slow = Peer((port, version), "flow-sub", manual_ack=True)
publisher.connect()
slow.connect(ReceiveMaximum=3)
slow.subscribe(("flow/#", 1))


def arriving(count):
    """So many messages, and whatever else comes until it is quiet."""
    messages = [slow.receive() for _ in range(count)]
    while True:
        try:
            messages.append(slow.receive(timeout=QUIET_S))
        except queue.Empty:
            return messages


def texts(messages):
    return [message.payload.decode() for message in messages]


for number in range(10):
    publisher.publish("flow/온도", str(number), 1)
out = arriving(3)
show("without an acknowledgement", texts(out))
publisher.publish("flow/zero", "needs no room", 0)
show("QoS 0 passes", texts(arriving(1)))
slow.client.ack(out[0].mid, 1)
more = arriving(1)
show("after one", texts(more))
for message in out[1:] + more:
    slow.client.ack(message.mid, 1)
more = arriving(3)
show("after three", texts(more))
for count in (3, 0):
    for message in more:
        slow.client.ack(message.mid, 1)
    more = arriving(count)
    show("then", texts(more))
publisher.disconnect()
slow.disconnect()
