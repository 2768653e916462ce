-- What attempts say, kept: chunks of numbered messages as they were told live, JSON lines, compressed. About one row a second for each attempt that speaks, never one a message.
-- It is no fact: nothing is decided by it, and the janitor may delete it.

CREATE TABLE daybook.output (
    stream     uuid        NOT NULL,
    attempt    int         NOT NULL CHECK (attempt >= 1),
    first      int         NOT NULL CHECK (first >= 1),       -- the numbers of its first and its last message
    last       int         NOT NULL CHECK (last >= first),
    logs       int         NOT NULL CHECK (logs >= 0),        -- how many of them are log lines: whoever wants those alone need not open the other chunks
    size_bytes int         NOT NULL CHECK (size_bytes BETWEEN 0 AND 2097152),   -- what it unfolds to
    at         timestamptz NOT NULL DEFAULT clock_timestamp(),
    content    bytea       NOT NULL CHECK (octet_length(content) <= 2097152),
    PRIMARY KEY (stream, attempt, first)
);
-- It is compressed already.
ALTER TABLE daybook.output ALTER COLUMN content SET STORAGE EXTERNAL;

-- A runner proves who it is by its lease's secret, and may store the words of attempts that it started itself: of those that it lost meanwhile too, for they were said.
-- Storing a chunk twice is harmless: a runner that does not know whether its commit came through sends the same again.
CREATE FUNCTION daybook.store_output(
    runner text, secret text,
    streams uuid[], attempts int[], firsts int[], lasts int[], logs int[], sizes int[], contents bytea[]
) RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    foreign_rows int;
BEGIN
    PERFORM FROM daybook.runner r WHERE r.id = runner AND r.secret = sha256(convert_to(store_output.secret, 'UTF8'));
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format('no lease of runner %s with this secret', runner);
    END IF;
    SELECT count(*) INTO foreign_rows
    FROM (SELECT DISTINCT u.stream, u.attempt FROM unnest(streams, attempts) AS u (stream, attempt)) g
    WHERE NOT EXISTS (
        SELECT FROM log.event s
        WHERE s.stream = g.stream AND s.kind = 'task.started.v1'
          AND s.data ->> 'runner' = store_output.runner AND s.data ->> 'attempt' = g.attempt::text);
    IF foreign_rows > 0 THEN
        RAISE insufficient_privilege USING MESSAGE = format('runner %s may store only what its own attempts said', runner);
    END IF;
    INSERT INTO daybook.output (stream, attempt, first, last, logs, size_bytes, content)
    SELECT * FROM unnest(streams, attempts, firsts, lasts, store_output.logs, sizes, contents) AS u (stream, attempt, first, last, logs, size_bytes, content)
    ORDER BY u.stream, u.attempt, u.first
    ON CONFLICT DO NOTHING;
END $$;

REVOKE ALL ON FUNCTION daybook.store_output FROM PUBLIC;
GRANT EXECUTE ON FUNCTION daybook.store_output TO daybook_runner;
GRANT SELECT ON daybook.output TO daybook_api;
GRANT SELECT (stream, attempt, first, at), DELETE ON daybook.output TO daybook_janitor;
