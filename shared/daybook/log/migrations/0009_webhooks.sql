-- Webhooks: who may write their facts, and the secrets that deliveries are signed with.

CREATE OR REPLACE FUNCTION log.append_api(streams uuid[], versions int[], ids uuid[], kinds text[], namespaces text[], datas json[], payloads bytea[])
RETURNS TABLE (stream uuid, lane int, "position" bigint, at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
BEGIN
    PERFORM log._require(kinds, ARRAY[
        'task.submitted.v1', 'task.rescheduled.v1', 'task.cancel_requested.v1', 'task.cancelled.v1', 'task.retried.v1',
        'schedule.created.v1', 'schedule.changed.v1', 'schedule.paused.v1', 'schedule.resumed.v1', 'schedule.deleted.v1', 'schedule.backfilled.v1',
        'slot.fired.v1',
        'webhook.created.v1', 'webhook.deleted.v1']);
    RETURN QUERY SELECT * FROM log._append(log._take_lane(), streams, versions, ids, kinds, namespaces, datas, payloads);
END $$;

-- The one secret that all others are made of: no webhook's own is kept anywhere, and nobody may read this one. It was made here and goes wherever the database goes,
-- so that receivers need not be told after a restore.
CREATE TABLE daybook.webhook_key (
    only_one boolean PRIMARY KEY DEFAULT true CHECK (only_one),
    key      bytea   NOT NULL CHECK (octet_length(key) = 64)
);
INSERT INTO daybook.webhook_key (key) VALUES (
    sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()))
    || sha256(uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid()) || uuid_send(gen_random_uuid())));

-- A keyed hash of two passes with a key for each, as HMAC is: what one receiver knows tells it nothing of another's.
CREATE FUNCTION log._webhook_secret(VARIADIC parts text[]) RETURNS bytea
LANGUAGE sql STABLE AS $$
    SELECT sha256(substr(k.key, 33, 32) || sha256(substr(k.key, 1, 32) || convert_to(array_to_string(parts, E'\x1f'), 'UTF8'))) FROM daybook.webhook_key k
$$;

-- What the ends of an owner's tasks are signed with, where the task itself says whom to tell.
CREATE FUNCTION daybook.owner_secret(namespace text, owner text) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT log._webhook_secret('owner', namespace, owner)
$$;

-- The same for a webhook, by its public id.
CREATE FUNCTION daybook.webhook_secret(webhook text) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT log._webhook_secret('webhook', webhook)
$$;

-- A runner proves who it is by its lease's secret, and learns the secret of a delivery that it is making, of no other. Whose secret that is says the delivery's own
-- first event, which the API alone can have written.
CREATE FUNCTION daybook.delivery_secret(runner text, secret text, task uuid) RETURNS bytea
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
    SELECT CASE WHEN s.data -> 'labels' ->> 'webhook' IS NULL THEN log._webhook_secret('owner', s.namespace, s.data ->> 'owner')
                ELSE log._webhook_secret('webhook', s.data -> 'labels' ->> 'webhook') END
    FROM log.event s
    WHERE s.stream = task AND s.version = 1 AND s.kind = 'task.submitted.v1'
      AND s.data ->> 'app' = 'daybook.webhook' AND s.data ->> 'actor' = 'webhooks'
      AND runner = (
          SELECT e.data ->> 'runner' FROM log.event e WHERE e.stream = task AND e.kind = 'task.started.v1' ORDER BY e.version DESC LIMIT 1)
      AND EXISTS (
          SELECT FROM daybook.runner r
          WHERE r.id = delivery_secret.runner AND r.secret = sha256(convert_to(delivery_secret.secret, 'UTF8')) AND r.ended_at IS NULL)
$$;

REVOKE ALL ON FUNCTION log._webhook_secret, daybook.owner_secret, daybook.webhook_secret, daybook.delivery_secret FROM PUBLIC;
GRANT EXECUTE ON FUNCTION daybook.owner_secret, daybook.webhook_secret TO daybook_api;
GRANT EXECUTE ON FUNCTION daybook.delivery_secret TO daybook_runner;
