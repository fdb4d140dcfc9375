//! The demo as a stranger runs it: the real program, on a generated sample and on real sales data.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;
use tests::binaries;

fn field_day(arguments: &[&str]) -> Output {
    Command::new(binaries::path("field-day")).args(arguments).output().expect("the demo runs")
}

fn json(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("no JSON ({e}): {errors}"))
}

/// The folder with the real data; nothing when this machine has none, which the environment may forbid.
fn real_data() -> Option<PathBuf> {
    let folder = std::env::var_os("FIELDBOOK_DATA_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data"),
        PathBuf::from,
    );
    let folder = folder.join("crm-sales");
    if folder.is_dir() {
        return Some(folder);
    }
    let required = std::env::var_os("FIELDBOOK_REQUIRE_DATA").is_some();
    assert!(!required, "{} is missing and FIELDBOOK_REQUIRE_DATA is set", folder.display());
    println!("skipped: the real data is not on this machine ({} is missing)", folder.display());
    None
}

fn assert_whole(outcome: &Value) {
    assert_eq!(outcome["converged"], true, "{outcome:#}");
    assert_eq!(outcome["document_loads_outside_text"], 0);
    let report = &outcome["report"];
    let count = |name: &str| report[name].as_u64().unwrap();
    assert_eq!(
        count("imported") + count("repaired") + count("with_gap") + count("refused"),
        count("rows")
    );
    let digests: Vec<&Value> = outcome["digests"].as_object().unwrap().values().collect();
    assert_eq!(digests.len(), 4);
    assert!(digests.iter().all(|digest| *digest == digests[0]));
}

#[test]
fn the_sample_converges_whatever_the_seed() {
    for seed in ["42", "7"] {
        let output = field_day(&["--json", "--seed", seed]);
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let outcome = json(&output);
        assert_whole(&outcome);
        assert!(outcome["conflicts"].as_u64().unwrap() >= 6, "{outcome:#}");
        assert!(outcome["open_conflicts"].as_u64().unwrap() >= 1);
    }
}

#[test]
fn the_story_is_told_in_words() {
    let output = field_day(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in ["Two days without a network", "ranked", "All devices show identical rows"] {
        assert!(text.contains(part), "`{part}` is missing in:\n{text}");
    }
}

#[test]
fn one_flipped_cell_is_noticed() {
    let output = field_day(&["--json", "--flip-one-cell"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json(&output)["converged"], false);
}

#[test]
fn importing_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let first = json(&field_day(&["--json", "--import-twice", "--keep", folder]));
    assert!(first["imported_records"].as_u64().unwrap() > 400);
    assert_eq!(first["imported_again"], 0);
    assert!(Path::new(folder).join("manager.db").exists());
}

#[test]
fn the_real_pipeline_is_accounted_for_row_by_row() {
    let Some(folder) = real_data() else { return };
    let output = field_day(&["--json", "--csv", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome = json(&output);
    assert_whole(&outcome);
    let records = &outcome["records"];
    assert_eq!(records["account"], 85);
    assert_eq!(records["product"], 7);
    assert_eq!(records["member"], 35 + 6);
    assert_eq!(outcome["report"]["rows"], 8_800 + 85 + 7 + 35);
    assert_eq!(outcome["report"]["refused"], 0);
    // One opportunity is deleted in the story.
    assert_eq!(records["opportunity"], 8_800 - 1);
}

#[test]
fn bad_input_is_told_with_file_and_line_and_status_two() {
    let folder = tempfile::tempdir().unwrap();
    let missing = field_day(&["--csv", folder.path().to_str().unwrap()]);
    assert_eq!(missing.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("accounts.csv"));
    for file in ["accounts.csv", "products.csv", "sales_teams.csv", "sales_pipeline.csv"] {
        std::fs::write(folder.path().join(file), "account,sector\nAcme,retail\n").unwrap();
    }
    let header = field_day(&["--csv", folder.path().to_str().unwrap()]);
    assert_eq!(header.status.code(), Some(2));
    let text = String::from_utf8_lossy(&header.stderr);
    assert!(text.contains("accounts.csv") && text.contains("year_established"), "{text}");
}
