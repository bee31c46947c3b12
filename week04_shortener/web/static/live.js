// Counters that grow while they are watched: server-sent events over fetch, since EventSource
// cannot send a key.

import { call } from "./api.js";

const SETTLE_MS = 150;
const MOST_MS = 30_000;
const MAX_CODES = 100;

/** Splits a stream's text into events, whatever pieces it comes in (HTML Standard, 9.2.6). */
export class EventReader {
  #rest = "";

  /** The events that `text` completes, as `{event, data}`; comments are passed over. */
  feed(text) {
    const blocks = (this.#rest + text).split("\n\n");
    this.#rest = blocks.pop();
    return blocks.map(parse).filter((event) => event !== null);
  }
}

function parse(block) {
  const event = { event: "message", data: "", retry: null };
  for (const line of block.split("\n")) {
    if (line.startsWith(":")) continue;
    const [name, ...rest] = line.split(":");
    const value = rest.join(":").replace(/^ /, "");
    if (name === "retry") event.retry = Number(value);
    else if (name === "data") event.data += value;
    else if (name === "event") event.event = value;
  }
  return event.data || event.retry !== null ? event : null;
}

/** Watches the codes that `codes()` gives, while the page is seen. */
export class Live {
  #abort = null;
  #timer = null;
  #retryMs = 2000;
  #failures = 0;

  /** `onClicks(code, clicks)`; `onState("live" | "paused" | "off")`. */
  constructor(codes, onClicks, onState) {
    this.codes = codes;
    this.onClicks = onClicks;
    this.onState = onState;
    document.addEventListener("visibilitychange", () => this.restart());
    addEventListener("online", () => this.restart());
  }

  /** Codes were added or taken away, or it may be worth another try. */
  restart() {
    this.#abort?.abort();
    this.#abort = null;
    this.#failures = 0;
    this.#after(SETTLE_MS);
  }

  #after(ms) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#watch(), ms);
  }

  async #watch() {
    const codes = this.codes().slice(0, MAX_CODES);
    if (document.hidden || codes.length === 0) {
      this.onState("off");
      return;
    }
    const abort = (this.#abort = new AbortController());
    try {
      const path = `/api/v1/live?codes=${codes.join(",")}`;
      const response = await call("GET", path, { signal: abort.signal });
      await this.#read(response.body);
    } catch (error) {
      if (abort.signal.aborted) return; // another one has begun, or nobody looks
      this.#failures += 1;
      this.onState("paused");
    }
    // It ends now and then, and is opened again: at once, or later and later while it fails, and
    // never all pages at the same moment.
    const most = Math.min(this.#retryMs * 2 ** this.#failures, MOST_MS);
    if (!abort.signal.aborted) this.#after(most * (0.5 + Math.random() / 2));
  }

  async #read(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    const events = new EventReader();
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      for (const { event, data, retry } of events.feed(value)) {
        if (retry) this.#retryMs = retry;
        if (event === "clicks") {
          const { code, clicks } = JSON.parse(data);
          this.#failures = 0;
          this.onState("live");
          this.onClicks(code, clicks);
        } else if (event === "away") {
          this.onState("paused");
        }
      }
    }
  }
}
