// The WHATWG's interfaces in Chromium, which is the reference for Telex's: scenes that both play against the same server.
// The server is made by hand, so that it can do wrong; what it does stands in the path. The first line printed tells
// where it is. Scenes are data: a path, subprotocols, and what to do when something happens.

import { createHash } from "node:crypto";
import { createServer } from "node:http";
import { launch } from "./chromium.mjs";
import { play } from "./stage.mjs";

const accept = (key) => createHash("sha1").update(`${key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11`).digest("base64");
const frame = (opcode, payload = "") =>
  Buffer.concat([Buffer.from([0x80 | opcode, Buffer.byteLength(payload)]), Buffer.from(payload)]);
const [TEXT, CLOSE, RESERVED] = [1, 8, 3];

/** Call `heard` with opcode and payload of each small frame that a client sends. */
const hear = (socket, heard) => {
  let input = Buffer.alloc(0);
  socket.on("data", (data) => {
    input = Buffer.concat([input, data]);
    while (input.length >= 6 && input.length >= 6 + (input[1] & 127)) {
      const end = 6 + (input[1] & 127);
      const payload = input.subarray(6, end).map((byte, index) => byte ^ input[2 + (index & 3)]);
      heard(input[0] & 15, payload);
      input = input.subarray(end);
    }
  });
};

const BEHAVIOUR = {
  "/silent": () => {},
  "/drop": (socket) => socket.end(),
  "/violate": (socket) => {
    socket.write(Buffer.concat([frame(TEXT, "before"), frame(RESERVED)]));
    hear(socket, (opcode) => opcode === CLOSE && socket.end());
  },
  "/close": (socket) => socket.end(Buffer.concat([frame(TEXT, "hi"), frame(CLOSE, Buffer.from("\x0f\xa0bye", "latin1"))])),
  "/close-empty": (socket) => socket.end(frame(CLOSE)),
  "/tell": (socket) => {
    hear(socket, (opcode, payload) => {
      if (opcode === CLOSE) {
        socket.end(Buffer.concat([frame(TEXT, "late"), frame(CLOSE, payload)]));
      } else {
        socket.write(frame(TEXT, `${opcode}:${payload.toString("hex")}`));
      }
    });
  },
  "/three": (socket) => {
    socket.write(Buffer.concat([frame(TEXT, "one"), frame(TEXT, "two"), frame(TEXT, "three")]));
    hear(socket, (opcode, payload) => opcode === CLOSE && socket.end(frame(CLOSE, payload)));
  },
};

const sockets = new Set();
const server = createServer((_, response) => response.end("<!doctype html><title>stage</title>"));
server.on("upgrade", (request, socket) => {
  sockets.add(socket);
  socket.on("error", () => {}).on("close", () => sockets.delete(socket));
  const [path, query] = request.url.split("?");
  if (path === "/refuse") {
    socket.end("HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
  } else if (path === "/redirect") {
    socket.end("HTTP/1.1 307 Temporary Redirect\r\nLocation: /tell\r\nContent-Length: 0\r\n\r\n");
  } else if (path !== "/never") {
    const chosen = query ? `Sec-WebSocket-Protocol: ${query}\r\n` : "";
    socket.write(
      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" +
        `Sec-WebSocket-Accept: ${accept(request.headers["sec-websocket-key"])}\r\n${chosen}\r\n`,
    );
    BEHAVIOUR[path](socket);
  }
});
await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
const origin = `http://127.0.0.1:${server.address().port}`;
const browser = await launch(process.argv[2]);
console.log(`stage at ${origin}`);

const inThePage = {
  urls: ({ urls }) =>
    urls.map((url) => {
      try {
        const ws = new WebSocket(url);
        ws.close();
        return ws.url;
      } catch (error) {
        return error.name;
      }
    }),

  events: ({ url, protocols, when }) =>
    new Promise((resolve) => {
      const log = [];
      const ws = new WebSocket(url, protocols);
      const act = (moment) => {
        for (const [name, ...values] of when[moment] ?? []) {
          try {
            ws[name](...values);
            log.push([name, ws.readyState, ws.bufferedAmount]);
          } catch (error) {
            log.push([name, error.name]);
          }
        }
      };
      const note = (event, ...details) => {
        log.push([event.type, ws.readyState, ws.bufferedAmount, ...details]);
        act(event.type);
      };
      ws.onopen = (event) => note(event, ws.protocol, ws.extensions);
      ws.onmessage = (event) => note(event, event.data, event.origin, event.lastEventId);
      ws.onerror = (event) => note(event);
      ws.onclose = (event) => {
        note(event, event.wasClean, event.code, event.reason);
        resolve(log);
      };
      act("constructed");
    }),

  stream: async ({ url, protocols, then }) => {
    const log = [];
    const failed = (what, error) => log.push([what, error.name, error.closeCode, error.reason]);
    const wss = new WebSocketStream(url, { protocols });
    if (then === "close at once") {
      wss.close({ closeCode: 4000 });
    }
    try {
      const { readable, writable, protocol, extensions } = await wss.opened;
      log.push(["opened", protocol, extensions]);
      const error = (init) => new WebSocketError("enough", init);
      if (then === "close") {
        wss.close({ reason: "why" });
      } else if (then === "abort") {
        await writable.abort(error({ closeCode: 4001, reason: "no" }));
      } else if (then === "cancel") {
        await readable.cancel(error({ reason: "no" }));
      } else if (then === "write") {
        await writable.getWriter().write("hé");
        const { value } = await readable.getReader().read();
        log.push(["read", value]);
        wss.close();
      } else {
        const reader = readable.getReader();
        for (;;) {
          const { value, done } = await reader.read();
          log.push(done ? ["done"] : ["read", value]);
          if (done) {
            break;
          }
        }
      }
    } catch (error) {
      failed("failed", error);
    }
    try {
      const { closeCode, reason } = await wss.closed;
      log.push(["closed", closeCode, reason]);
    } catch (error) {
      failed("closed", error);
    }
    return log;
  },
};

await play(async (name, { options, afterwards }) => {
  const page = await browser.newPage();
  afterwards(() => page.close());
  afterwards(() => sockets.forEach((socket) => socket.destroy()));
  await page.goto(origin);
  return page.evaluate(inThePage[name], options);
});
