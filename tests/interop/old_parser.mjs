// The parser that the client of Socket.IO 2 has, as a scene for each way through it. Bytes travel as hexadecimal.

import { createRequire } from "node:module";
import { play } from "./stage.mjs";

const client = createRequire(createRequire(import.meta.url).resolve("socket.io-client-2"));
const parser = createRequire(client.resolve("engine.io-client"))("engine.io-parser");

const hex = (bytes) => Buffer.from(bytes).toString("hex");

const scenes = {
  /** Return the packets of a payload, each as its type and its data. */
  decode: ({ text, binary }) => {
    const packets = [];
    parser.decodePayload(text ?? Buffer.from(binary, "hex"), ({ type, data }) => {
      packets.push([type, typeof data === "string" || data === undefined ? (data ?? "") : { hex: hex(data) }]);
    });
    return packets;
  },

  /** Write messages as one payload. */
  encode: ({ messages, takesBinary }) => {
    const packets = messages.map((data) => ({
      type: "message",
      data: typeof data === "string" ? data : Buffer.from(data.hex, "hex"),
    }));
    let payload;
    parser.encodePayload(packets, takesBinary, (encoded) => {
      payload = encoded;
    });
    return typeof payload === "string" ? { text: payload } : { binary: hex(payload) };
  },
};

await play((name, { options }) => scenes[name](options));
