//! One field of an entity: its type, its merge rule, its section and its validation.

use regex::{Regex, RegexBuilder};

use crate::id::Section;
use crate::record::Value;

/// One field as documents, columns and forms see it. A group's part is a field of its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Field {
    /// Its key in a document: `name`, `address.street`; a set's keys are this, `/` and a member.
    pub key: String,
    /// Its column; the main one of the two that a money field has.
    pub column: String,
    /// Its type.
    pub kind: FieldKind,
    /// How concurrent values of it merge.
    pub merge: MergeRule,
    /// The section, hence the document, that it lives in.
    pub section: Section,
    /// Its name for people.
    pub label: String,
    /// What a write must satisfy beyond its type.
    pub validation: Validation,
    /// Retired: kept and merged, not shown.
    pub hidden: bool,
    /// Other keys under which an app may name it. Documents always carry `key`.
    pub aliases: Vec<String>,
    /// The line that declares it.
    pub line: usize,
}

impl Field {
    /// The second column of a money field.
    #[must_use]
    pub fn currency_column(&self) -> Option<String> {
        (self.kind == FieldKind::Money).then(|| format!("{}_currency", self.column))
    }

    /// Every column that shows it: two for money, else one.
    pub fn columns(&self) -> impl Iterator<Item = String> {
        std::iter::once(self.column.clone()).chain(self.currency_column())
    }
}

/// The type of a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FieldKind {
    /// Text that is replaced as a whole.
    String,
    /// An email address, as typed.
    Email,
    /// A telephone number, as typed.
    Phone,
    /// A web address, as typed.
    Url,
    /// One of a picklist.
    Enum(Vec<String>),
    /// A whole number.
    Int,
    /// A number.
    Float,
    /// A truth value.
    Bool,
    /// A point in time.
    Timestamp,
    /// A calendar date, `2026-11-22`.
    Date,
    /// An amount and its currency, `1250.00 USD`.
    Money,
    /// Another record, of one of these entities.
    Ref(Vec<String>),
    /// Members of a string-like type, each added and removed on its own.
    Set(Box<Self>),
    /// A total that is only incremented.
    Counter,
    /// Collaborative prose.
    Text,
}

impl FieldKind {
    /// The word for it in `schema.toml`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::String => "string",
            Self::Email => "email",
            Self::Phone => "phone",
            Self::Url => "url",
            Self::Enum(_) => "enum",
            Self::Int => "int",
            Self::Float => "float",
            Self::Bool => "bool",
            Self::Timestamp => "timestamp",
            Self::Date => "date",
            Self::Money => "money",
            Self::Ref(_) => "ref",
            Self::Set(_) => "set",
            Self::Counter => "counter",
            Self::Text => "text",
        }
    }

    /// Whether its value is words that people type or pick: what a set may hold.
    #[must_use]
    pub const fn is_string_like(&self) -> bool {
        matches!(self, Self::String | Self::Email | Self::Phone | Self::Url | Self::Enum(_))
    }

    /// Whether its values have an order, so that `max` and `min` mean something.
    #[must_use]
    pub const fn is_ordered(&self) -> bool {
        matches!(self, Self::Int | Self::Float | Self::Timestamp | Self::Date | Self::Money)
    }

    /// Whether it is a set.
    #[must_use]
    pub const fn is_set(&self) -> bool {
        matches!(self, Self::Set(_))
    }

    /// Whether a write replaces its value as a whole. Sets, counters and prose have operations of their
    /// own, which merge without a rule.
    #[must_use]
    pub const fn is_replaced(&self) -> bool {
        !matches!(self, Self::Set(_) | Self::Counter | Self::Text)
    }

    /// The picklist of an enum, or of a set of them.
    #[must_use]
    pub fn picklist(&self) -> Option<&[String]> {
        match self {
            Self::Enum(values) => Some(values),
            Self::Set(element) => element.picklist(),
            _ => None,
        }
    }
}

/// Which of several concurrent values wins.
#[derive(Debug, Clone, PartialEq)]
pub enum MergeRule {
    /// The greatest edit time, then op id.
    Latest,
    /// The first in this list; values outside it come last.
    Ranked(Vec<Value>),
    /// The greatest value.
    Max,
    /// The least value.
    Min,
    /// As `Latest`, and the conflict stays open until a person decides.
    Ask,
}

/// What a write must satisfy beyond its type.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Validation {
    /// It may be neither unset nor blank.
    pub required: bool,
    /// The whole text, or each member of a set, matches this.
    pub pattern: Option<Pattern>,
    /// The least number allowed.
    pub min: Option<f64>,
    /// The greatest number allowed.
    pub max: Option<f64>,
    /// The longest text allowed, or the longest member of a set, characters.
    pub max_chars: Option<usize>,
}

/// A regular expression that a whole text has to match.
#[derive(Debug, Clone)]
pub struct Pattern {
    source: String,
    regex: Regex,
}

impl Pattern {
    /// Compiles a pattern, with a bound on what it may compile to.
    pub(super) fn compile(source: &str) -> Result<Self, regex::Error> {
        // Compiled alone first: `a)(b` is only well-formed once it is wrapped.
        let bounded =
            |text: &str| RegexBuilder::new(text).size_limit(PATTERN_PROGRAM_BYTES_MAX).build();
        bounded(source)?;
        let regex = bounded(&format!(r"\A(?:{source})\z"))?;
        Ok(Self { source: source.to_owned(), regex })
    }

    /// As the schema spells it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.source
    }

    /// Whether the whole of `text` matches.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.regex.is_match(text)
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.source == other.source
    }
}

/// A compiled pattern, bytes: a schema of thousands of fields stays small on a phone.
const PATTERN_PROGRAM_BYTES_MAX: usize = 256 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_the_whole_text_also_with_alternatives() {
        let pattern = Pattern::compile("ab|abc").unwrap();
        assert!(pattern.is_match("ab") && pattern.is_match("abc"));
        assert!(!pattern.is_match("xab") && !pattern.is_match("abcd") && !pattern.is_match("ab\n"));
    }

    #[test]
    fn a_pattern_that_only_holds_when_wrapped_or_is_too_large_is_refused() {
        for bad in ["a)(?:b", "(", "[a-", "(?:a{1000}){1000}"] {
            assert!(Pattern::compile(bad).is_err(), "{bad}");
        }
    }
}
