//! What became of every row: each is counted once, and what was done to it is listed with its line.

use std::collections::BTreeMap;
use std::fmt;

/// The outcome of an import, file by file. Records that no row stands for (managers) are apart.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Report {
    /// The files in the order in which they were read.
    pub files: Vec<FileReport>,
    /// Managers: records derived from the rows of those whom they manage.
    pub managers: u64,
    /// Repairs, gaps and refusals, by file and line; at most [`NOTES_MAX_PER_KIND`] of each kind in
    /// each file.
    pub notes: Vec<Note>,
    /// Notes beyond that bound: counted, not kept.
    pub notes_left_out: u64,
    tallies: BTreeMap<(&'static str, Kind, &'static str), u64>,
}

/// Where one file's rows went: `imported + repaired + with_gap + refused == rows`.
///
/// A row counts under the strongest word that fits it: refused, else repaired, else with a gap, else
/// imported. So a row that is repaired and has a gap counts as repaired; [`Report::tally`] counts its
/// repair and its gap both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileReport {
    /// The file's name.
    pub file: &'static str,
    /// Rows read, without the header.
    pub rows: u64,
    /// Imported as they are.
    pub imported: u64,
    /// Imported with a repair.
    pub repaired: u64,
    /// Imported with something missing.
    pub with_gap: u64,
    /// Not imported.
    pub refused: u64,
}

impl FileReport {
    /// A file of which no row has been judged.
    #[must_use]
    pub const fn new(file: &'static str) -> Self {
        Self { file, rows: 0, imported: 0, repaired: 0, with_gap: 0, refused: 0 }
    }
}

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A value was replaced by the one that was certainly meant.
    Repair,
    /// A value is missing and the row was imported without it.
    Gap,
    /// The row was not imported.
    Refusal,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Repair => "repaired",
            Self::Gap => "gap",
            Self::Refusal => "refused",
        })
    }
}

/// One thing that was done to one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The file's name.
    pub file: &'static str,
    /// The line on which the row begins.
    pub line: u64,
    /// What was done.
    pub kind: Kind,
    /// The column that it was about.
    pub column: &'static str,
    /// The story in a few words; cells are quoted, with control characters escaped.
    pub what: String,
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { file, line, kind, column, what } = self;
        write!(f, "{file}, line {line}: {kind}: {column} {what}")
    }
}

/// What was noted about a row while it was judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Remark {
    kind: Kind,
    column: &'static str,
    what: String,
}

impl Remark {
    pub(super) fn repair(column: &'static str, from: &str, to: &str) -> Self {
        Self { kind: Kind::Repair, column, what: format!("{} became {}", clip(from), clip(to)) }
    }

    pub(super) fn gap(column: &'static str, what: impl Into<String>) -> Self {
        Self { kind: Kind::Gap, column, what: what.into() }
    }
}

/// Why a row is not imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) column: &'static str,
    pub(super) what: String,
}

impl Refusal {
    pub(super) fn new(column: &'static str, what: impl Into<String>) -> Self {
        Self { column, what: what.into() }
    }
}

/// A row's line, what was noted about it, and what it became.
pub(super) struct Judged<T> {
    pub(super) line: u64,
    pub(super) remarks: Vec<Remark>,
    pub(super) verdict: Result<T, Refusal>,
}

impl<T> Judged<T> {
    /// Judges further what has not been refused.
    pub(super) fn and_then(
        mut self,
        judge: impl FnOnce(T, &mut Vec<Remark>) -> Result<T, Refusal>,
    ) -> Self {
        self.verdict = self.verdict.and_then(|value| judge(value, &mut self.remarks));
        self
    }
}

impl Report {
    /// How often `column` of `file` was the subject of a note of this kind, kept or left out.
    #[must_use]
    pub fn tally(&self, file: &str, kind: Kind, column: &str) -> u64 {
        self.tallies()
            .filter(|(f, k, c, _)| *f == file && *k == kind && *c == column)
            .map(|(.., count)| count)
            .sum()
    }

    /// Every kind of thing that was done, with how often: file, kind, column, count.
    pub fn tallies(&self) -> impl Iterator<Item = (&'static str, Kind, &'static str, u64)> {
        self.tallies.iter().map(|(&(file, kind, column), &count)| (file, kind, column, count))
    }

