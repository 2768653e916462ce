// @ts-check
/**
 * One stream of server-sent events that is never given up: cut off, it comes back with the id of the last event it saw,
 * so that nothing is missed and nothing is told twice.
 *
 * The browser's own EventSource ends for good at the first answer that is not 200, which is what an API that starts
 * again gives for a second; and it holds one of the browser's six connections for each tab, seen or not. So this reads
 * the stream with `fetch`: it tries again after pauses that grow, takes 45 seconds of silence for a dead connection, and
 * lets go while its tab has been hidden for a minute.
 */

import { problemOf } from "./api.js";

/** @typedef {"connecting" | "live" | "reconnecting" | "paused" | "ended" | "refused"} State */
/** @typedef {{id: string, event: string, data: string}} Message */

const SILENCE_MS = 45_000;
const HIDDEN_MS = 60_000;
const LONGEST_PAUSE_MS = 5000;

export class EventStream {
  #url;
  #onEvent;
  #onState;
  #lastId = "";
  #retryMs = 1000;
  #failures = 0;
  /** Counts openings, so that what one of them left running knows that it is over. */
  #opening = 0;
  #connection = new AbortController();
  /** @type {() => void} */
  #wake = () => {};
  #hideTimer = 0;
  #hidden = false;
  #nudge = () => this.#seen();

  /** `onEvent` is told the event's name and its data, decoded. `onState` may be told of a refusal: then it is over.
   * @param {string} url @param {(name: string, data: any) => void} onEvent
   * @param {(state: State, error?: import("./api.js").ApiError) => void} onState */
  constructor(url, onEvent, onState) {
    this.#url = url;
    this.#onEvent = onEvent;
    this.#onState = onState;
  }

  /** Begin, or begin again after the end: from where it was. */
  open() {
    this.close();
    this.#failures = 0;
    document.addEventListener("visibilitychange", this.#nudge);
    addEventListener("online", this.#nudge);
    void this.#run(this.#opening);
  }

  close() {
    this.#opening += 1;
    document.removeEventListener("visibilitychange", this.#nudge);
    removeEventListener("online", this.#nudge);
    clearTimeout(this.#hideTimer);
    this.#connection.abort();
    this.#wake();
  }

  /** @param {number} opening */
  async #run(opening) {
    this.#onState("connecting");
    while (opening === this.#opening) {
      if (this.#hidden) {
        this.#onState("paused");
        await this.#pause(2 ** 31 - 1);
        continue;
      }
      const finished = await this.#connect(opening);
      if (opening !== this.#opening) return;
      if (finished) return this.close();
      if (this.#hidden) continue;
      this.#onState("reconnecting");
      // Half of the pause is chance, so that those whom one server left do not all come back at once.
      const pause = Math.min(this.#failures ? 250 * 2 ** this.#failures : this.#retryMs, LONGEST_PAUSE_MS);
      this.#failures += 1;
      await this.#pause(pause * (0.5 + Math.random() / 2));
    }
  }

  /** Read until the connection ends; true when there is nothing to come back for: the server has told the end, or tells
   * now that it had. @param {number} opening */
  async #connect(opening) {
    const connection = (this.#connection = new AbortController());
    /** @type {Record<string, string>} */
    const headers = { Accept: "text/event-stream" };
    if (this.#lastId) headers["Last-Event-ID"] = this.#lastId;
    let silence = setTimeout(() => connection.abort(), SILENCE_MS);
    try {
      const answer = await fetch(this.#url, { headers, signal: connection.signal, cache: "no-store" });
      if (answer.status === 204) {
        this.#onState("ended");
        return true;
      }
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 408 && answer.status !== 429) {
        this.#onState("refused", await problemOf(answer));
        return true;
      }
      if (!answer.ok || answer.body === null) return false;
      this.#onState("live");
      const reader = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      const parser = new Parser();
      for (;;) {
        const { value, done } = await reader.read();
        if (done) return false;
        clearTimeout(silence);
        silence = setTimeout(() => connection.abort(), SILENCE_MS);
        for (const message of parser.feed(value)) {
          if (opening !== this.#opening) return false;
          this.#tell(message);
          if (message.event === "end") {
            this.#onState("ended");
            return true;
          }
        }
        this.#retryMs = parser.retryMs ?? this.#retryMs;
      }
    } catch (error) {
      // A connection that was refused, cut or let go is what this is for; anything else is a mistake of the page's.
      if (error instanceof TypeError || (error instanceof DOMException && ["AbortError", "NetworkError"].includes(error.name))) return false;
      throw error;
    } finally {
      clearTimeout(silence);
      connection.abort();
    }
  }

  /** @param {Message} message */
  #tell(message) {
    this.#failures = 0;
    try {
      this.#onEvent(message.event, message.data ? JSON.parse(message.data) : null);
    } catch (error) {
      throw new Error(`the event ${message.event} could not be shown`, { cause: error }); // else it would look like a cut connection
    }
    // Only what was taken in counts as seen.
    if (message.id) this.#lastId = message.id;
  }

  /** The tab was hidden or shown, or the network came back. */
  #seen() {
    clearTimeout(this.#hideTimer);
    if (document.hidden) {
      this.#hideTimer = setTimeout(() => {
        this.#hidden = true;
        this.#connection.abort();
        this.#wake();
      }, HIDDEN_MS);
    } else {
      this.#hidden = false;
      this.#wake();
    }
  }

  /** @param {number} ms */
  #pause(ms) {
    return new Promise((resolve) => {
      const timer = setTimeout(() => this.#wake(), ms);
      this.#wake = () => {
        clearTimeout(timer);
        this.#wake = () => {};
        resolve(undefined);
      };
    });
  }
}

/** Makes messages of text, as the HTML standard says, of text that may be cut anywhere. */
export class Parser {
  /** @type {number | null} */
  retryMs = null;
  #rest = "";
  #event = "";
  #id = "";
  /** @type {string[]} */
  #data = [];

  /** @param {string} text @returns {Generator<Message>} */
  *feed(text) {
    const lines = (this.#rest + text).split("\n");
    this.#rest = lines.pop() ?? "";
    for (const each of lines) {
      const line = each.endsWith("\r") ? each.slice(0, -1) : each;
      if (line === "") {
        if (this.#data.length || this.#event || this.#id) yield { id: this.#id, event: this.#event || "message", data: this.#data.join("\n") };
        this.#event = this.#id = "";
        this.#data = [];
        continue;
      }
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "event") this.#event = value;
      else if (field === "data") this.#data.push(value);
      else if (field === "id") this.#id = value;
      else if (field === "retry" && /^\d+$/.test(value)) this.retryMs = Number(value);
    }
  }
}
