// Scenes with the official JavaScript client, as a program of a user would be written; they play in Node and in a
// browser alike. `servers/conversation.py` is what they talk to. Of the client's options only `transports` differs
// from the default, and for the upgrade not even that; with another parser than JSON's, that one too.

import { assert, bytes, carriedBy, departures, inTime, listen } from "./check.mjs";

const TRANSPORTS = { polling: { transports: ["polling"] }, websocket: { transports: ["websocket"] }, upgrade: {} };

/** Make a manager of its own, which is one connection. */
export const dial = ({ client, options, afterwards, parser }, more = {}) => {
  const own = parser ? { parser } : {};
  const manager = new client.Manager(options.url, { ...TRANSPORTS[options.transport], ...own, ...more });
  afterwards(() => {
    manager.reconnection(false);
    manager._close();
  });
  return manager;
};

/** Connect one socket and wait until it is connected. */
export const enter = async (stage, namespace = "/", options = {}) => {
  const socket = dial(stage).socket(namespace, options);
  await connected(socket);
  return socket;
};

export const connected = async (socket) => {
  if (!socket.connected) {
    await inTime(
      new Promise((resolve, reject) => {
        socket.once("connect", resolve);
        socket.once("connect_error", reject);
      }),
      `the connection to ${socket.nsp}`,
    );
  }
};

/** Let one come in who is told of every socket that leaves "/", with its reason. */
const observe = async (stage) => departures(await enter(stage, "/observer"));

const VALUES = [
  "text",
  "",
  "Grüße, 你好, 🙂, \u0000\u001e\u2028 and \"quotes\" \\",
  0,
  -1.5,
  9007199254740991,
  true,
  false,
  null,
  [],
  {},
  { nested: { list: [1, "two", [3]], empty: "" }, "": "an empty key" },
];

