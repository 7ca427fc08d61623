// The chat in the browser, on the official socket.io-client with its default options.
//
// Rules: text of a user reaches the page as text nodes only, never as HTML; what the server says is shown, what it did
// not acknowledge is shown as such; nothing grows without a bound (messages kept, files held).
//
// To the server, each answered with an object, or with {error: "a sentence"}:
//   enter({name, room, back})   join(room)   rename(name)   message(text)   file(name, bytes)   rtt()
//   typing(yes)                 (not answered)
// From the server:
//   message({id, author, bot, at, text | file})   notice(text)   people([{name, bot}])   rooms([{name, people}])
//   typing(name, yes)           probe()           (answered at once: the server measures its own round trip)

const MAX_FILE_BYTES = 700_000; // as the server; base64 makes it 933 kB while the transport is still polling
const MAX_SHOWN = 200; // messages kept in the page
const ANSWER_MS = 10_000; // how long a message may stay unacknowledged
const RTT_EVERY_MS = 1_000;
const TYPING_EVERY_MS = 2_000; // how often "typing" is repeated
const TYPING_LASTS_MS = 3_500; // how long one "typing" is believed
const N_SPARKS = 24;

const $ = (id) => document.getElementById(id);
const socket = io(); // polling first, then an upgrade to WebSocket: the client's defaults

let me = "";
let room = "";
let isEntered = false; // the server knows my name and my room
let wasEntered = false; // this page has been in the chat before: coming back, not coming

// ---- small helpers ----

/** Make an element; strings among the children become text nodes. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Make a small line drawing. The path is ours, never a user's. */
function draw(path) {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const line = document.createElementNS("http://www.w3.org/2000/svg", "path");
  line.setAttribute("d", path);
  svg.append(line);
  return svg;
}

function avatar(name) {
  const letters = name.split(/\s+/).map((word) => [...word][0] ?? "").slice(0, 2).join("");
  const element = make("span", { class: "avatar", "aria-hidden": "true" }, letters.toUpperCase());
  let hash = 0;
  for (const character of name) hash = (hash * 33 + character.codePointAt(0)) % 9973;
  element.style.setProperty("--hue", (hash * 137) % 360); // near the golden angle: neighbours differ
  return element;
}

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });

function readableSize(n) {
  if (n < 1000) return `${n} B`;
  return n < 1_000_000 ? `${(n / 1000).toFixed(n < 10_000 ? 1 : 0)} kB` : `${(n / 1_000_000).toFixed(1)} MB`;
}

/** The browser may refuse storage (private windows); then the name is simply not remembered. */
const memory = {
  get name() {
    try { return localStorage.getItem("telex-chat-name") ?? undefined; } catch { return undefined; }
  },
  set name(name) {
    try { localStorage.setItem("telex-chat-name", name); } catch { /* not remembered */ }
  },
};

let hintTimer;
function hint(text) {
  $("hint").textContent = text;
  clearTimeout(hintTimer);
  if (text) hintTimer = setTimeout(hint, 8_000, "");
}

/** Half of a surrogate pair (half an emoji, cut by some program) is no text that can be sent. */
const whole = (text) => text.toWellFormed?.() ?? text;

/** Ask the server; resolves to its answer, which holds `error` (a sentence) when it came to nothing. */
function ask(event, ...args) {
  return new Promise((resolve) => {
    if (!socket.connected) return resolve({ error: "Not connected just now." });
    const sent = args.map((value) => (typeof value === "string" ? whole(value) : value));
    socket.timeout(ANSWER_MS).emit(event, ...sent, (lost, answer) => {
      resolve(lost || !answer ? { error: "The server did not answer." } : answer);
    });
  });
}

// ---- the connection: state, transport, round trip ----

function setState(state, text, kind = "") {
  document.body.dataset.state = state;
  $("status").textContent = text;
  $("status").className = text ? `shown ${kind}` : "";
  $("send").disabled = state !== "online";
}

