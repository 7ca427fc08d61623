// The stage that scenes are played on: one line of JSON names a scene and its options, one line tells how it went.
// A scene may ask for something that it cannot do itself: the stage lays and cuts the way to the server, and the test
// that runs it does the rest, such as a restart of the server.
// Whatever a scene opened is closed behind it, so that scenes do not see each other.

import { createInterface } from "node:readline";
import { Way } from "./way.mjs";

const print = (message) => process.stdout.write(`${JSON.stringify(message)}\n`);

/**
 * Play the scenes that the test names, until it closes standard input.
 *
 * `perform(name, stage)` plays one; `stage` holds its options, `ask` and `afterwards`.
 */
export const play = async (perform) => {
  // What fails after its scene has failed already is told, and ends nothing.
  process.on("unhandledRejection", (error) => console.log(error));
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
    const afterwards = (cleanup) => cleanups.push(cleanup);
    const way = new Way();
    afterwards(() => way.close());
    const own = {
      "lay a way": () => way.lay(options.url),
      "cut the way": () => way.cut(),
      "mend the way": () => way.mend(),
      "wait for a poll": () => way.whenAsked("GET "),
    };
    const ask = async (what) => {
      if (Object.hasOwn(own, what)) {
        return (await own[what]()) ?? null;
      }
      print({ ask: what });
      const { reply, error } = await read();
      if (error !== undefined) {
        throw new Error(`"${what}" came to nothing: ${error}`);
      }
      return reply;
    };
    let outcome;
    try {
      outcome = { passed: (await perform(run, { options, ask, afterwards })) ?? null };
    } catch (error) {
      outcome = { failed: error.stack ?? String(error) };
    }
    for (const cleanup of cleanups.reverse()) {
      await cleanup();
    }
    print(outcome);
  }
};
