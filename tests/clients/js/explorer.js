// node explorer.js URL VERSION TOPIC...: a client on `#` and `$SYS/#` at once, as MQTT Explorer is, beside one on `#` alone.
// Says what each of them saw; the topics on the command line are those of `$SYS` that must come.
"use strict";

const mqtt = require("mqtt");
const { Peer, pause } = require("./scenario.js");

const BOUND_MS = 30000;

async function main([url, version, ...expected]) {
  const options = { protocolVersion: Number(version), clean: true };
  const seen = new Map();
  const explorer = new Peer(mqtt, url, { ...options, clientId: "mqtt-explorer" });
  const alone = new Peer(mqtt, url, { ...options, clientId: "hash-alone" });
  const publisher = new Peer(mqtt, url, { ...options, clientId: "ordinary" });
  await Promise.all([explorer, alone, publisher].map((peer) => peer.connected));
  explorer.client.on("message", (topic, payload) => seen.set(topic, [...(seen.get(topic) ?? []), payload.toString()]));
  console.log("granted", await explorer.subscribe("#", { qos: 0 }), await explorer.subscribe("$SYS/#", { qos: 0 }));
  console.log("granted", await alone.subscribe("#", { qos: 0 }), await alone.subscribe("+/broker/#", { qos: 0 }));

  const deadline = Date.now() + BOUND_MS;
  const updates = () => (seen.get("$SYS/broker/uptime") ?? []).length;
  const missing = () => expected.filter((topic) => !seen.has(topic));
  while ((updates() < 3 || missing().length > 0) && Date.now() < deadline) await pause(50);
  console.log("missing", JSON.stringify(missing()));
  console.log("updates", updates() >= 3);

  await publisher.publish("센서/온도", "26.70", { qos: 1 });
  await publisher.publish("/hum", "40", { qos: 1 });
  while (!seen.has("/hum") && Date.now() < deadline) await pause(20);
  await pause(300);
  const ordinary = (topics) => topics.filter((topic) => !topic.startsWith("$")).join();
  console.log("ordinary", ordinary([...seen].flatMap(([topic, payloads]) => payloads.map(() => topic))));
  const topics = alone.waiting.map((message) => message.topic);
  console.log("# alone", topics.join());
  console.log("outside $SYS", [...seen.keys()].filter((topic) => topic.startsWith("$") && !topic.startsWith("$SYS/")).join());
  await Promise.all([explorer, alone, publisher].map((peer) => peer.end()));
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
