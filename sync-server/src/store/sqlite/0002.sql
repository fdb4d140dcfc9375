-- What folded changes became, apart from the row that every edit writes: an edit of a document with a long past
-- wrote all of its past once more.
CREATE TABLE snapshot (
    document INTEGER PRIMARY KEY,
    bytes BLOB NOT NULL
) STRICT;

INSERT INTO snapshot (document, bytes)
SELECT number, snapshot FROM document WHERE snapshot IS NOT NULL ORDER BY number;

ALTER TABLE document DROP COLUMN snapshot;
