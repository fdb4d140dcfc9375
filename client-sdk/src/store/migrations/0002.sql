-- What undo needs of a record stands in the row of its main document, which an edit writes anyway.
ALTER TABLE document ADD COLUMN undo TEXT;
UPDATE document SET undo = (SELECT edit FROM _undo WHERE _undo.record = document.record)
    WHERE section = 'main' AND record IN (SELECT record FROM _undo);
DROP TABLE _undo;

-- Whether a document has unanswered changes is told by the index alone, however long its history.
DROP INDEX change_document;
CREATE INDEX change_document ON change (document, state);

-- From here on `bytes` of a change may be empty: `cells` of its document tell all of it, it is the only one, and
-- the server has it. An edit of the document puts them there before it writes the cells.
