//! What came of a run: the object that `--json` prints.

use std::collections::BTreeMap;

use serde::Serialize;

use super::proof::Access;
use crate::import::{FileReport, Report};

/// What came of a run.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// The seed.
    pub seed: u64,
    /// Records by entity, as every device holds them.
    pub records: BTreeMap<String, u64>,
    /// What became of the rows that were read.
    pub report: ReportJson,
    /// Records that the import wrote; none when everything was there before.
    pub imported_records: usize,
    /// Records that a second import wrote, when one was asked for.
    pub imported_again: Option<usize>,
    /// Edits made offline.
    pub edits: usize,
    /// Fields in conflict.
    pub conflicts: usize,
    /// Conflicts that wait for a person.
    pub open_conflicts: usize,
    /// What differs from what was expected.
    pub surprises: Vec<String>,
    /// What the reps, their manager and the office show of the records that all of them hold, as a digest.
    pub digests: BTreeMap<String, String>,
    /// Records that each device holds.
    pub held: BTreeMap<String, usize>,
    /// What came of the scenes about access.
    pub access: Access,
    /// Whether all devices show what was expected, and the same of what they share.
    pub converged: bool,
    /// Documents that were loaded for text.
    pub document_loads_for_text: u64,
    /// Documents that were loaded for anything else.
    pub document_loads_outside_text: u64,
    /// What each step took.
    pub steps: Vec<Step>,
}

/// One step's cost.
#[derive(Debug, Serialize)]
pub struct Step {
    /// What was done.
    pub name: &'static str,
    /// How long it took.
    pub milliseconds: u64,
    /// Bytes from devices to the server.
    pub bytes_up: u64,
    /// Bytes from the server to devices.
    pub bytes_down: u64,
}

/// The report of an import, for JSON.
#[derive(Debug, Serialize)]
pub struct ReportJson {
    /// Rows read.
    pub rows: u64,
    /// Rows that became records as they were.
    pub imported: u64,
    /// Rows that became records after a repair.
    pub repaired: u64,
    /// Rows that became records with a gap.
    pub with_gap: u64,
    /// Rows that were refused.
    pub refused: u64,
    /// The same by file.
    pub files: BTreeMap<String, [u64; 5]>,
    /// Managers, who have no row of their own.
    pub managers: u64,
}

impl From<&Report> for ReportJson {
    fn from(report: &Report) -> Self {
        let total = report.total();
        let counts = |f: &FileReport| [f.rows, f.imported, f.repaired, f.with_gap, f.refused];
        Self {
            rows: total.rows,
            imported: total.imported,
            repaired: total.repaired,
            with_gap: total.with_gap,
            refused: total.refused,
            files: report.files.iter().map(|file| (file.file.to_string(), counts(file))).collect(),
            managers: report.managers,
        }
    }
}
