// The official JavaScript client in Chromium: the scenes of `scenes.mjs`, played in a page; with "old" as the second
// argument, the client of Socket.IO 2 and `old_scenes.mjs`.
// The page comes from another origin than the server, which has to allow it; the first line printed tells that origin.

import { readFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { launch } from "./chromium.mjs";
import { play } from "./stage.mjs";

const [PACKAGE, SCENES] =
  process.argv[3] === "old" ? ["socket.io-client-2", "old_scenes.mjs"] : ["socket.io-client", "scenes.mjs"];
const CLIENT = createRequire(import.meta.url).resolve(`${PACKAGE}/dist/socket.io.js`);
const FILES = {
  "/": ["text/html", '<!doctype html><title>stage</title><script src="/client.js"></script>'],
  "/client.js": ["text/javascript", await readFile(CLIENT)],
  "/scenes.mjs": ["text/javascript", await readFile(new URL(SCENES, import.meta.url))],
  "/check.mjs": ["text/javascript", await readFile(new URL("check.mjs", import.meta.url))],
};

const server = createServer((request, response) => {
  const [type, body] = FILES[request.url] ?? [];
  response.writeHead(body ? 200 : 404, { "content-type": type ?? "text/plain" }).end(body);
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;

const browser = await launch(process.argv[2]);
console.log(`stage at ${origin}`);

await play(async (name, { options, ask, afterwards }) => {
  const context = await browser.newContext();
  afterwards(() => context.close());
  const page = await context.newPage();
  await page.exposeFunction("askStage", ask);
  await page.goto(origin);
  return page.evaluate(
    async ([scene, sceneOptions]) => {
      const { scenes } = await import("/scenes.mjs");
      const cleanups = [];
      try {
        return await scenes[scene]({
          client: globalThis.io,
          options: sceneOptions,
          ask: globalThis.askStage,
          afterwards: (cleanup) => cleanups.push(cleanup),
        });
      } finally {
        cleanups.forEach((cleanup) => cleanup());
      }
    },
    [name, options],
  );
});
