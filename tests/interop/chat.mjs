// The demonstration chat in Chromium, used as people use it: through what the page shows, and the hooks it documents.
// The page keeps its defaults; to have one transport only, the options are added on their way to the client.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { assert } from "./check.mjs";
import { complaints, launch } from "./chromium.mjs";
import { play } from "./stage.mjs";

const DESK = { width: 1280, height: 800 };
const PHONE = { width: 390, height: 844 };
const TRANSPORTS = { polling: ["polling"], websocket: ["websocket"], upgrade: null };

const [executable, pictures] = process.argv.slice(2);
await mkdir(pictures, { recursive: true });
const browser = await launch(executable);

/** Type until somebody has seen it: that one types is a volatile event, so any of them may be lost. */
const typeUntil = async (person, seen) => {
  let isOver = false;
  const over = seen.finally(() => {
    isOver = true;
  });
  while (!isOver) {
    await person.page.locator("#message").pressSequentially(".", { delay: 200 });
  }
  await over;
};

/** Open the chat in a window of its own, as somebody with that name. */
const comeIn = async ({ options, afterwards }, name, { room = "lobby", ...look } = {}) => {
  const context = await browser.newContext({ viewport: DESK, ...look });
  afterwards(() => context.close());
  await context.addInitScript((transports) => {
    let client;
    Object.defineProperty(globalThis, "io", {
      get: () => (transports ? Object.assign((more) => client({ transports, ...more }), client) : client),
      set: (value) => {
        client = value;
      },
    });
  }, TRANSPORTS[options.transport]);
  const page = await context.newPage();
  page.setDefaultTimeout(30_000);
  const errors = complaints(page);
  await page.goto(`${options.url}/#/${room}`);
  await page.locator('body[data-state="online"]').waitFor();
  if (name) {
    if (!(await page.locator("#name").isVisible())) {
      await page.locator("#open-side").click();
    }
    await page.locator("#name").fill(name);
    await page.locator("#name").press("Enter");
    await page.locator("#save-name[disabled], #name-hint:not(:empty)").first().waitFor({ state: "attached" });
    assert.equal(await page.locator("#name-hint").textContent(), "");
    await page.locator(`#people li[data-name="${name}"]`).waitFor({ state: "attached" });
  }
  return { page, errors, name };
};

const say = async ({ page }, text) => {
  await page.locator("#message").fill(text);
  await page.locator("#message").press("Enter");
};

const message = ({ page }, author, text) =>
  page.locator(`#messages li[data-author="${author}"]`, text === undefined ? {} : { hasText: text });

const transport = ({ page }, name) => page.locator(`#transport[data-transport="${name}"]`).waitFor({ state: "attached" });

const picture = ({ page }, name) => page.screenshot({ animations: "disabled", path: join(pictures, `${name}.png`) });

/** Paint a small picture: a PNG as a data URL, and its pixels. */
const paint = ({ page }) =>
  page.evaluate(async () => {
    const canvas = Object.assign(document.createElement("canvas"), { width: 480, height: 300 });
    const brush = canvas.getContext("2d");
    const sky = brush.createLinearGradient(0, 0, 0, 300);
    sky.addColorStop(0, "#274b8f");
    sky.addColorStop(0.6, "#e58e5a");
    sky.addColorStop(1, "#f4d58d");
    brush.fillStyle = sky;
    brush.fillRect(0, 0, 480, 300);
    brush.fillStyle = "#fff3d0";
    brush.beginPath();
    brush.arc(330, 170, 34, 0, 7);
    brush.fill();
    for (const [height, colour] of [
      [190, "#5b4a78"],
      [225, "#3c3560"],
      [260, "#241f40"],
    ]) {
      brush.fillStyle = colour;
      brush.beginPath();
      brush.moveTo(0, 300);
      for (let x = 0; x <= 480; x += 8) {
        brush.lineTo(x, height + 22 * Math.sin(x / 47 + height) + 9 * Math.sin(x / 15));
      }
      brush.lineTo(480, 300);
      brush.fill();
    }
    return { url: canvas.toDataURL("image/png"), pixels: brush.getImageData(0, 0, 480, 300).data.join() };
  });

/** Read the pixels of a picture that a page shows. */
const look = (locator) =>
  locator.evaluate(async (image) => {
    await image.decode();
    const { naturalWidth: width, naturalHeight: height } = image;
    const brush = Object.assign(document.createElement("canvas"), { width, height }).getContext("2d");
    brush.drawImage(image, 0, 0);
    return brush.getImageData(0, 0, width, height).data.join();
  });

