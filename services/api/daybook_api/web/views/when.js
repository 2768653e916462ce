// @ts-check
/**
 * When a task is to run: now, at a time, or again and again. A cron expression is shown as what it means while it is
 * typed; nothing is saved by that.
 */

import { ApiError, api } from "../api.js";
import { fill, h, show } from "../dom.js";
import { HERE, absolute } from "../format.js";

/** @import {Preview, Spot} from "../shapes.js" */

const TYPING_MS = 250;
const SLOTS = 5;
const PLAIN = { autocomplete: "off", autocapitalize: "off", spellcheck: "false" };

export class When {
  #kind = "now";
  #at = h("input", { type: "datetime-local", step: 1, id: "when-at-time", "aria-describedby": "run_at-error", "data-test": "at" });
  #cron = h("input", {
    type: "text", id: "when-cron-text", placeholder: "30 9 * * mon-fri", maxlength: 256, ...PLAIN,
    "aria-describedby": "cron-error", "data-test": "cron", oninput: () => this.#soon(),
  });
  #zone = h("input", {
    type: "text", id: "when-zone", list: "zones", value: HERE, ...PLAIN,
    "aria-describedby": "timezone-error", "data-test": "timezone", oninput: () => this.#soon(),
  });
  #preview = h("div", { class: "preview", role: "status", "data-test": "preview" });
  #notes = /** @type {Record<string, HTMLElement>} */ ({ "/run_at": errorNote("run_at"), "/cron": errorNote("cron"), "/timezone": errorNote("timezone") });
  #parts = /** @type {Record<string, HTMLElement>} */ ({});
  #timer = 0;
  #asking = new AbortController();
  element;

  /** @param {(kind: string) => void} onChange */
  constructor(onChange) {
    const zones = h("datalist", { id: "zones" }, Intl.supportedValuesOf("timeZone").map((zone) => h("option", { value: zone })));
    this.#parts = {
      at: h("div", { class: "form-field", hidden: true }, h("label", { for: this.#at.id }, `Time, as it is in ${HERE}`), this.#at, this.#notes["/run_at"]),
      cron: h("div", { hidden: true },
        h("div", { class: "pair" },
          h("div", { class: "form-field" }, h("label", { for: this.#cron.id }, "Cron expression"), this.#cron, this.#notes["/cron"]),
          h("div", { class: "form-field" }, h("label", { for: this.#zone.id }, "Time zone"), this.#zone, this.#notes["/timezone"])),
        zones, this.#preview),
    };
    /** @param {string} kind @param {string} words */
    const option = (kind, words) => {
      const choose = () => {
        this.#kind = kind;
        for (const [name, part] of Object.entries(this.#parts)) show(part, name === kind);
        onChange(kind);
      };
      const radio = h("input", { type: "radio", name: "when", value: kind, checked: kind === "now", "data-test": `when-${kind}`, onchange: choose });
      return h("label", { class: "chip" }, radio, h("span", null, words));
    };
    this.element = h("fieldset", { class: "when" }, h("legend", null, "When"),
      h("div", { class: "chips" }, option("now", "Now"), option("at", "At a time"), option("cron", "Again and again")), this.#parts.at, this.#parts.cron);
  }

  /** What it says, as members of a submission. @returns {{value: {run_at?: string, cron?: string, timezone?: string}, errors: Spot[]}} */
  read() {
    for (const note of Object.values(this.#notes)) show(note, false);
    if (this.#kind === "at") {
      if (!this.#at.value) return { value: {}, errors: [{ pointer: "/run_at", message: "Say at which time." }] };
      return { value: { run_at: new Date(this.#at.value).toISOString() }, errors: [] };
    }
    if (this.#kind === "cron") {
      const cron = this.#cron.value.trim();
      const errors = cron ? [] : [{ pointer: "/cron", message: "Say when, such as 30 9 * * mon-fri." }];
      return { value: { cron, timezone: this.#zone.value.trim() || HERE }, errors };
    }
    return { value: {}, errors: [] };
  }

  /** Show what is wrong where it is wrong; what has no place here comes back. @param {Spot[]} errors @returns {Spot[]} */
  mark(errors) {
    return errors.filter(({ pointer, message }) => {
      const note = this.#notes[pointer];
      if (!note) return true;
      note.textContent = message;
      show(note, true);
      return false;
    });
  }

  close() {
    clearTimeout(this.#timer);
    this.#asking.abort();
  }

  /** Ask for the preview once nothing has been typed for a moment. */
  #soon() {
    this.close();
    this.#timer = setTimeout(() => this.#ask(), TYPING_MS);
  }

  async #ask() {
    const { value, errors } = this.read();
    if (errors.length || !value.cron) {
      fill(this.#preview);
      return;
    }
    const asking = (this.#asking = new AbortController());
    try {
      const preview = await api.preview({ cron: value.cron, timezone: value.timezone, count: SLOTS }, asking.signal);
      if (!asking.signal.aborted) fill(this.#preview, ...shown(preview));
    } catch (error) {
      if (asking.signal.aborted) return;
      fill(this.#preview);
      if (!(error instanceof ApiError)) throw error;
      this.mark(error.errors.length ? error.errors : [{ pointer: "/cron", message: error.message }]);
    }
  }
}

/** @param {Preview} preview */
function shown({ words, timezone, next, notes }) {
  /** @param {string} at */
  const here = (at) => timezone !== HERE && h("span", { class: "quiet" }, ` · ${absolute(at)} here`);
  return [
    h("p", { class: "words" }, words),
    next.length
      ? h("ol", null, next.map(({ at, local }) => h("li", null, h("time", { datetime: at }, wall(local)), here(at))))
      : h("p", null, "It never comes."),
    notes.map((note) => h("p", { class: "hint" }, note.text)),
  ];
}

/** A local time as the clocks there show it, with its offset: `2026-11-24T09:30:00+01:00`. @param {string} local */
export function wall(local) {
  const [, day = "", time = "", offset = ""] = /^([^T]+)T(\d\d:\d\d(?::(?!00)\d\d)?)(?::00)?(?:\.\d+)?(.*)$/.exec(local) ?? [];
  const weekday = new Intl.DateTimeFormat(undefined, { weekday: "short", timeZone: "UTC" }).format(new Date(`${day}T00:00:00Z`));
  return `${weekday} ${day} ${time} ${offset === "Z" ? "+00:00" : offset}`;
}

/** @param {string} name */
function errorNote(name) {
  return h("p", { class: "field-error", id: `${name}-error`, role: "alert", hidden: true });
}