function showTransport(name) {
  $("transport").dataset.transport = name;
  $("transport").setAttribute("aria-label", `Transport: ${name}`);
}

socket.on("connect", () => {
  const engine = socket.io.engine; // a new one at each connection
  showTransport(engine.transport.name);
  engine.on("upgrade", (transport) => showTransport(transport.name));
  measure();
  enter();
});

socket.on("disconnect", (reason) => {
  isEntered = false;
  showTransport("none");
  $("rtt").textContent = "– ms";
  setTyping([]);
  setState("offline", "The connection is lost. Trying to get it back …");
  if (!socket.active) { // the server ended it: the client does not come back by itself
    $("status").replaceChildren(`Disconnected: ${reason}. `, make("button", { type: "button", click: () => socket.connect() }, "Connect again"));
  }
});

socket.on("connect_error", () => {
  if (socket.active) setState(wasEntered ? "offline" : "connecting", "The server does not answer. Trying again …");
});

socket.io.on("reconnect_attempt", (n) => {
  setState("offline", `The connection is lost. Trying to get it back (attempt ${n}) …`);
});

const trips = [];
async function measure() {
  if (!socket.connected || document.hidden) return;
  const start = performance.now();
  const answer = await ask("rtt");
  if (answer.error || !socket.connected) return;
  const ms = performance.now() - start;
  trips.push(ms);
  if (trips.length > N_SPARKS) trips.shift();
  $("rtt").dataset.ms = ms.toFixed(2);
  $("rtt").textContent = `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
  const top = Math.max(4, ...trips);
  const points = trips.map((trip, i) => `${60 - (trips.length - 1 - i) * (60 / (N_SPARKS - 1))},${18 - (trip / top) * 15}`);
  $("spark").firstElementChild.setAttribute("points", points.join(" "));
}
setInterval(measure, RTT_EVERY_MS);

socket.on("probe", (answer) => answer());

// ---- who I am, and where ----

async function enter() {
  const answer = await ask("enter", { name: me || memory.name, room: room || roomInAddress(), back: wasEntered });
  if (answer.error) return setState("offline", answer.error);
  isEntered = true;
  setMe(answer.name);
  setState("online", "");
  hint("");
  showRoom(answer);
  if (wasEntered) {
    setState("online", "Connected again.", "good");
    setTimeout(() => $("status").textContent === "Connected again." && setState("online", ""), 3_000);
  } else {
    notice("You are here as ", make("b", {}, me), ". ", make("button", { type: "button", click: editName }, "Change your name"));
    focusComposer();
  }
  wasEntered = true;
}

function setMe(name) {
  me = name;
  $("name").value = name;
  $("save-name").disabled = true;
}

function focusComposer() {
  if (matchMedia("(hover: hover)").matches) $("message").focus(); // a phone would open its keyboard over the page
}

function editName() {
  openSide();
  $("name").select();
}

$("name").addEventListener("input", () => {
  const name = $("name").value.trim();
  $("save-name").disabled = !name || name === me;
  $("name-hint").textContent = "";
});

$("rename").addEventListener("submit", async (event) => {
  event.preventDefault();
  const name = $("name").value.trim();
  if (!name || name === me) return;
  const answer = await ask("rename", name);
  $("name-hint").textContent = answer.error ?? "";
  if (answer.error) return;
  setMe(answer.name);
  memory.name = answer.name;
  closeSide();
  focusComposer();
});

function roomInAddress() {
  try { return decodeURIComponent(location.hash.replace(/^#\/?/, "")) || undefined; } catch { return undefined; }
}

async function join(name) {
  if (!isEntered || !name) return;
  closeSide();
  if (name !== room) {
    const answer = await ask("join", name);
    if (answer.error) return hint(answer.error);
    showRoom(answer);
  }
  focusComposer();
}

addEventListener("hashchange", () => roomInAddress() !== room && join(roomInAddress()));

$("create").addEventListener("submit", (event) => {
  event.preventDefault();
  const name = $("new-room").value.trim().toLowerCase().replace(/\s+/g, "-");
  $("new-room").value = "";
  join(name);
});

/** Show a room as the server describes it. Coming back to the same room keeps what is on the page. */
function showRoom({ room: name, people, history }) {
  if (name !== room) {
    for (const item of [...$("messages").children]) drop(item);
    setTyping([]);
  }
  room = name;
  const address = `#/${encodeURIComponent(room)}`;
  if (location.hash !== address) window.history.replaceState(null, "", address);
  $("room").textContent = `# ${room}`;
  $("intro-title").textContent = `This is #${room}`;
  $("message").placeholder = `Write to #${room}, or try /help`;
  showPeople(people);
  markRoom();
  for (const message of history) showMessage(message, { quiet: true });
  scrollDown();
  setTitle();
}

