// @ts-check
/**
 * The list of tasks, live. The feed is opened first, and the list is read up to where the feed begins, so that nothing
 * falls in between: what both tell is told apart by its version. The filters are in the address and nowhere else.
 */

import { api, parameters } from "../api.js";
import { batched, button, fill, h, problemBox, show } from "../dom.js";
import { STATUSES, TERMINAL, badge, connectionNote } from "../status.js";
import { EventStream } from "../stream.js";
import { Rows } from "./rows.js";

/** @import {FeedFact, Session, Status, TaskQuery, TaskSummary} from "../shapes.js" */

// Beyond these the list is read anew, rather than kept up to date one by one.
const MOST_CAME = 450;
const MOST_UNKNOWN = 20;
const MOST_GONE = 1000;
const BEHIND_MS = 500;

/** @param {import("../router.js").Router} router @param {Session} session @param {URLSearchParams} query
 * @returns {import("../router.js").View} */
export function tasksView(router, session, query) {
  const list = new TaskListView(router, session);
  list.show(query);
  return { title: "Tasks", element: list.element, update: (next) => list.show(next), close: () => list.close() };
}

class TaskListView {
  #router;
  #isAdmin;
  #rows;
  #note = connectionNote();
  #problem = h("div");
  #empty = h("div", { class: "empty", "data-test": "empty" });
  #older;
  #statuses = h("fieldset", { class: "chips", "data-test": "status-filter" }, h("legend", { class: "hidden" }, "Status"));
  #app = h("select", { "data-test": "app-filter", onchange: () => this.#filter() });
  #owner = h("input", { type: "search", placeholder: "everybody", "data-test": "owner-filter", onchange: () => this.#filter() });
  element;

  /** @type {TaskQuery} */
  #query = {};
  /** Counts what the list is asked for, so that an answer that comes late is known to be old. */
  #round = 0;
  #loaded = false;
  #cursor = /** @type {string | null} */ (null);
  /** @type {EventStream | null} */
  #stream = null;
  /** @type {Set<string>} */
  #unknown = new Set();
  /** @type {FeedFact[]} */
  #early = [];
  /** Which tasks fit no longer, and since which version: a list that lags behind must not bring them back.
   * @type {Map<string, number>} */
  #gone = new Map();
  /** How many tasks the feed has brought since the list was read. */
  #came = 0;
  #fetching = false;
  /** Where the feed began: the list has to show what was written before that. */
  #position = "";
  #nextLook = 0;
  #draw;

