// @ts-check
/**
 * How a task ended: its result, as far as a page can show it, or its error. And before that: how far it is.
 */

import { api } from "../api.js";
import { fill, h, problemBox, say, show } from "../dom.js";
import { bytes, duration, pretty } from "../format.js";

/** @import {Progress, Task} from "../shapes.js" */

const MOST_BYTES = 256 * 1024;

export class Outcome {
  element = h("section", { hidden: true });
  /** What is shown already, so that a result is fetched once. A status is known before what belongs to it. */
  #shown = "";

  /** @param {Task} task */
  show(task) {
    const what = `${task.version} ${task.status} ${task.result !== null} ${task.error !== null}`;
    if (what === this.#shown) return;
    this.#shown = what;
    const ended = task.status === "success" && task.result;
    show(this.element, Boolean(ended || task.error));
    if (ended) void this.#result(task, what);
    else if (task.error) {
      const { type, message, traceback } = task.error;
      const heading = task.status === "error" ? "Error" : "What went wrong last";
      fill(this.element, h("h2", null, heading),
        h("div", { class: "error-box", "data-test": "task-error" }, h("p", null, h("strong", null, type), message && `: ${message}`),
          traceback && h("details", { open: task.status === "error" }, h("summary", null, "Traceback"), h("pre", { tabindex: 0 }, traceback))));
    }
  }

  /** @param {Task} task @param {string} what */
  async #result(task, what) {
    const result = /** @type {import("../shapes.js").Result} */ (task.result);
    const type = (result.media_type.split(";")[0] ?? "").trim();
    const isJson = type === "application/json" || type.endsWith("+json");
    const suffix = isJson ? ".json" : type.startsWith("text/") ? ".txt" : "";
    const body = h("div", { "data-test": "task-result" });
    const link = h("a", { href: result.href, download: `${task.id}${suffix}`, class: "small button" }, "Download");
    const about = h("span", { class: "quiet" }, `${type}, ${bytes(result.size_bytes)}`);
    fill(this.element, h("div", { class: "title" }, h("h2", null, "Result"), about, link), body);
    if (result.size_bytes > MOST_BYTES || !(isJson || type.startsWith("text/"))) {
      fill(body, h("p", { class: "quiet" }, "It is not shown here."));
      return;
    }
    try {
      const text = await api.result(task.id);
      if (this.#shown === what) fill(body, h("pre", { tabindex: 0, class: isJson ? "json" : "text" }, isJson ? pretty(JSON.parse(text)) : text));
    } catch (error) {
      if (this.#shown === what) fill(body, problemBox(error));
    }
  }
}

export class ProgressBar {
  #bar = h("progress", { "aria-label": "Progress" });
  #words = h("span", { class: "words" });
  element = h("div", { class: "progress", hidden: true, "data-test": "progress" }, this.#bar, this.#words);
  /** @type {Progress | null} */
  #first = null;

  /** @param {Progress} progress */
  tell(progress) {
    // How fast it goes is measured within an attempt, from what the attempt said first: it need not begin with nothing done.
    if (this.#first?.attempt !== progress.attempt || progress.current < this.#first.current) this.#first = progress;
    const { current, total, percent, message } = progress;
    if (total) {
      this.#bar.max = total;
      this.#bar.value = Math.min(Math.max(current, 0), total);
    } else this.#bar.removeAttribute("value");
    const left = total ? timeLeft(this.#first, progress, total) : null;
    const amount = total ? `${Math.floor(percent ?? 0)}% · ${current} of ${total}` : `${current}`;
    say(this.#words, [amount, message, left === null ? "" : `about ${duration(left)} left`].filter(Boolean).join(" · "));
    show(this.element, true);
  }

  /** The attempt is over. */
  end() {
    if (!this.#bar.hasAttribute("value")) show(this.element, false);
    this.#words.textContent = this.#words.textContent?.replace(/ · about [^·]* left$/, "") ?? "";
    this.#first = null;
  }

  /** Another attempt begins. */
  reset() {
    show(this.element, false);
  }
}

/** @param {Progress} first @param {Progress} now @param {number} total */
function timeLeft(first, now, total) {
  const done = now.current - first.current;
  const ms = Date.parse(now.at) - Date.parse(first.at);
  return done > 0 && ms >= 1000 && now.current < total ? (ms / done) * (total - now.current) : null;
}
