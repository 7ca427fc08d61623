// The official JavaScript client in Node with another parser: the scenes that all parsers play, and some of their own.

import * as client from "socket.io-client";
import { deflateSync, inflateSync } from "node:zlib";
import msgpack from "socket.io-msgpack-parser";
import { assert, bytes, listen } from "./check.mjs";
import { connected, dial, enter, scenes } from "./scenes.mjs";
import { play } from "./stage.mjs";

// What goes with examples/own_parser.py; docs/parsers.md shows it.
class Encoder extends msgpack.Encoder {
  encode(packet) {
    return super.encode(packet).map((message) => deflateSync(message));
  }
}

class Decoder extends msgpack.Decoder {
  add(message) {
    super.add(inflateSync(message));
  }
}

const PARSERS = { msgpack, own: { Encoder, Decoder }, json: undefined };

const own = {
  async dates(stage) {
    const socket = await enter(stage);
    const ask = (...args) => socket.timeout(30_000).emitWithAck(...args);
    for (const [time, text] of [
      [0, "1970-01-01T00:00:00+00:00"],
      [1, "1970-01-01T00:00:00.001000+00:00"],
      [-1, "1969-12-31T23:59:59.999000+00:00"],
      [Date.UTC(2024, 1, 29, 12, 30, 15, 250), "2024-02-29T12:30:15.250000+00:00"],
      [Date.UTC(9999, 11, 31, 23, 59, 59, 999), "9999-12-31T23:59:59.999000+00:00"],
      [Date.UTC(1600, 0, 1), "1600-01-01T00:00:00+00:00"],
    ]) {
      const date = new Date(time);
      assert.equal(await ask("what is", date), text);
      const back = await ask("ask", { deep: [date] });
      assert.ok(back.deep[0] instanceof Date);
      assert.equal(back.deep[0].getTime(), time);
    }
  },

  async undefined_and_null(stage) {
    const socket = await enter(stage);
    const ask = (...args) => socket.timeout(30_000).emitWithAck(...args);
    assert.equal(await ask("what is", undefined), "None");
    assert.equal(await ask("what is", null), "None");
    assert.equal(await ask("what is", { a: undefined, b: [undefined, null] }), "{'a': None, 'b': [None, None]}");
    assert.deepEqual(await ask("ask", [undefined, null]), [null, null]);
  },

  async numbers(stage) {
    const socket = await enter(stage);
    const ask = (...args) => socket.timeout(30_000).emitWithAck(...args);
    for (const value of [
      0, 127, 128, 255, 256, 65_535, 65_536, 2 ** 31, 2 ** 32 - 1, 2 ** 32, 2 ** 53 - 1, 2 ** 53, 2 ** 63,
      -1, -32, -33, -128, -129, -32_768, -32_769, -(2 ** 31), -(2 ** 31) - 1, -(2 ** 53), -(2 ** 63),
      0.1, -1.5, 5e-324, 1.7976931348623157e308 / 3, NaN, Infinity, -Infinity,
    ]) {
      if (Number.isInteger(value) && Math.abs(value) >= 2 ** 64) {
        continue; // notepack writes these wrong
      }
      assert.equal(await ask("ask", value), value);
    }
    assert.equal(await ask("what is", 2 ** 63), "9223372036854775808");
    assert.equal(await ask("what is", 1.5), "1.5");
    assert.deepEqual(await ask("large numbers"), [2 ** 53, -(2 ** 53), 2 ** 63, 2 ** 64, -(2 ** 63)]);
  },

  async array_buffers(stage) {
    // Lengths at which MessagePack has short forms, of which two mean something else.
    const socket = await enter(stage);
    for (const length of [0, 1, 2, 4, 8, 16, 255, 256, 70_000]) {
      const there = bytes(length);
      assert.deepEqual(await socket.timeout(30_000).emitWithAck("ask", there.buffer), there);
      assert.deepEqual(await socket.timeout(30_000).emitWithAck("ask", Buffer.from(there)), there);
    }
  },

  async many_attachments(stage) {
    // With JSON's parser these would be too many for the client.
    const socket = await enter(stage);
    const many = Array.from({ length: 200 }, (_, i) => Buffer.from(bytes(i, i)));
    assert.deepEqual(await socket.timeout(30_000).emitWithAck("ask", many), many);
  },

  async nonsense(stage) {
    // What is no packet ends the connection, and so does a client with JSON's parser.
    for (const message of [Buffer.from([0xc1]), "2[]"]) {
      const observer = await enter(stage, "/observer");
      const gone = listen(observer, "gone");
      const socket = await enter(stage);
      socket.io.reconnection(false);
      const disconnect = listen(socket, "disconnect");
      const { id } = socket;
      socket.io.engine.write(message);
      assert.match((await disconnect.next())[0], /^transport (close|error)$/);
      assert.deepEqual(await gone.next(), [id, "forced close"]);
    }
  },

  async another_parser(stage) {
    const socket = dial({ ...stage, parser: undefined }, { reconnection: false }).socket("/");
    const { engine } = socket.io;
    const closed = listen(engine, "close");
    assert.match((await closed.next())[0], /^transport (close|error)$/);
    assert.ok(!socket.connected);
    await connected(dial(stage).socket("/"));
  },
};

await play((name, stage) => (own[name] ?? scenes[name])({ ...stage, client, parser: PARSERS[stage.options.parser] }));