function showPeople(people) {
  const others = people.filter((person) => !person.bot).length;
  $("count").textContent = others === 1 ? "just you and the bot" : `${others} people and the bot`;
  $("people").replaceChildren(...people.map(({ name, bot }) =>
    make("li", { "data-name": name, "data-bot": bot ? "true" : undefined }, avatar(name), make("span", { class: "label" }, name),
      ...(bot ? [make("span", { class: "tag" }, "bot")] : []), ...(name === me ? [make("span", { class: "tag" }, "you")] : []))));
}

function showRooms(rooms) {
  const focused = document.activeElement?.closest?.("#rooms li")?.dataset.room;
  $("rooms").replaceChildren(...rooms.map(({ name, people }) =>
    make("li", { "data-room": name },
      make("button", { type: "button", click: () => join(name) },
        make("span", { class: "label" }, name),
        make("span", { class: "n", title: `${people} here` }, people ? String(people) : "")))));
  markRoom();
  if (focused) $("rooms").querySelector(`[data-room="${CSS.escape(focused)}"] button`)?.focus();
}

function markRoom() {
  for (const item of $("rooms").children) {
    const button = item.firstElementChild;
    if (item.dataset.room === room) button.setAttribute("aria-current", "true");
    else button.removeAttribute("aria-current");
  }
}

socket.on("people", showPeople);
socket.on("rooms", showRooms);
socket.on("notice", (text) => notice(text));

// ---- messages ----

let isFollowing = true; // the reader is at the end, and wants to stay there

function scrollDown() {
  isFollowing = true;
  $("scroll").scrollTop = $("scroll").scrollHeight;
  $("newer").hidden = true;
}

$("scroll").addEventListener("scroll", () => {
  isFollowing = $("scroll").scrollHeight - $("scroll").scrollTop - $("scroll").clientHeight < 80;
  if (isFollowing) $("newer").hidden = true;
}, { passive: true });
$("newer").addEventListener("click", scrollDown);

// A picture that has loaded, a phone's keyboard, a hint above the composer: whatever moves the end, follow it.
const follower = new ResizeObserver(() => isFollowing && scrollDown());
follower.observe($("scroll"));
follower.observe($("messages"));

/** Add one line at the end: keep the reader at the end if they are there, and the page bounded. */
function append(item, { counts = true } = {}) {
  $("messages").append(item);
  while ($("messages").children.length > MAX_SHOWN) drop($("messages").firstElementChild);
  if (isFollowing) scrollDown();
  else if (counts) $("newer").hidden = false;
}

function drop(item) {
  for (const link of item.querySelectorAll("[href^='blob:']")) URL.revokeObjectURL(link.href);
  item.remove();
}

function notice(...content) {
  append(make("li", { class: "notice" }, ...content), { counts: false });
}

const TICK = "M4 10.5l4 4 8-9";

