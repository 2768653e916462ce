-- Attempts that can be lost: a lease knows how long it lasts, and that it has been ended. One that has run out may still be renewed until somebody ends
-- it, so that a clock that jumps ends nobody; one that was ended may not, so that whoever comes back from the dead stays out.

ALTER TABLE daybook.runner ADD COLUMN ttl interval NOT NULL DEFAULT '15 seconds', ADD COLUMN ended_at timestamptz;
GRANT SELECT (ttl, ended_at) ON daybook.runner TO daybook_api, daybook_scheduler, daybook_runner, daybook_projector;

CREATE OR REPLACE FUNCTION daybook.take_lease(
    runner text, secret text, namespace text, queues text[], apps text[], slots int, host text, ttl interval
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO daybook.runner (id, secret, namespace, queues, apps, slots, host, ttl, until)
    VALUES (runner, sha256(convert_to(secret, 'UTF8')), namespace, queues, apps, slots, host, ttl, clock_timestamp() + ttl)
$$;

CREATE OR REPLACE FUNCTION daybook.renew_lease(runner text, secret text, ttl interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH renewed AS (
        UPDATE daybook.runner r SET until = clock_timestamp() + renew_lease.ttl, ttl = renew_lease.ttl
        WHERE r.id = renew_lease.runner AND r.secret = sha256(convert_to(renew_lease.secret, 'UTF8')) AND r.ended_at IS NULL
        RETURNING 1)
    SELECT EXISTS (SELECT FROM renewed)
$$;

CREATE OR REPLACE FUNCTION daybook.end_lease(runner text, secret text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.runner r SET until = '-infinity', ended_at = clock_timestamp()
    WHERE r.id = end_lease.runner AND r.secret = sha256(convert_to(end_lease.secret, 'UTF8')) AND r.ended_at IS NULL
$$;

-- Ends the leases that have run out and were not renewed since they were looked at; returns those that are ended now.
CREATE FUNCTION daybook.end_leases(runners text[], untils timestamptz[]) RETURNS SETOF text
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.runner r SET ended_at = clock_timestamp()
    FROM unnest(runners, untils) AS seen (id, until)
    WHERE r.id = seen.id AND r.until = seen.until AND r.until <= clock_timestamp() AND r.ended_at IS NULL
    RETURNING r.id
$$;
REVOKE ALL ON FUNCTION daybook.end_leases FROM PUBLIC;
GRANT EXECUTE ON FUNCTION daybook.end_leases TO daybook_scheduler;

CREATE OR REPLACE FUNCTION log.append_api(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY['task.submitted.v1', 'task.rescheduled.v1', 'task.cancel_requested.v1', 'task.cancelled.v1', 'task.retried.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

CREATE OR REPLACE FUNCTION log.append_scheduler(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY['task.due.v1', 'task.lost.v1', 'task.expired.v1', 'task.cancelled.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

-- As before, and a runner may say that an attempt of its own is lost: one that must not run twice cannot be handed back.
CREATE OR REPLACE FUNCTION log.append_runner(
    runner text, secret text,
    streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[]
) RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    own daybook.runner;
    alive boolean;
    foreign_rows int;
BEGIN
    PERFORM log._require(kinds, ARRAY[
        'task.started.v1', 'task.released.v1', 'task.succeeded.v1', 'task.failed.v1', 'task.lost.v1', 'task.cancelled.v1', 'app.published.v1']);
    SELECT * INTO own FROM daybook.runner r WHERE r.id = runner AND r.secret = sha256(convert_to(append_runner.secret, 'UTF8'));
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format('no lease of runner %s with this secret', runner);
    END IF;
    alive := own.until > clock_timestamp() AND own.ended_at IS NULL;
    SELECT count(*) INTO foreign_rows
    FROM unnest(streams, versions, kinds, namespaces, datas) AS g (stream, version, kind, namespace, data)
    WHERE CASE g.kind
        WHEN 'app.published.v1' THEN
            g.namespace <> own.namespace OR g.stream <> daybook.derive_id('app', own.namespace, g.data ->> 'app')
        WHEN 'task.started.v1' THEN
            NOT alive OR g.data ->> 'runner' IS DISTINCT FROM runner OR own.namespace IS DISTINCT FROM (
                SELECT p.namespace FROM log.event p WHERE p.stream = g.stream AND p.version = 1)
        ELSE
            runner IS DISTINCT FROM (
                SELECT s.data ->> 'runner' FROM log.event s
                WHERE s.stream = g.stream AND s.version < g.version AND s.kind = 'task.started.v1'
                ORDER BY s.version DESC LIMIT 1)
        END;
    IF foreign_rows > 0 THEN
        RAISE insufficient_privilege USING MESSAGE = format('runner %s may append only to its own attempts, with a live lease', runner);
    END IF;
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;
