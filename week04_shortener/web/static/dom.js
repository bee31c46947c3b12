// Elements out of plain words. Text is always set as text: what links say is anybody's writing.

/** An element: `make("p", {class: "hint"}, "text", child)`. Functions become listeners. */
export function make(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value !== undefined && value !== null) element.setAttribute(key, value);
  }
  element.append(...children.filter((child) => child !== null));
  return element;
}

export const byId = (id) => document.getElementById(id);

/** A link to a short link, without the scheme; on a narrow screen it breaks before the code. */
export function shortLink(link) {
  const at = link.short_url.lastIndexOf("/") + 1;
  return make(
    "a",
    { class: "short", href: link.short_url, target: "_blank", rel: "noreferrer" },
    link.short_url.slice(0, at).replace(/^https?:\/\//, ""),
    make("wbr"),
    link.short_url.slice(at),
  );
}

let wiping;

/** Says `text` to those who listen instead of looking, without moving their focus. */
export function say(text) {
  const status = byId("status");
  status.textContent = text;
  clearTimeout(wiping);
  // Said again, the same words would not be a change, and so would not be read out.
  wiping = setTimeout(() => (status.textContent = ""), 4000);
}

/** Copies `text`. Where the browser keeps the clipboard from pages (plain HTTP), selects `shown`. */
export async function copy(text, button, shown) {
  try {
    await navigator.clipboard.writeText(text);
    say(`Copied ${text}`);
    flash(button, "Copied");
  } catch {
    getSelection().selectAllChildren(shown);
    say("Selected: copy it with your keyboard.");
    flash(button, "Selected");
  }
}

function flash(button, text) {
  button.dataset.text ??= button.textContent;
  button.textContent = text;
  setTimeout(() => (button.textContent = button.dataset.text), 2000);
}

export const plural = (number, word) =>
  `${number.toLocaleString()} ${word}${number === 1 ? "" : "s"}`;

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

export const timeOf = (iso) => moment.format(new Date(iso));

/** An API's time as the value of a datetime-local field, which is in the user's own time. */
export function toField(iso) {
  if (!iso) return "";
  const at = new Date(iso);
  return new Date(at - at.getTimezoneOffset() * 60_000).toISOString().slice(0, 16);
}

/** And back; null for an empty field. */
export const fromField = (value) => (value ? new Date(value).toISOString() : null);
