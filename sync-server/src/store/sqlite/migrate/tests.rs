//! A migration that is killed at any of its steps: the file is as it was or as it shall be, and the next start
//! brings it there.

use std::path::Path;

use super::*;

/// What a later release might do, with every kind of statement that migrations are made of.
const LATER: &str = "
    ALTER TABLE batch ADD COLUMN node INTEGER NOT NULL DEFAULT 7;
    CREATE TABLE label (name TEXT PRIMARY KEY, weight INTEGER NOT NULL) STRICT, WITHOUT ROWID;
    INSERT INTO label SELECT hex(id), length(id) FROM batch;
    CREATE TABLE note (id INTEGER PRIMARY KEY, value BLOB) STRICT;
    INSERT INTO note SELECT id, bytes FROM change;
    CREATE INDEX note_by_value ON note (value);
    UPDATE change SET seq = seq + 1000;
    DROP TABLE scope_left;
    ALTER TABLE refused RENAME TO refused_documents
";
/// Rows that are there before.
const ROWS: i64 = 24;
/// How many steps of SQLite's machine lie between two kills.
const STEPS: i32 = 25;

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "wal").unwrap();
    // A process is killed here, and no power cut.
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    // So small that unfinished pages reach the WAL.
    connection.pragma_update(None, "cache_size", 4).unwrap();
    connection
}

/// The migrations of this build, and a later one.
const WITH_LATER: [&str; 3] = [MIGRATIONS[0], MIGRATIONS[1], LATER];

/// A file of the first format with a log in it, and documents that are folded in part.
fn first_format(path: &Path) {
    let connection = open(path);
    through(&connection, &MIGRATIONS[..1]).unwrap();
    let text = format!(
        "WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})
         INSERT INTO batch SELECT n, randomblob(16), zeroblob(12), zeroblob(16), n FROM n;
         INSERT INTO change (id, document, position, short, hash, actor, seq, max_op, clock, bytes)
             SELECT position, 1, position, position, id, zeroblob(16), position, 1, zeroblob(1),
                    randomblob(6000)
             FROM batch;
         INSERT INTO document (number, record, section, entity, cells, snapshot, folded_to)
             SELECT position, id, 'main', 'account', zeroblob(9),
                    iif(position % 2, randomblob(500), NULL), position % 2
             FROM batch;"
    );
    connection.execute_batch(&text).unwrap();
}

fn number(connection: &Connection, sql: &str) -> i64 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Opens what a kill has left: the log is all there, whichever format it is in, and the migration goes through.
fn check(path: &Path) {
    let connection = open(path);
    refuse_unless_later(&connection);
    let before = version(&connection).unwrap();
    let seq = if before < 3 { 1 } else { 1001 };
    assert_eq!(number(&connection, "SELECT count(*) FROM batch"), ROWS);
    assert_eq!(number(&connection, "SELECT min(seq) FROM change"), seq);
    through(&connection, &WITH_LATER).unwrap();
    assert_eq!(version(&connection).unwrap(), 3);
    assert_eq!(number(&connection, "SELECT count(*) FROM batch WHERE node = 7"), ROWS);
    assert_eq!(number(&connection, "SELECT count(*) FROM note"), ROWS);
    assert_eq!(number(&connection, "SELECT min(seq) FROM change"), 1001);
    assert_eq!(number(&connection, "SELECT count(*) FROM refused_documents"), 0);
    assert_eq!(number(&connection, "SELECT count(*) FROM document"), ROWS);
    let folded = "SELECT count(*) FROM document JOIN snapshot ON document = number
                  WHERE folded_to = 1 AND length(bytes) = 500";
    assert_eq!(number(&connection, folded), ROWS / 2);
    assert_eq!(number(&connection, "SELECT count(*) FROM snapshot"), ROWS / 2);
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(sound, "ok");
}

/// This build refuses what the later one has finished, and nothing else.
fn refuse_unless_later(connection: &Connection) {
    match (version(connection).unwrap(), refuse(connection)) {
        (1 | 2, Ok(())) => {}
        (3, Err(StoreError::Newer { found: 3, known: 2 })) => {}
        (found, answer) => panic!("{found}: {answer:?}"),
    }
}

/// The files as a kill leaves them: without the shared memory, which nobody else may trust.
fn copy(from: &Path, to: &Path) {
    for suffix in ["", "-wal"] {
        let name = |path: &Path| format!("{}{suffix}", path.display());
        std::fs::copy(name(from), name(to)).unwrap();
    }
}

#[test]
fn a_migration_killed_at_every_step_is_done_or_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let template = folder.path().join("first.db");
    first_format(&template);
    let mut kills = 0;
    loop {
        let path = folder.path().join(format!("{kills}.db"));
        std::fs::copy(&template, &path).unwrap();
        let left = folder.path().join(format!("{kills}-left.db"));
        let mut connection = open(&path);
        let (file, copied) = (path.clone(), left.clone());
        let mut steps = 0;
        let killed = move || {
            steps += 1;
            if steps == kills + 1 {
                copy(&file, &copied);
            }
            steps > kills
        };
        connection.progress_handler(STEPS, Some(killed)).unwrap();
        if through(&connection, &WITH_LATER).is_ok() {
            // Killed right after its end, before anything is folded back.
            copy(&path, &left);
            check(&left);
            break;
        }
        // One process was killed, the other had an error: both begin again.
        drop(connection);
        check(&left);
        check(&path);
        kills += 1;
    }
    assert!(kills > 50, "killed at {kills} steps only");
}

#[test]
fn a_file_that_is_refused_is_not_touched_its_wal_included() {
    let folder = tempfile::tempdir().unwrap();
    for format in [0, FORMAT + 1] {
        let path = folder.path().join(format!("{format}.db"));
        first_format(&path);
        let connection = open(&path);
        connection.execute_batch("DELETE FROM batch WHERE position = 1").unwrap();
        connection.pragma_update(None, "user_version", format).unwrap();
        let left = folder.path().join(format!("{format}-left.db"));
        copy(&path, &left);
        let wal = folder.path().join(format!("{format}-left.db-wal"));
        let bytes = || (std::fs::read(&left).unwrap(), std::fs::read(&wal).unwrap());
        let before = bytes();
        assert!(!before.1.is_empty());
        let refused =
            super::super::SqliteStore::open(&left, super::super::SqliteOptions::default());
        assert!(refused.is_err());
        drop(refused);
        assert!(bytes() == before);
    }
}
