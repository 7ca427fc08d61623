// The stage that scenes are played on: one line of JSON names a scene and its options, one line tells how it went.
// A scene may ask the test that runs it for something (`ask`), such as a restart of the server.
// Whatever a scene opened is closed behind it, so that scenes do not see each other.

import { createInterface } from "node:readline";

const WAIT_MS = 30_000;

const print = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

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

/** Play the scenes that the test names, until it closes standard input. */
export const play = async (scenes) => {
  const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
  const read = async () => {
    const { value, done } = await lines.next();
    if (done) {
      process.exit(0);
    }
    return JSON.parse(value);
  };
  for (;;) {
    const { run, ...options } = await read();
    const cleanups = [];
    const stage = {
      options,
      ask: async (what, details = {}) => {
        print({ ask: what, ...details });
        return (await read()).reply;
      },
      afterwards: (cleanup) => cleanups.push(cleanup),
    };
    let outcome;
    try {
      if (!Object.hasOwn(scenes, run)) {
        throw new Error(`no scene is called ${run}`);
      }
      outcome = { passed: (await scenes[run](stage)) ?? null };
    } catch (error) {
      outcome = { failed: error.stack };
    }
    for (const cleanup of cleanups.reverse()) {
      await cleanup();
    }
    print(outcome);
  }
};