  /** @param {import("../router.js").Router} router @param {Session} session */
  constructor(router, session) {
    this.#router = router;
    this.#isAdmin = session.scopes.includes("admin");
    this.#rows = new Rows(this.#isAdmin);
    this.#draw = batched(() => this.#drawNow());
    this.#older = button("Load older", () => this.#loadOlder(), { class: "older", "data-test": "older" });
    for (const status of STATUSES) {
      const box = h("input", { type: "checkbox", value: status, name: "status", onchange: () => this.#filter() });
      this.#statuses.append(h("label", { class: "chip" }, box, badge(status)));
    }
    this.element = h("section", null,
      h("div", { class: "title" }, h("h1", { tabindex: -1 }, "Tasks"), this.#note.element, h("a", { class: "button primary", href: "/ui/new" }, "New task")),
      h("form", { class: "filters", "aria-label": "Filters", onsubmit: (/** @type {Event} */ event) => event.preventDefault() },
        this.#statuses,
        h("label", { class: "field" }, h("span", null, "App"), this.#app),
        this.#isAdmin && h("label", { class: "field" }, h("span", null, "Owner"), this.#owner)),
      this.#problem, this.#rows.element, this.#empty, h("div", { class: "more" }, this.#older));
    show(this.#older, false);
    show(this.#empty, false);
    void this.#loadApps();
  }

  /** Show what a query asks for. @param {URLSearchParams} query */
  show(query) {
    const statuses = (query.get("status") ?? "").split(",").filter((each) => STATUSES.includes(/** @type {Status} */ (each)));
    this.#query = { status: statuses, app: query.get("app") ?? "", owner: this.#isAdmin ? (query.get("owner") ?? "") : "" };
    for (const box of this.#statuses.querySelectorAll("input")) box.checked = statuses.includes(box.value);
    this.#chooseApp();
    this.#owner.value = this.#query.owner ?? "";
    this.#cursor = null;
    this.#loaded = false;
    this.#early = [];
    this.#unknown.clear();
    this.#gone.clear();
    this.#came = 0;
    this.#position = "";
    this.#round += 1;
    this.#follow();
  }

  close() {
    this.#round += 1;
    clearTimeout(this.#nextLook);
    this.#stream?.close();
  }

  /** The filters as they stand, into the address: that shows them. */
  #filter() {
    const status = [...this.#statuses.querySelectorAll("input")].filter((box) => box.checked).map((box) => box.value);
    this.#router.go(`/ui${parameters({ status, app: this.#app.value, owner: this.#owner.value.trim() })}`);
  }

  #follow() {
    this.#stream?.close();
    const round = this.#round;
    const path = `/v1/events${parameters(/** @type {any} */ ({ types: "task", app: this.#query.app, owner: this.#query.owner }))}`;
    let begun = false;
    this.#stream = new EventStream(path, (name, data) => {
      if (name === "begin" && !begun) {
        begun = true;
        this.#position = data.position;
        void this.#load(round);
      } else if (name.startsWith("task.")) {
        if (this.#loaded) this.#apply(data);
        else this.#early.push(data);
      }
    }, (state, error) => {
      this.#note.tell(state);
      if (state !== "refused") return;
      // A feed that refuses leaves a list that stands still, which is better than none.
      if (error && error.status === 401) api.onUnauthorized();
      else void this.#load(round);
    });
    this.#stream.open();
  }

  /** @param {number} round @param {boolean} [again] whether a list is shown already */
  async #load(round, again = false) {
    let page;
    try {
      page = await api.tasks(this.#query, this.#position);
    } catch (error) {
      if (round !== this.#round) return;
      if (!this.#loaded) this.#rows.clear();
      fill(this.#problem, problemBox(error), button("Try again", () => this.#load(round, this.#loaded)));
      return;
    }
    if (round !== this.#round) return;
    fill(this.#problem);
    if (!again) this.#rows.clear(); // not sooner, so that nothing flickers
    for (const task of page.items) this.#take(task);
    if (!again) {
      this.#cursor = page.next_cursor;
      this.#loaded = true;
      for (const fact of this.#early.splice(0)) this.#apply(fact);
    }
    clearTimeout(this.#nextLook);
    if (page.behind) this.#nextLook = setTimeout(() => this.#load(round, true), BEHIND_MS);
    this.#draw();
  }

  async #loadOlder() {
    const round = this.#round;
    if (!this.#cursor) return;
    this.#older.disabled = true;
    try {
      const page = await api.tasks({ ...this.#query, cursor: this.#cursor });
      if (round !== this.#round) return;
      for (const task of page.items) this.#take(task);
      this.#cursor = page.next_cursor;
    } catch (error) {
      fill(this.#problem, problemBox(error));
    } finally {
      this.#older.disabled = false;
    }
    this.#draw();
  }

  /** What the feed tells of a task. @param {FeedFact} fact */
  #apply(fact) {
    const known = this.#rows.get(fact.subject);
    const first = fact.version === 1 ? submitted(fact) : null;
    if (first) {
      this.#take(first);
      this.#came += 1;
    }
    else if (known && fact.version <= known.version) return;
    else if (known && fact.version === known.version + 1) this.#take(after(known, fact));
    else if (!known && !this.#fits(/** @type {Status} */ (fact.status))) return;
    else this.#unknown.add(fact.subject);
    if (this.#unknown.size) void this.#fetchUnknown();
    this.#draw();
  }

  /** Read, one after the other, tasks of which the feed told only the latest. */
  async #fetchUnknown() {
    if (this.#fetching) return;
    this.#fetching = true;
    try {
      for (const id of this.#unknown) {
        const round = this.#round;
        if (this.#unknown.size > MOST_UNKNOWN) {
          this.#unknown.clear();
          await this.#load(round, true);
          return;
        }
        this.#unknown.delete(id);
        const task = await api.task(id);
        if (round === this.#round) this.#take(task);
        this.#draw();
      }
    } catch (error) {
      fill(this.#problem, problemBox(error));
    } finally {
      this.#fetching = false;
    }
  }

  /** Show a task where it fits the filters, and no longer where it does not. @param {TaskSummary} task */
  #take(task) {
    const known = this.#rows.get(task.id);
    if (known ? known.version > task.version : (this.#gone.get(task.id) ?? 0) >= task.version) return;
    if (this.#fits(task.status)) this.#rows.put(task);
    else {
      this.#rows.drop(task.id);
      this.#gone.set(task.id, task.version);
      if (this.#gone.size > MOST_GONE) this.#gone.delete(/** @type {string} */ (this.#gone.keys().next().value));
    }
  }

  /** @param {Status} status */
  #fits(status) {
    return !this.#query.status?.length || this.#query.status.includes(status);
  }

  #drawNow() {
    // Whoever reads further down is not thrown back to the beginning.
    if (this.#came > MOST_CAME && scrollY < innerHeight) {
      this.show(new URLSearchParams(location.search));
      return;
    }
    this.#rows.draw();
    const filtered = this.#query.status?.length || this.#query.app || this.#query.owner;
    show(this.#rows.element, this.#rows.size > 0);
    show(this.#older, this.#cursor !== null);
    show(this.#empty, this.#loaded && this.#rows.size === 0);
    if (this.#empty.hidden) return;
    fill(this.#empty, ...(filtered
      ? [h("p", null, "No task fits these filters."), h("p", null, h("a", { href: "/ui" }, "Show all tasks"))]
      : [h("p", null, "There are no tasks yet."),
        h("p", null, h("a", { href: "/ui/new" }, "Submit the first one"), ", or say ", h("code", null, "daybook run APP"), " in a terminal.")]));
  }

  async #loadApps() {
    try {
      const apps = await api.apps();
      fill(this.#app, h("option", { value: "" }, "all apps"), apps.map((each) => h("option", { value: each.app }, each.app)));
    } catch (error) {
      fill(this.#problem, problemBox(error));
    }
    this.#chooseApp();
  }

  /** Choose the app of the query, also one that is in no catalogue. */
  #chooseApp() {
    const wanted = this.#query.app ?? "";
    if (![...this.#app.options].some((each) => each.value === wanted)) this.#app.append(h("option", { value: wanted }, wanted || "all apps"));
    this.#app.value = wanted;
  }
}

/** A task as its first fact tells of it. @param {FeedFact} fact @returns {TaskSummary} */
function submitted({ subject, at, owner, app, status, data }) {
  return {
    id: subject, app, app_version: data.app_version ?? "", status: status ?? "queued", reason: data.reason ?? "", owner,
    queue: data.queue ?? "default", priority: data.priority ?? 3, labels: data.labels ?? {}, schedule: data.schedule || null,
    attempt: 0, run_at: data.run_at ?? null, submitted_at: at, started_at: null, finished_at: null, error_type: null, version: 1,
  };
}

/** A task after one more fact. @param {TaskSummary} task @param {FeedFact} fact @returns {TaskSummary} */
function after(task, { kind, version, at, status = task.status, data }) {
  const runs = kind === "task.started.v1";
  const waits = status === "queued" || status === "scheduled";
  return {
    ...task, version, status, reason: data.reason ?? "", attempt: data.attempt || task.attempt,
    run_at: data.run_at ?? data.retry_at ?? task.run_at,
    started_at: runs ? at : waits ? null : task.started_at,
    finished_at: TERMINAL.has(status) ? at : null,
    error_type: status === "success" || status === "cancelled" ? null : (data.error_type ?? (runs ? null : task.error_type)),
  };
}
