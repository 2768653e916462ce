// @ts-check
/**
 * How a status looks: a word, a colour and a shape, so that none of them is needed to tell it.
 */

import { drawing, h } from "./dom.js";
import { words } from "./format.js";

/** @import {Status} from "./shapes.js" */
/** @import {State} from "./stream.js" */

/** @type {Status[]} */
export const STATUSES = ["scheduled", "queued", "running", "success", "error", "cancelled"];
export const TERMINAL = new Set(["success", "error", "cancelled"]);

/** @type {Record<Status, string>} */
const SHAPES = {
  scheduled: "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M8 5v3.2l2.2 1.6",
  queued: "M2.5 4h11M2.5 8h11M2.5 12h7",
  running: "M8 2a6 6 0 1 1-6 6",
  success: "M2.5 8.5l3.7 3.7 7.3-8",
  error: "M3.5 3.5l9 9M12.5 3.5l-9 9",
  cancelled: "M8 2a6 6 0 1 0 0 12A6 6 0 1 0 8 2M3.8 3.8l8.4 8.4",
};

/** @param {Status} status @param {string} [reason] */
export function badge(status, reason = "") {
  return h("span", { class: `status is-${status}`, "data-status": status },
    drawing(SHAPES[status], status), h("span", { class: "word" }, status), reason && h("span", { class: "reason" }, words(reason)));
}

/** What a kind of fact looks like in a sentence: `task.cancel_requested.v1` is "cancel requested". @param {string} kind */
export function factName(kind) {
  return words(kind.replace(/^task\./, "").replace(/\.v\d+$/, ""));
}

/** @type {Record<State, string>} */
const CONNECTIONS = { connecting: "connecting…", live: "live", reconnecting: "reconnecting…", paused: "paused", ended: "", refused: "not live" };

/** A quiet word on whether what is shown is kept up to date. */
export function connectionNote() {
  const element = h("span", { class: "connection", role: "status", "data-test": "connection", "data-state": "connecting" });
  return {
    element,
    /** @param {State} state */
    tell(state) {
      element.dataset.state = state;
      element.textContent = CONNECTIONS[state];
    },
  };
}
