-- name: take_lease
SELECT daybook.take_lease($1, $2, $3, $4, $5, $6, $7, $8);

-- name: renew_lease
SELECT daybook.renew_lease($1, $2, $3);

-- name: end_lease
SELECT daybook.end_lease($1, $2);

-- Which of these attempts, by the versions at which they began, are to stop: somebody asked, or they count as lost.
-- name: unwanted
SELECT DISTINCT e.stream FROM unnest($1::uuid[], $2::int[]) AS r (stream, started)
JOIN log.event e ON e.stream = r.stream AND e.version > r.started AND e.kind IN ('task.cancel_requested.v1', 'task.lost.v1');

-- What a delivery is signed with that this runner makes.
-- name: delivery_secret
SELECT daybook.delivery_secret($1, $2, $3);