/** Show a message; `status` is given for our own on their way out. Returns its element, or null if it is there already. */
function showMessage(message, { status, quiet = false } = {}) {
  const { id, author, bot, at, text, file } = message;
  if (id && $("messages").querySelector(`[data-id="${CSS.escape(id)}"]`)) return null;
  const isMine = author === me && !bot;
  const last = $("messages").lastElementChild;
  const isGrouped = last?.dataset.author === author && at - Number(last.dataset.at) < 180_000;
  const kind = file ? (file.type.startsWith("image/") && file.data ? "image" : "file") : "text";
  const meta = make("span", { class: "meta" }, make("time", { datetime: new Date(at).toISOString() }, clock.format(at)));
  if (isMine) meta.append(make("span", { class: "tick" }));
  const bubble = make("div", { class: "bubble" }, ...(file ? fileContent(file, kind, author) : [make("span", { class: "text", dir: "auto" }, text)]), meta);
  const item = make("li", {
    class: `message ${isMine ? "mine" : "theirs"} ${kind}${isGrouped ? " grouped" : ""}${quiet ? "" : " appears"}`,
    "data-author": author, "data-at": at, "data-kind": kind, "data-id": id, "data-bot": bot ? "true" : undefined,
  },
    avatar(author),
    make("div", { class: "body" },
      make("p", { class: isMine ? "author hidden" : "author" }, author, ...(bot ? [make("span", { class: "tag" }, "bot")] : [])),
      bubble));
  if (isMine) setStatus(item, status ?? "delivered");
  if (status) isFollowing = true; // who writes looks at what they wrote
  append(item);
  return item;
}

function fileContent({ name, type, size, data }, kind, author) {
  if (!data) return [make("span", { class: "download" }, draw("M5 3h7l4 4v10H5z"), make("span", {}, make("b", {}, name), make("small", {}, `${readableSize(size)}, no longer kept`)))];
  // Only what the server has recognised as a picture gets a picture's type; all else is bytes to save, never to open here.
  const url = URL.createObjectURL(new Blob([data], { type: kind === "image" ? type : "application/octet-stream" }));
  if (kind === "file") {
    return [make("a", { class: "download", href: url, download: name }, draw("M10 3v9M6 8.5l4 4 4-4M4 16.5h12"), make("span", {}, make("b", {}, name), make("small", {}, readableSize(size))))];
  }
  const picture = make("img", { src: url, alt: `Image from ${author}: ${name}` });
  return [make("a", { href: url, target: "_blank", rel: "noopener", title: "Open in a new tab" }, picture), make("span", { class: "caption" }, `${name}, ${readableSize(size)}`)];
}

function setStatus(item, status, error, again) {
  item.dataset.status = status;
  const tick = item.querySelector(".tick");
  const words = { sending: "Sending", delivered: "Delivered", failed: "Not delivered" }[status];
  tick.title = words;
  tick.replaceChildren(draw(status === "delivered" ? TICK : status === "failed" ? "M10 4v8M10 15.5v.2" : "M10 5v5l3 2M3 10a7 7 0 1 0 14 0a7 7 0 1 0-14 0"), make("span", { class: "hidden" }, words));
  item.querySelector(".failure")?.remove();
  if (status === "failed") {
    item.querySelector(".body").append(make("p", { class: "failure", role: "alert" }, `${error} `, make("button", { type: "button", click: again }, "Send again")));
  }
}

/** Send one of our messages; the acknowledgement is its tick. */
async function deliver(item, event, ...args) {
  setStatus(item, "sending");
  const answer = await ask(event, ...args);
  if (answer.error) return setStatus(item, "failed", answer.error, () => deliver(item, event, ...args));
  item.dataset.id = answer.id;
  setStatus(item, "delivered");
}

function sendText(text) {
  deliver(showMessage({ author: me, at: Date.now(), text }, { status: "sending" }), "message", text);
}

async function sendFile(file) {
  if (!isEntered) return hint("Not connected just now. Your file was not sent.");
  if (file.size > MAX_FILE_BYTES) return hint(`${file.name} has ${readableSize(file.size)}; this chat takes files up to ${readableSize(MAX_FILE_BYTES)}.`);
  if (file.size === 0) return hint(`${file.name} is empty.`);
  const data = await file.arrayBuffer();
  const type = /^image\/(png|jpeg|gif|webp)$/.test(file.type) ? file.type : "";
  const item = showMessage({ author: me, at: Date.now(), file: { name: file.name, type, size: file.size, data } }, { status: "sending" });
  deliver(item, "file", file.name, data); // an ArrayBuffer goes as a binary attachment
}

