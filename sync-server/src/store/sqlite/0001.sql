-- One workspace. Integer row ids everywhere; names in unique indexes.
CREATE TABLE log (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    epoch BLOB NOT NULL,
    head INTEGER NOT NULL,
    schema TEXT NOT NULL,
    -- NULL until one is put in force.
    policy TEXT,
    -- Nobody is served until the operator has spoken: the file was put back to an older state.
    is_halted INTEGER NOT NULL DEFAULT 0
) STRICT;

CREATE TABLE lineage (
    n INTEGER PRIMARY KEY,
    epoch BLOB NOT NULL,
    last INTEGER NOT NULL,
    documents INTEGER NOT NULL,
    -- When the backup was restored that ended it, and where it had come by then, if that was known.
    at INTEGER NOT NULL,
    ended INTEGER
) STRICT;

-- What the log that was replaced held beyond the backup: its places there, and the hashes of its changes.
CREATE TABLE lost (
    id INTEGER PRIMARY KEY,
    position INTEGER NOT NULL,
    batch BLOB NOT NULL UNIQUE,
    replica BLOB NOT NULL,
    member BLOB NOT NULL,
    hashes BLOB NOT NULL
) STRICT;

-- The latest backup: what it holds devices need not keep.
CREATE TABLE backup (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    position INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT;

-- Replicas that stand beyond the end of the log.
CREATE TABLE ahead (
    replica BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    device BLOB NOT NULL,
    position INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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
-- What a device that loses a scope holds of it.
CREATE INDEX scope_by_entry ON scope_document (scope, entered);
-- What enters without a change of its own.
CREATE INDEX scope_entry ON scope_document (entered);

CREATE TABLE scope_left (
    scope INTEGER NOT NULL,
    document INTEGER NOT NULL,
    position INTEGER NOT NULL,
    PRIMARY KEY (document, scope)
) STRICT, WITHOUT ROWID;
CREATE INDEX left_by_position ON scope_left (scope, position);
CREATE INDEX left_at ON scope_left (position);

CREATE TABLE replica (
    id BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    lease BLOB NOT NULL,
    previous_lease BLOB,
    -- Names, one a line.
    scopes TEXT NOT NULL,
    previous_scopes TEXT NOT NULL,
    last_receipt INTEGER NOT NULL,
    last_seen INTEGER NOT NULL,
    device BLOB NOT NULL,
    device_name TEXT NOT NULL,
    -- Whether it was greeted since the epoch began.
    is_met INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every subscription that a member was ever granted: what its devices may say that they hold.
CREATE TABLE granted (
    member BLOB NOT NULL,
    subscription TEXT NOT NULL,
    PRIMARY KEY (member, subscription)
) STRICT, WITHOUT ROWID;

-- Devices that are told to wipe what they hold.
CREATE TABLE revoked (
    device BLOB PRIMARY KEY,
    at INTEGER NOT NULL
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

-- What the records of entity `member` say, and members who have none yet.
CREATE TABLE member (
    id BLOB PRIMARY KEY,
    name TEXT NOT NULL,
    role TEXT,
    -- JSON arrays of names.
    territories TEXT NOT NULL DEFAULT '[]',
    teams TEXT NOT NULL DEFAULT '[]',
    region TEXT,
    active INTEGER NOT NULL DEFAULT 1,
    has_record INTEGER NOT NULL DEFAULT 0
) STRICT, WITHOUT ROWID;

-- Each record's routing values: what scopes are found from.
CREATE TABLE route (
    record BLOB PRIMARY KEY,
    entity TEXT NOT NULL,
    owner BLOB,
    territory TEXT,
    team TEXT,
    parent BLOB,
    merged_into BLOB
) STRICT, WITHOUT ROWID;
CREATE INDEX route_by_parent ON route (parent) WHERE parent IS NOT NULL;
CREATE INDEX route_by_survivor ON route (merged_into) WHERE merged_into IS NOT NULL;

-- Records whose scopes are to be found again: those that follow `record`, or every one when that is empty;
-- up to `after` they are done.
CREATE TABLE rescope (
    id INTEGER PRIMARY KEY,
    record BLOB NOT NULL UNIQUE,
    after BLOB NOT NULL,
    hops INTEGER NOT NULL
) STRICT;

-- The audit: canonical bytes of entries, each with the hash that chains it to the one before.
CREATE TABLE audit (
    n INTEGER PRIMARY KEY,
    entry BLOB NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- A note of the last entry, so that a cut-off end is seen.
CREATE TABLE audit_head (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    n INTEGER NOT NULL,
    hash BLOB NOT NULL
) STRICT;

-- Members who sign in with a password of this server.
CREATE TABLE account (
    member BLOB PRIMARY KEY,
    -- In lower case.
    login TEXT NOT NULL UNIQUE,
    password TEXT NOT NULL,
    changed_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Refresh tokens: hashes only, a row for each signing in.
CREATE TABLE refresh_family (
    id BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    device BLOB NOT NULL,
    current BLOB NOT NULL,
    previous BLOB,
    salt BLOB NOT NULL,
    rotated_at INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    revoked INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX refresh_family_by_member ON refresh_family (member);
CREATE INDEX refresh_family_by_device ON refresh_family (device);
CREATE INDEX refresh_family_by_end ON refresh_family (expires_at);

-- Records that were erased for good. What is left of each is its id, so that nobody can bring it back.
CREATE TABLE erased (
    record BLOB PRIMARY KEY,
    position INTEGER NOT NULL UNIQUE,
    at INTEGER NOT NULL,
    -- Who asked for it; NULL for the operator.
    member BLOB,
    -- The record with which it went.
    with_record BLOB,
    entity TEXT,
    documents INTEGER NOT NULL,
    changes INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    receipts INTEGER NOT NULL,
    -- When the file was written anew; NULL while free pages may hold traces.
    scrubbed_at INTEGER
) STRICT, WITHOUT ROWID;
CREATE INDEX erased_unscrubbed ON erased (position) WHERE scrubbed_at IS NULL;
CREATE INDEX erased_with ON erased (with_record) WHERE with_record IS NOT NULL;

-- The numbers of their documents, which no other document gets.
CREATE TABLE erased_document (
    number INTEGER PRIMARY KEY,
    record BLOB NOT NULL
) STRICT;

-- Up to where each replica has removed what was erased.
CREATE TABLE erasure_confirmed (
    replica BLOB PRIMARY KEY,
    up_to INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- When the operator last ended the time in which devices give back what others wrote.
CREATE TABLE relay_closed (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    at INTEGER NOT NULL
) STRICT;

-- Replicas that were never here, whose changes others gave back: whose they are, by what those said.
CREATE TABLE presumed (
    replica BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    said_by BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Changes that were given back and wait for what they depend on.
CREATE TABLE parked (
    id INTEGER PRIMARY KEY,
    record BLOB NOT NULL,
    section TEXT NOT NULL,
    actor BLOB NOT NULL,
    seq INTEGER NOT NULL,
    replica BLOB NOT NULL,
    member BLOB NOT NULL,
    parked_at INTEGER NOT NULL,
    relay BLOB NOT NULL,
    UNIQUE (record, section, actor, seq)
) STRICT;

-- Changes that their own author brought and that were refused: nobody else may bring them.
CREATE TABLE withdrawn (
    record BLOB NOT NULL,
    section TEXT NOT NULL,
    actor BLOB NOT NULL,
    seq INTEGER NOT NULL,
    PRIMARY KEY (record, section, actor)
) STRICT, WITHOUT ROWID;

-- What each replica gave back since the last restore.
CREATE TABLE relayed (
    replica BLOB PRIMARY KEY,
    member BLOB NOT NULL,
    taken INTEGER NOT NULL,
    held INTEGER NOT NULL,
    parked INTEGER NOT NULL,
    refused INTEGER NOT NULL,
    at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
