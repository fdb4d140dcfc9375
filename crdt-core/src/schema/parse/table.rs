//! A TOML text and its tables being read: what is asked for is ticked off, so that the rest can be named as
//! unknown.

use std::borrow::Cow;
use std::collections::BTreeMap;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::schema::problem::Problems;

/// Why a text cannot be read at all, and the byte where that shows.
pub(crate) struct NotRead {
    pub(crate) at: usize,
    pub(crate) what: String,
}

/// The text as TOML, unless it takes more than `bytes_max`; `name` is what it is, for messages.
pub(crate) fn document<'t>(
    name: &str,
    text: &'t str,
    bytes_max: usize,
) -> Result<Spanned<DeTable<'t>>, NotRead> {
    if text.len() > bytes_max {
        let got = text.len();
        let what = format!("{name} takes {got} bytes; at most {bytes_max} are allowed");
        return Err(NotRead { at: 0, what });
    }
    DeTable::parse(text).map_err(|error| NotRead {
        at: error.span().map_or(0, |span| span.start),
        what: format!("not TOML: {}", error.message()),
    })
}

/// Something read from the text, and the byte where it stands.
#[derive(Debug, Clone)]
pub(crate) struct Placed<T> {
    pub(crate) at: usize,
    pub(crate) value: T,
}

/// A table whose entries are taken one by one. Each getter reports a wrong type and then answers as if the
/// entry were absent.
pub(crate) struct TableReader<'t> {
    /// What the table describes, for messages.
    owner: Cow<'t, str>,
    /// Where it is first mentioned.
    pub(crate) at: usize,
    entries: BTreeMap<&'t str, Placed<&'t DeValue<'t>>>,
}

impl<'t> TableReader<'t> {
    pub(crate) fn new(owner: impl Into<Cow<'t, str>>, at: usize, table: &'t DeTable<'t>) -> Self {
        let entries = table.iter().map(|(key, value)| {
            let placed = Placed { at: key.span().start, value: value.get_ref() };
            (key.get_ref().as_ref(), placed)
        });
        Self { owner: owner.into(), at, entries: entries.collect() }
    }

    /// A table of one entry: how `name = "string"` stands for `name = { type = "string" }`.
    pub(crate) fn of_entry(owner: String, key: &'t str, value: Placed<&'t DeValue<'t>>) -> Self {
        Self { owner: owner.into(), at: value.at, entries: BTreeMap::from([(key, value)]) }
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// What an entry says, without taking it.
    pub(crate) fn peek(&self, key: &str) -> Option<&'t DeValue<'t>> {
        self.entries.get(key).map(|entry| entry.value)
    }

    /// Where an entry stands; the table itself when there is none.
    pub(crate) fn place_of(&self, key: &str) -> usize {
        self.entries.get(key).map_or(self.at, |entry| entry.at)
    }

    /// The names of the entries that are left, in the order of the file, with their places.
    pub(crate) fn names(&self) -> Vec<(&'t str, usize)> {
        let mut names: Vec<_> = self.entries.iter().map(|(key, entry)| (*key, entry.at)).collect();
        names.sort_by_key(|(_, at)| *at);
        names
    }

    pub(crate) fn take(&mut self, key: &str) -> Option<Placed<&'t DeValue<'t>>> {
        self.entries.remove(key)
    }

    pub(crate) fn string(
        &mut self,
        key: &str,
        problems: &mut Problems<'_>,
    ) -> Option<Placed<&'t str>> {
        self.read(key, "a string", DeValue::as_str, problems)
    }

    pub(crate) fn flag(&mut self, key: &str, problems: &mut Problems<'_>) -> bool {
        self.read(key, "true or false", DeValue::as_bool, problems).is_some_and(|flag| flag.value)
    }

    pub(crate) fn whole(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Placed<i64>> {
        self.read(key, "a whole number of 64 bits", whole_of, problems)
    }

    /// The whole text's `version`; 0 when it has no good one.
    pub(crate) fn version(&mut self, problems: &mut Problems<'_>) -> u64 {
        if !self.has("version") {
            problems.add(0, format!("{} has no `version`", self.owner));
            return 0;
        }
        let Some(version) = self.whole("version", problems) else { return 0 };
        if version.value < 1 {
            problems.add(version.at, "`version` must be 1 or more");
        }
        u64::try_from(version.value).unwrap_or(0)
    }

    pub(crate) fn number(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Placed<f64>> {
        self.read(key, "a finite number", number_of, problems)
    }

    pub(crate) fn array(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Items<'t>> {
        let array = self.read(key, "a list", DeValue::as_array, problems)?;
        Some(items_of(array.value))
    }

    /// A list of different strings; none when there is no such entry.
    pub(crate) fn strings(
        &mut self,
        key: &str,
        problems: &mut Problems<'_>,
    ) -> Vec<Placed<&'t str>> {
        let items = self.array(key, problems).unwrap_or_default();
        distinct_strings(items, &format!("`{key}`"), problems)
    }

    pub(crate) fn table(&mut self, key: &str, problems: &mut Problems<'_>) -> Option<Self> {
        let table = self.read(key, "a table", DeValue::as_table, problems)?;
        Some(Self::new(format!("`{key}`"), table.at, table.value))
    }

    /// Every entry that is left, in the order of the file.
    pub(crate) fn into_entries(self) -> Vec<(&'t str, Placed<&'t DeValue<'t>>)> {
        let mut entries: Vec<_> = self.entries.into_iter().collect();
        entries.sort_by_key(|(_, value)| value.at);
        entries
    }

    /// Reports what was not asked for.
    pub(crate) fn finish(self, problems: &mut Problems<'_>) {
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
pub(crate) type Items<'t> = Vec<Placed<&'t DeValue<'t>>>;

pub(crate) fn items_of<'t>(array: &'t [Spanned<DeValue<'t>>]) -> Items<'t> {
    array.iter().map(|v| Placed { at: v.span().start, value: v.get_ref() }).collect()
}

/// The items as strings; `what` names the list in problems.
pub(crate) fn distinct_strings<'t>(
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
