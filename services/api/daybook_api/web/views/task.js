// @ts-check
/**
 * One task: what it is, how far it is, what it says, how it ended, and everything that happened to it. One stream tells
 * it all; what a fact leaves out (results, errors, attempts) is read again after it.
 */

import { api, freshKey } from "../api.js";
import { ask, button, copyButton, fill, h, problemBox, show } from "../dom.js";
import { durationElement, pretty, short, timeElement } from "../format.js";
import { TERMINAL, badge, connectionNote } from "../status.js";
import { EventStream } from "../stream.js";
import { Attempts, Facts } from "./history.js";
import { Outcome, ProgressBar } from "./outcome.js";
import { LogLines, Output } from "./said.js";

/** @import {Child} from "../dom.js" */
/** @import {Fact, Task} from "../shapes.js" */

/** @param {import("../router.js").Router} router @param {string} id @param {URLSearchParams} query
 * @returns {import("../router.js").View} */
export function taskView(router, id, query) {
  const page = new TaskPage(router, id);
  page.choose(query);
  return { title: `Task ${short(id)}`, element: page.element, update: (next) => page.choose(next), close: () => page.close() };
}

class TaskPage {
  #router;
  #id;
  #path;
  /** @type {Task | null} */
  #task = null;
  /** @type {number | null} */
  #attempt = null;
  /** The last thing that was said, so that nothing is shown twice whatever the server tells again. */
  #place = [0, 0];
  #closed = false;
  #reading = false;
  #readAgain = false;
  #stream;

  #heading = h("h1", { tabindex: -1 }, "Task");
  #status = h("span", { role: "status", "data-test": "task-status" });
  #note = connectionNote();
  #actions = h("div", { class: "buttons" });
  #problem = h("div");
  #about = h("dl", { class: "about" });
  #progress = new ProgressBar();
  #output;
  #outcome = new Outcome();
  #log = new LogLines();
  #input = h("pre", { tabindex: 0, "data-test": "task-input" });
  #inputSection = h("section", { hidden: true }, h("h2", null, "Input"), this.#input);
  #attempts = new Attempts();
  #facts = new Facts();
  element;

