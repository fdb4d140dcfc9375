//! What each layer says: a list of keys and values with their places. Knows nothing of what keys exist.

use std::fs;
use std::path::Path;

use toml::de::{DeTable, DeValue};

use super::Flags;
use super::problem::{Fault, Problem, Source};

/// One layer gives one key a value.
pub(super) struct Assignment {
    pub(super) key: String,
    pub(super) given: Given,
    pub(super) source: Source,
}

/// A value as it was written.
pub(super) enum Given {
    /// From the environment or a flag: its type is what the key takes.
    Words(String),
    Text(String),
    Integer(i64),
    List(Vec<String>),
    /// Of a type that no key takes.
    Other(&'static str),
}

impl Given {
    pub(super) fn text(&self, expected: &'static str) -> Result<&str, Fault> {
        match self {
            Self::Words(text) | Self::Text(text) => Ok(text),
            Self::Integer(_) | Self::List(_) | Self::Other(_) => Err(self.is_not(expected)),
        }
    }

    /// A whole number from `min` to `max`.
    pub(super) fn integer(&self, min: u64, max: u64) -> Result<u64, Fault> {
        const EXPECTED: &str = "a whole number";
        let number = match self {
            Self::Integer(number) => i128::from(*number),
            Self::Words(text) => text
                .trim()
                .parse()
                .map_err(|_| Fault::NotA { expected: EXPECTED, got: text.clone() })?,
            Self::Text(_) | Self::List(_) | Self::Other(_) => return Err(self.is_not(EXPECTED)),
        };
        match u64::try_from(number) {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            Ok(_) | Err(_) => Err(Fault::OutOfBounds { min, max, got: number }),
        }
    }

    /// A list of texts; words are cut at commas.
    pub(super) fn list(&self) -> Result<Vec<&str>, Fault> {
        match self {
            Self::List(texts) => Ok(texts.iter().map(String::as_str).collect()),
            Self::Words(text) => {
                Ok(text.split(',').map(str::trim).filter(|part| !part.is_empty()).collect())
            }
            Self::Text(_) | Self::Integer(_) | Self::Other(_) => {
                Err(self.is_not("a list of texts"))
            }
        }
    }

    pub(super) fn is_table(&self) -> bool {
        matches!(self, Self::Other(TABLE))
    }

    fn is_not(&self, expected: &'static str) -> Fault {
        let got = match self {
            Self::Words(_) | Self::Text(_) => "a text",
            Self::Integer(_) => "a number",
            Self::List(_) => "a list",
            Self::Other(name) => name,
        };
        Fault::WrongType { expected, got }
    }

    fn from_toml(value: &DeValue<'_>) -> Self {
        match value {
            DeValue::String(text) => Self::Text(text.to_string()),
            DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
                .map_or(Self::Other("a number beyond 64 bits"), Self::Integer),
            DeValue::Array(items) => items
                .iter()
                .map(|item| item.get_ref().as_str().map(str::to_owned))
                .collect::<Option<Vec<_>>>()
                .map_or(Self::Other("a list of other things"), Self::List),
            DeValue::Float(_) => Self::Other("a fraction"),
            DeValue::Boolean(_) => Self::Other("true or false"),
            DeValue::Datetime(_) => Self::Other("a date"),
            DeValue::Table(_) => Self::Other(TABLE),
        }
    }
}

pub(super) fn from_file(path: &Path, into: &mut Vec<Assignment>, problems: &mut Vec<Problem>) {
    match fs::read_to_string(path) {
        Ok(text) => from_text(&text, path, into, problems),
        Err(error) => problems.push(Problem {
            source: Source::WholeFile(path.to_owned()),
            key: None,
            fault: Fault::Unreadable(error.to_string()),
        }),
    }
}

pub(super) fn from_text(
    text: &str,
    path: &Path,
    into: &mut Vec<Assignment>,
    problems: &mut Vec<Problem>,
) {
    let place = |at: usize| Source::File { path: path.to_owned(), line: line_of(text, at) };
    let (root, errors) = DeTable::parse_recoverable(text);
    problems.extend(errors.into_iter().map(|error| Problem {
        source: place(error.span().map_or(0, |span| span.start)),
        key: None,
        fault: Fault::Syntax(error.message().to_owned()),
    }));
    walk("", root.get_ref(), &place, into);
}

/// A table's keys with its own name before them. An empty section says nothing; an empty one within another
/// is somebody's, and has to be answered for.
fn walk(
    prefix: &str,
    table: &DeTable<'_>,
    place: &dyn Fn(usize) -> Source,
    into: &mut Vec<Assignment>,
) {
    for (name, value) in table {
        let key = format!("{prefix}{}", name.get_ref());
        match value.get_ref() {
            DeValue::Table(section) if prefix.is_empty() || !section.is_empty() => {
                walk(&format!("{key}."), section, place, into);
            }
            value => {
                let given = Given::from_toml(value);
                into.push(Assignment { key, given, source: place(name.span().start) });
            }
        }
    }
}

/// Variables are sorted, since a process's environment has no order and messages should.
pub(super) fn from_environment(
    env: impl Iterator<Item = (String, String)>,
    into: &mut Vec<Assignment>,
) {
    let mut ours: Vec<_> = env.filter(|(name, _)| name.starts_with(PREFIX)).collect();
    ours.sort();
    into.extend(ours.into_iter().map(|(name, value)| Assignment {
        key: name[PREFIX.len()..].replace("__", ".").to_ascii_lowercase(),
        given: Given::Words(value),
        source: Source::Environment(name),
    }));
}

pub(super) fn from_flags(flags: Flags, into: &mut Vec<Assignment>) {
    let Flags { listen, data_dir } = flags;
    let named = [("listen", "--listen", listen), ("data_dir", "--data-dir", data_dir)];
    into.extend(named.into_iter().filter_map(|(key, flag, value)| {
        Some(Assignment {
            key: key.to_owned(),
            given: Given::Words(value?),
            source: Source::Flag(flag),
        })
    }));
}

fn line_of(text: &str, at: usize) -> usize {
    text.as_bytes().iter().take(at).filter(|byte| **byte == b'\n').count() + 1
}

const TABLE: &str = "a table";
const PREFIX: &str = "FIELDBOOK__";
