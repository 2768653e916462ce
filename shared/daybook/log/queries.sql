-- name: append_api
SELECT stream, lane, position, at FROM log.append_api($1, $2, $3, $4, $5, $6, $7);

-- name: append_scheduler
SELECT stream, lane, position, at FROM log.append_scheduler($1, $2, $3, $4, $5, $6, $7);

-- name: append_owner
SELECT stream, lane, position, at FROM log.append_owner($1, $2, $3, $4, $5, $6, $7);

-- name: append_runner
SELECT stream, lane, position, at FROM log.append_runner($8, $9, $1, $2, $3, $4, $5, $6, $7);

-- What became of appends that were cut off: each by its stream and version.
-- name: settle
SELECT e.stream, e.id, e.lane, e.position, e.at
FROM unnest($1::uuid[], $2::int[]) AS w (stream, version)
JOIN log.event e ON e.stream = w.stream AND e.version = w.version;

-- name: load
SELECT lane, position, stream, version, id, namespace, at, data, kind, payload
FROM log.event WHERE stream = $1 ORDER BY version;

-- name: load_many
SELECT lane, position, stream, version, id, namespace, at, data, kind, payload
FROM log.event WHERE stream = ANY ($1) ORDER BY stream, version;

-- The part of a stream that is new to whoever knows its state at a version.
-- name: load_after
SELECT lane, position, stream, version, id, namespace, at, data, kind, NULL::bytea
FROM log.event WHERE stream = $1 AND version > $2 ORDER BY version;

-- name: load_last
SELECT l.* FROM unnest($1::uuid[]) AS w (stream)
CROSS JOIN LATERAL (
    SELECT e.lane, e.position, e.stream, e.version, e.id, e.namespace, e.at, e.data, e.kind, NULL::bytea
    FROM log.event e WHERE e.stream = w.stream ORDER BY e.version DESC LIMIT 1
) l;

-- name: payloads
SELECT e.stream, e.version, e.payload
FROM unnest($1::uuid[], $2::int[]) AS w (stream, version)
JOIN log.event e ON e.stream = w.stream AND e.version = w.version;

-- name: load_first
SELECT lane, position, stream, version, id, namespace, at, data, kind, NULL::bytea
FROM log.event WHERE stream = ANY ($1) AND version = 1;

-- One snapshot over all lanes: in each what lies behind the cursor, merged by position and cut to n. An event's predecessor has a lower position, so it
-- comes first by construction, whichever lane it is in.
-- name: page
SELECT e.lane, e.position, e.stream, e.version, e.id, e.namespace, e.at, e.data, e.kind
FROM unnest($1::bigint[], $2::bigint[]) WITH ORDINALITY AS c (after, upto, n)
CROSS JOIN LATERAL (
    SELECT * FROM log.event i
    WHERE i.lane = (c.n - 1)::int AND i.position > c.after AND i.position <= c.upto
    ORDER BY i.position LIMIT $3
) e
ORDER BY e.position LIMIT $3;

-- name: head
SELECT coalesce((SELECT max(e.position) FROM log.event e WHERE e.lane = n), 0) FROM generate_series(0, 63) n ORDER BY n;

-- name: read_cursor
SELECT positions FROM log.cursor WHERE follower = $1;

-- Takes the follower over when nobody holds it (any more): the epoch rises, so that whoever held it is fenced.
-- name: acquire
INSERT INTO log.cursor AS c (follower, positions, holder, epoch, until)
VALUES ($1, $3, $2, 1, clock_timestamp() + $4)
ON CONFLICT (follower) DO UPDATE SET holder = $2, epoch = c.epoch + 1, until = clock_timestamp() + $4
WHERE c.until <= clock_timestamp() OR c.holder = $2
RETURNING positions, epoch;

-- name: advance
UPDATE log.cursor SET positions = $4, until = clock_timestamp() + $5
WHERE follower = $1 AND holder = $2 AND epoch = $3;

-- name: release
UPDATE log.cursor SET until = '-infinity' WHERE follower = $1 AND holder = $2 AND epoch = $3;

-- name: park
INSERT INTO log.parked (follower, stream, version, error) VALUES ($1, $2, $3, $4)
ON CONFLICT (follower, stream) DO UPDATE SET error = excluded.error;

-- name: parked
SELECT stream FROM log.parked WHERE follower = $1;

-- name: unpark
DELETE FROM log.parked WHERE follower = $1 AND stream = $2;

-- name: put_blob
INSERT INTO daybook.blob (digest, content) VALUES ($1, $2) ON CONFLICT DO NOTHING;

-- name: get_blob
SELECT content FROM daybook.blob WHERE digest = $1;

-- name: begin_session
SELECT stream, expires_at FROM daybook.begin_session($1, $2, $3, $4, $5);

-- name: end_session
SELECT daybook.end_session($1, $2, $3);
