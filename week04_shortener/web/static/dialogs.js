// Everything that opens over the page. One <dialog> for all: the browser keeps the focus inside it,
// closes it with Escape, and gives the focus back afterwards.

import { callJson, keepKey, storedKey } from "./api.js";
import { statistics } from "./chart.js";
import { byId, copy, fromField, make, plural, say, toField } from "./dom.js";

const dialog = byId("dialog");
let onClosed = () => {};

dialog.addEventListener("close", () => onClosed());
dialog.addEventListener("click", (event) => {
  if (event.target === dialog && !dialog.querySelector("form")) dialog.close();
});

function open(title, ...children) {
  dialog.replaceChildren(make("h2", { id: "dialog-title" }, title), ...children);
  onClosed = () => {};
  if (!dialog.open) dialog.showModal();
}

const close = () => dialog.close();
const ends = (...buttons) => make("div", { class: "ends" }, ...buttons);
const closing = (text = "Close") => make("button", { type: "button", click: close }, text);
const problemLine = () => make("p", { class: "problem", role: "alert" });

function field(name, label, attributes, hint) {
  const id = `edit-${name}`;
  return make(
    "div",
    { class: "field" },
    make("label", { for: id }, label),
    make("input", { id, name, "aria-describedby": `${id}-hint ${id}-problem`, ...attributes }),
    hint ? make("p", { class: "hint", id: `${id}-hint` }, hint) : null,
    make("p", { class: "problem", id: `${id}-problem` }),
  );
}

/** Says each field's problem beside it; returns what could not be said there. */
export function tellProblems(form, error, prefix = "") {
  let first = null;
  let told = 0;
  for (const input of form.querySelectorAll("input[name]")) {
    const message = error?.fields?.[input.name] ?? "";
    const line = byId(`${prefix}${input.name}-problem`);
    if (!line) continue;
    line.textContent = message;
    input.toggleAttribute("aria-invalid", false);
    if (message) {
      input.setAttribute("aria-invalid", "true");
      first ??= input;
      told += 1;
    }
  }
  if (first) {
    const folded = first.closest("details");
    if (folded) folded.open = true;
    first.focus();
  }
  return error && told === 0 ? error.message : "";
}

/** A dialog with a form: `save()` returns when it is done, and throws what went wrong. */
function ask(title, verb, style, save, ...children) {
  const problem = problemLine();
  const button = make("button", { class: style }, verb);
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    try {
      await save(form);
      close();
    } catch (error) {
      problem.textContent = tellProblems(form, error, "edit-");
    } finally {
      button.disabled = false;
    }
  };
  const form = make(
    "form",
    { novalidate: true, submit },
    ...children,
    problem,
    ends(closing("Cancel"), button),
  );
  open(title, form);
}

/** Changes a link; `onChanged(link)` gets what it is then. */
export function edit(link, onChanged) {
  let version = link.version;
  const taken = make("input", { type: "checkbox", name: "open" });
  const save = async (form) => {
    const limit = form.elements.max_visits.value;
    const changes = {
      url: form.elements.url.value.trim(),
      expires_at: expiryOf(form.elements.expires_at, link.expires_at),
      max_visits: limit === "" ? null : Number(limit),
    };
    if (form.elements.password.value) changes.password = form.elements.password.value;
    else if (taken.checked) changes.password = null;
    try {
      const path = `/api/v1/links/${link.code}`;
      const type = { "Content-Type": "application/merge-patch+json" };
      const now = await callJson("PATCH", path, changes, { ...type, "If-Match": `"${version}"` });
      say(`Saved ${link.code}`);
      onChanged(now);
    } catch (error) {
      if (error.status === 412) {
        version = (await callJson("GET", `/api/v1/links/${link.code}`)).version;
        error.message = "It was changed elsewhere meanwhile. Save again to replace that with this.";
      }
      throw error;
    }
  };
  const keep = link.has_password ? "empty: stays as it is" : "empty: none";
  ask(
    `Edit ${link.code}`,
    "Save",
    "primary",
    save,
    field("url", "Long address", { type: "url", value: link.url, inputmode: "url" }),
    make(
      "div",
      { class: "fields" },
      field(
        "expires_at",
        "Expires",
        { type: "datetime-local", value: toField(link.expires_at) },
        "empty: never",
      ),
      field(
        "max_visits",
        "Visit limit",
        { type: "number", min: 1, inputmode: "numeric", value: link.max_visits ?? "" },
        link.max_visits ? `${plural(link.visits, "visit")} so far` : "empty: no limit",
      ),
    ),
    field(
      "password",
      "Password",
      { type: "password", maxlength: 128, autocomplete: "new-password" },
      keep,
    ),
    link.has_password ? make("label", { class: "check" }, taken, "Take the password off") : null,
  );
}

