// node node.js URL VERSION [CA]: the scenario in Node.
"use strict";

const fs = require("node:fs");
const mqtt = require("mqtt");
const { runScenario } = require("./scenario.js");

const [url, version, ca] = process.argv.slice(2);
const options = ca ? { ca: fs.readFileSync(ca) } : {};
runScenario({ mqtt, Buffer, url, version: Number(version), options }).then((lines) => {
  console.log(lines.join("\n"));
  process.exit(lines.at(-1).startsWith("FAILED") ? 1 : 0);
});