  /** @param {import("../router.js").Router} router @param {string} id */
  constructor(router, id) {
    this.#router = router;
    this.#id = id;
    this.#path = `/ui/tasks/${id}`;
    this.#output = new Output(id);
    this.element = h("article", { class: "task" },
      h("p", { class: "crumb" }, h("a", { href: "/ui" }, "All tasks")),
      h("div", { class: "title" }, this.#heading, this.#status, this.#note.element),
      this.#actions, this.#problem, this.#progress.element, this.#about, this.#output.element, this.#outcome.element,
      this.#log.element, this.#inputSection, this.#attempts.element, this.#facts.element);
    this.#stream = new EventStream(`/v1/tasks/${encodeURIComponent(id)}/events`, (name, data) => this.#hear(name, data), (state, error) => {
      this.#note.tell(state);
      if (error?.status === 401) api.onUnauthorized();
      else if (error) fill(this.#problem, problemBox(error));
    });
    this.#stream.open();
  }

  close() {
    this.#closed = true;
    this.#stream.close();
  }

  /** Show what one attempt said, or all of them. @param {URLSearchParams} query */
  choose(query) {
    const number = Number(query.get("attempt"));
    this.#attempt = Number.isInteger(number) && number > 0 ? number : null;
    this.#output.choose(this.#attempt);
    this.#log.choose(this.#attempt);
    this.#draw();
  }

  /** @param {string} name @param {any} data */
  #hear(name, data) {
    if (name === "snapshot") {
      this.#show(data.task);
      void this.#readFacts();
    } else if (name.startsWith("task.")) this.#hearFact(data);
    else if (name === "gap") this.#output.gap(data);
    else if (name === "end") this.#progress.end();
    else if (name !== "heartbeat" && this.#isNew(data)) {
      if (name === "chunk") this.#output.add(data);
      else if (name === "log") this.#log.add(data);
      else if (name === "action") this.#log.act(data);
      else if (name === "progress" && data.attempt >= (this.#task?.attempt ?? 0)) this.#progress.tell(data);
      if (this.#task) this.#output.mark(this.#task.attempts);
    }
  }

  /** @param {{attempt: number, n: number}} word */
  #isNew({ attempt, n }) {
    const [lastAttempt = 0, last = 0] = this.#place;
    if (attempt < lastAttempt || (attempt === lastAttempt && n <= last)) return false;
    this.#place = [attempt, n];
    return true;
  }

  /** @param {Fact} fact */
  #hearFact(fact) {
    this.#facts.add(fact);
    if (!this.#task || fact.version <= this.#task.version) return;
    const status = fact.status ?? this.#task.status;
    this.#show({ ...this.#task, version: fact.version, status, reason: fact.data.reason ?? "", attempt: fact.data.attempt || this.#task.attempt });
    void this.#read();
  }

  /** Read the task again. Facts that come meanwhile make it read once more, however many they are. */
  async #read() {
    if (this.#reading) {
      this.#readAgain = true;
      return;
    }
    this.#reading = true;
    try {
      do {
        this.#readAgain = false;
        this.#show(await api.task(this.#id));
      } while (this.#readAgain && !this.#closed);
      fill(this.#problem);
    } catch (error) {
      fill(this.#problem, problemBox(error), button("Try again", () => this.#read()));
    } finally {
      this.#reading = false;
    }
  }

  async #readFacts() {
    try {
      this.#facts.add(...(await api.facts(this.#id)));
    } catch (error) {
      fill(this.#problem, problemBox(error), button("Try again", () => this.#readFacts()));
    }
  }

  /** @param {Task} task */
  #show(task) {
    if (this.#closed || (this.#task && task.version < this.#task.version)) return;
    if (this.#task && task.attempt > this.#task.attempt) this.#progress.reset();
    if (task.status !== "running") this.#progress.end();
    this.#task = task;
    this.#draw();
  }

  #draw() {
    const task = this.#task;
    if (!task) return;
    const asked = task.status === "running" && task.cancellation;
    document.title = `${task.status}: ${task.app} · Daybook`;
    this.#heading.textContent = task.app;
    const known = `${task.status} ${task.reason} ${Boolean(asked)}`;
    if (this.#status.dataset.shown !== known) {
      this.#status.dataset.shown = known;
      fill(this.#status, badge(task.status, asked ? "cancel requested" : task.reason));
    }
    fill(this.#about, aboutOf(task));
    this.#drawActions(task);
    this.#outcome.show(task);
    this.#input.textContent = task.input === null ? "(erased)" : pretty(task.input);
    show(this.#inputSection, true);
    this.#attempts.show(this.#path, task.attempts, this.#attempt);
    this.#output.mark(task.attempts);
  }

  /** @param {Task} task */
  #drawActions(task) {
    // Buttons are made anew only when they change: one that has the focus keeps it.
    const known = `${task.status} ${Boolean(task.cancellation)}`;
    if (this.#actions.dataset.shown === known) return;
    this.#actions.dataset.shown = known;
    const ended = TERMINAL.has(task.status);
    const asked = Boolean(task.cancellation);
    const cancel = !ended && button(asked ? "Cancelling…" : "Cancel", () => this.#cancel(), { "data-test": "cancel", disabled: asked });
    const retry = ended && task.status !== "success"
      && button("Retry", () => this.#retry(), { "data-test": "retry", title: "The same task once more, with its attempts so far" });
    const rerun = button("Rerun", () => this.#rerun(), { "data-test": "rerun", title: "A new task with the same input" });
    const edit = h("a", { class: "button", href: `/ui/new?rerun=${task.id}`, "data-test": "rerun-edit" }, "Edit and rerun");
    fill(this.#actions, cancel, retry, rerun, edit);
  }

  async #cancel() {
    const question = "Stop this task? It is running, and what it has done so far is not undone.";
    if (this.#task?.status === "running" && !(await ask(question, "Stop it", "Let it run"))) return;
    await this.#act(async () => this.#show(await api.cancel(this.#id, "")));
  }

  async #retry() {
    await this.#act(async () => {
      this.#show(await api.retry(this.#id));
      this.#stream.open(); // it had told the end; it goes on from there
    });
  }

  async #rerun() {
    await this.#act(async () => {
      const task = await api.rerun(this.#id, {}, freshKey());
      this.#router.go(`/ui/tasks/${task.id}`);
    });
  }

  /** Do what a button says, once, and tell what is in the way. @param {() => Promise<void>} act */
  async #act(act) {
    fill(this.#problem);
    this.#actions.toggleAttribute("inert", true);
    try {
      await act();
    } catch (error) {
      fill(this.#problem, problemBox(error));
    } finally {
      this.#actions.toggleAttribute("inert", false);
    }
  }
}

/** @param {Task} task */
function aboutOf(task) {
  /** @type {[string, Child | Child[]][]} */
  const lines = [
    ["Task", [h("code", null, task.id), copyButton(task.id, "the task's id")]],
    ["Submitted", [timeElement(task.submitted_at), ` by ${task.owner}`]],
    ["Due", task.status === "scheduled" && task.run_at && timeElement(task.run_at)],
    [task.finished_at ? "Took" : "Running for", task.started_at && durationElement(task.started_at, task.finished_at)],
    ["Attempt", task.attempt > 1 && task.attempt],
    ["Queue", task.queue !== "default" && task.queue],
    ["Schedule", task.schedule && [h("code", null, task.schedule), task.slot && [" for ", timeElement(task.slot)]].flat()],
    ["Rerun of", task.rerun_of && h("a", { href: `/ui/tasks/${task.rerun_of}` }, short(task.rerun_of))],
    ["Cancelled by", task.cancellation && `${task.cancellation.requested_by}${task.cancellation.reason ? `: ${task.cancellation.reason}` : ""}`],
    ["Labels", Object.entries(task.labels).map(([name, value]) => `${name}: ${value}`).join(", ")],
  ];
  return lines.filter(([, value]) => value).map(([name, value]) => h("div", null, h("dt", null, name), h("dd", null, value)));
}
