// @ts-check
/**
 * The rows of the task list: which tasks there are, in which order, and one element for each. It draws and keeps order;
 * what is to be in it is decided by `tasks`.
 */

import { fill, h } from "../dom.js";
import { durationElement, short, timeElement } from "../format.js";
import { TERMINAL, badge } from "../status.js";

/** @import {TaskSummary} from "../shapes.js" */

const HEADINGS = ["Status", "App", "Task", "Attempt", "Submitted", "Took"];

export class Rows {
  /** @type {Map<string, {task: TaskSummary, row: HTMLElement, drawn: TaskSummary | null}>} */
  #rows = new Map();
  #body = h("tbody", { role: "rowgroup" });
  #withOwner;
  element;

  /** @param {boolean} withOwner whether to tell whose each task is */
  constructor(withOwner) {
    this.#withOwner = withOwner;
    const head = h("tr", { role: "row" }, HEADINGS.map((heading) => h("th", { role: "columnheader", scope: "col" }, heading)));
    // The roles say again what the elements mean: a browser forgets it where CSS lays a table out as a grid.
    this.element = h("table", { class: "tasks", role: "table", "aria-label": "Tasks" }, h("thead", { role: "rowgroup" }, head), this.#body);
  }

  get size() {
    return this.#rows.size;
  }

  /** @param {string} id */
  get(id) {
    return this.#rows.get(id)?.task;
  }

  /** Take a task in, unless a newer version is there. @param {TaskSummary} task */
  put(task) {
    const known = this.#rows.get(task.id);
    if (!known) this.#rows.set(task.id, { task, row: h("tr", { role: "row", "data-test": "task-row", "data-id": task.id }), drawn: null });
    else if (task.version > known.task.version) known.task = task;
  }

  /** @param {string} id */
  drop(id) {
    this.#rows.get(id)?.row.remove();
    this.#rows.delete(id);
  }

  clear() {
    this.#rows.clear();
    fill(this.#body);
  }

  /** Draw what has changed, newest first. */
  draw() {
    const sorted = [...this.#rows.values()].sort((a, b) => compare(b.task, a.task));
    let next = this.#body.firstElementChild;
    for (const each of sorted) {
      if (each.drawn !== each.task) this.#fill(each.row, each.task);
      each.drawn = each.task;
      if (each.row === next) next = next.nextElementSibling;
      else this.#body.insertBefore(each.row, next);
    }
  }

  /** @param {HTMLElement} row @param {TaskSummary} task */
  #fill(row, task) {
    const owner = this.#withOwner ? h("span", { class: "owner" }, task.owner) : null;
    const waits = task.status === "scheduled" && task.run_at ? h("span", { class: "due" }, "due ", timeElement(task.run_at)) : null;
    const took = task.started_at && (task.status === "running" || TERMINAL.has(task.status)) ? durationElement(task.started_at, task.finished_at) : waits;
    fill(row,
      cell("status", badge(task.status, task.error_type ?? task.reason)),
      cell("app", h("a", { href: `/ui/tasks/${task.id}` }, task.app), owner),
      cell("id", h("code", { title: task.id }, short(task.id))),
      cell("attempt", task.attempt ? h("span", null, h("span", { class: "label" }, "attempt "), task.attempt) : ""),
      cell("submitted", timeElement(task.submitted_at)),
      cell("took", took));
  }
}

/** @param {string} name @param {...import("../dom.js").Child} children */
function cell(name, ...children) {
  return h("td", { class: name, role: "cell" }, children);
}

/** The order of the API's lists. @param {TaskSummary} a @param {TaskSummary} b */
function compare(a, b) {
  if (a.submitted_at !== b.submitted_at) {
    // Compared as text where only the digits below a millisecond differ, which a Date does not have.
    return Date.parse(a.submitted_at) - Date.parse(b.submitted_at) || (a.submitted_at < b.submitted_at ? -1 : 1);
  }
  return a.id < b.id ? -1 : a.id > b.id ? 1 : 0;
}
