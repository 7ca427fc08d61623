// Scenes with the client of Socket.IO 2, as a program of its days would be written; they play in Node and in a browser
// alike. `servers/conversation.py` is what they talk to. "jsonp" is a transport here: polling as pages did it that had
// nothing better.

import { assert, bytes as array, carriedBy, departures, inTime, listen } from "./check.mjs";

// The one kind of bytes that this client takes in Node and in a browser.
const bytes = (...args) => array(...args).buffer;

const TRANSPORTS = {
  polling: { transports: ["polling"] },
  base64: { transports: ["polling"], forceBase64: true },
  jsonp: { transports: ["polling"], forceJSONP: true },
  websocket: { transports: ["websocket"] },
  base64_websocket: { transports: ["websocket"], forceBase64: true },
  upgrade: {},
};

const isPolling = ({ options }) => ["polling", "base64", "jsonp"].includes(options.transport);

/** Make a manager of its own, which is one connection. */
const dial = ({ client, options, afterwards }, more = {}) => {
  const manager = new client.Manager(options.url, { ...TRANSPORTS[options.transport], ...more });
  afterwards(() => {
    manager.reconnection(false);
    manager.close();
  });
  return manager;
};

const enter = async (stage, namespace = "/", options = {}, more = {}) => {
  const socket = dial(stage, more).socket(namespace, options);
  await connected(socket);
  return socket;
};

const connected = async (socket) => {
  if (!socket.connected) {
    await inTime(
      new Promise((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("error", (error) => reject(new Error(String(error))));
      }),
      `the connection to ${socket.nsp}`,
    );
  }
};

/** Emit, and return the one value of the answer; this client has no promises. */
const ask = async (socket, ...args) => {
  const values = await askForAll(socket, ...args);
  return values[0];
};

const askForAll = (socket, ...args) =>
  inTime(new Promise((resolve) => socket.emit(...args, (...values) => resolve(values))), `the answer to ${args[0]}`);

/** Wait until the connection goes over the transport that it is to end up with. */
const settled = (stage, socket) => carriedBy(socket, isPolling(stage) ? "polling" : "websocket");

/** Let one come in who is told of every socket that leaves "/", with its reason. */
const observe = async (stage) => departures(await enter(stage, "/observer"));

// Characters of every length in UTF-8 and in UTF-16, those that end a line in a script, and what JSONP escapes.
const TEXTS = [
  "text",
  "",
  "Grüße",
  "你好",
  "🙂",
  "🙂é🙂",
  "a line\nand another\r\nand \\n and \\\\n and \\\n",
  "\u0000\u001e\u2028\u2029 and \"quotes\" \\ </script>",
  "3:4x",
  "ä€🙂x".repeat(2000),
];
const VALUES = [...TEXTS, 0, -1.5, 9007199254740991, true, false, null, [], {}, { nested: { list: [1, "🙂", [3]] } }];

