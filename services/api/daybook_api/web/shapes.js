// @ts-check
/**
 * The shapes that the API answers, as far as the page reads them: types alone, never loaded by a browser. Their source
 * is /openapi.json.
 *
 * @typedef {"scheduled" | "queued" | "running" | "success" | "error" | "cancelled"} Status
 * @typedef {{pointer: string, message: string}} Spot
 * @typedef {{type: string, title: string, status: number, detail: string, code: string, request_id: string,
 *   errors: Spot[], hint: string | null}} Problem
 *
 * @typedef {{owner: string, namespace: string, scopes: string[], csrf?: string | null, expires_at?: string | null}} Session
 *
 * @typedef {{id: string, app: string, app_version: string, status: Status, reason: string, owner: string, queue: string,
 *   priority: number, labels: Record<string, string>, schedule: string | null, attempt: number, run_at: string | null,
 *   submitted_at: string, started_at: string | null, finished_at: string | null, error_type: string | null,
 *   version: number}} TaskSummary
 * @typedef {{attempt: number, runner: string, started_at: string, ended_at: string | null,
 *   outcome: "running" | "success" | "error" | "lost" | "released" | "cancelled", reason: string,
 *   error_type: string | null}} Attempt
 * @typedef {{media_type: string, size_bytes: number, href: string}} Result
 * @typedef {{type: string, message: string, traceback: string | null}} TaskError
 * @typedef {{requested_by: string, requested_at: string, reason: string}} Cancellation
 * @typedef {TaskSummary & {input: unknown, slot: string | null, rerun_of: string | null, failures: number, losses: number,
 *   retry_at: string | null, expires_at: string | null, deadline_at: string | null, cancellation: Cancellation | null,
 *   attempts: Attempt[], result: Result | null, error: TaskError | null}} Task
 * @typedef {{items: TaskSummary[], next_cursor: string | null, behind?: boolean}} TaskList
 * @typedef {{status?: string[], app?: string, owner?: string, cursor?: string, limit?: number}} TaskQuery
 *
 * @typedef {{id: string, kind: string, version: number, at: string, data: Record<string, any>, status?: Status}} Fact
 * @typedef {Fact & {subject: string, owner: string, app: string}} FeedFact
 *
 * @typedef {{type: "progress", attempt: number, n: number, at: string, current: number, total: number | null,
 *   percent: number | null, message: string}} Progress
 * @typedef {{type: "chunk", attempt: number, n: number, at: string, text: string}} Chunk
 * @typedef {{type: "log", attempt: number, n: number, at: string, level: string, message: string,
 *   fields: Record<string, unknown>}} LogLine
 * @typedef {{type: "action", attempt: number, n: number, at: string, name: string, [field: string]: unknown}} Action
 *
 * @typedef {Record<string, any>} Schema
 * @typedef {{app: string, kind: string, version: string, doc: string, input_schema: Schema, queue: string}} App
 *
 * @typedef {{app: string, input: unknown, run_at?: string, cron?: string, timezone?: string}} Submission
 * @typedef {{id: string, app: string, cron: string, timezone: string, words: string, next: string[]}} Schedule
 * @typedef {{at: string, local: string}} PreviewedSlot
 * @typedef {{words: string, timezone: string, next: PreviewedSlot[],
 *   notes: {at: string, kind: string, text: string}[]}} Preview
 */
export {};
