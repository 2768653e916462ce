-- Sessions of browsers. A link that was made by the owner of the database begins one session, whose secret its browser keeps in a cookie. Both are tokens. The API
-- may turn the one into the other, and end what has begun; it has no right to make a token that nobody made a link for.

-- The event that a token began with, where this is its secret and nobody revoked it.
CREATE FUNCTION log._token(token uuid, secret text) RETURNS log.event
LANGUAGE sql AS $$
    SELECT e FROM log.event e
    WHERE e.stream = token AND e.version = 1 AND e.kind = 'token.issued.v1' AND e.payload = sha256(convert_to(secret, 'UTF8'))
      AND NOT EXISTS (SELECT FROM log.event r WHERE r.stream = token AND r.kind = 'token.revoked.v1')
$$;

-- Who has a link's secret begins the one session that this link is good for: its stream's id comes from the link's, so the second who tries it finds that version
-- taken. Owner, namespace and scopes are those of the link. Answers no row when the link is not good, or not any more.
CREATE FUNCTION daybook.begin_session(link uuid, secret text, event uuid, session_digest bytea, lifetime interval)
RETURNS TABLE (stream uuid, expires_at timestamptz)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    made log.event := log._token(link, secret);
    ends timestamptz := clock_timestamp() + least(lifetime, interval '30 days');
    session uuid := daybook.derive_id('session', link::text);
BEGIN
    IF made.data ->> 'use' IS DISTINCT FROM 'login' OR coalesce((made.data ->> 'expires_at')::timestamptz <= clock_timestamp(), true)
        OR octet_length(session_digest) IS DISTINCT FROM 32 THEN
        RETURN;
    END IF;
    RETURN QUERY
    SELECT a.stream, ends
    FROM log._append(
        log._take_lane(), ARRAY[session], ARRAY[1], ARRAY[event], ARRAY['token.issued.v1'], ARRAY[made.namespace],
        ARRAY[json_strip_nulls(json_build_object(
            'kind', 'token.issued.v1',
            'actor', 'user:' || (made.data ->> 'owner'),
            'owner', made.data -> 'owner',
            'scopes', made.data -> 'scopes',
            'label', made.data -> 'label',
            'expires_at', to_char(ends AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
            'use', 'session'))],
        ARRAY[session_digest]) a;
END $$;

-- Who has a session's secret ends it. Of no other token.
CREATE FUNCTION daybook.end_session(session uuid, secret text, event uuid) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
DECLARE
    made log.event := log._token(session, secret);
BEGIN
    IF made.data ->> 'use' IS DISTINCT FROM 'session' THEN
        RETURN false;
    END IF;
    PERFORM FROM log._append(
        log._take_lane(), ARRAY[session], ARRAY[2], ARRAY[event], ARRAY['token.revoked.v1'], ARRAY[made.namespace],
        ARRAY[json_build_object('kind', 'token.revoked.v1', 'actor', 'user:' || (made.data ->> 'owner'), 'reason', 'logged out')],
        ARRAY[NULL::bytea]);
    RETURN true;
END $$;

REVOKE ALL ON FUNCTION log._token, daybook.begin_session, daybook.end_session FROM PUBLIC;
GRANT EXECUTE ON FUNCTION daybook.begin_session, daybook.end_session TO daybook_api;
