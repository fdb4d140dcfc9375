//! A migration that is killed at any of its steps: the file is as it was or as it shall be, and the next start
//! brings it there.

use std::path::Path;

use super::*;

/// What a later release might do, with every kind of statement that migrations are made of.
const LATER: &str = "
    ALTER TABLE outbox ADD COLUMN priority INTEGER NOT NULL DEFAULT 7;
    CREATE TABLE label (name TEXT PRIMARY KEY, weight INTEGER NOT NULL) WITHOUT ROWID;
    INSERT INTO label SELECT key, length(value) FROM meta;
    CREATE TABLE note (id INTEGER PRIMARY KEY, value BLOB NOT NULL);
    INSERT INTO note SELECT id, bytes FROM change;
    CREATE INDEX note_by_value ON note (value);
    UPDATE change SET seq = seq + 1000;
    DELETE FROM change WHERE id % 2 = 0;
    DROP TABLE _undo;
    ALTER TABLE _broken RENAME TO broken;
";
/// Rows that are there before.
const ROWS: u32 = 24;
/// How many steps of SQLite's machine lie between two kills.
const STEPS: i32 = 25;

fn open(path: &Path) -> Connection {
    let connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    // A process is killed here, and no power cut.
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    // So small that unfinished pages reach the WAL.
    connection.pragma_update(None, "cache_size", 4).unwrap();
    connection.pragma_update(None, "foreign_keys", true).unwrap();
    connection
}

/// A file of the first format with unsent work in it.
fn first_format(path: &Path) {
    let mut connection = open(path);
    through(&mut connection, &MIGRATIONS[..1]).unwrap();
    let text = format!(
        "INSERT INTO meta VALUES ('workspace', 'acme');
         INSERT INTO document (id, record, section, entity, cells)
             VALUES (1, zeroblob(16), 'main', 'account', zeroblob(9));
         WITH RECURSIVE n (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {ROWS})
         INSERT INTO outbox (number, batch, created_at, wall, monotonic, boot, schema_version,
                             policy_version, bytes)
             SELECT n, randomblob(16), n, n, n, zeroblob(16), 1, 0, n FROM n;
         INSERT INTO change (id, document, batch, state, hash, actor, seq, max_op, bytes)
             SELECT number, 1, number, 0, batch, zeroblob(16), number, number, randomblob(6000)
             FROM outbox;"
    );
    connection.execute_batch(&text).unwrap();
}

fn number(connection: &Connection, sql: &str) -> u32 {
    connection.query_row(sql, [], |row| row.get(0)).unwrap()
}

/// Opens what a kill has left: the unsent work is all there, whichever format it is in, and the migration goes
/// through.
fn check(path: &Path) {
    let mut connection = open(path);
    let before = version(&connection).unwrap();
    assert!((1..=2).contains(&before), "{before}");
    let changes = if before == 1 { ROWS } else { ROWS / 2 };
    let seq = if before == 1 { 1 } else { 1001 };
    assert_eq!(number(&connection, "SELECT count(*) FROM change"), changes);
    assert_eq!(number(&connection, "SELECT min(seq) FROM change"), seq);
    assert_eq!(number(&connection, "SELECT count(*) FROM outbox WHERE state = 0"), ROWS);
    through(&mut connection, &[MIGRATIONS[0], LATER]).unwrap();
    assert_eq!(version(&connection).unwrap(), 2);
    assert_eq!(number(&connection, "SELECT count(*) FROM outbox WHERE priority = 7"), ROWS);
    assert_eq!(number(&connection, "SELECT count(*) FROM note"), ROWS);
    assert_eq!(number(&connection, "SELECT min(seq) FROM change"), 1001);
    assert_eq!(number(&connection, "SELECT count(*) FROM broken"), 0);
    let sound: String = connection.query_row("PRAGMA integrity_check", [], |r| r.get(0)).unwrap();
    assert_eq!(sound, "ok");
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
        let done = through(&mut connection, &[MIGRATIONS[0], LATER]);
        if done.is_ok() {
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
fn the_first_migration_killed_at_every_step_leaves_a_file_that_can_be_begun() {
    let folder = tempfile::tempdir().unwrap();
    let mut kills = 0;
    loop {
        let path = folder.path().join(format!("{kills}.db"));
        let mut connection = open(&path);
        let mut steps = 0;
        let killed = move || {
            steps += 1;
            steps > kills
        };
        connection.progress_handler(STEPS, Some(killed)).unwrap();
        if migrate(&mut connection).is_ok() {
            break;
        }
        drop(connection);
        let mut connection = open(&path);
        assert!(version(&connection).unwrap() < NEWEST);
        migrate(&mut connection).unwrap();
        assert_eq!(number(&connection, "SELECT count(*) FROM outbox"), 0);
        kills += 1;
    }
    assert!(kills > 10, "killed at {kills} steps only");
}

#[test]
fn what_undo_needs_moves_from_a_table_of_its_own_to_the_main_documents() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("first.db");
    first_format(&path);
    let mut connection = open(&path);
    let text = "
        INSERT INTO document (id, record, section, entity, cells)
            VALUES (2, zeroblob(16), 'finance', 'account', zeroblob(9)),
                   (3, x'01', 'main', 'account', zeroblob(9));
        INSERT INTO _undo VALUES (zeroblob(16), 'an edit'), (x'02', 'of a record that left');";
    connection.execute_batch(text).unwrap();
    migrate(&mut connection).unwrap();
    let sql = "SELECT id, undo FROM document WHERE undo IS NOT NULL";
    let kept = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?));
    let mut statement = connection.prepare(sql).unwrap();
    let kept: Vec<(u32, String)> =
        statement.query_map([], kept).unwrap().map(Result::unwrap).collect();
    assert_eq!(kept, [(1, "an edit".to_owned())]);
    assert_eq!(number(&connection, "SELECT count(*) FROM change WHERE state = 0"), ROWS);
    let tables = "SELECT count(*) FROM sqlite_schema WHERE name = '_undo'";
    assert_eq!(number(&connection, tables), 0);
}

#[test]
fn a_newer_file_is_refused_and_nothing_of_it_is_touched_its_wal_included() {
    let folder = tempfile::tempdir().unwrap();
    let (path, left) = (folder.path().join("a.db"), folder.path().join("b.db"));
    first_format(&path);
    let connection = open(&path);
    connection.execute_batch("INSERT INTO meta VALUES ('later', 'x')").unwrap();
    connection.pragma_update(None, "user_version", NEWEST + 1).unwrap();
    copy(&path, &left);
    let wal = folder.path().join("b.db-wal");
    let bytes = || (std::fs::read(&left).unwrap(), std::fs::read(&wal).unwrap());
    let before = bytes();
    assert!(!before.1.is_empty());
    let opened = Connection::open(&left).unwrap();
    let refused = refuse_newer(&opened);
    drop(opened);
    assert!(matches!(refused, Err(StoreError::Newer { .. })), "{refused:?}");
    assert!(bytes() == before);
}
