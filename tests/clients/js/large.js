// node large.js URL BYTES: a payload of so many bytes to itself, at each QoS, in both versions.
"use strict";

const mqtt = require("mqtt");
const { Peer } = require("./scenario.js");

async function main([url, bytes]) {
  const sent = Buffer.alloc(Number(bytes));
  for (let at = 0; at + 4 <= sent.length; at += 4) sent.writeUInt32BE(at * 2654435761 >>> 0, at);
  for (const version of [4, 5]) {
    const peer = new Peer(mqtt, url, { protocolVersion: version, clientId: "large" });
    await peer.connected;
    await peer.subscribe("large", { qos: 2 });
    for (const qos of [0, 1, 2]) {
      const [{ payload }] = await Promise.all([peer.next(), peer.publish("large", sent, { qos })]);
      console.log(`version ${version} at ${qos}: ${payload.length} bytes, same ${sent.equals(payload)}`);
    }
    await peer.end();
  }
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
