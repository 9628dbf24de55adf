"""A paho-mqtt client whose calls block and whose events are read one after the other.

Used by every script of this directory; a wait that runs out raises, so a script that hangs is a script that fails.
"""

import argparse
import queue
import sys

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

WAIT_S = 30
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
__all__ = ["PacketTypes", "Peer", "Properties", "SubscribeOptions", "arguments", "properties", "show"]


def arguments():
    """The command line every script understands: where the broker is, and which version is spoken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--version", choices=VERSIONS, default="5")
    given = parser.parse_args()
    return given.port, given.version


def properties(kind, **fields):
    """Properties of a packet, each field by its name in the standard without the spaces."""
    made = Properties(kind)
    for name, value in fields.items():
        setattr(made, name, value)
    return made


def show(*words):
    """One line of the transcript that the test compares, in UTF-8 whatever the locale says."""
    sys.stdout.buffer.write((" ".join(str(word) for word in words) + "\n").encode())
    sys.stdout.buffer.flush()


class Peer:
    """One client. Messages, acknowledgements and the end of the connection arrive in queues of their own."""

    def __init__(self, address, client_id, manual_ack=False, clean=True):
        self.port, version = address
        self.protocol = VERSIONS[version]
        self.clean = clean
        session = {} if self.protocol == mqtt.MQTTv5 else {"clean_session": clean}
        self.client = mqtt.Client(
            mqtt.CallbackAPIVersion.VERSION2,
            client_id=client_id,
            protocol=self.protocol,
            manual_ack=manual_ack,
            reconnect_on_failure=False,
            **session,
        )
        self.connected, self.disconnected = queue.Queue(), queue.Queue()
        self.acknowledged, self.granted = queue.Queue(), queue.Queue()
        self.messages = queue.Queue()
        self.client.on_connect = lambda _c, _u, flags, reason, props: self.connected.put((flags, reason, props))
        self.client.on_disconnect = lambda _c, _u, _f, reason, props: self.disconnected.put((reason, props))
        self.client.on_publish = lambda _c, _u, mid, reason, _p: self.acknowledged.put((mid, reason))
        self.client.on_subscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_unsubscribe = lambda _c, _u, _m, reasons, _p: self.granted.put(reasons)
        self.client.on_message = lambda _c, _u, message: self.messages.put(message)

    def connect(self, keep_alive=30, **fields):
        """Connects and returns (session present, properties of CONNACK)."""
        extra = {}
        if self.protocol == mqtt.MQTTv5:
            extra["clean_start"] = self.clean
            extra["properties"] = properties(PacketTypes.CONNECT, **fields)
        self.client.connect("127.0.0.1", self.port, keep_alive, **extra)
        self.client.loop_start()
        flags, reason, props = self.connected.get(timeout=WAIT_S)
        if reason.is_failure:
            raise RuntimeError(f"refused: {reason}")
        return flags.session_present, props

    def disconnect(self, **fields):
        """Leaves with DISCONNECT and waits until the socket is closed."""
        extra = {}
        if self.protocol == mqtt.MQTTv5 and fields:
            extra["properties"] = properties(PacketTypes.DISCONNECT, **fields)
        self.client.disconnect(**extra)
        self.disconnected.get(timeout=WAIT_S)
        self.client.loop_stop()

    def drop(self):
        """Closes the socket without a word, as a crash does."""
        self.client.loop_stop()
        self.client.socket().close()

    def subscribe(self, *filters, **fields):
        """Subscribes to pairs of filter and QoS (or options, in version 5) and returns the granted codes."""
        extra = {"properties": properties(PacketTypes.SUBSCRIBE, **fields)} if fields else {}
        if self.protocol == mqtt.MQTTv5:
            options = [o if isinstance(o, SubscribeOptions) else SubscribeOptions(qos=o) for _, o in filters]
            filters = [(name, option) for (name, _), option in zip(filters, options)]
        self.client.subscribe(list(filters), **extra)
        return [reason.value for reason in self.granted.get(timeout=WAIT_S)]

    def unsubscribe(self, topic):
        """Unsubscribes and waits for the answer."""
        self.client.unsubscribe(topic)
        self.granted.get(timeout=WAIT_S)

    def publish(self, topic, payload, qos=0, retain=False, **fields):
        """Publishes and returns once the message is written (QoS 0) or acknowledged (QoS 1 and 2)."""
        extra = {"properties": properties(PacketTypes.PUBLISH, **fields)} if fields else {}
        self.client.publish(topic, payload, qos, retain, **extra)
        _mid, reason = self.acknowledged.get(timeout=WAIT_S)
        return reason.value

    def receive(self, timeout=WAIT_S):
        """The next message."""
        return self.messages.get(timeout=timeout)

    def quiet(self, seconds):
        """Whether no message arrives within so many seconds."""
        try:
            self.messages.get(timeout=seconds)
        except queue.Empty:
            return True
        return False
