// Dynamic namespaces and everyone at once, with the official JavaScript client in Node; `servers/namespaces.py` is what
// it talks to.

import { Manager } from "socket.io-client";
import { assert, bytes, inTime, listen } from "./check.mjs";
import { play } from "./stage.mjs";

const TRANSPORTS = { polling: { transports: ["polling"] }, websocket: { transports: ["websocket"] }, upgrade: {} };

const dial = ({ options, afterwards }) => {
  const manager = new Manager(options.url, { ...TRANSPORTS[options.transport], reconnection: false });
  afterwards(() => manager._close());
  return manager;
};

const connected = (socket) =>
  inTime(
    new Promise((resolve, reject) => {
      socket.once("connect", resolve);
      socket.once("connect_error", reject);
    }),
    `the connection to ${socket.nsp}`,
  );

/** Open a document on a connection of its own. */
const open = async (stage, namespace, name) => {
  const socket = dial(stage).socket(namespace, { auth: { name } });
  const told = listen(socket, "told");
  const opened = listen(socket, "opened");
  await connected(socket);
  assert.deepEqual(await opened.next(), [namespace]);
  return { socket, told, say: (...args) => socket.timeout(30_000).emitWithAck(...args) };
};

/** Return a number that no other scene has used: the server remembers what was made. */
let serial = 0;
const fresh = (stage) => `/documents/${{ polling: 1, websocket: 2, upgrade: 3 }[stage.options.transport]}${++serial}`;

/** Ask until the server has heard that the namespace's last client left. */
const isGone = async (root, namespace) => {
  for (;;) {
    const [present] = await root.timeout(30_000).emitWithAck("namespaces");
    if (!present.includes(namespace)) {
      return;
    }
  }
};

const scenes = {
  async pattern(stage) {
    const [one, two] = [fresh(stage), fresh(stage)];
    const [ann, bob, cat] = [await open(stage, one, "Ann"), await open(stage, one, "Bob"), await open(stage, two, "Cat")];
    ann.socket.emit("tell", "hello", bytes(10));
    assert.deepEqual(await bob.told.next(), ["hello", bytes(10)]);
    ann.socket.emit("tell all", "everybody");
    assert.deepEqual(await cat.told.next(), ["everybody"]);
    assert.deepEqual(await bob.told.next(), ["everybody"]);
    assert.deepEqual(await ann.say("who"), ["Ann", "Bob"]);
    assert.deepEqual(await cat.say("who"), ["Cat"]);
  },

  async one_connection(stage) {
    // Several of them over one connection, as the client shares it.
    const manager = dial(stage);
    const names = [fresh(stage), fresh(stage), fresh(stage)];
    const sockets = names.map((name) => manager.socket(name));
    await Promise.all(sockets.map(connected));
    sockets[1].disconnect();
    const told = listen(sockets[2], "told");
    sockets[2].emit("tell", 1);
    assert.deepEqual(await told.next(), [1]);
    sockets[1].connect();
    await connected(sockets[1]);
  },

  async refusals(stage) {
    const name = fresh(stage);
    const manager = dial(stage);
    const root = manager.socket("/");
    await connected(root);
    const refused = async (namespace, auth) => {
      const socket = manager.socket(namespace, { auth });
      const [error] = await listen(socket, "connect_error").next();
      socket.disconnect();
      return error;
    };
    const error = await refused(name, { name: "Mallory" });
    assert.equal(error.message, "readers only");
    assert.deepEqual(error.data, { retry: false });
    // It was made, and has gone again since nobody was let in.
    const [present, created] = await root.timeout(30_000).emitWithAck("namespaces");
    assert.ok(!present.includes(name) && created.includes(name));
    for (const other of [`${name}x`, "/documents/", "/tenants/a", "/_0"]) {
      assert.equal((await refused(other, {})).message, "Invalid namespace");
    }
  },

  async predicate(stage) {
    const socket = dial(stage).socket("/tenants/höhle", { auth: { token: "secret" } });
    await connected(socket);
    assert.equal(await socket.timeout(30_000).emitWithAck("where"), "/tenants/höhle");
  },

  async cleanup(stage) {
    const name = fresh(stage);
    const root = dial(stage).socket("/");
    await connected(root);
    const ann = await open(stage, name, "Ann");
    ann.socket.disconnect();
    await isGone(root, name);
    await open(stage, name, "Bob");
    const [, created] = await root.timeout(30_000).emitWithAck("namespaces");
    assert.equal(created.filter((each) => each === name).length, 2);
  },

  async everyone(stage) {
    const name = fresh(stage);
    const [ann, bob, cat] = [await open(stage, name, "Ann"), await open(stage, name, "Bob"), await open(stage, name, "Cat")];
    for (const [who, answer] of [[bob, "aye"], [cat, bytes(5)]]) {
      who.socket.on("question", (question, reply) => reply([question, answer]));
    }
    const answers = await ann.say("ask the others", "well?");
    assert.deepEqual(answers, [["well?", "aye"], ["well?", bytes(5)]]);
    const moved = [ann, bob, cat].map(({ socket }) => listen(socket, "moved"));
    ann.socket.emit("move the others", "elsewhere");
    assert.deepEqual(await moved[1].next(), ["elsewhere"]);
    assert.deepEqual(await moved[2].next(), ["elsewhere"]);
    assert.deepEqual(await ann.say("who"), ["Ann"]);
    assert.equal(moved[0].seen.length, 0);
    const gone = [bob, cat].map(({ socket }) => listen(socket, "disconnect"));
    ann.socket.emit("send the others off", stage.options.transport === "upgrade");
    for (const each of gone) {
      assert.equal((await each.next())[0], "io server disconnect");
    }
    assert.deepEqual(await ann.say("who"), ["Ann"]);
  },
};

await play((name, stage) => scenes[name](stage));
