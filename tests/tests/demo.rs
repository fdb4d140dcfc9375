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
    // Three reps, their manager, and the office that administers the workspace.
    let digests: Vec<&Value> = outcome["digests"].as_object().unwrap().values().collect();
    assert_eq!(digests.len(), 5);
    assert!(digests.iter().all(|digest| *digest == digests[0]));
    assert_access_is_proven(&outcome["access"]);
}

fn assert_access_is_proven(access: &Value) {
    for scene in ["refused_on_device", "refused_by_server", "handed_over", "finance"] {
        assert_eq!(access[scene]["holds"], true, "{scene}: {access:#}");
    }
    let reason = access["refused_on_device"]["reason"].as_str().unwrap();
    assert!(reason.contains("commission") && reason.contains("finance"), "{reason}");
    let refused = &access["refused_by_server"];
    assert!(refused["codes"].as_array().unwrap().contains(&"forbidden".into()), "{refused:#}");
    assert_eq!(refused["tried"].as_array().unwrap().len(), 2);
    assert!(access["handed_over"]["kept_edits"].as_u64().unwrap() >= 1);
    assert_eq!(access["finance"]["found_in_reps_files"], 0);
    assert_eq!(access["accounting"].as_object().unwrap().len(), 6);
    for (who, counts) in access["accounting"].as_object().unwrap() {
        let count = |name: &str| counts[name].as_u64().unwrap();
        let settled = count("accepted") + count("disputed");
        assert_eq!((count("submitted"), count("pending")), (settled, 0), "{who}: {counts:#}");
    }
    let disputed = |counts: &Value| counts["disputed"].as_u64().unwrap();
    let disputed: u64 = access["accounting"].as_object().unwrap().values().map(disputed).sum();
    assert!(access["audit"]["refused"].as_u64().unwrap() >= disputed, "{access:#}");
}

/// Records that each device holds, the most first.
fn held(outcome: &Value) -> Vec<u64> {
    let held = outcome["held"].as_object().unwrap().values();
    let mut held: Vec<u64> = held.map(|count| count.as_u64().unwrap()).collect();
    held.sort_unstable_by(|a, b| b.cmp(a));
    held
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
        let held = held(&outcome);
        assert!(held[1] < held[0] / 2, "only the office holds everything: {held:?}");
    }
}

#[test]
fn the_story_is_told_in_words() {
    let output = field_day(&[]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    for part in [
        "Two days without a network",
        "The device refuses:",
        "in section `finance` is denied",
        "ranked",
        "Who may see and do what",
        "The audit verifies",
        "All devices show identical rows",
    ] {
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
fn a_policy_that_lets_everybody_do_everything_is_noticed() {
    let output = field_day(&["--json", "--open-policy"]);
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    let outcome = json(&output);
    assert_eq!(outcome["converged"], false);
    for scene in ["refused_on_device", "refused_by_server", "handed_over", "finance"] {
        assert_eq!(outcome["access"][scene]["holds"], false, "{scene}: {outcome:#}");
    }
}

#[test]
fn importing_twice_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path().to_str().unwrap();
    let first = json(&field_day(&["--json", "--import-twice", "--keep", folder]));
    assert!(first["imported_records"].as_u64().unwrap() > 400);
    assert_eq!(first["imported_again"], 0);
    assert!(Path::new(folder).join("office.db").exists());
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
    // Agents, managers, and the office.
    assert_eq!(records["member"], 35 + 6 + 1);
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
