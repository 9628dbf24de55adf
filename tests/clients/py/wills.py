"""MQTT 5: a will waits for its delay, is withdrawn when the client is back in time, and carries its properties."""

import time

from peer import PacketTypes, Peer, arguments, properties, show

DELAY_S = 2
port, version = arguments()
watcher = Peer((port, version), "wills-watcher")
watcher.connect()
watcher.subscribe(("wills/#", 2))


def dying(client_id, delay_s, clean=True):
    """A client with a will on `wills/<its id>` that is gone without DISCONNECT when this returns."""
    peer = Peer((port, version), client_id, clean=clean)
    said = properties(
        PacketTypes.WILLMESSAGE,
        WillDelayInterval=delay_s,
        MessageExpiryInterval=600,
        ContentType="will",
        ResponseTopic="wills/답",
        CorrelationData=b"\x00\x01",
        PayloadFormatIndicator=1,
        UserProperty=[("b", "1"), ("a", "2")],
    )
    peer.client.will_set(f"wills/{client_id}", "유언", 1, False, said)
    peer.connect(SessionExpiryInterval=60)
    peer.drop()
    return peer


dying("at-once", 0)
will = watcher.receive()
fields = ("ContentType", "ResponseTopic", "CorrelationData", "PayloadFormatIndicator", "UserProperty")
show(will.topic, will.payload.decode(), will.qos, [getattr(will.properties, field) for field in fields])
show("expiry", 500 <= will.properties.MessageExpiryInterval <= 600)

died = time.monotonic()
dying("later", DELAY_S)
show(watcher.receive().topic, "after its delay", time.monotonic() - died >= DELAY_S - 0.3)

back = dying("back-in-time", DELAY_S, clean=False)
session_present, _ = back.connect(SessionExpiryInterval=60)
show("session present", session_present, "no will", watcher.quiet(DELAY_S + 1.5))
back.disconnect(SessionExpiryInterval=0)

dying("replaced", 600)
fresh = Peer((port, version), "replaced")
fresh.connect()
show(watcher.receive().topic, "when its session ends before the delay")

fresh.disconnect()
leaver = Peer((port, version), "leaver")
leaver.client.will_set("wills/leaver", "never", 1)
leaver.connect()
leaver.disconnect()
show("no will after DISCONNECT", watcher.quiet(0.5))
watcher.disconnect()
