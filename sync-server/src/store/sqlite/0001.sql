-- One workspace. Integer row ids everywhere; names in unique indexes.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch BLOB NOT NULL,
    head INTEGER NOT NULL,
    schema TEXT NOT NULL
) STRICT;

CREATE TABLE lineage (
    n INTEGER PRIMARY KEY,
    epoch BLOB NOT NULL,
    last INTEGER NOT NULL
) STRICT;

CREATE TABLE batch (
    position INTEGER PRIMARY KEY,
    id BLOB NOT NULL UNIQUE,
    replica BLOB NOT NULL,
    member BLOB NOT NULL,
    received_at INTEGER NOT NULL
) STRICT;

CREATE TABLE document (
    number INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    section TEXT NOT NULL,
    entity TEXT NOT NULL,
    cells BLOB NOT NULL,
    snapshot BLOB,
    -- The position up to which changes are folded into the snapshot; 0 without one.
    folded_to INTEGER NOT NULL DEFAULT 0,
    UNIQUE (record, section)
) STRICT;

-- The index of a document's history: folding empties `bytes` and never removes a row.
CREATE TABLE change (
    id INTEGER PRIMARY KEY,
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    short INTEGER NOT NULL,
    hash BLOB NOT NULL,
    actor BLOB NOT NULL,
    seq INTEGER NOT NULL,
    max_op INTEGER NOT NULL,
    clock BLOB NOT NULL,
    bytes BLOB
) STRICT;
CREATE INDEX change_by_hash ON change (document, short);
CREATE INDEX change_by_position ON change (position);
-- A document's tail and its first change, whatever lies between.
CREATE INDEX change_by_document ON change (document, position);

CREATE TABLE scope (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE
) STRICT;

CREATE TABLE scope_document (
    scope INTEGER NOT NULL,
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    entered INTEGER NOT NULL,
    PRIMARY KEY (document, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX scope_by_position ON scope_document (scope, position);

CREATE TABLE scope_left (
    scope INTEGER NOT NULL,
    position INTEGER NOT NULL,
    document INTEGER NOT NULL,
    PRIMARY KEY (scope, position, document)
) STRICT, WITHOUT ROWID;

CREATE TABLE replica (
    id BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    lease BLOB NOT NULL,
    previous_lease BLOB,
    -- Names, one a line.
    scopes TEXT NOT NULL,
    previous_scopes TEXT NOT NULL,
    last_receipt INTEGER NOT NULL,
    last_seen INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE receipt (
    replica BLOB NOT NULL,
    number INTEGER NOT NULL,
    receipt BLOB NOT NULL,
    PRIMARY KEY (replica, number)
) STRICT, WITHOUT ROWID;

-- The documents of refused batches, as long as their receipts are kept.
CREATE TABLE refused (
    replica BLOB NOT NULL,
    record BLOB NOT NULL,
    section TEXT NOT NULL,
    receipt INTEGER NOT NULL,
    PRIMARY KEY (replica, record, section, receipt)
) STRICT, WITHOUT ROWID;

CREATE TABLE member (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL
) STRICT, WITHOUT ROWID;
