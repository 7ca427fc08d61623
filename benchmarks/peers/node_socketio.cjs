// Node's socket.io, the original: `node_socketio.cjs PORT`.
"use strict";

const { createServer } = require("node:http");
const { Server } = require("socket.io");

const http = createServer();
const io = new Server(http, { perMessageDeflate: false, httpCompression: false });

io.on("connection", (socket) => {
  socket.on("echo", (data) => socket.emit("echo", data));
  socket.on("aecho", async (data) => {
    socket.emit("aecho", data);
  });
  socket.on("ack", (data, answer) => answer(data));
  socket.on("bcast", (data) => io.emit("bcast", data));
});

http.listen({ host: "127.0.0.1", port: Number(process.argv[2]), backlog: 4096 });
