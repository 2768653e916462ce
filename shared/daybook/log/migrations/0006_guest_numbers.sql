-- What a guest submits must be readable by everybody: JSON's numbers have no bound, and those of its readers have. The
-- API refuses what no double holds; so does this, which was forgotten before.

CREATE OR REPLACE FUNCTION log._require_submittable(input json, run_at timestamptz, key text, queue text, priority int, labels json) RETURNS void
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
    IF jsonb_path_exists(input::jsonb, 'strict $.** ? (@.type() == "number" && (@ >= 1.7976931348623158e308 || @ <= -1.7976931348623158e308))') THEN
        RAISE numeric_value_out_of_range USING MESSAGE = 'a number of an input must fit a double';
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
