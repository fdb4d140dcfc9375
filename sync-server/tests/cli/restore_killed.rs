//! `restore`, killed after each thing that it does to files: the workspace is the old one or the new one, what it
//! replaced is kept whole, and `restore` again finishes.

use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::config::DbConfig;

use crate::operator::Operator;

/// A format that no build knows.
const LATER: i64 = 99;

/// What a workspace's file says.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Says {
    epoch: Vec<u8>,
    head: i64,
    format: i64,
}

/// Reads a copy of the file, and of the log beside it, so that looking changes nothing.
fn read(path: &Path) -> Option<Says> {
    let folder = tempfile::tempdir().unwrap();
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        let name = |path: &Path| PathBuf::from(format!("{}{suffix}", path.display()));
        if name(path).exists() {
            std::fs::copy(name(path), name(&copy)).unwrap();
        }
    }
    if !copy.exists() {
        return None;
    }
    let file = Connection::open(&copy).unwrap();
    let sound: String = file.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(sound, "ok");
    let format = file.pragma_query_value(None, "user_version", |row| row.get(0)).unwrap();
    let says = |row: &rusqlite::Row<'_>| Ok(Says { epoch: row.get(0)?, head: row.get(1)?, format });
    Some(file.query_row("SELECT epoch, head FROM log", [], says).unwrap())
}

/// A workspace of two members whose backup knows one.
fn with_backup() -> (Operator, String) {
    let operator = Operator::with_workspace();
    operator.add("Ada", "admin");
    let file = operator.data().join("monday.backup").display().to_string();
    operator.on(&["backup", &file]).ok();
    operator.add("Ben", "rep");
    (operator, file)
}

/// Kills a restore after each of its steps and hands over what is left, with what was there before.
fn killed_at_every_step(
    template: &Operator,
    backup: &str,
    left: impl Fn(&Operator, usize),
) -> usize {
    for step in 1.. {
        let operator = template.copy();
        if !operator.kill_at(&format!("restore:{step}"), &["restore", backup]) {
            return step - 1;
        }
        left(&operator, step);
    }
    unreachable!("a restore has an end")
}

/// Runs the restore again: it goes through, leaves nothing unfinished, and `replaced` is kept whole.
fn assert_finishes(operator: &Operator, backup: &str, replaced: &Says, step: usize) {
    operator.on(&["restore", backup]).ok();
    let now = read(&operator.database()).unwrap();
    assert!(now.head == 1 && now.epoch != replaced.epoch && now.format == 2, "{step}: {now:?}");
    let folder = operator.database().parent().unwrap().to_owned();
    let files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path()).collect();
    let named =
        |part: &str| files.iter().filter(|file| file.to_string_lossy().contains(part)).count();
    assert_eq!((named(".restore"), named("field.db-wal")), (0, 0), "{step}: {files:?}");
    let is_kept = |file: &PathBuf| {
        let name = file.to_string_lossy();
        name.contains(".replaced-")
            && !name.ends_with("-wal")
            && read(file).as_ref() == Some(replaced)
    };
    assert!(files.iter().any(is_kept), "{step}: {files:?}");
}

#[test]
fn a_restore_killed_after_every_file_operation_has_happened_or_not_and_finishes_when_run_again() {
    let (template, backup) = with_backup();
    let old = read(&template.database()).unwrap();
    assert_eq!(old.head, 2);
    let kills = killed_at_every_step(&template, &backup, |operator, step| {
        let left = read(&operator.database()).expect("the workspace has a file at every moment");
        let is_new = left.head == 1 && left.epoch != old.epoch;
        assert!(left == old || is_new, "{step}: {left:?}");
        assert_finishes(operator, &backup, &old, step);
    });
    assert!(kills >= 10, "killed at {kills} steps only");
}

#[test]
fn a_restore_over_a_file_that_cannot_be_read_never_leaves_it_without_its_newest_part() {
    let (template, backup) = with_backup();
    let file = Connection::open(template.database()).unwrap();
    file.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).unwrap();
    file.pragma_update(None, "user_version", LATER).unwrap();
    drop(file);
    let old = read(&template.database()).unwrap();
    assert_eq!((old.head, old.format), (2, LATER));
    let kills = killed_at_every_step(&template, &backup, |operator, step| {
        match read(&operator.database()) {
            Some(left) => {
                let is_new = left.head == 1 && left.epoch != old.epoch;
                assert!(left == old || is_new, "{step}: {left:?}");
            }
            // Away, and kept: nobody is served an older state as if nothing were missing.
            None => assert!(operator.on(&["member", "list"]).status != 0),
        }
        assert_finishes(operator, &backup, &old, step);
    });
    assert!(kills >= 10, "killed at {kills} steps only");
}
