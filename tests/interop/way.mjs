// A way to the server that can be cut and mended, as a network does it: both ends lose the connection unannounced.

import { createConnection, createServer } from "node:net";
import { inTime } from "./check.mjs";

export class Way {
  #ends = new Set();
  #pending = new Map();
  #isWhole = true;
  #changed = () => {};
  #proxy;

  /** Lay the way, and return the URL at its near end. */
  async lay(url) {
    const target = new URL(url);
    this.#proxy = createServer((near) => {
      if (!this.#isWhole) {
        near.destroy();
        return;
      }
      const far = createConnection(Number(target.port), target.hostname);
      this.#pass(near, far, (data) => {
        this.#pending.set(near, data.toString("latin1"));
        this.#changed();
      });
      this.#pass(far, near, () => this.#pending.delete(near));
      near.on("close", () => this.#pending.delete(near));
    });
    await new Promise((resolve) => this.#proxy.listen(0, "127.0.0.1", resolve));
    return `http://127.0.0.1:${this.#proxy.address().port}`;
  }

  #pass(from, to, onPassed) {
    this.#ends.add(from);
    from.on("error", () => {});
    from.on("data", (data) => to.write(data, () => onPassed(data)));
    from.on("close", () => {
      this.#ends.delete(from);
      to.destroy();
    });
  }

  cut() {
    this.#isWhole = false;
    this.#ends.forEach((end) => end.destroy());
  }

  mend() {
    this.#isWhole = true;
  }

  close() {
    this.cut();
    this.#proxy?.close();
  }

  /** Wait until a request that begins so has reached the server and has no answer yet. */
  whenAsked(start) {
    return inTime(
      new Promise((resolve) => {
        this.#changed = () => [...this.#pending.values()].some((data) => data.startsWith(start)) && resolve();
        this.#changed();
      }),
      `a request that begins with ${start}`,
    );
  }
}
