// What an application does with mqtt.js over WebSocket, the same in Node (node.js) and in a page (chromium.js).
// Gives its transcript as lines; every wait has a bound, so that a message that is missing is an error.
"use strict";

const WAIT_MS = 30000;
const QUIET_MS = 300;
const utf8 = new TextEncoder();
const text = (bytes) => new TextDecoder().decode(bytes);
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function within(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`nothing came in time: ${what}`)), WAIT_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

// A client whose messages are taken one after the other, from the first moment on.
class Peer {
  constructor(mqtt, url, options) {
    this.waiting = [];
    this.takers = [];
    this.client = mqtt.connect(url, { reconnectPeriod: 0, connectTimeout: WAIT_MS, resubscribe: false, ...options });
    this.client.on("message", (topic, payload, packet) => {
      const message = { topic, payload, packet };
      const taker = this.takers.shift();
      taker ? taker(message) : this.waiting.push(message);
    });
    this.connected = within(
      new Promise((resolve, reject) => {
        this.client.on("connect", resolve);
        this.client.on("error", reject);
        this.client.on("close", () => reject(new Error("closed")));
      }),
      "CONNACK",
    );
    this.connected.catch(() => {});
  }

  next() {
    const message = this.waiting.shift();
    return message ? Promise.resolve(message) : within(new Promise((taker) => this.takers.push(taker)), "a message");
  }

  async quiet() {
    await pause(QUIET_MS);
    return this.waiting.length === 0;
  }

  async subscribe(...asked) {
    const granted = await within(this.client.subscribeAsync(...asked), "SUBACK");
    return granted.map((one) => one.qos).join();
  }

  publish(topic, payload, options = {}) {
    return within(this.client.publishAsync(topic, payload, options), `the acknowledgement of ${topic}`);
  }

  end(options = {}) {
    return within(this.client.endAsync(false, options), "the end of the connection");
  }

  // Gone without DISCONNECT.
  drop() {
    return within(this.client.endAsync(true), "the end of the connection");
  }
}

async function open(world, clientId, options = {}) {
  const peer = new Peer(world.mqtt, world.url, { ...world.options, clientId: `${clientId}-${world.name}`, ...options });
  peer.connack = await peer.connected;
  return peer;
}

async function everyQos(world, show) {
  const publisher = await open(world, "qos-pub");
  const subscribers = [];
  for (const qos of [0, 1, 2]) {
    const subscriber = await open(world, `qos-sub-${qos}`);
    show("granted", await subscriber.subscribe([`센서/${world.name}/+`, "/hum"], { qos }));
    subscribers.push(subscriber);
  }
  for (const topic of [`센서/${world.name}/온도`, "/hum"]) {
    for (const qos of [0, 1, 2]) {
      await publisher.publish(topic, `${qos} 도`, { qos });
      const got = await Promise.all(subscribers.map((subscriber) => subscriber.next()));
      const all = got.map(({ topic, payload, packet }) => `${topic} ${text(payload)} at ${packet.qos}`);
      show(`published at ${qos}:`, all.join("; ").replaceAll(world.name, "NAME"));
    }
  }
  await subscribers[0].client.unsubscribeAsync("/hum");
  await publisher.publish("/hum", "unsubscribed", { qos: 1 });
  show("after unsubscribe", await subscribers[0].quiet());
  await Promise.all([publisher, ...subscribers].map((peer) => peer.end()));
}

async function payloads(world, show) {
  const topic = `payload/${world.name}`;
  const peer = await open(world, "payload");
  await peer.subscribe(topic, { qos: 2 });
  const bytes = (length) => Uint8Array.from({ length }, (_, at) => (at * 31 + (at >> 8)) & 0xff);
  for (const length of [0, 1, 125, 126, 256, 65535, 65536, 500000]) {
    const sent = bytes(length);
    await peer.publish(topic, world.Buffer.from(sent), { qos: 2 });
    const { payload } = await peer.next();
    show("payload", length, payload.length === length && sent.every((byte, at) => byte === payload[at]));
  }
  const burst = Array.from({ length: 2000 }, (_, number) => String(number));
  await Promise.all(burst.map((number) => peer.publish(topic, number, { qos: 1 })));
  const got = [];
  while (got.length < burst.length) got.push(text((await peer.next()).payload));
  show("burst in order", got.every((number, at) => number === burst[at]), await peer.quiet());
  await peer.end();
}

