-- The log: one table of facts, one sequence of positions, 64 lanes, and the one function that appends.
-- Nobody is ever granted INSERT on it. See docs/adr/0001-lanes.md.

CREATE SCHEMA log;
CREATE SCHEMA daybook;

CREATE TABLE log.event (
    lane      int         NOT NULL CHECK (lane BETWEEN 0 AND 63),
    version   int         NOT NULL CHECK (version >= 1),
    position  bigint      NOT NULL,
    stream    uuid        NOT NULL,
    id        uuid        NOT NULL,
    at        timestamptz NOT NULL DEFAULT clock_timestamp(),
    kind      text        NOT NULL,
    namespace text        NOT NULL,
    data      json        NOT NULL,   -- json, not jsonb: kept as it was written
    payload   bytea,                  -- what belongs to the user; may be erased
    PRIMARY KEY (lane, position),
    CONSTRAINT one_event_per_version UNIQUE (stream, version)
);

CREATE SEQUENCE log.position AS bigint CACHE 1;

-- Which followers have read how far, and who holds each of them until when (by this database's clock).
CREATE TABLE log.cursor (
    follower  text        PRIMARY KEY,
    positions bigint[]    NOT NULL CHECK (cardinality(positions) = 64),
    holder    text        NOT NULL DEFAULT '',
    epoch     bigint      NOT NULL DEFAULT 0,
    until     timestamptz NOT NULL DEFAULT '-infinity'
) WITH (fillfactor = 50);

-- Streams that a follower could not digest: it goes on without them, and tries them again when it starts.
CREATE TABLE log.parked (
    follower text        NOT NULL,
    stream   uuid        NOT NULL,
    version  int         NOT NULL,
    error    text        NOT NULL,
    at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (follower, stream)
);

-- The first free lane, locked until this transaction ends; waits for one when all 64 are taken. A caller that appends twice in one transaction
-- prefers the lane that it has already (asking again for a lock one holds succeeds).
CREATE FUNCTION log._take_lane(preferred int DEFAULT NULL) RETURNS int
LANGUAGE plpgsql AS $$
DECLARE
    lanes CONSTANT int := 1684108900;
    candidate int;
BEGIN
    IF preferred IS NOT NULL AND pg_try_advisory_xact_lock(lanes, preferred) THEN
        RETURN preferred;
    END IF;
    FOR candidate IN 0..63 LOOP
        IF pg_try_advisory_xact_lock(lanes, candidate) THEN
            RETURN candidate;
        END IF;
    END LOOP;
    candidate := pg_backend_pid() % 64;
    PERFORM pg_advisory_xact_lock(lanes, candidate);
    RETURN candidate;
END $$;

-- The append that every other append is made of. Positions are drawn under the lane's lock, which goes with the commit: so within a lane positions
-- rise in commit order. A row whose version is taken, or whose predecessor is not there, does not come back: it lost its race.
-- The namespace of a stream is that of its first event, whatever later writers say.
CREATE FUNCTION log._append(
    the_lane int, streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[]
) RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql AS $$
BEGIN
    RETURN QUERY
    INSERT INTO log.event AS e (lane, position, stream, version, id, kind, namespace, data, payload)
    SELECT the_lane, nextval('log.position'), r.stream, r.version, r.id, r.kind, r.namespace, r.data, r.payload
    FROM (
        SELECT g.stream, g.version, g.id, g.kind, g.data, g.payload,
               CASE WHEN g.version = 1 THEN g.namespace
                    ELSE (SELECT p.namespace FROM log.event p WHERE p.stream = g.stream AND p.version = g.version - 1)
               END AS namespace
        FROM unnest(streams, versions, ids, kinds, namespaces, datas, payloads)
             AS g (stream, version, id, kind, namespace, data, payload)
        ORDER BY g.stream, g.version
    ) r
    WHERE r.namespace IS NOT NULL
    ON CONFLICT ON CONSTRAINT one_event_per_version DO NOTHING
    RETURNING e.stream, e.lane, e.position, e.at;
END $$;

-- The id that these parts always have; daybook.ids.derive_id in Python computes the same.
CREATE FUNCTION daybook.derive_id(VARIADIC parts text[]) RETURNS uuid
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT encode(set_byte(set_byte(b, 6, get_byte(b, 6) & 15 | 128), 8, get_byte(b, 8) & 63 | 128), 'hex')::uuid
    FROM (SELECT substr(sha256(convert_to(array_to_string(parts, E'\x1f'), 'UTF8')), 1, 16) AS b) d
$$;

-- Payloads too large for the log, under their salted digest.
CREATE TABLE daybook.blob (
    digest  text        PRIMARY KEY,
    content bytea       NOT NULL,
    at      timestamptz NOT NULL DEFAULT clock_timestamp()
);
ALTER TABLE daybook.blob ALTER COLUMN content SET STORAGE EXTERNAL;

-- Runners and their leases. Only the functions below write here.
CREATE TABLE daybook.runner (
    id         text        PRIMARY KEY,
    secret     bytea       NOT NULL,   -- SHA-256 of what the runner alone knows
    namespace  text        NOT NULL CHECK (namespace ~ '^[a-z0-9_-]{1,32}$'),
    queues     text[]      NOT NULL CHECK (array_to_string(queues, ',', '?') ~ '^[a-z0-9_-]{1,32}(,[a-z0-9_-]{1,32})*$'),
    apps       text[]      NOT NULL,
    slots      int         NOT NULL CHECK (slots > 0),
    host       text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    until      timestamptz NOT NULL
) WITH (fillfactor = 50);