export const scenes = {
  async documented({ client, options, afterwards }) {
    // Word for word what the client's own documentation begins with.
    const socket = client.io(options.url);
    afterwards(() => socket.disconnect());
    await connected(socket);
    assert.equal(socket.id.length, 20);
    assert.notEqual(socket.id, socket.io.engine.id);
  },

  async greeting(stage) {
    // The server speaks first, from its connect handler, and has read what the client sent along.
    const socket = dial(stage).socket("/", { auth: { name: "Ada", rights: ["read"] } });
    const hello = listen(socket, "hello");
    assert.deepEqual(await hello.next(), [socket.id, { name: "Ada", rights: ["read"] }]);
  },

  async json(stage) {
    const socket = await enter(stage);
    const echo = listen(socket, "echo");
    for (const value of VALUES) {
      socket.emit("echo", value);
      assert.deepEqual(await echo.next(), [value]);
    }
    socket.emit("echo", ...VALUES);
    assert.deepEqual(await echo.next(), VALUES);
    socket.emit("echo");
    assert.deepEqual(await echo.next(), []);
  },

  async binary(stage) {
    const socket = await enter(stage);
    const echo = listen(socket, "echo");
    for (const args of [
      [bytes(3)],
      [bytes(0)],
      [{ file: bytes(70_000), name: "a.bin" }, "and text", [bytes(1), { deep: [bytes(126, 7)] }]],
      Array.from({ length: 10 }, (_, i) => bytes(i, i)),
    ]) {
      socket.emit("echo", ...args);
      assert.deepEqual(await echo.next(), args);
    }
    socket.emit("echo", new Uint8Array([1, 2, 3]).buffer, new Uint8Array([4, 5]));
    assert.deepEqual(await echo.next(), [new Uint8Array([1, 2, 3]), new Uint8Array([4, 5])]);
  },

  async big_binary(stage) {
    const socket = await enter(stage);
    const there = bytes(700_000, 3);
    const back = await socket.timeout(30_000).emitWithAck("ask", there);
    assert.deepEqual(back, there);
    const received = await socket.timeout(30_000).emitWithAck("give", 5_000_000);
    assert.deepEqual(received, bytes(5_000_000, 0));
  },

  async big_text(stage) {
    const socket = await enter(stage);
    const text = "ä€🙂x".repeat(60_000);
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", text), text);
  },

  async acknowledgements(stage) {
    const socket = await enter(stage);
    const ask = (...args) => socket.timeout(30_000).emitWithAck("ask", ...args);
    for (const value of VALUES) {
      assert.deepEqual(await ask(value), value);
    }
    assert.deepEqual(await ask(bytes(100)), bytes(100));
    // Several values, and none.
    const answer = (...args) =>
      inTime(new Promise((resolve) => socket.emit("ask", ...args, (...all) => resolve(all))), "the answer");
    assert.deepEqual(await answer(1, "two", bytes(3)), [1, "two", bytes(3)]);
    assert.deepEqual(await answer(), []);
    // Many at once find their own answers.
    const many = Array.from({ length: 50 }, (_, i) => i);
    assert.deepEqual(await Promise.all(many.map((i) => ask(i))), many);
  },

  async calls(stage) {
    // The server asks, the client answers, and the server tells what it was told.
    const socket = await enter(stage);
    const ask = (...args) => socket.timeout(30_000).emitWithAck(...args);
    socket.on("question", (...args) => args.pop()(...args));
    assert.deepEqual(await ask("ask me", "how?"), "how?");
    assert.deepEqual(await ask("ask me", { a: [1] }), { a: [1] });
    assert.deepEqual(await ask("ask me", bytes(50)), bytes(50));
    assert.deepEqual(await ask("ask me", 1, 2), [1, 2]);
    // An event that the client does not answer.
    assert.equal(await ask("ask in vain"), "no answer");
  },

  async timeouts(stage) {
    // The client's own: the server has no handler for this event.
    const socket = await enter(stage);
    await assert.rejects(socket.timeout(200).emitWithAck("nobody handles this"), /timed out/);
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", "still here"), "still here");
  },

  async order(stage) {
    const socket = await enter(stage);
    const count = 500;
    const numbered = listen(socket, "numbered");
    for (let i = 0; i < count; i++) {
      socket.emit("number", i, i % 7 === 0 ? bytes(i) : null);
    }
    for (let i = 0; i < count; i++) {
      assert.deepEqual(await numbered.next(), [i, i % 7 === 0 ? bytes(i) : null]);
    }
  },

  async namespaces(stage) {
    const manager = dial(stage);
    const root = manager.socket("/");
    const second = manager.socket("/second");
    await Promise.all([connected(root), connected(second)]);
    assert.notEqual(root.id, second.id);
    assert.equal(await root.timeout(30_000).emitWithAck("where"), "/");
    assert.equal(await second.timeout(30_000).emitWithAck("where"), "/second");
    // Their rooms are apart, and so are their ends.
    const inRoot = listen(root, "news");
    const inSecond = listen(second, "news");
    await root.timeout(30_000).emitWithAck("join", "same name");
    await second.timeout(30_000).emitWithAck("join", "same name");
    second.emit("tell", ["same name"], [], "only the second");
    assert.deepEqual(await inSecond.next(), ["only the second"]);
    second.disconnect();
    assert.equal(await root.timeout(30_000).emitWithAck("where"), "/");
    assert.equal(inRoot.seen.length, 0);
    second.connect();
    await connected(second);
    assert.equal(await second.timeout(30_000).emitWithAck("where"), "/second");
  },

  async unknown_namespace(stage) {
    const socket = dial(stage).socket("/nowhere");
    const [error] = await listen(socket, "connect_error").next();
    assert.equal(error.message, "Invalid namespace");
    assert.equal(socket.active, false);
  },

  async refusal(stage) {
    const manager = dial(stage);
    const refused = manager.socket("/private", { auth: { token: "wrong" } });
    const [error] = await listen(refused, "connect_error").next();
    assert.ok(error instanceof Error);
    assert.equal(error.message, "not authorized");
    assert.deepEqual(error.data, { retry: false, asked: "wrong" });
    assert.equal(refused.active, false);
    // The connection stays good for others, and for the same with the right answer.
    refused.auth = { token: "right" };
    refused.connect();
    await connected(refused);
    assert.equal(await refused.timeout(30_000).emitWithAck("where"), "/private");
    await connected(manager.socket("/"));
  },

  async rooms(stage) {
    const [a, b, c] = await Promise.all([enter(stage), enter(stage), enter(stage)]);
    const say = (socket, ...args) => socket.timeout(30_000).emitWithAck(...args);
    await Promise.all([say(a, "join", "red"), say(b, "join", "red"), say(b, "join", "blue"), say(c, "join", "blue")]);
    assert.deepEqual((await say(b, "rooms")).sort(), [b.id, "blue", "red"].sort());
    const news = [a, b, c].map((socket) => listen(socket, "news"));
    const heard = async (...expected) => {
      // An acknowledged round trip on each socket comes behind whatever was sent to it before.
      await Promise.all([a, b, c].map((socket) => say(socket, "ask")));
      assert.deepEqual(news.map(({ seen }) => seen.splice(0).map(([text]) => text)), expected);
    };
    await say(a, "tell", ["red"], [], "one");
    await heard(["one"], ["one"], []);
    await say(a, "tell", ["red", "blue"], [], "once each");
    await heard(["once each"], ["once each"], ["once each"]);
    await say(a, "tell", ["red"], ["blue"], "but not blue");
    await heard(["but not blue"], [], []);
    await say(a, "tell", [b.id], [], "just you");
    await heard([], ["just you"], []);
    await say(a, "tell others", ["red"], "not myself");
    await heard([], ["not myself"], []);
    await say(b, "broadcast", "all but me");
    await heard(["all but me"], [], ["all but me"]);
    await say(b, "leave", "red");
    await say(a, "tell", ["red"], [], bytes(20));
    await heard([bytes(20)], [], []);
    await say(a, "tell", [], [a.id], "everyone but one");
    await heard([], ["everyone but one"], ["everyone but one"]);
  },

  async votes(stage) {
    // One question to a room, all answers in one list; and what came when somebody keeps silent.
    const [a, b] = await Promise.all([enter(stage), enter(stage)]);
    const say = (socket, ...args) => socket.timeout(30_000).emitWithAck(...args);
    await Promise.all([say(a, "join", "jury"), say(b, "join", "jury")]);
    a.on("vote", (answer) => answer("yes"));
    b.on("vote", (answer) => answer("no"));
    assert.deepEqual((await say(a, "vote", "jury", 20)).sort(), ["no", "yes"]);
    b.off("vote");
    assert.deepEqual(await say(a, "vote", "jury", 0.3), { missing: true, responses: ["yes"] });
  },

  async volatile(stage) {
    const socket = await enter(stage);
    const quick = listen(socket, "quick");
    await socket.timeout(30_000).emitWithAck("be quick", 1, bytes(5));
    assert.deepEqual(await quick.next(), [1, bytes(5)]);
    const echo = listen(socket, "echo");
    await inTime(
      (async () => {
        // A volatile event may be lost, and this one is repeated until one is not.
        for (let n = 0; echo.seen.length === 0; n++) {
          socket.volatile.emit("echo", n);
          await socket.timeout(30_000).emitWithAck("ask");
        }
      })(),
      "a volatile event",
    );
  },

  async catch_all(stage) {
    const socket = await enter(stage);
    const caught = listen(socket, "caught");
    socket.emit("never heard of", 1, bytes(2), { a: 1 });
    assert.deepEqual(await caught.next(), ["never heard of", 1, bytes(2), { a: 1 }]);
    const all = [];
    socket.onAny((event, ...args) => all.push([event, ...args]));
    await socket.timeout(30_000).emitWithAck("tell", [socket.id], [], "x");
    assert.deepEqual(all, [["news", "x"]]);
  },

  async own_listeners(stage) {
    // What the server registered for this client alone.
    const socket = await enter(stage, "/listening");
    const firsts = listen(socket, "firsts");
    socket.emit("first");
    socket.emit("first");
    assert.deepEqual(await socket.timeout(10_000).emitWithAck("report"), [["first", "first", "report"], ["firsts"]]);
    assert.deepEqual(await firsts.next(), ["only one"]);
  },

  async event_middleware(stage) {
    // It changes the arguments of one event, attachments and all, and refuses another.
    const socket = await enter(stage, "/listening");
    const ask = (...args) =>
      inTime(new Promise((resolve) => socket.emit(...args, (...answer) => resolve(answer))), "an acknowledgement");
    assert.deepEqual(await ask("own", bytes(300), 1), [bytes(300), 1, "checked"]);
    assert.deepEqual(await ask("forbidden", "fruit"), [{ error: { message: "not allowed", data: { asked: ["fruit"] } } }]);
  },

  async rate_limits(stage) {
    const socket = await enter(stage, "/listening");
    const ask = (...args) => socket.timeout(10_000).emitWithAck(...args);
    assert.equal(await ask("seldom"), "once");
    socket.emit("seldom");
    const numbers = [0, 1, 2, 3, 4];
    assert.deepEqual(await Promise.all(numbers.map((n) => ask("paced", n))), numbers);
    const [dropped, delayed] = await inTime(
      new Promise((resolve) => socket.emit("counted", (...answer) => resolve(answer))),
      "the counts",
    );
    assert.equal(dropped, 1);
    assert.ok(delayed >= 1);
  },

  async client_leaves(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    const { id } = socket;
    const disconnect = listen(socket, "disconnect");
    socket.disconnect();
    assert.equal((await disconnect.next())[0], "io client disconnect");
    // With no namespace left the client closes its engine too; the packet that says goodbye goes first.
    assert.equal(await wentFor(id), "client namespace disconnect");
  },

  async client_closes(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    const { id } = socket;
    socket.io.reconnection(false);
    const disconnect = listen(socket, "disconnect");
    socket.io.engine.close();
    assert.equal((await disconnect.next())[0], "forced close");
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
    assert.equal(socket.active, false);
    assert.equal(await second.timeout(30_000).emitWithAck("where"), "/second");
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

  async nonsense(stage) {
    // A packet that no client sends ends the connection, with the original's reason.
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    const { id } = socket;
    socket.io.reconnection(false);
    const disconnect = listen(socket, "disconnect");
    socket.io.engine.write("2[]");
    assert.match((await disconnect.next())[0], /^transport (close|error)$/);
    assert.equal(await wentFor(id), "forced close");
  },

  async lost_connection(stage) {
    // The way breaks, and the client comes back by itself with a new id.
    const wentFor = await observe(stage);
    const url = await stage.ask("lay a way");
    const socket = await enter({ ...stage, options: { ...stage.options, url } });
    const { id } = socket;
    const polls = stage.options.transport === "polling";
    await carriedBy(socket, polls ? "polling" : "websocket");
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", "all well"), "all well");
    const back = listen(socket, "connect");
    const disconnect = listen(socket, "disconnect");
    if (polls) {
      await stage.ask("wait for a poll");
    }
    await stage.ask("cut the way");
    assert.match((await disconnect.next())[0], polls ? /^transport error$/ : /^transport (close|error)$/);
    assert.equal(await wentFor(id), polls ? "transport error" : "transport close");
    await stage.ask("mend the way");
    await back.next();
    assert.notEqual(socket.id, id);
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", "again"), "again");
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
      socket.emit("number", sent, sent % 5 === 0 ? bytes(40) : null);
      sent += 1;
      await new Promise((resolve) => setTimeout(resolve));
      assert.ok(sent < 1_000_000, "the connection was never upgraded");
    }
    assert.equal(socket.io.engine.transport.name, "websocket");
    for (let i = 0; i < sent; i++) {
      assert.deepEqual(await numbered.next(), [i, i % 5 === 0 ? bytes(40) : null]);
    }
  },

  async restart(stage) {
    // The server goes away and comes back on its port. What was said meanwhile is said to the new one.
    const manager = dial(stage, { reconnectionDelay: 50, reconnectionDelayMax: 500 });
    const socket = manager.socket("/");
    const second = manager.socket("/second");
    await Promise.all([connected(socket), connected(second)]);
    const { id } = socket;
    const disconnect = listen(socket, "disconnect");
    const back = [listen(socket, "connect"), listen(second, "connect")];
    const again = listen(manager, "reconnect");
    await stage.ask("stop");
    const [reason] = await disconnect.next();
    assert.match(reason, /^transport (close|error)$/);
    const answer = inTime(
      new Promise((resolve) => socket.emit("ask", "said meanwhile", resolve)),
      "the answer to what was said meanwhile",
    );
    await stage.ask("start");
    await Promise.all(back.map((connect) => connect.next()));
    await again.next();
    assert.equal(await answer, "said meanwhile");
    assert.notEqual(socket.id, id);
    assert.ok(!socket.recovered);
    return reason;
  },

  async heartbeat(stage) {
    // Several heartbeats long the connection is quiet and stays.
    const socket = await enter(stage);
    const { id } = socket;
    const ping = listen(socket.io, "ping");
    for (let i = 0; i < 3; i++) {
      await ping.next();
    }
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", "still here"), "still here");
    assert.equal(socket.id, id);
  },

  async mute_client(stage) {
    const wentFor = await observe(stage);
    const socket = await enter(stage);
    const { id } = socket;
    await carriedBy(socket, stage.options.transport === "polling" ? "polling" : "websocket");
    socket.io.reconnection(false);
    socket.io.engine._sendPacket = () => {};
    assert.equal(await wentFor(id), "ping timeout");
  },

  async mute_server(stage) {
    const socket = await enter(stage);
    await carriedBy(socket, stage.options.transport === "polling" ? "polling" : "websocket");
    const disconnect = listen(socket, "disconnect");
    const back = listen(socket, "connect");
    await stage.ask("freeze");
    assert.equal((await disconnect.next())[0], "ping timeout");
    await stage.ask("thaw");
    await back.next();
    assert.equal(await socket.timeout(30_000).emitWithAck("ask", "back"), "back");
  },
};
