-- What attempts said: how chunks get in, and how they are found again.

-- name: store
SELECT daybook.store_output($1, $2, $3, $4, $5, $6, $7, $8, $9);

-- Forwards from a place: the chunk that holds it comes first.
-- name: forwards
SELECT attempt, first, last, logs, size_bytes, content
FROM daybook.output
WHERE stream = $1
  AND (attempt, first) >= ($2, coalesce((SELECT max(o.first) FROM daybook.output o WHERE o.stream = $1 AND o.attempt = $2 AND o.first <= $3), $3))
  AND attempt <= $4
  AND (logs > 0 OR NOT $5)
ORDER BY attempt, first
LIMIT $6;

-- Backwards from a place, without the chunk that begins there: only what holds log lines.
-- name: backwards
SELECT attempt, first, last, logs, size_bytes, content
FROM daybook.output
WHERE stream = $1 AND (attempt, first) < ($2, $3) AND attempt >= $4 AND logs > 0
ORDER BY attempt DESC, first DESC
LIMIT $5;

-- The last place that is stored, and when it was.
-- name: end
SELECT attempt, last, at FROM daybook.output WHERE stream = $1 AND attempt BETWEEN $2 AND $3 ORDER BY attempt DESC, first DESC LIMIT 1;
