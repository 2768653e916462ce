-- Who may do what. Roles are shared by all databases of a cluster, so they may exist already.

DO $$
DECLARE
    name text;
BEGIN
    FOREACH name IN ARRAY ARRAY['daybook_api', 'daybook_scheduler', 'daybook_runner', 'daybook_projector', 'daybook_janitor', 'daybook_guest'] LOOP
        BEGIN
            EXECUTE format('CREATE ROLE %I NOLOGIN', name);
        EXCEPTION WHEN duplicate_object OR unique_violation THEN
            NULL;   -- another database of this cluster, or another migrator in this instant, made it
        END;
    END LOOP;
END $$;

-- The API process hosts the projector by default: it may act as that role where it says so.
GRANT daybook_projector TO daybook_api WITH INHERIT FALSE;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log, daybook FROM PUBLIC;

CREATE FUNCTION log._require(kinds text[], allowed text[]) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF NOT kinds <@ allowed THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s may append only %s', session_user, array_to_string(allowed, ', '));
    END IF;
END $$;

-- Functions that act as the owner name pg_temp last in their search path: left out it would come first, and a caller's temporary type called `json` would be taken for
-- the system's, and its code be run as the owner.

CREATE FUNCTION log.append_api(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY['task.submitted.v1', 'task.rescheduled.v1', 'task.cancel_requested.v1', 'task.cancelled.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

CREATE FUNCTION log.append_scheduler(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY['task.due.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

-- What the owner of the database may append beside: tokens. No service has this right.
CREATE FUNCTION log.append_owner(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY['token.issued.v1', 'token.revoked.v1', 'app.published.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

-- A runner proves who it is by its lease's secret. It may claim tasks of its own namespace for itself while its lease lives, report on attempts that it started itself,
-- and announce apps in its namespace; nothing else.
CREATE FUNCTION log.append_runner(
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
        'task.started.v1', 'task.released.v1', 'task.succeeded.v1', 'task.failed.v1', 'task.cancelled.v1', 'app.published.v1']);
    SELECT * INTO own FROM daybook.runner r WHERE r.id = runner AND r.secret = sha256(convert_to(append_runner.secret, 'UTF8'));
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format('no lease of runner %s with this secret', runner);
    END IF;
    alive := own.until > clock_timestamp();
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

-- A lease is taken once per runner process and renewed until it ends; one that has run out cannot be renewed.
CREATE FUNCTION daybook.take_lease(
    runner text, secret text, namespace text, queues text[], apps text[], slots int, host text, ttl interval
) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    INSERT INTO daybook.runner (id, secret, namespace, queues, apps, slots, host, until)
    VALUES (runner, sha256(convert_to(secret, 'UTF8')), namespace, queues, apps, slots, host, clock_timestamp() + ttl)
$$;

CREATE FUNCTION daybook.renew_lease(runner text, secret text, ttl interval) RETURNS boolean
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    WITH renewed AS (
        UPDATE daybook.runner r SET until = clock_timestamp() + ttl
        WHERE r.id = renew_lease.runner AND r.secret = sha256(convert_to(renew_lease.secret, 'UTF8')) AND r.until > clock_timestamp()
        RETURNING 1)
    SELECT EXISTS (SELECT FROM renewed)
$$;

CREATE FUNCTION daybook.end_lease(runner text, secret text) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE daybook.runner r SET until = '-infinity'
    WHERE r.id = end_lease.runner AND r.secret = sha256(convert_to(end_lease.secret, 'UTF8'))
$$;

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA log, daybook FROM PUBLIC;

GRANT USAGE ON SCHEMA log, daybook TO daybook_api, daybook_scheduler, daybook_runner, daybook_projector, daybook_janitor;
GRANT SELECT ON log.event TO daybook_api, daybook_scheduler, daybook_runner, daybook_projector, daybook_janitor;
GRANT UPDATE (payload) ON log.event TO daybook_janitor;
GRANT EXECUTE ON FUNCTION log.append_api TO daybook_api;
GRANT EXECUTE ON FUNCTION log.append_scheduler TO daybook_scheduler;
GRANT EXECUTE ON FUNCTION log.append_runner, daybook.take_lease, daybook.renew_lease, daybook.end_lease TO daybook_runner;
GRANT EXECUTE ON FUNCTION daybook.derive_id TO PUBLIC;

GRANT SELECT, INSERT, UPDATE ON log.cursor TO daybook_api, daybook_scheduler, daybook_projector;
GRANT SELECT, INSERT, UPDATE, DELETE ON log.parked TO daybook_api, daybook_scheduler, daybook_projector;
GRANT SELECT, INSERT ON daybook.blob TO daybook_api, daybook_runner;
GRANT DELETE ON daybook.blob TO daybook_janitor;
GRANT SELECT (id, namespace, queues, apps, slots, host, started_at, until) ON daybook.runner
    TO daybook_api, daybook_scheduler, daybook_runner, daybook_projector;
