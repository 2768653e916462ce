-- Submitting from SQL, inside the caller's own transaction: the task exists when, and only when, the transaction commits.
-- A guest is a database role listed here: it gets the namespace and the owner from its row, never from an argument.

CREATE TABLE daybook.guest (
    role      name PRIMARY KEY,
    namespace text NOT NULL CHECK (namespace ~ '^[a-z0-9_-]{1,32}$'),
    owner     text NOT NULL CHECK (char_length(owner) BETWEEN 1 AND 128)
);

-- Refuses what the API would refuse: whatever is recorded must be readable by everybody, for ever.
CREATE FUNCTION log._require_submittable(input json, run_at timestamptz, key text, queue text, priority int, labels json) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF input IS NULL THEN
        RAISE null_value_not_allowed USING MESSAGE = 'input is null; leave it out for {}';
    END IF;
    IF octet_length(input::text) > 1048576 THEN
        RAISE program_limit_exceeded USING MESSAGE = 'an input may have 1 MiB';
    END IF;
    IF jsonb_path_exists(input::jsonb, '$.**{65}') THEN   -- jsonb also refuses NUL and lone surrogates, which json lets through
        RAISE program_limit_exceeded USING MESSAGE = 'an input may be nested 64 levels deep';
    END IF;
    IF run_at NOT BETWEEN clock_timestamp() - interval '1 minute' AND clock_timestamp() + interval '3650 days' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'run_at is between now and ten years from now';
    END IF;
    IF key !~ '^.{1,255}$' OR key ~ '[\x01-\x1f\x7f]' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a key is 1 to 255 printable characters';
    END IF;
    IF queue !~ '^[a-z0-9_-]{1,32}$' THEN
        RAISE invalid_parameter_value USING MESSAGE = 'a queue is named with 1 to 32 of a-z, 0-9, _ and -';
    END IF;
    IF priority NOT BETWEEN 1 AND 5 THEN
        RAISE invalid_parameter_value USING MESSAGE = 'priority is 1 to 5';
    END IF;
    IF (SELECT count(*) > 32 OR bool_or(
            json_typeof(l.value) <> 'string' OR char_length(l.key) NOT BETWEEN 1 AND 128 OR char_length(l.value #>> '{}') > 256)
        FROM json_each(labels) l) THEN
        RAISE invalid_parameter_value USING MESSAGE = 'labels are at most 32, text of up to 256 characters, named with 1 to 128';
    END IF;
END $$;

CREATE FUNCTION daybook.submit_task(
    app text,
    input json DEFAULT '{}',
    run_at timestamptz DEFAULT NULL,
    key text DEFAULT NULL,
    queue text DEFAULT NULL,
    priority int DEFAULT NULL,
    labels json DEFAULT NULL
) RETURNS uuid
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    guest daybook.guest;
    published json;
    task uuid;
    taken_lane int;
    salt bytea := uuid_send(gen_random_uuid());
    bytes bytea := convert_to(input::text, 'UTF8');
    inline boolean := octet_length(bytes) <= 8192;
    digest text;
    data jsonb;
    appended bigint;
BEGIN
    SELECT * INTO guest FROM daybook.guest g WHERE g.role = session_user;
    IF NOT FOUND THEN
        RAISE insufficient_privilege USING MESSAGE = format('%s is not a guest of Daybook', session_user),
            HINT = 'The owner of the database adds a row to daybook.guest and grants daybook_guest.';
    END IF;
    SELECT e.data INTO published FROM log.event e
    WHERE e.stream = daybook.derive_id('app', guest.namespace, submit_task.app) ORDER BY e.version DESC LIMIT 1;
    IF NOT FOUND THEN
        RAISE no_data_found USING MESSAGE = format('no app %s in namespace %s', app, guest.namespace);
    END IF;
    queue := coalesce(queue, published ->> 'queue', 'default');
    priority := coalesce(priority, (published ->> 'priority')::int, 3);
    PERFORM log._require_submittable(input, run_at, key, queue, priority, labels);
    -- Another derivation than the API's: a transaction that dawdles must not block an API batch with the same key.
    task := CASE WHEN key IS NULL THEN uuidv7() ELSE daybook.derive_id('sql', guest.namespace, guest.owner, key) END;
    digest := encode(sha256(salt || bytes), 'hex');
    data := jsonb_strip_nulls(jsonb_build_object(
        'kind', 'task.submitted.v1',
        'actor', 'sql:' || session_user,
        'owner', guest.owner,
        'app', app,
        'app_version', published ->> 'version',
        'input', jsonb_strip_nulls(jsonb_build_object(
            'digest', digest, 'size_bytes', octet_length(bytes), 'blob', CASE WHEN NOT inline THEN true END)),
        'queue', queue,
        'priority', priority,
        'policy', coalesce(published -> 'policy', '{}'),
        'run_at', run_at,
        'labels', coalesce(labels, '{}')));
    taken_lane := log._take_lane(nullif(current_setting('daybook.lane', true), '')::int);
    PERFORM set_config('daybook.lane', taken_lane::text, true);
    SELECT count(*) INTO appended FROM log._append(
        taken_lane, ARRAY[task], ARRAY[1], ARRAY[uuidv7()], ARRAY['task.submitted.v1'], ARRAY[guest.namespace], ARRAY[data::json],
        ARRAY[salt || CASE WHEN inline THEN bytes ELSE ''::bytea END]);
    IF appended = 0 AND key IS NULL THEN
        RAISE unique_violation USING MESSAGE = 'the new task''s id was taken; try again';
    END IF;
    IF appended > 0 AND NOT inline THEN
        INSERT INTO daybook.blob (digest, content) VALUES (digest, bytes);
    END IF;
    -- Followers tell the world of what they see: it must not be forgotten in a crash.
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
    RETURN task;   -- with a key: the same task as the first time
END $$;

REVOKE ALL ON FUNCTION daybook.submit_task, log._require_submittable FROM PUBLIC;
GRANT USAGE ON SCHEMA daybook TO daybook_guest;
GRANT EXECUTE ON FUNCTION daybook.submit_task TO daybook_guest;
