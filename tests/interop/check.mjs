// What scenes check with, in Node and in a browser: assertions, bytes of either kind, waiting with a deadline.

const WAIT_MS = 30_000;

/** Make bytes that the other side can make too. */
export const bytes = (length, seed = 1) => Uint8Array.from({ length }, (_, i) => (i * 31 + seed) % 256);

/** View bytes of either kind as one kind: Node's client receives a Buffer, a browser's an ArrayBuffer. */
const viewOf = (value) => {
  if (value instanceof ArrayBuffer) {
    return new Uint8Array(value);
  }
  return ArrayBuffer.isView(value) ? new Uint8Array(value.buffer, value.byteOffset, value.byteLength) : null;
};

const isEqual = (a, b) => {
  const [left, right] = [viewOf(a), viewOf(b)];
  if (left || right) {
    return left?.length === right?.length && left.every((byte, i) => byte === right[i]);
  }
  if (a && b && typeof a === "object" && typeof b === "object") {
    const keys = Object.keys(a);
    return (
      Array.isArray(a) === Array.isArray(b) &&
      keys.length === Object.keys(b).length &&
      keys.every((key) => Object.hasOwn(b, key) && isEqual(a[key], b[key]))
    );
  }
  return Object.is(a, b);
};

const show = (value) => {
  const text = JSON.stringify(value, (_, part) => (viewOf(part) ? `${viewOf(part).length} bytes` : part)) ?? "undefined";
  return text.length > 400 ? `${text.slice(0, 400)}… (${text.length} characters)` : text;
};

const ok = (value, message = "not so") => {
  if (!value) {
    throw new Error(message);
  }
};

export const assert = {
  ok,
  equal: (actual, expected) => ok(Object.is(actual, expected), `got ${show(actual)}, expected ${show(expected)}`),
  notEqual: (actual, other) => ok(!Object.is(actual, other), `got ${show(actual)} again`),
  deepEqual: (actual, expected) =>
    ok(isEqual(actual, expected), `got ${show(actual)}, expected ${show(expected)}`),
  match: (text, pattern) => ok(pattern.test(text), `got ${show(text)}, expected ${pattern}`),
  rejects: async (promise, pattern) => {
    const outcome = await promise.then(
      (value) => new Error(`no error, but ${show(value)}`),
      (error) => (pattern.test(error.message) ? null : error),
    );
    if (outcome) {
      throw outcome;
    }
  },
};

/** Reject with what was waited for, should the promise not be settled in time. */
export const inTime = (promise, what, ms = WAIT_MS) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`waited ${ms} ms for ${what}`)), ms);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
};

/** Collect what an emitter emits under a name; `next()` is the list of arguments of the next one, seen or to come. */
export const listen = (emitter, event) => {
  const seen = [];
  const waiting = [];
  emitter.on(event, (...args) => {
    const resolve = waiting.shift();
    if (resolve) {
      resolve(args);
    } else {
      seen.push(args);
    }
  });
  return {
    seen,
    next: () =>
      seen.length > 0
        ? Promise.resolve(seen.shift())
        : inTime(new Promise((resolve) => waiting.push(resolve)), `"${event}"`),
  };
};

/** Wait until a client's connection, of either version, goes over a transport of that name. */
export const carriedBy = async (socket, name) => {
  const { engine } = socket.io;
  if (engine.transport.name !== name) {
    await inTime(new Promise((resolve) => engine.once("upgrade", resolve)), `the upgrade to ${name}`);
  }
  assert.equal(engine.transport.name, name);
};

/** Return what waits until a socket has left "/", and tells the reason: `observer` is told of every one that does. */
export const departures = (observer) => {
  const gone = listen(observer, "gone");
  return async (sid) => {
    for (;;) {
      const [id, reason] = await gone.next();
      if (id === sid) {
        return reason;
      }
    }
  };
};
