// The API: a key, requests with it, and every way to fail as one kind of error with plain words.

const KEY = "shortener.key";

let memory = null;
let askUser = async () => null;
let onKey = () => {};
let onLost = () => {};

/** How a page asks its user for a key, and what it does when the key has changed, or was lost. */
export function configure(options) {
  askUser = options.askUser;
  onKey = options.onKey;
  onLost = options.onLost;
}

export function storedKey() {
  try {
    return localStorage.getItem(KEY) ?? memory;
  } catch {
    return memory; // storage is switched off: the key lives as long as the page
  }
}

export function keepKey(key) {
  memory = key;
  try {
    if (key === null) localStorage.removeItem(KEY);
    else localStorage.setItem(KEY, key);
  } catch {
    // as above
  }
  onKey(key);
}

/** The service said no, or nothing. `message` is for people, `fields` has messages by field. */
export class Refused extends Error {
  constructor(message, { status = 0, fields = {} } = {}) {
    super(message);
    this.status = status;
    this.fields = fields;
  }
}

/** A request with the key; makes or asks for one first. Returns the response when it is a 2xx. */
export async function call(method, path, options = {}) {
  const key = storedKey() ?? (await newKey());
  try {
    return await send(method, path, options, key);
  } catch (error) {
    if (error.status !== 401) throw error;
    // The key is not known any more, or was revoked. Another request may have heard so before.
    if (storedKey() === key) {
      keepKey(null);
      onLost();
    }
    return await send(method, path, options, storedKey() ?? (await newKey(error.message)));
  }
}

/** JSON in, JSON out. */
export async function callJson(method, path, body, headers = {}) {
  const options = { headers };
  if (body !== undefined) {
    options.body = JSON.stringify(body);
    options.headers = { "Content-Type": "application/json", ...headers };
  }
  const response = await call(method, path, options);
  return response.status === 204 ? null : await response.json();
}

let making = null;

function newKey(why = "") {
  // Two requests at once want one key, not two.
  making ??= makeKey(why).finally(() => (making = null));
  return making;
}

async function makeKey(why) {
  const name = `browser, ${new Date().toISOString().slice(0, 10)}`;
  let key;
  try {
    const options = {
      body: JSON.stringify({ name }),
      headers: { "Content-Type": "application/json" },
    };
    key = (await (await send("POST", "/api/v1/keys", options, null)).json()).key;
  } catch (error) {
    if (error.status !== 401 && error.status !== 403) throw error;
    // Not the lab's open mode: keys are given out by whoever runs the service.
    key = await askUser(why);
    if (!key) throw new Refused("This needs an API key, which whoever runs the service can give.");
  }
  keepKey(key);
  return key;
}

async function send(method, path, { body, headers = {}, signal } = {}, key) {
  const given = key ? { ...headers, Authorization: `Bearer ${key}` } : headers;
  let response;
  try {
    response = await fetch(path, { method, body, signal, headers: given, cache: "no-store" });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Refused(
      navigator.onLine
        ? "The service does not answer. What you entered is still here: try again."
        : "You are offline. What you entered is still here: try again once you are back.",
    );
  }
  if (response.ok) return response;
  throw await refusal(response);
}

async function refusal(response) {
  let problem = {};
  try {
    problem = await response.json();
  } catch {
    // no problem document: something between the service and us has answered
  }
  const fields = {};
  for (const { pointer = "", detail } of problem.errors ?? []) {
    fields[pointer.split("/")[1] ?? ""] ??= sentence(detail);
  }
  return new Refused(messageOf(response, problem), { status: response.status, fields });
}

function messageOf(response, problem) {
  const wait = response.headers.get("Retry-After");
  if (response.status === 429) {
    return wait ? `Too many requests: try again in ${wait} s.` : "Too many requests: try later.";
  }
  if (response.status >= 500) {
    const said = problem.detail ?? "The service has a problem.";
    return wait ? `${said} (in ${wait} s)` : said;
  }
  return problem.detail ?? `The service answered ${response.status}.`;
}

export const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

/** A new key for one wish: sent again after a failure, it makes no second link. */
export function wishKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return `"${Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("")}"`;
}