const scenes = {
  async chat(stage) {
    const room = "terrace";
    const [ada, grace] = await Promise.all([comeIn(stage, "Ada", { room }), comeIn(stage, "Grace", { room })]);
    const expected = stage.options.transport === "polling" ? "polling" : "websocket";
    for (const person of [ada, grace]) {
      await transport(person, expected);
      await person.page.locator("#rtt[data-ms]").waitFor({ state: "attached" });
    }
    for (const name of ["Ada", "Grace"]) {
      await ada.page.locator(`#people li[data-name="${name}"]`).waitFor();
      await grace.page.locator(`#people li[data-name="${name}"]`).waitFor();
    }
    await ada.page.locator('#people li[data-bot]').waitFor();

    // One types and the other sees it, until the message comes.
    await ada.page.locator("#message").pressSequentially("Good evening, Gr");
    await typeUntil(ada, grace.page.locator("#typing", { hasText: "Ada" }).waitFor());
    await say(ada, "Good evening, Grace 🌇");
    await message(grace, "Ada", "Good evening, Grace 🌇").waitFor();
    await grace.page.locator("#typing", { hasText: "Ada" }).waitFor({ state: "detached" });
    await ada.page.locator('#messages li[data-author="Ada"][data-status="delivered"]').waitFor();
    await say(grace, "Hello Ada. <img src=x onerror=alert(1)> & so on");
    await message(ada, "Grace", "Hello Ada. <img src=x onerror=alert(1)> & so on").waitFor();

    // A picture goes over as binary and is shown to the other, to the last pixel.
    const painting = await paint(ada);
    const buffer = Buffer.from(painting.url.split(",")[1], "base64");
    await ada.page.locator("#file").setInputFiles({ name: "evening.png", mimeType: "image/png", buffer });
    const shown = grace.page.locator('#messages li[data-author="Ada"][data-kind="image"] img');
    await shown.waitFor();
    assert.equal(await look(shown), painting.pixels);

    // The bot is a Python program in the same room.
    await say(grace, "/roll 2d6");
    for (const { page } of [ada, grace]) {
      await page.locator("#messages li[data-bot]", { hasText: /\d \+ \d = \d+/ }).waitFor();
    }

    await say(ada, "What a view. And all of it went over the wire as bytes.");
    await message(grace, "Ada", "What a view").waitFor();
    await transport(ada, expected);
    await picture(ada, `${stage.options.transport}-desk`);
    await grace.page.setViewportSize(PHONE);
    await picture(grace, `${stage.options.transport}-phone`);

    // Rooms are apart.
    await ada.page.locator("#new-room").fill("kitchen");
    await ada.page.locator("#new-room").press("Enter");
    await ada.page.locator('#rooms li[data-room="kitchen"] [aria-current]').waitFor();
    await say(ada, "Anybody in the kitchen?");
    await ada.page.locator('#messages li[data-author="Ada"][data-status="delivered"]', { hasText: "kitchen" }).waitFor();
    await say(grace, "Not me");
    await grace.page.locator('#messages li[data-author="Grace"][data-status="delivered"]', { hasText: "Not me" }).waitFor();
    assert.equal(await message(grace, "Ada", "kitchen").count(), 0);
    assert.equal(await message(ada, "Grace", "Not me").count(), 0);

    // Who leaves is seen to have left; one who polls and goes between two polls is missed at the next heartbeat only.
    if (expected === "websocket") {
      await ada.page.locator(`#rooms li[data-room="${room}"] button`).click();
      await ada.page.locator('#people li[data-name="Grace"]').waitFor();
      await grace.page.close();
      await ada.page.locator('#people li[data-name="Grace"]').waitFor({ state: "detached" });
    }
    assert.deepEqual([...ada.errors, ...grace.errors], []);
  },

  async restart(stage) {
    // The server goes and comes back; the page says so, and the talk goes on.
    const ada = await comeIn(stage, "Ada");
    await transport(ada, stage.options.transport === "polling" ? "polling" : "websocket");
    await say(ada, "before");
    await message(ada, "Ada", "before").waitFor();
    await stage.ask("stop");
    await ada.page.locator('body[data-state="offline"]').waitFor();
    await transport(ada, "none");
    await picture(ada, `${stage.options.transport}-offline`);
    await stage.ask("start");
    await ada.page.locator('body[data-state="online"]').waitFor();
    await transport(ada, stage.options.transport === "polling" ? "polling" : "websocket");
    await say(ada, "after");
    await ada.page.locator('#messages li[data-author="Ada"][data-status="delivered"]', { hasText: "after" }).waitFor();
  },

  async views(stage) {
    // The same evening on other screens, for the eye.
    const ada = await comeIn(stage, "Ada", { room: "views" });
    const looks = {
      "desk-dark": { colorScheme: "dark" },
      "phone-dark": { viewport: PHONE, colorScheme: "dark", hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
      phone: { viewport: PHONE, hasTouch: true, isMobile: true, deviceScaleFactor: 2 },
    };
    await say(ada, "Shall we meet at seven?");
    await message(ada, "Ada", "seven").waitFor();
    for (const [name, look] of Object.entries(looks)) {
      const grace = await comeIn(stage, null, { room: "views", ...look });
      await message(grace, "Ada", "seven").waitFor();
      await say(grace, "Seven is fine. I bring the figs, and the long table from the garden house.");
      await grace.page.locator('#messages li[data-status="delivered"]', { hasText: "figs" }).first().waitFor();
      await transport(grace, "websocket");
      const [width, shown] = await grace.page.evaluate(() => [
        document.documentElement.scrollWidth,
        document.documentElement.clientWidth,
      ]);
      assert.ok(width <= shown, `the page is ${width} px wide on a screen of ${shown} px`);
      await picture(grace, `view-${name}`);
    }
  },
};

await play((name, stage) => scenes[name](stage));