let nUnseen = 0;
socket.on("message", (message) => {
  setTyping(typists.filter((typist) => typist.name !== message.author));
  showMessage(message);
  if (document.hidden) setTitle(++nUnseen);
});

function setTitle(n = 0) {
  nUnseen = n;
  document.title = `${n ? `(${n}) ` : ""}#${room} · Telex chat`;
}

document.addEventListener("visibilitychange", () => {
  if (!document.hidden && room) setTitle();
});

// ---- typing ----

let typists = [];
function setTyping(list) {
  typists = list;
  const names = list.map((typist) => typist.name);
  if (!names.length) return $("typing").replaceChildren();
  const who = names.length > 3 ? "Several people are" : names.length > 1 ? `${names.slice(0, -1).join(", ")} and ${names.at(-1)} are` : `${names[0]} is`;
  $("typing").replaceChildren(make("span", { class: "dots", "aria-hidden": "true" }, make("i"), make("i"), make("i")), `${who} typing …`);
}

socket.on("typing", (name, yes) => {
  const others = typists.filter((typist) => typist.name !== name);
  setTyping(yes ? [...others, { name, until: Date.now() + TYPING_LASTS_MS }] : others);
});

setInterval(() => {
  const current = typists.filter((typist) => typist.until > Date.now());
  if (current.length !== typists.length) setTyping(current);
}, 500);

let toldTypingAt = 0;
function tellTyping(yes) {
  if (!isEntered || (yes ? Date.now() - toldTypingAt < TYPING_EVERY_MS : !toldTypingAt)) return;
  toldTypingAt = yes ? Date.now() : 0;
  socket.volatile.emit("typing", yes); // not worth a retry: volatile
}

// ---- the composer ----

function fit() {
  $("message").style.height = "auto";
  $("message").style.height = `${$("message").scrollHeight}px`;
}

$("message").addEventListener("input", () => {
  fit();
  tellTyping($("message").value.trim() !== "");
});

$("message").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
    event.preventDefault();
    $("composer").requestSubmit();
  }
});

$("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("message").value.trim();
  if (!text) return;
  if (!isEntered) return hint("Not connected just now. Your text stays here until the connection is back.");
  $("message").value = "";
  fit();
  tellTyping(false);
  sendText(text);
  $("message").focus();
});

for (const button of document.querySelectorAll("[data-try]")) {
  button.addEventListener("click", () => isEntered && sendText(button.dataset.try));
}

$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) sendFile(file);
  $("file").value = "";
});

$("message").addEventListener("paste", (event) => {
  const [file] = event.clipboardData.files;
  if (!file) return;
  event.preventDefault();
  sendFile(file);
});

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file) sendFile(file);
});

// ---- the drawer on a phone ----

const narrow = matchMedia("(max-width: 760px)");

function openSide() {
  if (!narrow.matches) return;
  $("side").classList.add("open");
  $("side").inert = false;
  $("shade").hidden = false;
  $("open-side").setAttribute("aria-expanded", "true");
  document.querySelector("main").inert = true;
  $("close-side").focus();
}

function closeSide() {
  const wasOpen = $("side").classList.contains("open");
  $("side").classList.remove("open");
  $("side").inert = narrow.matches; // what is out of sight is out of the tab order
  $("shade").hidden = true;
  $("open-side").setAttribute("aria-expanded", "false");
  document.querySelector("main").inert = false;
  if (wasOpen) $("open-side").focus();
}

$("open-side").addEventListener("click", openSide);
$("close-side").addEventListener("click", closeSide);
$("shade").addEventListener("click", closeSide);
addEventListener("keydown", (event) => event.key === "Escape" && closeSide());
narrow.addEventListener("change", closeSide);
closeSide();
