-- The first format. Tables whose names begin with `_` are for the SDK alone; the others are public and
-- documented in the module `tables`.

CREATE TABLE meta (
    key TEXT PRIMARY KEY,
    value
) WITHOUT ROWID;

-- One row for each section of each record. `base` is the accepted state and is there only while changes are
-- unanswered; `tail` is what the change rows after the snapshot occupy, bytes; `gone` marks a document that
-- left the device's scopes while changes of it are unanswered. `seen` is a position of the log: what is accepted of
-- the document was accepted up to there.
CREATE TABLE document (
    id INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    section TEXT NOT NULL,
    entity TEXT NOT NULL,
    number INTEGER UNIQUE,
    cells BLOB NOT NULL,
    base BLOB,
    gone INTEGER NOT NULL DEFAULT 0,
    tail INTEGER NOT NULL DEFAULT 0,
    seen INTEGER NOT NULL DEFAULT 0,
    UNIQUE (record, section)
);
CREATE INDEX document_unanswered ON document (record) WHERE base IS NOT NULL;
CREATE INDEX document_gone ON document (id) WHERE gone = 1;
CREATE INDEX document_tail ON document (tail) WHERE tail > 16384;

-- Beside the document's row, so that an edit does not write it again.
CREATE TABLE _snapshot (
    document INTEGER PRIMARY KEY REFERENCES document (id) ON DELETE CASCADE,
    heads BLOB NOT NULL,
    bytes BLOB NOT NULL
);

-- `state`: 0 unanswered, 1 accepted, 2 folded into the snapshot and kept for the batch only.
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL REFERENCES document (id) ON DELETE CASCADE,
    batch INTEGER,
    state INTEGER NOT NULL,
    hash BLOB NOT NULL,
    actor BLOB NOT NULL,
    seq INTEGER NOT NULL,
    max_op INTEGER NOT NULL,
    bytes BLOB NOT NULL
);
CREATE INDEX change_document ON change (document);
CREATE INDEX change_batch ON change (batch) WHERE batch IS NOT NULL;

-- `state`: 0 unanswered, 1 accepted at `position`. `hold` says why an unanswered batch is not sent at present:
-- 1 refused (`refusal` says why), 2 it builds on one that was, 3 accepted at `position` in another form;
-- `strandings` counts how often it was refused for what it builds on.
CREATE TABLE outbox (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    batch BLOB NOT NULL UNIQUE,
    state INTEGER NOT NULL DEFAULT 0,
    created_at INTEGER NOT NULL,
    wall INTEGER NOT NULL,
    monotonic INTEGER NOT NULL,
    boot BLOB NOT NULL,
    clock_offset INTEGER,
    schema_version INTEGER NOT NULL,
    policy_version INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    position INTEGER,
    accepted_at INTEGER,
    hold INTEGER NOT NULL DEFAULT 0,
    strandings INTEGER NOT NULL DEFAULT 0,
    refusal TEXT
);
CREATE INDEX outbox_unsent ON outbox (number) WHERE state = 0;
CREATE INDEX outbox_held ON outbox (number) WHERE hold != 0;
CREATE INDEX outbox_accepted ON outbox (position) WHERE state = 1;

CREATE TABLE conflict (
    id INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    entity TEXT NOT NULL,
    section TEXT NOT NULL,
    field TEXT NOT NULL,
    open INTEGER NOT NULL,
    contenders TEXT NOT NULL,
    UNIQUE (record, section, field)
);
CREATE INDEX conflict_open ON conflict (open, entity);

CREATE TABLE dispute (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    batch BLOB NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    policy_version INTEGER,
    records TEXT NOT NULL,
    reasons TEXT NOT NULL,
    tried TEXT NOT NULL
);

-- Where the edits of disputes went that their user has decided; `successor` is the batch that tries it anew.
CREATE TABLE resolution (
    batch BLOB PRIMARY KEY,
    how TEXT NOT NULL,
    successor BLOB,
    resolved_at INTEGER NOT NULL
) WITHOUT ROWID;

-- The scope `''` stands for every scope that has no row. `standing`: 0 held, 1 gained and not come whole yet,
-- 2 lost, with its records still here.
CREATE TABLE scope (
    scope TEXT PRIMARY KEY,
    position INTEGER NOT NULL,
    catching_from INTEGER,
    standing INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

CREATE TABLE actor (
    replica BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    name TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE _undo (
    record BLOB PRIMARY KEY,
    edit TEXT NOT NULL
) WITHOUT ROWID;

CREATE TABLE _search_dirty (
    entity TEXT NOT NULL,
    row INTEGER NOT NULL,
    PRIMARY KEY (entity, row)
) WITHOUT ROWID;

-- Documents that could not be applied as they came: asked for whole once, then counted as broken.
CREATE TABLE _broken (
    number INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL
);

-- Documents that may hold what a restored server has lost. `stage`: 0 to be compared, 1 given back, and to be
-- compared once more, 2 to be taken as the server has it, 3 asked for so.
CREATE TABLE _relay (
    document INTEGER PRIMARY KEY REFERENCES document (id) ON DELETE CASCADE,
    stage INTEGER NOT NULL
);