export const scenes = {
  async greeting(stage) {
    // Both sides make the socket's id of the session's.
    const socket = dial(stage).socket("/");
    const hello = listen(socket, "hello");
    const [id, auth] = await hello.next();
    assert.deepEqual(auth, {});
    assert.equal(id, socket.id);
    assert.equal(id, socket.io.engine.id);
    assert.equal(id.length, 20);
  },

  async json(stage) {
    const socket = await enter(stage);
    const echo = listen(socket, "echo");
    for (const value of VALUES) {
      socket.emit("echo", value);
      assert.deepEqual(await echo.next(), [value]);
    }
    // All in few payloads, which are then cut at the right places.
    for (const value of VALUES) {
      socket.emit("echo", value, "🙂");
    }
    for (const value of VALUES) {
      assert.deepEqual(await echo.next(), [value, "🙂"]);
    }
    assert.equal(socket.connected, true);
  },

  async binary(stage) {
    const socket = await enter(stage);
    const echo = listen(socket, "echo");
    const all = [
      [bytes(3)],
      [bytes(0)],
      [{ file: bytes(70_000), name: "ä🙂.bin" }, "and text €", [bytes(1), { deep: [bytes(126, 7)] }]],
      Array.from({ length: 10 }, (_, i) => bytes(i, i)),
    ];
    for (const args of all) {
      socket.emit("echo", ...args);
      assert.deepEqual(await echo.next(), args);
    }
    for (const args of all) {
      socket.emit("echo", ...args, "🙂");
    }
    for (const args of all) {
      assert.deepEqual(await echo.next(), [...args, "🙂"]);
    }
  },

  async big_binary(stage) {
    const socket = await enter(stage);
    const there = bytes(300_000, 3);
    assert.deepEqual(await ask(socket, "ask", there), there);
    assert.deepEqual(await ask(socket, "give", 3_000_000), bytes(3_000_000, 0));
  },

  async acknowledgements(stage) {
    const socket = await enter(stage);
    for (const value of VALUES) {
      assert.deepEqual(await ask(socket, "ask", value), value);
    }
    assert.deepEqual(await ask(socket, "ask", bytes(100)), bytes(100));
    assert.deepEqual(await askForAll(socket, "ask", 1, "two", bytes(3)), [1, "two", bytes(3)]);
    assert.deepEqual(await askForAll(socket, "ask"), []);
    const many = Array.from({ length: 50 }, (_, i) => i);
    assert.deepEqual(await Promise.all(many.map((i) => ask(socket, "ask", i))), many);
  },

  async calls(stage) {
    // The server asks, the client answers, and the server tells what it was told.
    const socket = await enter(stage);
    socket.on("question", (...args) => args.pop()(...args));
    assert.deepEqual(await ask(socket, "ask me", "how? 🙂"), "how? 🙂");
    assert.deepEqual(await ask(socket, "ask me", bytes(50)), bytes(50));
    assert.deepEqual(await ask(socket, "ask me", 1, { a: bytes(2) }), [1, { a: bytes(2) }]);
    assert.equal(await ask(socket, "ask in vain"), "no answer");
  },

  async order(stage) {
    const socket = await enter(stage);
    const count = 300;
    const numbered = listen(socket, "numbered");
    for (let i = 0; i < count; i++) {
      socket.emit("number", i, i % 7 === 0 ? bytes(i) : "🙂");
    }
    for (let i = 0; i < count; i++) {
      assert.deepEqual(await numbered.next(), [i, i % 7 === 0 ? bytes(i) : "🙂"]);
    }
  },

  async upgrade(stage) {
    // Everything that is said while the connection moves from polling to websocket arrives once and in order.
    const socket = dial(stage).socket("/");
    const numbered = listen(socket, "numbered");
    let moved = false;
    socket.io.engine.once("upgrade", () => {
      moved = true;
    });
    assert.equal(socket.io.engine.transport.name, "polling");
    let sent = 0;
    while (!moved || sent < 200) {
      socket.emit("number", sent, sent % 5 === 0 ? bytes(40) : "€");
      sent += 1;
      await new Promise((resolve) => setTimeout(resolve));
      assert.ok(sent < 1_000_000, "the connection was never upgraded");
    }
    assert.equal(socket.io.engine.transport.name, "websocket");
    for (let i = 0; i < sent; i++) {
      assert.deepEqual(await numbered.next(), [i, i % 5 === 0 ? bytes(40) : "€"]);
    }
  },

  async namespaces(stage) {
    const manager = dial(stage);
    const root = manager.socket("/");
    const second = manager.socket("/second");
    await Promise.all([connected(root), connected(second)]);
    assert.equal(second.id, `/second#${root.id}`);
    assert.equal(await ask(root, "where"), "/");
    assert.equal(await ask(second, "where"), "/second");
    assert.deepEqual(await ask(root, "rooms"), [root.id]);
    // The id is the server's too: it is the socket's own room.
    const news = listen(second, "news");
    await ask(second, "tell", [second.id], [], "to you alone");
    assert.deepEqual(await news.next(), ["to you alone"]);
    second.disconnect();
    assert.equal(await ask(root, "where"), "/");
    second.connect();
    await connected(second);
    assert.equal(await ask(second, "where"), "/second");
  },

  async query(stage) {
    // What a later client says as auth, this one says in the query of the namespace.
    const asText = await enter(stage, "/private", { query: "token=right&other=1" });
    assert.equal(await ask(asText, "where"), "/private");
    const asObject = await enter(stage, "/private", { query: { token: "right" } });
    assert.equal(await ask(asObject, "where"), "/private");
    const inUrl = stage.client(`${stage.options.url}/private?token=right`, {
      ...TRANSPORTS[stage.options.transport],
      forceNew: true,
    });
    stage.afterwards(() => inUrl.close());
    await connected(inUrl);
    assert.equal(await ask(inUrl, "where"), "/private");
  },

  async refusal(stage) {
    const manager = dial(stage);
    const token = "wrong & ü🙂";
    const refused = manager.socket("/private", { query: { token } });
    assert.deepEqual(await listen(refused, "error").next(), [{ retry: false, asked: token }]);
    assert.equal(refused.connected, false);
    // The connection stays good for others.
    assert.equal(await ask(manager.socket("/second"), "where"), "/second");
  },

  async unknown_namespace(stage) {
    const manager = dial(stage);
    const socket = manager.socket("/nowhere");
    assert.deepEqual(await listen(socket, "error").next(), ["Invalid namespace"]);
    assert.equal(await ask(manager.socket("/second"), "where"), "/second");
  },

  async client_leaves(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    const { id } = socket;
    const disconnect = listen(socket, "disconnect");
    socket.disconnect();
    assert.equal((await disconnect.next())[0], "io client disconnect");
    assert.equal(await wentFor(id), "client namespace disconnect");
  },

  async client_closes(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    await settled(stage, socket);
    const { id } = socket;
    socket.io.reconnection(false);
    socket.io.engine.close();
    assert.equal(await wentFor(id), "transport close");
  },

  async server_sends_off(stage) {
    const wentFor = await observe(stage);
    const manager = dial(stage);
    const socket = manager.socket("/");
    const second = manager.socket("/second");
    await Promise.all([connected(socket), connected(second)]);
    const { id } = socket;
    const disconnect = listen(socket, "disconnect");
    socket.emit("send me off", false);
    assert.equal((await disconnect.next())[0], "io server disconnect");
    assert.equal(await wentFor(id), "server namespace disconnect");
    assert.equal(await ask(second, "where"), "/second");
  },

  async server_closes(stage) {
    const wentFor = await observe(stage);
    const manager = dial(stage, { reconnection: false });
    const socket = manager.socket("/");
    const second = manager.socket("/second");
    await Promise.all([connected(socket), connected(second)]);
    const { id } = socket;
    const ends = [listen(socket, "disconnect"), listen(second, "disconnect")];
    socket.emit("send me off", true);
    for (const end of ends) {
      assert.equal((await end.next())[0], "io server disconnect");
    }
    assert.equal(await wentFor(id), "server namespace disconnect");
  },

  async lost_connection(stage) {
    // The way breaks, and the client comes back by itself with a new id.
    const wentFor = await observe(stage);
    const url = await stage.ask("lay a way");
    const socket = await enter({ ...stage, options: { ...stage.options, url } });
    const { id } = socket;
    await settled(stage, socket);
    assert.equal(await ask(socket, "ask", "all well"), "all well");
    const back = listen(socket, "connect");
    const disconnect = listen(socket, "disconnect");
    if (isPolling(stage)) {
      await stage.ask("wait for a poll");
    }
    await stage.ask("cut the way");
    assert.match((await disconnect.next())[0], /^transport (close|error)$/);
    assert.equal(await wentFor(id), isPolling(stage) ? "transport error" : "transport close");
    await stage.ask("mend the way");
    await back.next();
    assert.notEqual(socket.id, id);
    assert.equal(await ask(socket, "ask", "again"), "again");
  },

  async heartbeat(stage) {
    // Several heartbeats long the connection is quiet and stays; it is the client that pings.
    const socket = await enter(stage);
    await settled(stage, socket);
    const { id } = socket;
    const pong = listen(socket, "pong");
    for (let i = 0; i < 3; i++) {
      await pong.next();
    }
    assert.equal(await ask(socket, "ask", "still here"), "still here");
    assert.equal(socket.id, id);
  },

  async mute_client(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    await settled(stage, socket);
    const { id } = socket;
    socket.io.reconnection(false);
    socket.io.engine.sendPacket = () => {};
    assert.equal(await wentFor(id), "ping timeout");
  },

  async mute_server(stage) {
    const socket = await enter(stage);
    await settled(stage, socket);
    const disconnect = listen(socket, "disconnect");
    const back = listen(socket, "connect");
    await stage.ask("freeze");
    assert.equal((await disconnect.next())[0], "ping timeout");
    await stage.ask("thaw");
    await back.next();
    assert.equal(await ask(socket, "ask", "back"), "back");
  },

  async beside(stage) {
    // Today's client in the same room hears the same, and they hear each other.
    const old = await enter(stage);
    const manager = new stage.today.Manager(stage.options.url);
    stage.afterwards(() => manager._close());
    const young = manager.socket("/");
    await connected(young);
    assert.notEqual(young.id, young.io.engine.id);
    await Promise.all([ask(old, "join", "both"), ask(young, "join", "both")]);
    const news = [old, young].map((socket) => listen(socket, "news"));
    for (const [from, text] of [
      [old, "from the old, 🙂"],
      [young, "from the young, é"],
      [old, { file: bytes(1000, 5), name: "€" }],
      [young, bytes(0)],
    ]) {
      await ask(from, "tell", ["both"], [], text);
      assert.deepEqual(await news[0].next(), [text]);
      assert.deepEqual(await news[1].next(), [text]);
    }
    await ask(young, "tell", [old.id], [], "to the old one alone");
    assert.deepEqual(await news[0].next(), ["to the old one alone"]);
    old.on("vote", (answer) => answer("yes"));
    young.on("vote", (answer) => answer("no"));
    assert.deepEqual((await ask(young, "vote", "both", 20)).sort(), ["no", "yes"]);
    assert.equal(news[1].seen.length, 0);
  },
};
