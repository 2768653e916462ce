-- The read models: all of it can be dropped and made again from the log. Applied at every migration; every statement can be repeated.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_namespace WHERE nspname = 'read') THEN
        CREATE SCHEMA read AUTHORIZATION daybook_projector;
    END IF;
END $$;
GRANT USAGE ON SCHEMA read TO daybook_api, daybook_scheduler, daybook_runner;

-- One row per task: its current state, for lists. The task itself is read from the log.
CREATE TABLE IF NOT EXISTS read.task (
    id           uuid        PRIMARY KEY,
    version      int         NOT NULL,
    attempt      int         NOT NULL,
    priority     smallint    NOT NULL,
    namespace    text        NOT NULL,
    owner        text        NOT NULL,
    app          text        NOT NULL,
    app_version  text        NOT NULL,
    queue        text        NOT NULL,
    status       text        NOT NULL,
    reason       text        NOT NULL,
    error_type   text        NOT NULL,
    labels       jsonb       NOT NULL,
    run_at       timestamptz,
    submitted_at timestamptz NOT NULL,
    started_at   timestamptz,
    finished_at  timestamptz,
    CHECK ((finished_at IS NOT NULL) = (status IN ('success', 'error', 'cancelled')))
) WITH (fillfactor = 80);
CREATE INDEX IF NOT EXISTS task_by_time ON read.task (namespace, submitted_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS task_by_owner ON read.task (namespace, owner, submitted_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS task_by_app ON read.task (namespace, app, submitted_at DESC, id DESC);
CREATE INDEX IF NOT EXISTS task_open ON read.task (status, namespace, submitted_at DESC, id DESC)
    WHERE status NOT IN ('success', 'cancelled');

CREATE TABLE IF NOT EXISTS read.app (
    id           uuid        PRIMARY KEY,
    version      int         NOT NULL,
    namespace    text        NOT NULL,
    app          text        NOT NULL,
    published_at timestamptz NOT NULL,
    manifest     jsonb       NOT NULL,
    UNIQUE (namespace, app)
);

-- One row per thing that will be due. Kept by its own follower, in the scheduler.
CREATE TABLE IF NOT EXISTS read.timer (
    id      uuid        PRIMARY KEY,
    version int         NOT NULL,
    due_at  timestamptz NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS timer_due ON read.timer (due_at);

ALTER TABLE read.task OWNER TO daybook_projector;
ALTER TABLE read.app OWNER TO daybook_projector;
ALTER TABLE read.timer OWNER TO daybook_projector;
GRANT SELECT ON read.task, read.app TO daybook_api, daybook_scheduler;
GRANT SELECT ON read.task TO daybook_runner;
GRANT SELECT, INSERT, UPDATE, DELETE ON read.timer TO daybook_scheduler;

-- One row per schedule: its state, which is all that a decision needs; and the ledger, one row per decision about slots.
CREATE TABLE IF NOT EXISTS read.schedule (
    id         uuid        PRIMARY KEY,
    version    int         NOT NULL,
    namespace  text        NOT NULL,
    owner      text        NOT NULL,
    app        text        NOT NULL,
    deleted    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    snapshot   json        NOT NULL
) WITH (fillfactor = 70);
CREATE INDEX IF NOT EXISTS schedule_by_time ON read.schedule (namespace, created_at DESC, id DESC) WHERE NOT deleted;
CREATE INDEX IF NOT EXISTS schedule_by_owner ON read.schedule (namespace, owner, created_at DESC, id DESC) WHERE NOT deleted;

CREATE TABLE IF NOT EXISTS read.slot (
    schedule   uuid        NOT NULL,
    version    int         NOT NULL,   -- of the schedule, when it was decided
    slot       timestamptz NOT NULL,   -- the first, where it is a run of slots
    last       timestamptz NOT NULL,
    count      int         NOT NULL CHECK (count > 0),
    outcome    text        NOT NULL CHECK (outcome IN ('fired', 'skipped')),
    reason     text        NOT NULL,   -- why not; or what made it fire
    task       uuid,
    due_at     timestamptz NOT NULL,   -- later than the slot by its jitter
    decided_at timestamptz NOT NULL,
    PRIMARY KEY (schedule, version),
    CHECK ((task IS NOT NULL) = (outcome = 'fired'))
);
CREATE INDEX IF NOT EXISTS slot_by_time ON read.slot (schedule, slot DESC, version DESC);

ALTER TABLE read.schedule OWNER TO daybook_projector;
ALTER TABLE read.slot OWNER TO daybook_projector;
GRANT SELECT ON read.schedule, read.slot TO daybook_api;

-- A timer is of a task (one that is plainly `due`, or one that must be looked at), of a schedule (whose state it keeps), or of a submission that is to be there by then.
ALTER TABLE read.timer ADD COLUMN IF NOT EXISTS what text NOT NULL DEFAULT 'task' CHECK (what IN ('due', 'task', 'schedule', 'submission'));
ALTER TABLE read.timer ADD COLUMN IF NOT EXISTS state json;
ALTER TABLE read.timer ADD COLUMN IF NOT EXISTS for_run boolean NOT NULL DEFAULT false;   -- it waits for one of its tasks to end
ALTER TABLE read.timer ALTER COLUMN due_at DROP NOT NULL;

ALTER TABLE read.task ADD COLUMN IF NOT EXISTS schedule uuid;
CREATE INDEX IF NOT EXISTS task_by_schedule ON read.task (schedule, submitted_at DESC, id DESC) WHERE schedule IS NOT NULL;

-- Whom to tell when tasks end. The row of a deleted webhook stays: its deliveries can still be looked up.
CREATE TABLE IF NOT EXISTS read.webhook (
    id         uuid        PRIMARY KEY,
    version    int         NOT NULL,
    namespace  text        NOT NULL,
    owner      text        NOT NULL,
    url        text        NOT NULL,
    events     text[]      NOT NULL,   -- none means all
    app        text        NOT NULL,   -- empty for any
    all_owners boolean     NOT NULL,
    note       text        NOT NULL,
    deleted    boolean     NOT NULL,
    created_at timestamptz NOT NULL,
    position   bigint      NOT NULL    -- of its creation: it is told of ends that came after
);
CREATE INDEX IF NOT EXISTS webhook_by_time ON read.webhook (namespace, created_at DESC, id DESC) WHERE NOT deleted;
CREATE INDEX IF NOT EXISTS webhook_by_owner ON read.webhook (namespace, owner, created_at DESC, id DESC) WHERE NOT deleted;
ALTER TABLE read.webhook OWNER TO daybook_projector;
GRANT SELECT ON read.webhook TO daybook_api;
