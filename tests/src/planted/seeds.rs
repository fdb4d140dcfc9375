//! The table of seeds: which schedule catches which bug, by which check. A text file beside the tests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;

use crdt_core::planted::Bug;

use super::Kind;

/// A bug that a schedule catches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caught {
    /// The bug.
    pub bug: Bug,
    /// The kind of schedule.
    pub kind: Kind,
    /// Its seed.
    pub seed: u64,
    /// How many schedules the search took.
    pub schedules: u64,
    /// The check that fails.
    pub check: String,
}

/// The table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Seeds(BTreeMap<Bug, Caught>);

impl Seeds {
    /// Reads the table; no table is an empty one.
    ///
    /// # Errors
    /// The line that is none of a table.
    pub fn read() -> Result<Self, String> {
        std::fs::read_to_string(path())
            .map_or_else(|_| Ok(Self::default()), |text| Self::parse(&text))
    }

    /// Writes the table.
    ///
    /// # Errors
    /// The file system's.
    pub fn write(&self) -> std::io::Result<()> {
        std::fs::write(path(), self.to_text())
    }

    /// Puts a bug's line in the place of the one before.
    pub fn put(&mut self, caught: Caught) {
        self.0.insert(caught.bug, caught);
    }

    /// A bug's line.
    #[must_use]
    pub fn get(&self, bug: Bug) -> Option<&Caught> {
        self.0.get(&bug)
    }

    /// Every line.
    pub fn all(&self) -> impl Iterator<Item = &Caught> {
        self.0.values()
    }

    fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
        let read = |line: &str| caught(line).ok_or_else(|| line.to_owned());
        let all = lines.map(read).collect::<Result<Vec<_>, _>>()?;
        Ok(Self(all.into_iter().map(|caught| (caught.bug, caught)).collect()))
    }

    fn to_text(&self) -> String {
        let mut text = HEAD.to_owned();
        for Caught { bug, kind, seed, schedules, check } in self.0.values() {
            let (bug, kind) = (bug.name(), kind.name());
            let _infallible =
                writeln!(text, "{bug:<24} {kind:<12} {seed:>5} {schedules:>9}  {check}");
        }
        text
    }
}

fn caught(line: &str) -> Option<Caught> {
    let mut words = line.split_whitespace();
    let bug = Bug::named(words.next()?)?;
    let kind = Kind::named(words.next()?)?;
    let (seed, schedules) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let check: Vec<&str> = words.collect();
    Some(Caught { bug, kind, seed, schedules, check: check.join(" ") })
}

fn path() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/planted_seeds.txt"))
}

const HEAD: &str = "\
# Planted bugs, the schedules that catch them, and the checks that fail.
# Written by `cargo run -p tests --bin planted -- search`; read by tests/tests/planted.rs.
#
# bug                    kind          seed schedules  check
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read_as_it_was_written() {
        let mut seeds = Seeds::default();
        let check = "bob (left) differs from the server (right) in # places:".to_owned();
        let (bug, kind) = (Bug::LeftIgnored, Kind::Workday);
        seeds.put(Caught { bug, kind, seed: 7, schedules: 14, check });
        assert_eq!(Seeds::parse(&seeds.to_text()), Ok(seeds));
        assert!(Seeds::parse("no-such-bug faults 1 1 x").is_err());
    }
}
