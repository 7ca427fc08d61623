// The official Engine.IO client, and the Socket.IO client that the server itself hands out, in Node.

import * as engine from "engine.io-client";
import { WebSocket } from "ws";
import { assert } from "./check.mjs";
import { play } from "./stage.mjs";

const wait = (emitter, event) => new Promise((resolve) => emitter.once(event, resolve));

const scenes = {
  async opening({ options, afterwards }) {
    const { url, transports } = options;
    const socket = new engine.Socket(url, { path: "/socket.io/", transports, query: { name: "name-1_a" } });
    afterwards(() => socket.close());
    assert.equal(await wait(socket, "data"), '2["welcome",1]');
    assert.equal(socket.id, "name-1_a");
    if (transports.length > 1) {
      await wait(socket, "upgrade");
    }
    socket.send("0");
    assert.match(await wait(socket, "data"), /^0{"sid":"/);
    socket.close();
  },

  async refusals({ options, afterwards }) {
    const refused = async (query, extraHeaders) => {
      const socket = new engine.Socket(options.url, {
        path: "/socket.io/",
        transports: ["polling"],
        query: { name: "other", ...query },
        extraHeaders,
      });
      afterwards(() => socket.close());
      // The client empties the context behind the event.
      const read = (error) => ({ ...error, message: error.message, text: error.context.responseText });
      return new Promise((resolve) => socket.once("error", (error) => resolve(read(error))));
    };
    const origin = await refused({}, { Origin: "https://evil.example" });
    assert.equal(origin.message, "xhr poll error");
    assert.equal(origin.description, 403);
    const { code, message, hint } = JSON.parse(origin.text);
    assert.deepEqual({ code, message }, { code: 4, message: "Forbidden" });
    assert.match(hint, /cors_allowed_origins/);
    const middleware = await refused({ guest: "no" });
    assert.equal(middleware.description, 401);
    assert.equal(middleware.text, "who are you?");
  },

  async served({ options, afterwards }) {
    const answer = await fetch(`${options.url}/socket.io/${options.file}`);
    const script = await answer.text();
    globalThis.WebSocket = WebSocket; // which Node 20 lacks
    const client = options.file.includes(".esm.")
      ? await import(`data:text/javascript;base64,${Buffer.from(script).toString("base64")}`)
      : { io: load(script) };
    const socket = client.io(options.url, {
      transports: ["websocket"],
      query: { name: `served-by-${options.file.length}` },
      forceNew: true,
    });
    afterwards(() => socket.close());
    await wait(socket, "connect");
    assert.ok(socket.connected);
  },
};

/** Run a script as a browser's page would, and return what it defines. */
const load = (script) => {
  const module = { exports: {} };
  new Function("module", "exports", script)(module, module.exports);
  return module.exports;
};

await play((name, stage) => scenes[name](stage));
