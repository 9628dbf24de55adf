// node chromium.js CHROMIUM PROFILE URL VERSION [URL VERSION]...: the scenario in a page, in headless Chromium.
// The page comes from a server on loopback that lives as long as this process; the browser ends with it too.
"use strict";

const fs = require("node:fs");
const http = require("node:http");
const path = require("node:path");
const { chromium } = require("playwright-core");

const files = {
  "/": ["text/html", Buffer.from('<!doctype html><meta charset="utf-8"><script src="mqtt.js"></script><script src="scenario.js"></script>')],
  "/mqtt.js": ["text/javascript", fs.readFileSync(path.join(path.dirname(require.resolve("mqtt/package.json")), "dist/mqtt.min.js"))],
  "/scenario.js": ["text/javascript", fs.readFileSync(path.join(__dirname, "scenario.js"))],
};

function serve(request, response) {
  const [type, body] = files[request.url] ?? [null, null];
  response.writeHead(body ? 200 : 404, { "content-type": `${type ?? "text/plain"}; charset=utf-8` });
  response.end(body ?? "");
}

async function main([executablePath, profile, ...runs]) {
  const server = http.createServer(serve);
  await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    headless: true,
    chromiumSandbox: false,
    env: { ...process.env, HOME: profile },
    args: ["--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"],
  });
  const page = await context.newPage();
  page.on("console", (message) => console.error(message.text()));
  for (let at = 0; at + 1 < runs.length; at += 2) {
    const [url, version] = [runs[at], Number(runs[at + 1])];
    await page.goto(`http://localhost:${server.address().port}/`);
    const lines = await page.evaluate(
      ({ url, version }) => runScenario({ mqtt: globalThis.mqtt, Buffer: Uint8Array, url, version }),
      { url, version },
    );
    console.log([`-- ${new URL(url).protocol} ${version}`, ...lines].join("\n"));
  }
  await context.close();
  server.close();
}

main(process.argv.slice(2)).then(
  () => process.exit(0),
  (error) => {
    console.error(error);
    process.exit(1);
  },
);
