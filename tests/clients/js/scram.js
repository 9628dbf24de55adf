// node scram.js URL METHOD USER PASSWORD: mqtt.js logs in by SCRAM, as RFC 5802 says it; says whether the broker has proved itself too.
"use strict";

const crypto = require("node:crypto");
const mqtt = require("mqtt");

const [url, method, user, password] = process.argv.slice(2);
const hash = method.replace("SCRAM-", "").replace("-", "").toLowerCase();
const hmac = (key, text) => crypto.createHmac(hash, key).update(text).digest();

const nonce = crypto.randomBytes(18).toString("base64");
const first = `n=${user.replace(/=/g, "=3D").replace(/,/g, "=2C")},r=${nonce}`;
let expected = "";

const client = mqtt.connect(url, {
  protocolVersion: 5,
  reconnectPeriod: 0,
  connectTimeout: 120_000,
  properties: { authenticationMethod: method, authenticationData: Buffer.from(`n,,${first}`) },
});

client.handleAuth = (packet, done) => {
  const challenge = packet.properties.authenticationData.toString();
  const [, both, salt, count] = /^r=([^,]*),s=([^,]*),i=(\d+)$/.exec(challenge);
  if (!both.startsWith(nonce) || both === nonce) return done(new Error("the nonce is not ours"));
  const length = hash === "sha256" ? 32 : 64;
  const salted = crypto.pbkdf2Sync(password, Buffer.from(salt, "base64"), Number(count), length, hash);
  const key = hmac(salted, "Client Key");
  const last = `c=${Buffer.from("n,,").toString("base64")},r=${both}`;
  const said = `${first},${challenge},${last}`;
  const signature = hmac(crypto.createHash(hash).update(key).digest(), said);
  const proof = Buffer.from(key.map((byte, at) => byte ^ signature[at])).toString("base64");
  expected = `v=${hmac(hmac(salted, "Server Key"), said).toString("base64")}`;
  const properties = { authenticationMethod: method, authenticationData: Buffer.from(`${last},p=${proof}`) };
  done(null, { cmd: "auth", reasonCode: 0x18, properties });
};

client.on("connect", (packet) => {
  const proved = packet.properties.authenticationData.toString() === expected;
  client.subscribe("scram", { qos: 1 }, () => client.publish("scram", "hello", { qos: 1 }));
  client.on("message", (topic, payload) => {
    console.log(`connected, broker proved ${proved}, got ${payload}`);
    client.end(false, () => process.exit(0));
  });
});
client.on("error", (error) => {
  console.log(`refused with ${error.code}`);
  process.exit(0);
});
