// @ts-check
/**
 * What happened to a task: its facts, each with who and why, and its attempts.
 */

import { fill, h, show } from "../dom.js";
import { absolute, clock, durationElement, timeElement, words } from "../format.js";
import { badge, factName } from "../status.js";

/** @import {Attempt, Fact, Status} from "../shapes.js" */

export class Facts {
  /** @type {Map<number, Fact>} */
  #facts = new Map();
  #list = h("ol", { class: "facts", "data-test": "task-events" });
  element = h("section", { hidden: true }, h("h2", null, "What happened"), this.#list);

  /** @param {Fact[]} facts */
  add(...facts) {
    for (const fact of facts) this.#facts.set(fact.version, fact);
    const sorted = [...this.#facts.values()].sort((a, b) => a.version - b.version);
    fill(this.#list, sorted.map(factItem));
    show(this.element, sorted.length > 0);
  }
}

/** @param {Fact} fact */
function factItem({ version, kind, at, data }) {
  const about = [
    data.attempt && kind !== "task.cancelled.v1" ? `attempt ${data.attempt}` : "",
    data.error_type ?? "",
    data.run_at ? `for ${absolute(data.run_at)}` : "",
    data.retry_at ? `again at ${clock(data.retry_at)}` : "",
    data.requested_by ? `wanted by ${data.requested_by}` : "",
  ].filter(Boolean).join(", ");
  return h("li", { "data-version": version, "data-kind": kind },
    h("time", { datetime: at, title: absolute(at) }, clock(at)),
    h("span", { class: "name" }, factName(kind)),
    h("span", { class: "about" }, [about, data.reason ? words(data.reason) : ""].filter(Boolean).join(" · ")),
    h("span", { class: "actor" }, data.actor ?? ""));
}

export class Attempts {
  #rows = h("tbody");
  #all = h("p", { hidden: true });
  element = h("section", { hidden: true }, h("h2", null, "Attempts"), this.#all,
    h("div", { class: "wide" }, h("table", { class: "attempts" },
      h("thead", null, h("tr", null, ["Attempt", "Outcome", "Began", "Took", "Runner"].map((each) => h("th", { scope: "col" }, each)))), this.#rows)));

  /** @param {string} path of the task's page @param {Attempt[]} attempts @param {number | null} chosen */
  show(path, attempts, chosen) {
    show(this.element, attempts.length > 0);
    show(this.#all, chosen !== null);
    fill(this.#all, `Output and log are those of attempt ${chosen}. `, h("a", { href: path }, "Show all"));
    fill(this.#rows, attempts.map((each) => h("tr", null,
      h("td", null, h("a", { href: `${path}?attempt=${each.attempt}`, "aria-current": each.attempt === chosen ? "true" : null }, each.attempt)),
      h("td", null, outcome(each)),
      h("td", null, timeElement(each.started_at)),
      h("td", null, durationElement(each.started_at, each.ended_at)),
      h("td", null, h("code", null, each.runner)))));
  }
}

/** @param {Attempt} attempt */
function outcome({ outcome: name, reason, error_type }) {
  // An attempt that was lost or handed back is no status of a task, but it looks like what it is nearest to.
  const status = /** @type {Status} */ (name === "lost" ? "error" : name === "released" ? "queued" : name);
  const element = badge(status, error_type ?? reason);
  if (status !== name) element.querySelector(".word")?.replaceChildren(name);
  return element;
}
