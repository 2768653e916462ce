-- name: known_tasks
SELECT id, version, attempt, status, reason, error_type, run_at, started_at, finished_at,
       priority, namespace, owner, app, app_version, queue, labels, submitted_at, schedule
FROM read.task WHERE id = ANY ($1);

-- name: put_tasks
INSERT INTO read.task AS t (id, version, attempt, status, reason, error_type, run_at, started_at, finished_at,
                            priority, namespace, owner, app, app_version, queue, labels, submitted_at, schedule)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                     $10::smallint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::jsonb[], $17::timestamptz[], $18::uuid[])
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, attempt = excluded.attempt, status = excluded.status, reason = excluded.reason,
    error_type = excluded.error_type, run_at = excluded.run_at, started_at = excluded.started_at, finished_at = excluded.finished_at
WHERE t.version < excluded.version;

-- name: change_tasks
UPDATE read.task t SET version = c.version, attempt = c.attempt, status = c.status, reason = c.reason, error_type = c.error_type, run_at = c.run_at,
    started_at = c.started_at, finished_at = c.finished_at
FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[])
     AS c (id, version, attempt, status, reason, error_type, run_at, started_at, finished_at)
WHERE t.id = c.id AND t.version < c.version;

-- name: put_app
INSERT INTO read.app AS a (id, version, namespace, app, published_at, manifest) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (id) DO UPDATE SET version = excluded.version, published_at = excluded.published_at, manifest = excluded.manifest
WHERE a.version < excluded.version;

-- name: list_apps
SELECT manifest, published_at FROM read.app WHERE namespace = $1 ORDER BY app;

-- name: put_webhook
INSERT INTO read.webhook (id, version, namespace, owner, url, events, app, all_owners, note, deleted, created_at, position)
VALUES ($1, 1, $2, $3, $4, $5, $6, $7, $8, false, $9, $10)
ON CONFLICT DO NOTHING;

-- name: delete_webhook
UPDATE read.webhook SET version = $2, deleted = true WHERE id = $1 AND version < $2;

-- name: live_webhooks
SELECT id, namespace, owner, url, events, app, all_owners, position FROM read.webhook WHERE NOT deleted;

-- name: count_webhooks
SELECT count(*) FROM read.webhook WHERE NOT deleted AND namespace = $1 AND owner = $2;

-- name: queued
SELECT id, namespace, queue, app, priority, submitted_at FROM read.task WHERE status = 'queued';

-- Who runs what; the log says which runner.
-- name: running
SELECT t.id, s.data ->> 'runner' AS runner, (s.data ->> 'attempt')::int AS attempt
FROM read.task t CROSS JOIN LATERAL (
    SELECT e.data FROM log.event e WHERE e.stream = t.id AND e.kind = 'task.started.v1' AND e.version <= t.version ORDER BY e.version DESC LIMIT 1
) s
WHERE t.status = 'running';

-- name: known_schedules
SELECT id, snapshot FROM read.schedule WHERE id = ANY ($1);

-- name: put_schedules
INSERT INTO read.schedule AS s (id, version, namespace, owner, app, deleted, created_at, snapshot)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::text[], $6::boolean[], $7::timestamptz[], $8::json[])
ON CONFLICT (id) DO UPDATE SET version = excluded.version, deleted = excluded.deleted, snapshot = excluded.snapshot WHERE s.version < excluded.version;

-- name: put_slots
INSERT INTO read.slot (schedule, version, slot, last, count, outcome, reason, task, due_at, decided_at)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::timestamptz[], $5::int[], $6::text[], $7::text[], $8::uuid[], $9::timestamptz[],
                     $10::timestamptz[])
ON CONFLICT DO NOTHING;

-- name: put_timers
INSERT INTO read.timer AS t (id, version, due_at, what) SELECT * FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::text[])
ON CONFLICT (id) DO UPDATE SET version = excluded.version, due_at = excluded.due_at, what = excluded.what, state = NULL WHERE t.version < excluded.version;

-- name: drop_timers
DELETE FROM read.timer t USING unnest($1::uuid[], $2::int[]) AS d (id, version) WHERE t.id = d.id AND t.version <= d.version;

-- name: known_schedule_timers
SELECT id, state FROM read.timer WHERE id = ANY ($1) AND what = 'schedule';

-- name: put_schedule_timers
INSERT INTO read.timer AS t (id, version, due_at, state, what)
SELECT *, 'schedule' FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::json[])
ON CONFLICT (id) DO UPDATE SET version = excluded.version, due_at = excluded.due_at, state = excluded.state, for_run = false
WHERE t.version < excluded.version;

-- What a scheduler has made of schedules (or not made of others) whose timers it holds.
-- name: keep_schedule_timers
UPDATE read.timer t SET version = k.version, due_at = k.due_at, for_run = k.for_run, state = k.state
FROM unnest($1::uuid[], $2::int[], $3::timestamptz[], $4::boolean[], $5::json[]) AS k (id, version, due_at, for_run, state)
WHERE t.id = k.id AND t.version <= k.version;

-- name: put_submissions
INSERT INTO read.timer (id, version, due_at, state, what)
SELECT id, 0, due_at, state, 'submission' FROM unnest($1::uuid[], $2::timestamptz[], $3::json[]) AS s (id, due_at, state)
ON CONFLICT DO NOTHING;

-- Tasks of these schedules have ended ($2: with an error): who waits for that, looks now.
-- name: wake_schedules
UPDATE read.timer t SET due_at = least(t.due_at, clock_timestamp())
WHERE t.id = ANY ($1) AND t.what = 'schedule' AND (t.for_run OR (t.id = ANY ($2) AND t.state #> '{schedule,rule,pause_after_errors}' IS NOT NULL));

-- The time in a query of its own: compared with what may change from row to row, the index would be walked to its end.
-- name: due_timers
SELECT id, version, what, state, due_at, clock_timestamp() AS now FROM read.timer WHERE due_at <= (SELECT clock_timestamp())
ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED;

-- How long until the next timer, by the database's clock; null when there is none.
-- name: next_timer
SELECT extract(epoch FROM min(due_at) - clock_timestamp())::float8 FROM read.timer;

-- Who serves what now.
-- name: live_runners
SELECT namespace, queues, apps, slots FROM daybook.runner WHERE until > clock_timestamp() AND ended_at IS NULL;

-- name: restart
INSERT INTO log.cursor AS c (follower, positions) VALUES ($1, $2)
ON CONFLICT (follower) DO UPDATE SET positions = $2, epoch = c.epoch + 1, holder = '', until = '-infinity';

-- The leases that nobody has ended.
-- name: leases
SELECT id, until, ttl, until <= clock_timestamp() AS expired FROM daybook.runner WHERE ended_at IS NULL;

-- name: end_leases
SELECT daybook.end_leases($1, $2);

-- What a runner may take when nobody rings: queued tasks that it serves, the most urgent and oldest first.
-- name: claimable
SELECT id FROM read.task WHERE status = 'queued' AND namespace = $1 AND queue = ANY ($2) AND app = ANY ($3) ORDER BY priority, submitted_at LIMIT $4;
