//! What a cell says: text, a number, money, a date. A cell that says something else refuses its row.

use std::collections::BTreeMap;

use crdt_core::limits::VALUE_BYTES_MAX;
use crdt_core::record::Money;
use crdt_core::time::days_from_civil;

use super::repair::{Meaning, Names};
use super::report::{Judged, Refusal, Remark, clip};
use super::table::Row;

impl Row {
    /// Judges this row: too long a cell refuses it whatever the cell is for.
    pub(super) fn judge<T>(
        &self,
        read: impl FnOnce(&Self, &mut Vec<Remark>) -> Result<T, Refusal>,
    ) -> Judged<T> {
        let mut remarks = Vec::new();
        let too_long = self.cells().find(|(_, cell)| cell.len() > VALUE_BYTES_MAX);
        let verdict = match too_long {
            Some((column, cell)) => Err(Refusal::new(
                column,
                format!("has {} bytes, more than {VALUE_BYTES_MAX}", cell.len()),
            )),
            None => read(self, &mut remarks),
        };
        Judged { line: self.line, remarks, verdict }
    }

    /// Text without which the row makes no sense.
    pub(super) fn required(&self, column: &'static str) -> Result<&str, Refusal> {
        match self.cell(column) {
            "" => Err(Refusal::new(column, "is empty")),
            text => Ok(text),
        }
    }

    /// Text that should be there; its absence is a gap.
    pub(super) fn expected<'a>(
        &'a self,
        column: &'static str,
        remarks: &mut Vec<Remark>,
    ) -> Option<&'a str> {
        match self.cell(column) {
            "" => {
                remarks.push(Remark::gap(column, "is empty"));
                None
            }
            text => Some(text),
        }
    }

    /// The known name that the cell means; nothing when it is empty.
    pub(super) fn reference<'a>(
        &self,
        column: &'static str,
        known: &'a Names,
        remarks: &mut Vec<Remark>,
    ) -> Result<Option<&'a str>, Refusal> {
        match (self.cell(column), known.find(self.cell(column))) {
            ("", _) => Ok(None),
            (_, Meaning::Known(name)) => Ok(Some(name)),
            (text, Meaning::Repaired(name)) => {
                remarks.push(Remark::repair(column, text, name));
                Ok(Some(name))
            }
            (text, Meaning::Unknown) => {
                Err(Refusal::new(column, format!("{} is unknown", clip(text))))
            }
        }
    }

    /// A whole number; nothing when the cell is empty.
    pub(super) fn whole(&self, column: &'static str) -> Result<Option<i64>, Refusal> {
        self.number(column, 0)
    }

    /// US dollars, written in units of 10^`exponent` dollars; nothing when the cell is empty.
    pub(super) fn dollars(
        &self,
        column: &'static str,
        exponent: u32,
    ) -> Result<Option<Money>, Refusal> {
        let cents = self.number(column, exponent + Money::decimals_of("USD"))?;
        Ok(cents
            .map(|cents| Money::from_minor(cents, "USD").expect("USD is three capital letters")))
    }

    /// A calendar date in its one spelling, so that comparing two as text compares their days;
    /// nothing when the cell is empty.
    pub(super) fn date(&self, column: &'static str) -> Result<Option<&str>, Refusal> {
        match self.cell(column) {
            "" => Ok(None),
            text if is_date(text) => Ok(Some(text)),
            text => Err(Refusal::new(
                column,
                format!("{} is no date of the calendar (YYYY-MM-DD)", clip(text)),
            )),
        }
    }

    fn number(&self, column: &'static str, places: u32) -> Result<Option<i64>, Refusal> {
        let text = self.cell(column);
        if text.is_empty() {
            return Ok(None);
        }
        let (sign, digits) = text.strip_prefix('-').map_or((1, text), |rest| (-1, rest));
        match scaled(digits, places).map(|number| sign * number) {
            Some(number) if number < 0 => {
                Err(Refusal::new(column, format!("{} is negative", clip(text))))
            }
            Some(number) => Ok(Some(number)),
            None => Err(Refusal::new(
                column,
                format!("{} is no number with at most {places} decimals", clip(text)),
            )),
        }
    }
}

/// The keys of the rows that were taken, each with its line.
#[derive(Default)]
pub(super) struct Keys(BTreeMap<String, u64>);

impl Keys {
    /// Takes the row's key, unless an earlier row has it. Asked last, so that a row refused for
    /// another reason keeps its key from nobody.
    pub(super) fn claim(&mut self, row: &Row, column: &'static str) -> Result<(), Refusal> {
        let key = row.cell(column);
        if let Some(line) = self.0.get(key) {
            return Err(Refusal::new(column, format!("{} is already on line {line}", clip(key))));
        }
        self.0.insert(key.to_owned(), row.line);
        Ok(())
    }

    pub(super) fn contains(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }
}

/// Decimal digits times 10^`places`, exactly; nothing when that is not a whole number of 64 bits.
fn scaled(text: &str, places: u32) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::try_from(places).ok()?.checked_sub(fraction.len())?;
    format!("{whole}{fraction}{}", "0".repeat(missing)).parse().ok()
}

fn is_date(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let &[year, month, day] = parts.as_slice() else { return false };
    let number = |part: &str, length: usize| {
        let spelt = part.len() == length && part.bytes().all(|b| b.is_ascii_digit());
        spelt.then(|| part.parse::<i64>().ok()).flatten()
    };
    match (number(year, 4), number(month, 2), number(day, 2)) {
        (Some(year), Some(month), Some(day)) => days_from_civil(year, month, day).is_some(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_exact_or_refused() {
        assert_eq!(scaled("1100.04", 8), Some(110_004_000_000));
        assert_eq!(scaled("4821", 2), Some(482_100));
        assert_eq!(scaled("0.50", 2), Some(50));
        assert_eq!(scaled("7.000", 2), Some(700));
        assert_eq!(scaled("12", 0), Some(12));
        for bad in [
            "",
            ".",
            "1.",
            ".5",
            "1e3",
            "1,000",
            "+1",
            " 1",
            "0x10",
            "١",
            "1.005",
            "=1+1",
            "99999999999999999999",
        ] {
            assert_eq!(scaled(bad, 2), None, "{bad:?}");
        }
    }

    #[test]
    fn dates_have_one_spelling_and_must_exist() {
        assert!(is_date("2016-02-29"));
        for bad in
            ["2017-02-29", "2017-13-01", "2017-1-1", "01/02/2017", "2017-01-01 ", "+017-01-01"]
        {
            assert!(!is_date(bad), "{bad:?}");
        }
    }
}
