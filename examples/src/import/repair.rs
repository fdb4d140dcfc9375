//! Finds the one known name that a misspelt one certainly means, or nothing.

use std::collections::{BTreeMap, BTreeSet};

/// The names that a cell may hold.
#[derive(Debug, Default)]
pub(super) struct Names {
    exact: BTreeSet<String>,
    /// By spelling without spaces and case; nothing when two names share it.
    squeezed: BTreeMap<String, Option<String>>,
}

/// What a cell means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'a> {
    /// A known name as it is spelt.
    Known(&'a str),
    /// Misspelt; this is the only known name that it can be.
    Repaired(&'a str),
    /// No known name, or several that it could be.
    Unknown,
}

impl Names {
    pub(super) fn of<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let mut known = Self::default();
        for name in names {
            if known.exact.insert(name.to_owned()) {
                known
                    .squeezed
                    .entry(squeeze(name))
                    .and_modify(|shared| *shared = None)
                    .or_insert_with(|| Some(name.to_owned()));
            }
        }
        known
    }

    /// The known name equal to `text`, or to `text` but for spaces and case.
    pub(super) fn find(&self, text: &str) -> Meaning<'_> {
        if let Some(name) = self.exact.get(text) {
            return Meaning::Known(name);
        }
        match self.squeezed.get(&squeeze(text)) {
            Some(Some(name)) => Meaning::Repaired(name),
            Some(None) | None => Meaning::Unknown,
        }
    }

    /// As `find`; else the only known name within one or two typing errors. For short closed lists:
    /// the names of customers may well differ by one letter.
    pub(super) fn find_misspelt(&self, text: &str) -> Meaning<'_> {
        match self.find(text) {
            Meaning::Unknown => {}
            found @ (Meaning::Known(_) | Meaning::Repaired(_)) => return found,
        }
        let typed: Vec<char> = squeeze(text).chars().collect();
        if typed.len() > MISSPELT_CHARS_MAX {
            return Meaning::Unknown;
        }
        let errors_max = if typed.len() < SHORT_CHARS { 1 } else { 2 };
        let near = |known: &&String| {
            edit_distance(&typed, &squeeze(known).chars().collect::<Vec<_>>()) <= errors_max
        };
        let mut candidates = self.exact.iter().filter(near);
        match (candidates.next(), candidates.next()) {
            (Some(only), None) => Meaning::Repaired(only),
            _ => Meaning::Unknown,
        }
    }
}

fn squeeze(name: &str) -> String {
    name.chars().filter(|c| !c.is_whitespace()).flat_map(char::to_lowercase).collect()
}

/// How many characters must be added, dropped or replaced to turn `a` into `b` (Levenshtein).
fn edit_distance(a: &[char], b: &[char]) -> usize {
    let mut above: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = above[0];
        above[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = above[j + 1];
            above[j + 1] = replaced.min(diagonal + 1).min(above[j] + 1);
        }
    }
    above[b.len()]
}

/// Below this length two errors turn one word into another (`Iran`, `Oman`).
const SHORT_CHARS: usize = 6;

/// Longer text is no misspelt name, and comparing it would cost its length times the list.
const MISSPELT_CHARS_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::super::known::COUNTRIES;
    use super::*;

    #[test]
    fn a_name_is_found_without_regard_to_spaces_and_case_when_only_one_fits() {
        let names = Names::of(["GTX Pro", "GTX Plus Pro", "MG 1", "Mg1"]);
        assert_eq!(names.find("GTX Pro"), Meaning::Known("GTX Pro"));
        assert_eq!(names.find("GTXPro"), Meaning::Repaired("GTX Pro"));
        assert_eq!(names.find("gtx  pluspro"), Meaning::Repaired("GTX Plus Pro"));
        assert_eq!(names.find("MG1"), Meaning::Unknown, "two names fit");
        assert_eq!(names.find("GTX Prp"), Meaning::Unknown, "letters are not guessed here");
        assert_eq!(names.find(""), Meaning::Unknown);
    }

    #[test]
    fn a_misspelt_sector_or_country_is_repaired_only_when_one_is_near() {
        let sectors = Names::of(["technology", "telecommunications", "medical", "services"]);
        let countries = Names::of(COUNTRIES.iter().copied());
        assert_eq!(sectors.find_misspelt("technolgy"), Meaning::Repaired("technology"));
        assert_eq!(sectors.find_misspelt("Medical"), Meaning::Repaired("medical"));
        assert_eq!(countries.find_misspelt("Philipines"), Meaning::Repaired("Philippines"));
        assert_eq!(countries.find_misspelt("Australa"), Meaning::Unknown, "Austria is as near");
        assert_eq!(countries.find_misspelt("Atlantis"), Meaning::Unknown);
        assert_eq!(countries.find_misspelt(&"x".repeat(100_000)), Meaning::Unknown);
    }

    #[test]
    fn every_known_name_means_itself() {
        let countries = Names::of(COUNTRIES.iter().copied());
        for country in COUNTRIES {
            assert_eq!(countries.find_misspelt(country), Meaning::Known(country));
        }
    }
}
