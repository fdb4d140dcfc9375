//! One TOML table being read: what is asked for is ticked off, so that the rest can be named as unknown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::de::{DeTable, DeValue};

use crate::schema::problem::Problems;

/// Something read from the text, and the byte where it stands.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    pub(super) at: usize,
    pub(super) value: T,
}

/// A table whose entries are taken one by one. Each getter reports a wrong type and then answers as if the
/// entry were absent.
pub(super) struct TableReader<'t> {
    /// What the table describes, for messages.
    owner: Cow<'t, str>,
    /// Where it is first mentioned.
    pub(super) at: usize,
    entries: BTreeMap<&'t str, Placed<&'t DeValue<'t>>>,
}

impl<'t> TableReader<'t> {
    pub(super) fn new(owner: impl Into<Cow<'t, str>>, at: usize, table: &'t DeTable<'t>) -> Self {
        let entries = table.iter().map(|(key, value)| {
            let placed = Placed { at: key.span().start, value: value.get_ref() };
            (key.get_ref().as_ref(), placed)
        });
        Self { owner: owner.into(), at, entries: entries.collect() }
    }

    /// A table of one entry: how `name = "string"` stands for `name = { type = "string" }`.
    pub(super) fn of_entry(owner: String, key: &'t str, value: Placed<&'t DeValue<'t>>) -> Self {
        Self { owner: owner.into(), at: value.at, entries: BTreeMap::from([(key, value)]) }
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn take(&mut self, key: &str) -> Option<Placed<&'t DeValue<'t>>> {
        self.entries.remove(key)
    }

    pub(super) fn string(
        &mut self,
        key: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Placed<&'t str>> {
        self.read(key, "a string", DeValue::as_str, problems)
    }

    pub(super) fn flag(&mut self, key: &str, problems: &mut Problems<'_>) -> bool {
        self.read(key, "true or false", DeValue::as_bool, problems).is_some_and(|flag| flag.value)
    }

    pub(super) fn whole(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Placed<i64>> {
        self.read(key, "a whole number of 64 bits", whole_of, problems)
    }

    pub(super) fn number(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Placed<f64>> {
        self.read(key, "a finite number", number_of, problems)
    }

    pub(super) fn array(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Items<'t>> {
        let array = self.read(key, "a list", DeValue::as_array, problems)?;
        Some(items_of(array.value))
    }

    /// A list of different strings; none when there is no such entry.
    pub(super) fn strings(
        &mut self,
        key: &str,
        problems: &mut Problems<'_>,
    ) -> Vec<Placed<&'t str>> {
        let items = self.array(key, problems).unwrap_or_default();
        distinct_strings(items, &format!("`{key}`"), problems)
    }

    pub(super) fn table(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let table = self.read(key, "a table", DeValue::as_table, problems)?;
        Some(Self::new(format!("`{key}`"), table.at, table.value))
    }

    /// Every entry that is left, in the order of the file.
    pub(super) fn into_entries(self) -> Vec<(&'t str, Placed<&'t DeValue<'t>>)> {
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        entries.sort_by_key(|(_, value)| value.at);
        entries
    }

    /// Reports what was not asked for.
    pub(super) fn finish(self, problems: &mut Problems<'_>) {
        for (key, value) in &self.entries {
            problems.add(value.at, format!("unknown key `{key}` in {}", self.owner));
        }
    }

    fn read<T>(
        &mut self,
        key: &str,
        expected: &str,
        read: impl Fn(&'t DeValue<'t>) -> Option<T>,
        problems: &mut Problems<'_>,
    ) -> Option<Placed<T>> {
        let Placed { at, value } = self.take(key)?;
        let found = read(value);
        if found.is_none() {
            problems.add(at, format!("`{key}` of {} must be {expected}", self.owner));
        }
        found.map(|value| Placed { at, value })
    }
}

/// The items of a list, each with its place.
pub(super) type Items<'t> = Vec<Placed<&'t DeValue<'t>>>;

pub(super) fn items_of<'t>(array: &'t [toml::Spanned<DeValue<'t>>]) -> Items<'t> {
    array.iter().map(|v| Placed { at: v.span().start, value: v.get_ref() }).collect()
}

/// The items as strings; `what` names the list in problems.
pub(super) fn distinct_strings<'t>(
    items: Items<'t>,
    what: &str,
    problems: &mut Problems<'_>,
) -> Vec<Placed<&'t str>> {
    let mut strings: Vec<Placed<&'t str>> = Vec::new();
    let mut seen = std::collections::BTreeSet::new();
    for Placed { at, value } in items {
        match value.as_str() {
            None => problems.add(at, format!("{what} may only list strings")),
            Some(text) if !seen.insert(text) => {
                problems.add(at, format!("{what} lists `{text}` twice"));
            }
            Some(text) => strings.push(Placed { at, value: text }),
        }
    }
    strings
}

fn whole_of(value: &DeValue<'_>) -> Option<i64> {
    let integer = value.as_integer()?;
    i64::from_str_radix(integer.as_str(), integer.radix()).ok()
}

fn number_of(value: &DeValue<'_>) -> Option<f64> {
    let number = match value.as_float() {
        Some(float) => float.as_str().parse::<f64>().ok()?,
        None => whole_of(value)? as f64,
    };
    number.is_finite().then_some(number)
}
