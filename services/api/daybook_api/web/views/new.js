// @ts-check
/**
 * A new task: which app, with what, and when. What was filled in has one key for as long as it stays as it is, so that
 * a second click, or a try after an answer that got lost, is the same task.
 */

import { ApiError, api, freshKey } from "../api.js";
import { fill, h, problemBox, show } from "../dom.js";
import { absolute, short } from "../format.js";
import { SchemaForm } from "../schema-form.js";
import { When } from "./when.js";

/** @import {App, Schedule, Spot, Submission, Task} from "../shapes.js" */

/** @param {import("../router.js").Router} router @param {URLSearchParams} query
 * @returns {import("../router.js").View} */
export function newView(router, query) {
  const page = new NewTask(router, query);
  return { title: "New task", element: page.element, update: (next) => page.choose(next), close: () => page.close() };
}

class NewTask {
  #router;
  /** @type {App[]} */
  #apps = [];
  /** @type {Task | null} the task that is to be run again */
  #former = null;
  /** @type {SchemaForm | null} */
  #form = null;
  #chosen = "";
  #sent = { body: "", key: "" };

  #select = h("select", { id: "app", required: true, "data-test": "submit-app", onchange: () => this.#choose() });
  #doc = h("p", { class: "doc" });
  #input = h("div");
  #when = new When((kind) => (this.#button.textContent = kind === "cron" ? "Make a schedule" : kind === "at" ? "Schedule it" : "Run it"));
  #button = h("button", { type: "submit", class: "primary", "data-test": "submit-button" }, "Run it");
  #problem = h("div");
  #body;
  element;

  /** @param {import("../router.js").Router} router @param {URLSearchParams} query */
  constructor(router, query) {
    this.#router = router;
    const choice = h("div", { class: "form-field" }, h("label", { for: "app" }, "App"), this.#select, this.#doc);
    this.#body = h("form", { class: "submit", novalidate: true, "data-test": "submit-form", hidden: true, onsubmit: (/** @type {Event} */ event) => {
      event.preventDefault();
      void this.#submit();
    } }, choice, h("fieldset", null, h("legend", null, "Input"), this.#input), this.#when.element, this.#problem, h("div", { class: "buttons" }, this.#button));
    this.element = h("section", null, h("h1", { tabindex: -1 }, query.has("rerun") ? "Edit and rerun" : "New task"), this.#body);
    void this.#begin(query);
  }

  close() {
    this.#when.close();
  }

  /** Choose the app that the address names; false where that is another page. @param {URLSearchParams} query */
  choose(query) {
    if (!this.#body.isConnected || (this.#former?.id ?? null) !== query.get("rerun")) return false;
    const app = this.#former?.app ?? query.get("app") ?? this.#apps[0]?.app ?? "";
    if (app === this.#chosen || !this.#apps.some((each) => each.app === app)) return true;
    this.#select.value = app;
    this.#showApp(app);
    return true;
  }

  /** @param {URLSearchParams} query */
  async #begin(query) {
    const rerun = query.get("rerun");
    try {
      [this.#apps, this.#former] = await Promise.all([api.apps(), rerun ? api.task(rerun) : null]);
    } catch (error) {
      this.element.append(problemBox(error));
      return;
    }
    if (this.#apps.length === 0) {
      this.element.append(h("p", { class: "empty" }, "There is no app yet. ", h("code", null, "daybook up MODULE:APP"), " serves one."));
      return;
    }
    fill(this.#select, this.#apps.map(({ app }) => h("option", { value: app }, app)));
    this.#select.disabled = this.#former !== null;
    show(this.#body, true);
    if (this.#former && !this.#apps.some(({ app }) => app === this.#former?.app)) {
      this.element.replaceChildren(problemBox({ message: `There is no app ${this.#former.app} any more.` }));
      return;
    }
    this.choose(query);
    if (!this.#chosen) this.#showApp(this.#select.value);
  }

  #choose() {
    this.#router.go(`/ui/new?app=${encodeURIComponent(this.#select.value)}`, { replace: true });
  }

  /** @param {string} name */
  #showApp(name) {
    const app = this.#apps.find((each) => each.app === name);
    if (!app) return;
    this.#chosen = name;
    this.#doc.textContent = app.doc;
    this.#form = new SchemaForm(app.input_schema, this.#former?.input ?? undefined);
    const former = this.#former && h("a", { href: `/ui/tasks/${this.#former.id}` }, short(this.#former.id));
    fill(this.#input, former && h("p", { class: "quiet" }, "As in ", former, ", until you change it."), this.#form.element);
    fill(this.#problem);
  }

  async #submit() {
    if (!this.#form || this.#button.disabled) return;
    fill(this.#problem);
    const input = this.#form.read();
    const when = this.#when.read();
    const wrong = [...input.errors.map((each) => ({ ...each, pointer: `/input${each.pointer}` })), ...when.errors];
    if (wrong.length) {
      this.#complain(new ApiError(0, { detail: "Something is missing or wrong above.", errors: wrong }));
      return;
    }
    this.#button.disabled = true;
    try {
      await this.#send({ app: this.#chosen, input: input.value, ...when.value });
    } catch (error) {
      this.#complain(error);
    } finally {
      this.#button.disabled = false;
    }
  }

  /** @param {Submission} submission */
  async #send(submission) {
    const body = JSON.stringify(submission);
    if (body !== this.#sent.body) this.#sent = { body, key: freshKey() };
    if (this.#former && submission.cron === undefined) {
      const { app: _app, ...changes } = submission;
      this.#router.go(`/ui/tasks/${(await api.rerun(this.#former.id, changes, this.#sent.key)).id}`);
      return;
    }
    const made = await api.submit(submission, this.#sent.key);
    if ("task" in made) this.#router.go(`/ui/tasks/${made.task.id}`);
    else this.#madeSchedule(made.schedule);
  }

  /** @param {Schedule} schedule */
  #madeSchedule(schedule) {
    const heading = h("h1", { tabindex: -1 }, "The schedule is made");
    this.element.replaceChildren(heading,
      h("div", { "data-test": "schedule" },
        h("p", null, h("strong", null, schedule.app), `: ${schedule.words}.`),
        h("p", null, h("code", { "data-test": "schedule-id" }, schedule.id)),
        h("p", null, "Its next tasks:"),
        h("ol", null, schedule.next.map((at) => h("li", null, h("time", { datetime: at }, absolute(at))))),
        h("p", { class: "quiet" }, "In a terminal: ", h("code", null, `daybook schedule show ${schedule.id}`))),
      h("p", null, h("a", { href: "/ui" }, "All tasks")));
    heading.focus();
  }

  /** Show each error at its field, and what has none below the form. @param {unknown} error */
  #complain(error) {
    if (!(error instanceof ApiError)) throw error;
    /** @type {Spot[]} */
    const inInput = [];
    const others = [];
    for (const spot of error.errors) {
      if (spot.pointer === "/input" || spot.pointer.startsWith("/input/")) inInput.push({ ...spot, pointer: spot.pointer.slice("/input".length) });
      else others.push(spot);
    }
    const left = [...(this.#form?.mark(inInput) ?? []), ...this.#when.mark(others)];
    fill(this.#problem, problemBox(error), left.map(({ pointer, message }) => h("p", { class: "field-error" }, `${pointer} ${message}`)));
    /** @type {HTMLElement | null} */
    const first = this.#body.querySelector("[aria-invalid=true]");
    first?.focus();
  }
}
