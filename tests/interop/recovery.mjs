// The official JavaScript client loses its connection, unannounced, and comes back: what it has missed is there, each
// event once and in order. `servers/recovery.py` is what it talks to.

import * as client from "socket.io-client";
import { assert, bytes, inTime, listen } from "./check.mjs";
import { play } from "./stage.mjs";

// It comes back quickly, and each time after the same while.
const QUICK = { reconnectionDelay: 20, reconnectionDelayMax: 50, randomizationFactor: 0 };

const dial = ({ options, afterwards }, url, namespace = "/", more = {}) => {
  const transports = options.transport === "upgrade" ? {} : { transports: [options.transport] };
  const manager = new client.Manager(url, { ...transports, ...QUICK });
  afterwards(() => {
    manager.reconnection(false);
    manager._close();
  });
  return manager.socket(namespace, more);
};

const connected = (socket) => inTime(new Promise((resolve) => socket.once("connect", resolve)), "the connection");

/** Bring somebody who can be cut off, in a room of their own, and somebody who tells the server what to send there. */
const enter = async (stage, { room = true } = {}) => {
  const control = dial(stage, stage.options.url, "/control");
  await connected(control);
  const socket = dial(stage, await stage.ask("lay a way"));
  await connected(socket);
  let name = socket.id;
  if (room) {
    name = `room of ${socket.id}`;
    await socket.timeout(30_000).emitWithAck("join", name);
  }
  const gone = listen(control, "gone");
  const tell = (what, ...args) => control.timeout(30_000).emitWithAck(what, name, ...args);
  const say = (...args) => tell("say", ...args);
  /** Be cut off until the server has noticed and `meanwhile` has ended. */
  const miss = async (meanwhile) => {
    const { id } = socket;
    const disconnected = listen(socket, "disconnect");
    if (stage.options.transport === "polling") {
      // Nobody would notice before the next heartbeat, were there no poll that waits: so let all come that was said.
      await whoami(socket);
      await stage.ask("wait for a poll");
    }
    await stage.ask("cut the way");
    await disconnected.next();
    while ((await gone.next())[0] !== id);
    await meanwhile();
    const back = connected(socket);
    await stage.ask("mend the way");
    await back;
  };
  return { socket, control, say, tell, miss };
};

const whoami = (socket) => socket.timeout(30_000).emitWithAck("whoami");

