//! RELIABILITY.md says which test shows what: each of them exists, and no case of the catalogue is left out.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The cases of the catalogue: a letter, and how many there are. G is answered as a whole.
const CASES: [(char, usize); 9] =
    [('A', 15), ('B', 8), ('C', 13), ('D', 20), ('E', 15), ('F', 10), ('H', 6), ('I', 8), ('J', 8)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package has a workspace").to_owned()
}

fn page() -> String {
    fs::read_to_string(root().join("RELIABILITY.md")).expect("RELIABILITY.md stands in the root")
}

/// The names of all functions under a folder.
fn collect_functions(folder: &Path, names: &mut BTreeSet<String>) {
    for entry in fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("the folder can be read").path();
        if path.is_dir() {
            if path.file_name().is_some_and(|name| name != "target") {
                collect_functions(&path, names);
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).expect("sources are UTF-8");
            let found = text.split("fn ").skip(1).map(|rest| {
                rest.chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '_').collect()
            });
            names.extend(found.collect::<Vec<String>>());
        }
    }
}

/// What stands between backticks and could be the name of a test.
fn named_tests(text: &str) -> impl Iterator<Item = &str> {
    let quoted = text.split('`').skip(1).step_by(2);
    quoted.filter(|word| {
        let is_name = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        word.matches('_').count() >= 2 && word.chars().all(is_name)
    })
}

#[test]
fn every_test_that_the_page_names_exists() {
    let mut functions = BTreeSet::new();
    for folder in ["crdt-core", "client-sdk", "sync-server", "examples", "tests"] {
        collect_functions(&root().join(folder), &mut functions);
    }
    let page = page();
    let named: BTreeSet<&str> = named_tests(&page).collect();
    assert!(named.len() > 100, "the page names {} tests only", named.len());
    let missing: Vec<_> = named.iter().filter(|name| !functions.contains(**name)).collect();
    assert!(missing.is_empty(), "RELIABILITY.md names tests that do not exist: {missing:#?}");
}

#[test]
fn every_case_of_the_catalogue_has_a_test_or_a_reason() {
    let page = page();
    for (letter, count) in CASES {
        for number in 1..=count {
            let begin = format!("| {letter}{number} |");
            let rows: Vec<_> = page.lines().filter(|line| line.starts_with(&begin)).collect();
            assert_eq!(rows.len(), 1, "{letter}{number} stands in {} rows", rows.len());
            let shown = named_tests(rows[0]).count() > 0;
            let reasoned = ["does not apply", "see above"].iter().any(|why| rows[0].contains(why));
            assert!(shown || reasoned, "{letter}{number} has neither a test nor a reason");
        }
    }
}

#[test]
fn the_sqlite_that_is_linked_has_no_wal_reset_bug() {
    // Versions from 3.7.0 to 3.51.2 can corrupt a database when two connections checkpoint at once.
    assert!(rusqlite::version_number() >= 3_051_003, "SQLite {}", rusqlite::version());
}
