// Node's ws: `node_ws.cjs PORT echo|broadcast`.
"use strict";

const { WebSocketServer } = require("ws");

const [port, kind] = process.argv.slice(2);
const server = new WebSocketServer({ host: "127.0.0.1", port: Number(port), backlog: 4096, perMessageDeflate: false });

function echo(data, isBinary) {
  this.send(data, { binary: isBinary });
}

function broadcast(data, isBinary) {
  for (const client of server.clients) client.send(data, { binary: isBinary });
}

server.on("connection", (ws) => {
  ws.on("error", () => {}); // the load ends connections with a reset
  ws.on("message", { echo, broadcast }[kind]);
});