const scenes = {
  async all_is_recovered(stage) {
    const { socket, say, miss } = await enter(stage);
    const { id } = socket;
    assert.equal(socket.recovered, false);
    const heard = [];
    socket.on("n", (n) => heard.push(n));
    socket.on("file", (file) => heard.push(file));
    await say("n", 1);
    await miss(async () => {
      await say("n", 2);
      await say("file", bytes(9));
      await say("n", 3);
    });
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    const [recovered, rooms, data] = await whoami(socket); // whose answer comes behind what was missed
    assert.equal(recovered, true);
    assert.deepEqual(rooms, [`room of ${id}`]);
    assert.deepEqual(data, { room: `room of ${id}` });
    assert.deepEqual(heard, [1, 2, bytes(9), 3]);
    await say("n", 4);
    await miss(() => {}); // a second outage replays nothing twice
    assert.equal(socket.recovered, true);
    await miss(() => say("n", 5));
    await whoami(socket);
    assert.deepEqual(heard, [1, 2, bytes(9), 3, 4, 5]);
  },

  async nothing_was_received(stage) {
    const { socket, say, miss } = await enter(stage, { room: false });
    const { id } = socket;
    const heard = [];
    socket.on("n", (n) => heard.push(n));
    await miss(() => say("n", 1));
    assert.equal(socket.recovered, true);
    assert.equal(socket.id, id);
    await whoami(socket);
    assert.deepEqual(heard, [1]);
  },

  async texts_that_are_no_offsets(stage) {
    const { socket, say, tell, miss } = await enter(stage);
    const heard = [];
    socket.onAny((event, ...args) => heard.push([event, args[0]]));
    await say("chat", "hello");
    await tell("say volatile", "position", "north");
    await tell("say volatile", "blink");
    await miss(() => say("chat", "missed"));
    assert.equal(socket.recovered, true);
    await whoami(socket);
    assert.deepEqual(
      heard.filter(([event]) => event === "chat"),
      [
        ["chat", "hello"],
        ["chat", "missed"],
      ],
    );
  },

  async a_question_waits(stage) {
    const { socket, control, miss, tell } = await enter(stage);
    assert.ok(control.connected);
    let n = 0;
    socket.on("question", (text, answer) => {
      n += 1;
      answer(`${text}!`);
    });
    let answers;
    await miss(async () => {
      answers = tell("ask", "well");
      await tell("say", "n", 1); // so the question has been asked
    });
    assert.equal(socket.recovered, true);
    assert.deepEqual(await answers, ["well!"]);
    await miss(() => {});
    await whoami(socket);
    assert.equal(n, 1);
  },

  async too_much(stage) {
    const { socket, tell, miss } = await enter(stage);
    const { id } = socket;
    const heard = [];
    socket.on("number", (n) => heard.push(n));
    await miss(() => tell("count", 501));
    assert.equal(socket.recovered, false);
    assert.notEqual(socket.id, id);
    assert.deepEqual(await whoami(socket), [false, [], {}]);
    assert.deepEqual(heard, []);
  },

  async a_retry_runs_once(stage) {
    // `retries` of the client as it is: the connection breaks while the server is at work, and the event comes again.
    const control = dial(stage, stage.options.url, "/control");
    await connected(control);
    await control.timeout(30_000).emitWithAck("open", false);
    const more = { retries: 3, ackTimeout: 30_000, auth: { user: "ada" } };
    const socket = dial(stage, await stage.ask("lay a way"), "/", more);
    await connected(socket);
    const tried = listen(control, "tried");
    const id = `order of ${socket.id}`;
    const answers = listen(socket, "answer");
    socket.emit("order", { id }, (error, answer) => socket.listeners("answer").forEach((hear) => hear(error, answer)));
    assert.equal((await tried.next())[0], id); // and the offset behind it
    const disconnected = listen(socket, "disconnect");
    await stage.ask("cut the way");
    await disconnected.next();
    const back = connected(socket);
    await stage.ask("mend the way");
    await back;
    assert.equal((await tried.next())[0], id); // and the offset behind it
    await control.timeout(30_000).emitWithAck("open", true);
    assert.deepEqual(await answers.next(), [null, ["placed", 1]]);
    assert.deepEqual(await socket.emitWithAck("order", { id }), ["placed", 1]);
  },

  async many_outages(stage) {
    // Numbers come without a pause while the way breaks again and again, in whatever moment it happens to be.
    const { socket, tell } = await enter(stage);
    const N = 400;
    const heard = [];
    const all = inTime(
      new Promise((resolve) => {
        socket.on("number", (n) => heard.push(n) === N && resolve());
      }),
      "the last number",
    );
    const counted = tell("count", N);
    for (let i = 0; i < 5; i += 1) {
      const start = heard.length;
      while (heard.length < Math.min(start + 20, N)) {
        await inTime(new Promise((resolve) => socket.once("number", resolve)), "more numbers");
      }
      if (heard.length >= N) {
        break;
      }
      const disconnected = listen(socket, "disconnect");
      await stage.ask("cut the way");
      await disconnected.next();
      const back = connected(socket);
      await stage.ask("mend the way");
      await back;
      assert.equal(socket.recovered, true);
    }
    await counted;
    await all;
    assert.deepEqual(
      heard,
      Array.from({ length: N }, (_, i) => i),
    );
  },
};

await play((name, stage) => scenes[name](stage));
