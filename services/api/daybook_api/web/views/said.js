// @ts-check
/**
 * What the attempts of a task say: their text as it grows, and their log lines. Each attempt has a part of its own, so
 * that what was said before a takeover stays, and is told apart. The page holds the end of it; the whole is the API's.
 */

import { api } from "../api.js";
import { batched, button, fill, h, show } from "../dom.js";
import { absolute, clock, words } from "../format.js";

/** @import {Action, Attempt, Chunk, LogLine} from "../shapes.js" */

const MOST_CHARACTERS = 256 * 1024;
const NODE_CHARACTERS = 16 * 1024;
const MOST_LINES = 1000;

/** The text of one attempt: its last part, as text nodes of moderate size. */
class Section {
  heading = h("h3", { hidden: true });
  #cut = h("p", { class: "cut", hidden: true });
  #text = h("pre");
  #pending = "";
  #size = 0;
  element;

  /** @param {number} attempt */
  constructor(attempt) {
    this.element = h("div", { class: "attempt", "data-attempt": attempt }, this.heading, this.#cut, this.#text);
  }

  /** @param {string} text */
  add(text) {
    this.#pending += text;
    if (this.#pending.length > 2 * MOST_CHARACTERS) this.#shorten();
  }

  draw() {
    if (this.#pending.length > MOST_CHARACTERS) this.#shorten();
    if (!this.#pending) return;
    const last = this.#text.lastChild;
    if (last instanceof Text && last.length < NODE_CHARACTERS) last.appendData(this.#pending);
    else this.#text.append(this.#pending);
    this.#size += this.#pending.length;
    this.#pending = "";
    while (this.#size > MOST_CHARACTERS && this.#text.firstChild !== this.#text.lastChild) {
      const first = /** @type {Text} */ (this.#text.firstChild);
      this.#size -= first.length;
      first.remove();
      this.#tellCut();
    }
  }

  #shorten() {
    this.#pending = this.#pending.slice(-MOST_CHARACTERS);
    this.#tellCut();
  }

  #tellCut() {
    this.#cut.textContent = "The beginning is left out here.";
    show(this.#cut, true);
  }
}

export class Output {
  /** @type {Map<number, Section>} */
  #sections = new Map();
  #box = h("div", { class: "output", tabindex: 0, role: "log", "aria-live": "off", "aria-label": "Output", "data-test": "task-output" });
  #save;
  #draw = batched(() => this.#drawNow());
  /** @type {number | null} */
  #only = null;
  element;

  /** @param {string} id */
  constructor(id) {
    this.#save = button("Save all of it", () => this.#saveAll(id), { class: "small" });
    this.element = h("section", { hidden: true }, h("div", { class: "title" }, h("h2", null, "Output"), this.#save), this.#box);
  }

  /** @param {Chunk} chunk */
  add(chunk) {
    this.#section(chunk.attempt).add(chunk.text);
    this.#draw();
  }

  /** Something was lost on the way. @param {{attempt: number, from: number, to: number}} gap */
  gap({ attempt, from, to }) {
    this.#section(attempt).add(`\n[${to - from + 1} messages were lost]\n`);
    this.#draw();
  }

  /** What became of the attempts. With one alone nobody needs a heading. @param {Attempt[]} attempts */
  mark(attempts) {
    for (const [number, { heading }] of this.#sections) {
      const attempt = attempts.find((each) => each.attempt === number);
      const why = attempt?.error_type ?? words(attempt?.reason ?? "");
      const several = attempts.length > 1;
      heading.textContent = several ? `Attempt ${number}${attempt ? `: ${attempt.outcome}` : ""}${why && `, ${why}`}` : "";
      show(heading, several);
    }
  }

  /** Show one attempt, or (null) all. @param {number | null} attempt */
  choose(attempt) {
    this.#only = attempt;
    this.#draw();
  }

  #drawNow() {
    // Whoever has scrolled back to read is left there.
    const follows = this.#box.scrollHeight - this.#box.scrollTop - this.#box.clientHeight < 24;
    let shown = 0;
    for (const [number, section] of this.#sections) {
      section.draw();
      const wanted = this.#only === null || this.#only === number;
      show(section.element, wanted);
      shown += Number(wanted);
    }
    show(this.element, shown > 0);
    if (follows) this.#box.scrollTop = this.#box.scrollHeight;
  }

  /** @param {number} attempt */
  #section(attempt) {
    let section = this.#sections.get(attempt);
    if (!section) {
      section = new Section(attempt);
      this.#sections.set(attempt, section);
      this.#box.append(section.element);
    }
    return section;
  }

  /** The whole output of the attempt that is shown (the last one), as a file. @param {string} id */
  async #saveAll(id) {
    const attempt = this.#only ?? Math.max(...this.#sections.keys());
    this.#save.disabled = true;
    try {
      const url = URL.createObjectURL(new Blob([await api.output(id, attempt)], { type: "text/plain" }));
      h("a", { href: url, download: `${id}.${attempt}.txt` }).click();
      setTimeout(() => URL.revokeObjectURL(url), 60_000);
    } finally {
      this.#save.disabled = false;
    }
  }
}

export class LogLines {
  #list = h("ol", { class: "log", tabindex: 0, "aria-label": "Log", "data-test": "task-log" });
  #cut = h("p", { class: "cut", hidden: true }, `Only the last ${MOST_LINES} lines are shown here.`);
  /** @type {HTMLElement[]} */
  #pending = [];
  #draw = batched(() => this.#drawNow());
  /** @type {{attempt: number, name: string, body: HTMLElement} | null} */
  #growing = null;
  #attempt = 0;
  element = h("section", { hidden: true }, h("h2", null, "Log"), this.#cut, this.#list);

  /** @param {LogLine} line */
  add({ attempt, at, level, message, fields }) {
    this.#growing = null;
    this.#put(attempt, at, level, message, fields);
  }

  /** What an app did, such as the call of a tool. A thought that comes in pieces is one line. @param {Action} action */
  act({ type: _type, attempt, n: _n, at, name, ...fields }) {
    const text = typeof fields.text === "string" ? fields.text : null;
    if (text !== null && this.#growing?.name === name && this.#growing.attempt === attempt) {
      this.#growing.body.append(text);
      return;
    }
    const body = this.#put(attempt, at, "action", text === null ? name : `${name}: ${text}`, text === null ? fields : {});
    this.#growing = text === null ? null : { attempt, name, body };
  }

  /** Show one attempt, or (null) all. @param {number | null} attempt */
  choose(attempt) {
    if (attempt === null) delete this.#list.dataset.only;
    else this.#list.dataset.only = String(attempt);
    for (const line of /** @type {NodeListOf<HTMLElement>} */ (this.#list.querySelectorAll("li"))) {
      show(line, this.#wants(line) && (attempt === null || !line.classList.contains("next")));
    }
  }

  /** @param {HTMLElement} line */
  #wants(line) {
    return this.#list.dataset.only === undefined || this.#list.dataset.only === line.dataset.attempt;
  }

  /** @param {number} attempt @param {string} at @param {string} level @param {string} message @param {Record<string, unknown>} fields */
  #put(attempt, at, level, message, fields) {
    if (this.#attempt && attempt !== this.#attempt) {
      const hidden = this.#list.dataset.only !== undefined;
      this.#pending.push(h("li", { class: "next", "data-attempt": attempt, hidden }, `Attempt ${attempt}`));
    }
    this.#attempt = attempt;
    const body = h("span", { class: "message" }, message);
    const more = Object.entries(fields).map(([name, value]) => {
      const text = typeof value === "string" ? value : JSON.stringify(value);
      return h("span", { class: "field" }, ` ${name}=${text}`);
    });
    const line = h("li", { "data-level": level, "data-attempt": attempt },
      h("time", { datetime: at, title: absolute(at) }, clock(at)), h("span", { class: "level" }, level), h("span", { class: "body" }, body, more));
    show(line, this.#wants(line));
    this.#pending.push(line);
    if (this.#pending.length > 2 * MOST_LINES) this.#pending.splice(0, MOST_LINES);
    this.#draw();
    return body;
  }

  #drawNow() {
    const follows = this.#list.scrollHeight - this.#list.scrollTop - this.#list.clientHeight < 24;
    show(this.#cut, !this.#cut.hidden || this.#list.childElementCount + this.#pending.length > MOST_LINES);
    if (this.#pending.length >= MOST_LINES) fill(this.#list, this.#pending.slice(-MOST_LINES));
    else this.#list.append(...this.#pending);
    this.#pending = [];
    while (this.#list.childElementCount > MOST_LINES) this.#list.firstElementChild?.remove();
    show(this.element, this.#list.childElementCount > 0);
    if (follows) this.#list.scrollTop = this.#list.scrollHeight;
  }
}
