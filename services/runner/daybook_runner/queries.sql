-- name: take_lease
SELECT daybook.take_lease($1, $2, $3, $4, $5, $6, $7, $8);

-- name: renew_lease
SELECT daybook.renew_lease($1, $2, $3);

-- name: end_lease
SELECT daybook.end_lease($1, $2);

-- name: cancel_requested
SELECT stream FROM log.event WHERE stream = ANY ($1) AND kind = 'task.cancel_requested.v1';
