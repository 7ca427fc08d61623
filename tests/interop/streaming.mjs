// Streams of events, consumed by the official JavaScript client with the function that docs/streams.md gives to users.

import { readFile } from "node:fs/promises";
import * as client from "socket.io-client";
import { assert, inTime } from "./check.mjs";
import { play } from "./stage.mjs";

const page = await readFile(new URL("../../docs/streams.md", import.meta.url), "utf8");
const [, code] = page.match(/```js\n([^`]*?export [^]*?)```/);
const { stream } = await import(`data:text/javascript,${encodeURIComponent(code)}`);

const TRANSPORTS = { polling: { transports: ["polling"] }, websocket: { transports: ["websocket"] }, upgrade: {} };
const WINDOW = 16;

/** Connect one socket, on a connection of its own. */
const enter = async ({ options, afterwards }, namespace = "/") => {
  const manager = new client.Manager(options.url, { ...TRANSPORTS[options.transport], reconnection: false });
  afterwards(() => manager._close());
  const socket = manager.socket(namespace);
  await inTime(new Promise((resolve) => socket.once("connect", resolve)), "the connection");
  return socket;
};

const collect = async (items) => {
  const found = [];
  for await (const item of items) {
    found.push(item);
  }
  return found;
};

let n = 0;
const fresh = () => `stream ${++n} of ${Date.now()}`;
const numbers = (length) => Array.from({ length }, (_, i) => i);

const scenes = {
  async whole(stage) {
    const socket = await enter(stage);
    assert.deepEqual(await inTime(collect(stream(socket, "count", fresh(), 100)), "a stream"), numbers(100));
    assert.deepEqual(await inTime(collect(stream(socket, "count", fresh(), 0)), "an empty stream"), []);
  },

  async several(stage) {
    const socket = await enter(stage);
    const other = socket.io.socket("/other");
    const streams = [
      stream(socket, "count", fresh(), 50),
      stream(socket, "count", fresh(), 40),
      stream(other, "count", fresh(), 30),
    ];
    assert.deepEqual(await inTime(Promise.all(streams.map(collect)), "all"), [numbers(50), numbers(40), numbers(30)]);
  },

  async pace(stage) {
    const socket = await enter(stage);
    const name = fresh();
    const items = stream(socket, "count", name, 1000);
    for (let i = 0; i < 40; i++) {
      assert.equal((await inTime(items.next(), "an item")).value, i);
      const made = await inTime(socket.emitWithAck("made", name), "an answer");
      assert.ok(made <= i + WINDOW, `${made} were made when ${i} were taken`);
    }
    await items.return();
    await inTime(socket.emitWithAck("closed", name), "the end of the generator");
  },

  async leaving_the_loop(stage) {
    const socket = await enter(stage);
    const name = fresh();
    for await (const item of stream(socket, "idle", name)) {
      assert.equal(item, "ready");
      break;
    }
    await inTime(socket.emitWithAck("closed", name), "the end of the generator");
    assert.deepEqual(socket.listeners("telex:stream"), []);
  },

  async disconnect(stage) {
    const [socket, observer] = [await enter(stage), await enter(stage)];
    const name = fresh();
    const items = stream(socket, "idle", name);
    await inTime(items.next(), "an item");
    const next = items.next().catch((error) => error.message);
    socket.disconnect();
    assert.equal(await inTime(next, "the error"), "disconnected");
    await inTime(observer.emitWithAck("closed", name), "the end of the generator");
  },

  async errors(stage) {
    const socket = await enter(stage);
    for (const [message, heard] of [["no such file", "no such file"], [null, "Internal server error"]]) {
      const items = stream(socket, "fail", message);
      assert.equal((await inTime(items.next(), "an item")).value, 1);
      assert.equal(await inTime(items.next().catch((error) => error.message), "the error"), heard);
    }
  },

  async too_many(stage) {
    const socket = await enter(stage);
    const open = numbers(16).map(() => stream(socket, "idle", fresh()));
    await inTime(Promise.all(open.map((items) => items.next())), "their first items");
    const further = stream(socket, "idle", fresh());
    assert.equal(await inTime(further.next().catch((error) => error.message), "the error"), "too many streams");
    await Promise.all(open.map((items) => items.return()));
  },

  async binary(stage) {
    const socket = await enter(stage);
    const sizes = [1, 0, 100_000];
    const parts = await inTime(collect(stream(socket, "parts", ...sizes)), "the parts");
    assert.deepEqual(parts.map((part) => part.byteLength), sizes);
  },
};

await play((name, stage) => scenes[name](stage));
