-- name: known_tasks
SELECT id, version, attempt, status, reason, error_type, run_at, started_at, finished_at,
       priority, namespace, owner, app, app_version, queue, labels, submitted_at
FROM read.task WHERE id = ANY ($1);

-- name: put_tasks
INSERT INTO read.task AS t (id, version, attempt, status, reason, error_type, run_at, started_at, finished_at,
                            priority, namespace, owner, app, app_version, queue, labels, submitted_at)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::int[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[], $9::timestamptz[],
                     $10::smallint[], $11::text[], $12::text[], $13::text[], $14::text[], $15::text[], $16::jsonb[], $17::timestamptz[])
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

-- name: queued
SELECT id, namespace, queue, app, priority, submitted_at FROM read.task WHERE status = 'queued';

-- Who runs what; the log says which runner.
-- name: running
SELECT t.id, s.data ->> 'runner' AS runner, (s.data ->> 'attempt')::int AS attempt
FROM read.task t CROSS JOIN LATERAL (
    SELECT e.data FROM log.event e WHERE e.stream = t.id AND e.kind = 'task.started.v1' AND e.version <= t.version ORDER BY e.version DESC LIMIT 1
) s
WHERE t.status = 'running';

-- name: put_timers
INSERT INTO read.timer AS t (id, version, due_at) SELECT * FROM unnest($1::uuid[], $2::int[], $3::timestamptz[])
ON CONFLICT (id) DO UPDATE SET version = excluded.version, due_at = excluded.due_at WHERE t.version < excluded.version;

-- name: drop_timers
DELETE FROM read.timer t USING unnest($1::uuid[], $2::int[]) AS d (id, version) WHERE t.id = d.id AND t.version <= d.version;

-- name: due_timers
SELECT id, version, clock_timestamp() AS now FROM read.timer WHERE due_at <= clock_timestamp() ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED;

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