async function retainedAndWill(world, show) {
  const topic = `retained/${world.name}/온도`;
  const publisher = await open(world, "retain-pub");
  await publisher.publish(topic, "26.70", { qos: 1, retain: true });
  const late = await open(world, "retain-sub");
  await late.subscribe(`retained/${world.name}/#`, { qos: 1 });
  const kept = await late.next();
  show("retained", text(kept.payload), kept.packet.qos, kept.packet.retain);
  await publisher.publish(topic, "26.80", { qos: 1, retain: true });
  const live = await late.next();
  show("live", text(live.payload), live.packet.retain);
  await publisher.publish(topic, "", { qos: 1, retain: true });
  show("cleared", (await late.next()).payload.length);

  const will = { topic: `retained/${world.name}/유언`, payload: world.Buffer.from(utf8.encode("떠남")), qos: 1, retain: false };
  const dying = await open(world, "will", { will });
  await dying.drop();
  const said = await late.next();
  show("will", said.topic.replace(world.name, "NAME"), text(said.payload), said.packet.qos);
  const leaving = await open(world, "will", { will });
  await leaving.end();
  show("no will after DISCONNECT", await late.quiet());
  await Promise.all([publisher.end(), late.end()]);
}

async function sessions(world, show) {
  const kept = world.five ? { clean: false, properties: { sessionExpiryInterval: 60 } } : { clean: false };
  const topic = `session/${world.name}`;
  const first = await open(world, "session", kept);
  show("session present", first.connack.sessionPresent);
  await first.subscribe(topic, { qos: 2 });
  await first.end();
  const publisher = await open(world, "session-pub");
  for (const qos of [1, 1, 1]) await publisher.publish(topic, "while away", { qos });
  const second = await open(world, "session", kept);
  show("session present", second.connack.sessionPresent);
  for (const _ of [1, 2, 3]) show(text((await second.next()).payload));

  const told = new Promise((resolve) => second.client.on("disconnect", (packet) => resolve(packet.reasonCode)));
  const closed = new Promise((resolve) => second.client.on("close", resolve));
  const third = await open(world, "session", kept);
  await within(closed, "the end of the connection that was taken over");
  show("taken over", third.connack.sessionPresent, world.five ? `reason ${await within(told, "DISCONNECT")}` : "no reason");
  await third.end();
  const last = await open(world, "session", { clean: true });
  show("clean, session present", last.connack.sessionPresent);
  await Promise.all([publisher.end(), last.end()]);
}

async function five(world, show) {
  const topic = `five/${world.name}`;
  const subscriber = await open(world, "five-sub", { properties: { topicAliasMaximum: 5, receiveMaximum: 10 } });
  const publisher = await open(world, "five-pub", { autoAssignTopicAlias: true, properties: { topicAliasMaximum: 5 } });
  // QoS 1: of a QoS 2 message that comes by alias, mqtt.js 5.16.0 hands out no topic
  await subscriber.subscribe(`${topic}/#`, { qos: 1, properties: { subscriptionIdentifier: 77 } });
  const properties = {
    payloadFormatIndicator: true,
    messageExpiryInterval: 600,
    contentType: "text/plain",
    responseTopic: "five/답",
    correlationData: world.Buffer.from(Uint8Array.from([0, 255, 1])),
    userProperties: { a: ["1", "2"], "키": "값" },
  };
  for (const number of [1, 2, 3]) {
    await publisher.publish(`${topic}/온도`, `${number}`, { qos: number % 3, properties: { ...properties } });
    const { topic: whole, payload, packet } = await subscriber.next();
    const got = packet.properties;
    show(
      whole.replace(world.name, "NAME"), text(payload), got.payloadFormatIndicator, got.contentType, got.responseTopic,
      Array.from(got.correlationData).join(), JSON.stringify(got.userProperties), got.subscriptionIdentifier,
      got.messageExpiryInterval <= 600 && got.messageExpiryInterval > 500,
    );
  }
  await publisher.subscribe(`${topic}/own`, { qos: 1, nl: true });
  await publisher.publish(`${topic}/own`, "own", { qos: 1 });
  show("no local", text((await subscriber.next()).payload), await publisher.quiet());
  const nameless = new Peer(world.mqtt, world.url, { ...world.options, clientId: "", clean: true });
  show("assigned", (await nameless.connected).properties.assignedClientIdentifier.length > 0);
  await Promise.all([subscriber, publisher, nameless].map((peer) => peer.end()));
}

// mqtt: the library; Buffer: its byte arrays; options: of every connection; version: 4 or 5.
async function runScenario({ mqtt, Buffer, url, version, options = {} }) {
  const lines = [];
  const show = (...words) => lines.push(words.join(" "));
  const name = `v${version}x${Math.random().toString(36).slice(2, 10)}`;
  const world = { mqtt, Buffer, url, name, five: version === 5, options: { ...options, protocolVersion: version } };
  try {
    for (const part of [everyQos, payloads, retainedAndWill, sessions]) await part(world, show);
    if (world.five) await five(world, show);
  } catch (error) {
    lines.push(`FAILED: ${error && error.stack ? error.stack : error}`);
  }
  return lines;
}

if (typeof module !== "undefined") module.exports = { Peer, pause, runScenario };
