-- Schedules: who may write which of their facts.

CREATE OR REPLACE FUNCTION log.append_api(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY[
        'task.submitted.v1', 'task.rescheduled.v1', 'task.cancel_requested.v1', 'task.cancelled.v1', 'task.retried.v1',
        'schedule.created.v1', 'schedule.changed.v1', 'schedule.paused.v1', 'schedule.resumed.v1', 'schedule.deleted.v1', 'schedule.backfilled.v1',
        'slot.fired.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

-- A scheduler decides slots, and submits the tasks of slots, each under the id that this slot alone has.
CREATE OR REPLACE FUNCTION log.append_scheduler(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY[
        'task.due.v1', 'task.lost.v1', 'task.expired.v1', 'task.cancelled.v1', 'task.cancel_requested.v1', 'task.submitted.v1',
        'slot.fired.v1', 'slots.skipped.v1', 'schedule.paused.v1', 'schedule.resumed.v1']);
    IF 'task.submitted.v1' = ANY (kinds) AND EXISTS (
        SELECT FROM unnest(streams, kinds, datas) AS g (stream, kind, data)
        WHERE g.kind = 'task.submitted.v1'
            AND g.stream IS DISTINCT FROM daybook.derive_id('slot', g.data ->> 'schedule', g.data ->> 'slot')
    ) THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s may submit only the tasks of slots', session_user);
    END IF;
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;
