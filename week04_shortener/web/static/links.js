// The list of links, newest first, page by page, each with its counter.

import { call, callJson, Refused, storedKey } from "./api.js";
import { edit, remove, showImport, showQr, showStatistics } from "./dialogs.js";
import { byId, copy, make, plural, say, shortLink, timeOf } from "./dom.js";
import { Live } from "./live.js";

const PAGE = 20;
const MAX_FILE_BYTES = 1024 * 1024;
const QUIET_MS = 5000;

const list = byId("list");
const rows = new Map(); // code -> {link, element}
const counts = new Map(); // code -> clicks as last told
let cursor = null;
let reading = 0; // grows with each reload: what an earlier one still brings is another key's

const leaving = new Set(); // codes of links that are being deleted

const live = new Live(
  () => [...rows.keys()].filter((code) => !leaving.has(code)),
  onClicks,
  onState,
);

/** Nobody watches a link while it is deleted: a stream that is opened just then would be refused. */
async function unwatched(code, work) {
  leaving.add(code);
  live.restart();
  try {
    await work();
  } finally {
    leaving.delete(code);
    live.restart();
  }
}

/** Reads the first page anew. Without a key there is nothing to read, and none is made for it. */
export async function reload() {
  rows.clear();
  list.replaceChildren();
  cursor = null;
  reading += 1;
  if (storedKey() === null) return settle();
  await more();
}

async function more() {
  const problem = byId("links-problem");
  const mine = reading;
  list.setAttribute("aria-busy", "true");
  try {
    const path = `/api/v1/links?limit=${PAGE}` + (cursor ? `&cursor=${cursor}` : "");
    const page = await callJson("GET", path);
    if (mine !== reading) return;
    page.links.filter((link) => !rows.has(link.code)).forEach((link) => put(link, "append"));
    cursor = page.next;
    problem.textContent = "";
  } catch (error) {
    problem.textContent = error.message;
  }
  list.removeAttribute("aria-busy");
  settle();
}

/** A link that was just made comes first. */
export function add(link) {
  put(link, "prepend");
  rows.get(link.code).element.classList.add("new");
  settle();
}

/** Where the clicks of `code` are shown besides the list: `show(clicks)` or null. */
export const watchToo = { code: null, show: () => {} };

function settle() {
  byId("empty").hidden = rows.size > 0 || byId("links-problem").textContent !== "";
  byId("export").disabled = rows.size === 0;
  byId("next").hidden = cursor === null;
  live.restart();
}

function put(link, where) {
  const element = row(link);
  const before = rows.get(link.code);
  if (before) before.element.replaceWith(element);
  else list[where](element);
  rows.set(link.code, { link, element });
}

function row(link) {
  const copying = make("button", { type: "button", "aria-label": `Copy ${link.short_url}` }, "Copy");
  const short = shortLink(link);
  copying.addEventListener("click", () => copy(link.short_url, copying, short));
  const action = (name, act, style = "") =>
    make(
      "button",
      { type: "button", class: style, "aria-label": `${name}: ${link.code}`, click: act },
      name,
    );
  const gone = () => {
    const next = rows.get(link.code)?.element.nextElementSibling;
    rows.get(link.code)?.element.remove();
    rows.delete(link.code);
    settle();
    (next?.querySelector("a") ?? byId("links")).focus();
  };
  return make(
    "li",
    { "data-code": link.code },
    make("div", { class: "line" }, short, counter(counts.get(link.code))),
    make("p", { class: "target", title: link.url }, link.url),
    badges(link),
    make(
      "div",
      { class: "actions" },
      copying,
      action("QR", () => showQr(link)),
      action("Statistics", () => showStatistics(link)),
      action("Edit", () => edit(rows.get(link.code).link, (now) => (put(now, "prepend"), settle()))),
      action("Delete", () => remove(link, (work) => unwatched(link.code, work), gone), "delete"),
    ),
  );
}

/** Of a link with a limit each click has spent a visit: how many are left is the service's to say. */
async function refresh(code) {
  try {
    const link = await callJson("GET", `/api/v1/links/${code}`);
    const row = rows.get(code);
    if (!row) return;
    row.link = link;
    row.element.querySelector(".badges").replaceWith(badges(link));
  } catch {
    // The count that is shown stays; the next click asks again.
  }
}

function badges(link) {
  const over = link.expires_at && new Date(link.expires_at) <= new Date();
  const spent = link.max_visits !== null && link.visits >= link.max_visits;
  const badge = (text, bad = false) => make("span", { class: bad ? "over" : "" }, text);
  return make(
    "div",
    { class: "badges" },
    badge(`made ${timeOf(link.created_at)}`),
    link.expires_at ? badge(`${over ? "expired" : "expires"} ${timeOf(link.expires_at)}`, over) : null,
    link.max_visits ? badge(`${link.visits} of ${plural(link.max_visits, "visit")}`, spent) : null,
    link.has_password ? badge("password") : null,
  );
}

function counter(clicks) {
  return make("span", { class: "clicks" }, ...counterText(clicks));
}

export const counterText = (clicks) =>
  clicks === undefined
    ? ["…"]
    : [make("b", {}, clicks.toLocaleString()), clicks === 1 ? " click" : " clicks"];

let spoken = 0;

function onClicks(code, clicks) {
  const before = counts.get(code);
  counts.set(code, clicks);
  if (watchToo.code === code) watchToo.show(clicks);
  const shown = rows.get(code)?.element.querySelector(".clicks");
  shown?.replaceChildren(...counterText(clicks));
  if (before === undefined || clicks <= before) return;
  shown?.classList.remove("grew");
  void shown?.offsetWidth; // begins the animation anew
  shown?.classList.add("grew");
  if (rows.get(code)?.link.max_visits) refresh(code);
  // Read out, but not each of many.
  if (Date.now() - spoken > QUIET_MS) {
    spoken = Date.now();
    say(`${code}: ${plural(clicks, "click")}`);
  }
}

function onState(state) {
  const line = byId("live");
  line.hidden = state === "off";
  line.classList.toggle("paused", state === "paused");
  line.textContent = state === "paused" ? "counters paused" : "live";
}

async function importFile(file) {
  const problem = byId("links-problem");
  problem.textContent = "";
  try {
    if (file.size > MAX_FILE_BYTES) throw new Refused("The file is larger than 1 MiB: split it.");
    const headers = { "Content-Type": "text/csv" };
    const answer = await call("POST", "/api/v1/links/import", { body: file, headers });
    showImport(await answer.json());
    await reload();
  } catch (error) {
    problem.textContent = `${file.name}: ${error.message}`;
  }
}

async function exportFile() {
  const problem = byId("links-problem");
  try {
    const data = await (await call("GET", "/api/v1/links/export")).blob();
    const href = URL.createObjectURL(data);
    make("a", { href, download: "links.csv" }).click();
    setTimeout(() => URL.revokeObjectURL(href), 10_000);
    problem.textContent = "";
  } catch (error) {
    problem.textContent = error.message;
  }
}

/** Joins the list's own buttons. */
export function start() {
  byId("next").addEventListener("click", more);
  byId("export").addEventListener("click", exportFile);
  byId("import").addEventListener("click", () => byId("file").click());
  byId("file").addEventListener("change", (event) => {
    const [file] = event.target.files;
    event.target.value = ""; // so that the same file can be chosen again
    if (file) importFile(file);
  });
  return reload();
}
