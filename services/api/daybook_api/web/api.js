// @ts-check
/**
 * The one way to the API: every request of the page is a method here, with the type of what it answers.
 *
 * Refuses to hide what went wrong: an answer that is no success becomes an `ApiError` with the problem's own words. It
 * remembers two things: the CSRF value of the session, which unsafe requests show, and where the last write was stored,
 * so that the next list has it in it.
 */

/** @import {App, Fact, Preview, Problem, Schedule, Session, Spot, Submission, Task, TaskList, TaskQuery} from "./shapes.js" */

/** A request that did not succeed. `status` is 0 where there was no answer at all. */
export class ApiError extends Error {
  /** @param {number} status @param {Partial<Problem>} problem */
  constructor(status, problem) {
    super(problem.detail || problem.title || `The answer was ${status}.`);
    this.name = "ApiError";
    this.status = status;
    this.code = problem.code ?? "";
    this.detail = this.message;
    this.hint = problem.hint ?? "";
    this.requestId = problem.request_id ?? "";
    /** @type {Spot[]} */
    this.errors = problem.errors ?? [];
  }
}

/** @typedef {{method?: string, body?: unknown, headers?: Record<string, string>, signal?: AbortSignal}} Options */

export class Api {
  #csrf = "";

  /** Called once a request is told that there is no session (any more). */
  onUnauthorized = () => {};

  /** Who is logged in. @returns {Promise<Session>} */
  async session() {
    const session = /** @type {Session} */ (await this.#json("/v1/session", { quiet: true }));
    this.#csrf = session.csrf ?? "";
    return session;
  }

  /** Exchange the code of a one-time link for a session. @param {string} code */
  async login(code) {
    await this.#send("/v1/session", { method: "POST", body: { code }, quiet: true });
  }

  async logout() {
    await this.#send("/v1/session", { method: "DELETE" });
    this.#csrf = "";
  }

  /** @returns {Promise<App[]>} */
  async apps() {
    return (await this.#json("/v1/apps")).items;
  }

  /** A page of tasks, newest first, that shows what was written up to a position, where one is given. If it does not yet,
   * it is an older one, and `behind`. @param {TaskQuery} query @param {string} [position] @returns {Promise<TaskList>} */
  async tasks(query, position = "") {
    const path = `/v1/tasks${parameters(query)}`;
    try {
      return await this.#json(path, position ? { headers: { "Daybook-Position": position } } : {});
    } catch (error) {
      if (!(error instanceof ApiError) || error.code !== "read-model-behind") throw error;
      return { ...(await this.#json(path)), behind: true };
    }
  }

  /** @param {string} id @returns {Promise<Task>} */
  task(id) {
    return this.#json(taskPath(id));
  }

  /** All facts of a task, in order. @param {string} id @returns {Promise<Fact[]>} */
  async facts(id) {
    return (await this.#json(`${taskPath(id)}/events`)).items;
  }

  /** Submit a task, or with `cron` make a schedule. The same key and submission give the same task.
   * @param {Submission} submission @param {string} key @returns {Promise<{task: Task} | {schedule: Schedule}>} */
  async submit(submission, key) {
    const answer = await this.#json("/v1/tasks", { method: "POST", body: submission, headers: { "Idempotency-Key": key } });
    return submission.cron === undefined ? { task: answer } : { schedule: answer };
  }

  /** @param {string} id @param {string} reason @returns {Promise<Task>} */
  cancel(id, reason) {
    return this.#json(`${taskPath(id)}/cancel`, { method: "POST", body: { reason } });
  }

  /** @param {string} id @returns {Promise<Task>} */
  retry(id) {
    return this.#json(`${taskPath(id)}/retry`, { method: "POST", body: {} });
  }

  /** Run a task once more as a new one. @param {string} id @param {{input?: unknown, run_at?: string}} changes
   * @param {string} key @returns {Promise<Task>} */
  rerun(id, changes, key) {
    return this.#json(`${taskPath(id)}/rerun`, { method: "POST", body: changes, headers: { "Idempotency-Key": key } });
  }

  /** The result as text. @param {string} id @returns {Promise<string>} */
  async result(id) {
    return (await this.#send(`${taskPath(id)}/result`)).text();
  }

  /** Everything an attempt wrote, page by page. @param {string} id @param {number} attempt @returns {Promise<string>} */
  async output(id, attempt) {
    let path = `${taskPath(id)}/output?attempt=${attempt}`;
    const pieces = [];
    for (const seen = new Set(); path && !seen.has(path); ) {
      seen.add(path);
      const answer = await this.#send(path, { headers: { Accept: "text/plain" } });
      const piece = await answer.text();
      pieces.push(piece);
      // While a task goes on there always is a next page, so an empty one is the end of what there is now.
      path = piece ? (/<([^>]+)>;\s*rel="next"/.exec(answer.headers.get("Link") ?? "")?.[1] ?? "") : "";
    }
    return pieces.join("");
  }

  /** @param {{cron: string, timezone?: string, count?: number}} wanted @param {AbortSignal} signal @returns {Promise<Preview>} */
  preview(wanted, signal) {
    return this.#json("/v1/schedules/preview", { method: "POST", body: wanted, signal });
  }

  /** @param {string} path @param {Options & {quiet?: boolean}} [options] @returns {Promise<any>} */
  async #json(path, options) {
    return (await this.#send(path, options)).json();
  }

  /** @param {string} path @param {Options & {quiet?: boolean}} [options] @returns {Promise<Response>} */
  async #send(path, { method = "GET", body, headers = {}, signal, quiet = false } = {}) {
    const sent = new Headers(headers);
    if (!sent.has("Accept")) sent.set("Accept", "application/json");
    if (body !== undefined) sent.set("Content-Type", "application/json");
    if (method !== "GET" && this.#csrf) sent.set("Daybook-CSRF", this.#csrf);
    let answer;
    try {
      answer = await fetch(path, { method, headers: sent, body: body === undefined ? undefined : JSON.stringify(body), signal, cache: "no-store" });
    } catch (error) {
      if (signal?.aborted) throw error;
      throw new ApiError(0, { detail: "The server cannot be reached.", hint: "It may be starting again. Try once more in a moment." });
    }
    if (!answer.ok) {
      const problem = await problemOf(answer);
      if (answer.status === 401 && !quiet) this.onUnauthorized();
      throw problem;
    }
    return answer;
  }
}

export const api = new Api();

/** A key for one submission. Works without https too, where `crypto.randomUUID` does not. */
export function freshKey() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/** What an answer says went wrong. @param {Response} answer @returns {Promise<ApiError>} */
export async function problemOf(answer) {
  try {
    return new ApiError(answer.status, await answer.json());
  } catch {
    return new ApiError(answer.status, { detail: `The server answered ${answer.status} ${answer.statusText}.` });
  }
}

/** @param {string} id */
function taskPath(id) {
  return `/v1/tasks/${encodeURIComponent(id)}`;
}

/** @param {TaskQuery} query */
export function parameters(query) {
  const given = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    const text = Array.isArray(value) ? value.join(",") : String(value ?? "");
    if (text) given.set(name, text);
  }
  return given.size ? `?${given}` : "";
}
