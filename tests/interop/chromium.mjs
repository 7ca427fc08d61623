// How the tests start a headless Chromium: one for all scenes of a script, ended with it.

import { chromium } from "playwright-core";

const SWITCHES = [
  "--disable-gpu",
  "--disable-quic",
  "--disable-dev-shm-usage",
  "--no-first-run",
  "--disable-background-networking",
  "--disable-component-update",
  "--disable-sync",
];

export const launch = async (executablePath) => {
  // Left to itself, SIGTERM would close the browser, and the script would go on.
  const browser = await chromium.launch({ executablePath, headless: true, args: SWITCHES, handleSIGTERM: false });
  process.on("SIGTERM", () => browser.close().finally(() => process.exit()));
  return browser;
};

/** Note what a page complains of: errors that nothing caught, and errors on its console. */
export const complaints = (page) => {
  const list = [];
  page.on("pageerror", (error) => list.push(String(error)));
  page.on("console", (message) => message.type() === "error" && list.push(message.text()));
  return list;
};