    /// The four outcomes and the rows, over all files.
    #[must_use]
    pub fn total(&self) -> FileReport {
        self.files.iter().fold(FileReport::new("all files"), |sum, file| FileReport {
            file: sum.file,
            rows: sum.rows + file.rows,
            imported: sum.imported + file.imported,
            repaired: sum.repaired + file.repaired,
            with_gap: sum.with_gap + file.with_gap,
            refused: sum.refused + file.refused,
        })
    }

    /// Counts all rows of one file, each under exactly one outcome, and gives back what they became,
    /// in the order of `rows`. Notes are in the order of lines.
    pub(super) fn close_file<T>(&mut self, file: &'static str, rows: Vec<Judged<T>>) -> Vec<T> {
        let mut counts = FileReport::new(file);
        let mut kept = Vec::with_capacity(rows.len());
        let notes_before = self.notes.len();
        for Judged { line, remarks, verdict } in rows {
            counts.rows += 1;
            match verdict {
                Err(Refusal { column, what }) => {
                    counts.refused += 1;
                    self.note(file, line, Remark { kind: Kind::Refusal, column, what });
                }
                Ok(value) => {
                    *counts.outcome_of(&remarks) += 1;
                    remarks.into_iter().for_each(|remark| self.note(file, line, remark));
                    kept.push(value);
                }
            }
        }
        self.notes[notes_before..].sort_by_key(|note| note.line);
        self.files.push(counts);
        kept
    }

    fn note(&mut self, file: &'static str, line: u64, remark: Remark) {
        let Remark { kind, column, what } = remark;
        let of_kind = self.tallies().filter(|(f, k, ..)| *f == file && *k == kind);
        if of_kind.map(|(.., count)| count).sum::<u64>() < NOTES_MAX_PER_KIND {
            self.notes.push(Note { file, line, kind, column, what });
        } else {
            self.notes_left_out += 1;
        }
        *self.tallies.entry((file, kind, column)).or_default() += 1;
    }
}

impl FileReport {
    fn outcome_of(&mut self, remarks: &[Remark]) -> &mut u64 {
        let any = |kind| remarks.iter().any(|remark| remark.kind == kind);
        if any(Kind::Repair) {
            &mut self.repaired
        } else if any(Kind::Gap) {
            &mut self.with_gap
        } else {
            &mut self.imported
        }
    }
}

/// A cell as a message shows it: quoted, control characters escaped, not longer than a line.
pub(super) fn clip(cell: &str) -> String {
    let shown: String = cell.chars().take(CELL_CHARS_SHOWN).collect();
    if shown.len() < cell.len() { format!("{shown:?}…") } else { format!("{shown:?}") }
}

/// Notes of one kind kept for one file: enough to list every finding of the crm-sales data, and a
/// bound on memory when a file is wrong in every row.
pub const NOTES_MAX_PER_KIND: u64 = 10_000;

/// Characters of a cell that a message shows: a header of eight columns fits.
const CELL_CHARS_SHOWN: usize = 120;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notes_beyond_the_bound_are_counted_and_do_not_crowd_out_other_kinds() {
        let refused = |line| Judged::<()> {
            line,
            remarks: vec![],
            verdict: Err(Refusal::new("a", "is bad")),
        };
        let mut rows: Vec<_> = (0..NOTES_MAX_PER_KIND + 5).map(refused).collect();
        rows.push(Judged { line: 0, remarks: vec![Remark::gap("b", "")], verdict: Ok(()) });
        let mut report = Report::default();
        report.close_file("f.csv", rows);
        assert_eq!(report.notes_left_out, 5);
        assert_eq!(report.tally("f.csv", Kind::Refusal, "a"), NOTES_MAX_PER_KIND + 5);
        assert!(report.notes.iter().any(|note| note.kind == Kind::Gap));
    }

    #[test]
    fn a_cell_cannot_write_control_characters_to_the_terminal() {
        assert_eq!(clip("a\u{1b}[2J"), "\"a\\u{1b}[2J\"");
        assert_eq!(clip(&"x".repeat(500)).chars().count(), CELL_CHARS_SHOWN + 3);
    }
}
