// Node's socket.io-client, the original: `node_socketio_client.cjs PORT ...` (see `client_work.py`).
"use strict";

const { readFileSync } = require("node:fs");
const { io } = require("socket.io-client");

const [port, activity, number, seconds, warmup] = process.argv.slice(2).map((word) => Number(word) || word);
const url = `http://127.0.0.1:${port}`;
const payloads = Array.from({ length: 256 }, (_, n) => String(n).padStart(64, "0"));
const sleep = (time) => new Promise((resolve) => setTimeout(resolve, Number(time) * 1000));
const cpuSeconds = (since) => {
  const { user, system } = process.cpuUsage(since);
  return (user + system) / 1e6;
};
const residentBytes = () => Number(readFileSync("/proc/self/statm", "ascii").split(" ")[1]) * 4096;

let sent = 0;
let received = 0;

function check(data) {
  if (data !== payloads[received & 255]) {
    console.error(`message ${received} was ${JSON.stringify(data)}`);
    process.exit(1);
  }
  received++;
  return (received & 255) === 0;
}

function report(found) {
  process.stdout.write(`${JSON.stringify(found)}\n`, () => process.exit(0));
}

async function measure() {
  const socket = io(url, { transports: ["websocket"] });
  socket.on("echo", (data) => {
    check(data);
    socket.emit("echo", payloads[sent++ & 255]);
  });
  socket.on("flood", (data) => {
    if (check(data)) socket.emit("flood");
  });
  await new Promise((resolve) => socket.on("connect", resolve));
  if (activity === "echo") {
    while (sent < number) socket.emit("echo", payloads[sent++ & 255]);
  } else {
    socket.emit("flood");
    socket.emit("flood");
  }
  await sleep(warmup);
  const n = received;
  const began = process.hrtime.bigint();
  const before = process.cpuUsage();
  console.log("begin");
  await sleep(seconds);
  report({
    messages: received - n,
    seconds: Number(process.hrtime.bigint() - began) / 1e9,
    cpu_seconds: cpuSeconds(before),
  });
}

async function hold() {
  const before = residentBytes();
  const began = Date.now();
  const sockets = [];
  while (sockets.length < number) {
    const opened = Array.from({ length: Math.min(64, number - sockets.length) }, () =>
      io(url, { transports: ["websocket"], forceNew: true }),
    );
    await Promise.all(opened.map((socket) => new Promise((resolve) => socket.on("connect", resolve))));
    sockets.push(...opened);
  }
  console.log("begin");
  const opening = (Date.now() - began) / 1000;
  const cpu = process.cpuUsage();
  await sleep(seconds);
  report({
    bytes: residentBytes() - before,
    opening_seconds: opening,
    seconds: Number(seconds),
    cpu_seconds: cpuSeconds(cpu),
  });
}

(activity === "hold" ? hold : measure)();