/** A field shows minutes: what was not touched keeps its seconds. */
const expiryOf = (input, before) =>
  input.value === toField(before) ? (before ?? null) : fromField(input.value);

/** Deletes a link after a question, inside `during(work)`; then `onDeleted()`. */
export function remove(link, during, onDeleted) {
  const save = async () => {
    try {
      await during(() => callJson("DELETE", `/api/v1/links/${link.code}`));
    } catch (error) {
      if (error.status !== 404 && error.status !== 410) throw error; // else it is gone already
    }
    say(`Deleted ${link.code}`);
    onDeleted();
  };
  ask(
    `Delete ${link.code}?`,
    "Delete",
    "danger",
    save,
    make("p", { class: "wide" }, `It leads to ${link.url}`),
    make("p", {}, "Whoever follows it will be told that it is gone. This cannot be undone."),
  );
}

/** Shows a link's QR code. */
export function showQr(link) {
  const path = `/api/v1/links/${link.code}/qr`;
  const alt = `QR code of ${link.short_url}`;
  const picture = make("img", { class: "qr", src: `${path}.svg`, alt, width: 288, height: 288 });
  picture.addEventListener("error", () =>
    picture.replaceWith(make("p", { class: "problem" }, "The QR code could not be loaded.")),
  );
  open(
    "QR code",
    picture,
    make("p", { class: "wide" }, link.short_url),
    ends(make("a", { href: `${path}.png?scale=20`, download: `${link.code}.png` }, "PNG"), closing()),
  );
}

/** Shows a link's statistics. */
export async function showStatistics(link) {
  const title = `Statistics of ${link.code}`;
  open(title, make("p", {}, "Loading…"), ends(closing()));
  let closed = false;
  onClosed = () => (closed = true);
  try {
    const found = await callJson("GET", `/api/v1/links/${link.code}/stats`);
    if (!closed) open(title, ...statistics(found), ends(closing()));
  } catch (error) {
    if (!closed) open(title, make("p", { class: "problem" }, error.message), ends(closing()));
  }
}

/** Says what became of an imported file. */
export function showImport({ made, refused, results }) {
  const lines = results
    .filter((row) => row.detail)
    .map((row) => make("li", {}, `Line ${row.line}: ${row.detail}`));
  open(
    "Import",
    make("p", {}, `${plural(made, "link")} made, ${plural(refused, "row")} refused.`),
    lines.length ? make("ul", { class: "refused" }, ...lines) : "",
    ends(closing()),
  );
}

/** Asks for a key; null when the user gives none. */
export function askKey(why) {
  return new Promise((resolve) => {
    const save = async (form) => {
      const key = form.elements.key.value.trim();
      if (!/^[\x21-\x7e]+$/.test(key)) throw new Error("A key has letters and digits, no spaces.");
      onClosed = () => {};
      resolve(key);
    };
    ask(
      "API key",
      "Use it",
      "primary",
      save,
      make("p", {}, why || "Links belong to an API key. Whoever runs the service gives them out."),
      field("key", "Key", { autocomplete: "off", spellcheck: "false" }),
    );
    onClosed = () => resolve(null);
  });
}

/** Shows the key of this browser: it is all that its links can be changed with. */
export function showKey(onChanged) {
  const key = storedKey();
  const shown = make("p", { class: "short wide" }, key ?? "none yet: the first link brings one");
  const other = async () => {
    const given = await askKey("");
    if (given) {
      keepKey(given);
      onChanged();
    }
  };
  const copyIt = make("button", { type: "button" }, "Copy");
  copyIt.addEventListener("click", () => copy(key, copyIt, shown));
  open(
    "API key",
    make("p", {}, "Links made here belong to this key, which this browser keeps. Use it on another device to see them there."),
    make("div", { class: "result" }, shown),
    ends(make("button", { type: "button", click: other }, "Change"), key ? copyIt : "", closing()),
  );
}
