// The page: the form that shortens, what it made, and the wiring of the rest.

import { callJson, configure, storedKey, wishKey } from "./api.js";
import { askKey, showKey, showQr, tellProblems } from "./dialogs.js";
import { byId, copy, fromField, make, say, shortLink } from "./dom.js";
import { add, counterText, reload, start, watchToo } from "./links.js";

const form = byId("shorten");
const button = form.querySelector("button");
const fields = form.elements;

let wish = wishKey();
// Changed fields are another wish. Unchanged ones sent again after a failure are the same.
form.addEventListener("input", () => (wish = wishKey()));

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  const url = fields.url.value.trim();
  if (!url) {
    const missing = { message: "", fields: { url: "Enter the address to shorten." } };
    byId("shorten-problem").textContent = tellProblems(form, missing);
    return;
  }
  button.disabled = true;
  try {
    const link = await callJson("POST", "/api/v1/links", wanted(url), { "Idempotency-Key": wish });
    tellProblems(form, null);
    byId("shorten-problem").textContent = "";
    form.reset();
    wish = wishKey();
    byId("more").open = false;
    show(link);
    add(link);
  } catch (error) {
    byId("result").hidden = true; // of the link before, which is in the list
    byId("shorten-problem").textContent = tellProblems(form, error);
  } finally {
    button.disabled = false;
  }
});

/** What is in the form, empty fields left out. */
function wanted(url) {
  // People write example.org; an address without a scheme means the web.
  const body = { url: /^[a-z][a-z0-9+.-]*:/i.test(url) ? url : `https://${url}` };
  const alias = fields.alias.value.trim();
  if (alias) body.alias = alias;
  if (fields.expires_at.value) body.expires_at = fromField(fields.expires_at.value);
  if (fields.max_visits.value) body.max_visits = Number(fields.max_visits.value);
  if (fields.password.value) body.password = fields.password.value;
  return body;
}

function show(link) {
  const copying = make("button", { type: "button", class: "primary" }, "Copy");
  const short = shortLink(link);
  copying.addEventListener("click", () => copy(link.short_url, copying, short));
  const clicks = make("span", { class: "clicks" }, ...counterText(0));
  watchToo.code = link.code;
  watchToo.show = (number) => clicks.replaceChildren(...counterText(number));
  const result = byId("result");
  result.hidden = false;
  result.replaceChildren(
    make("div", { class: "line" }, short, clicks),
    make("p", { class: "target", title: link.url }, link.url),
    make(
      "div",
      { class: "tools" },
      copying,
      make("button", { type: "button", click: () => showQr(link) }, "QR code"),
    ),
  );
  say(`Made ${link.short_url}`);
  copying.focus();
}

let lost = "";

function tellKey() {
  const kept = "Your links belong to an API key that only this browser keeps.";
  byId("key-note").textContent = lost || (storedKey() ? kept : "");
}

function tellLost() {
  lost =
    "The service does not know this browser's API key any more, so a new one is used. " +
    "Links of the old key cannot be changed here.";
}

configure({ askUser: askKey, onKey: tellKey, onLost: tellLost });
byId("key").addEventListener("click", () => showKey(reload));
tellKey();
start();
