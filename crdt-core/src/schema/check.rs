//! Whether a value may stand in a field: its type, its size, its spelling, then the field's validation.

use super::{Field, FieldKind, Validation};
use crate::limits::{KEY_BYTES_MAX, TEXT_CHARS_MAX, VALUE_BYTES_MAX};
use crate::record::{Money, MoneyError, Value};
use crate::time::days_from_civil;

/// Why a value may not stand in a field. Messages never contain the value.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// The value is of another type.
    #[error("must be a {expected}, not a {got}")]
    WrongType {
        /// The field's type.
        expected: &'static str,
        /// The value's.
        got: &'static str,
    },
    /// The field must have a value.
    #[error("is required")]
    Required,
    /// The text does not match the field's pattern.
    #[error("does not match the pattern `{pattern}`")]
    Pattern {
        /// As the schema spells it.
        pattern: String,
    },
    /// More characters than the field takes.
    #[error("is {got} characters long; at most {limit} are allowed")]
    TooLong {
        /// The most allowed, characters.
        limit: usize,
        /// The length, characters.
        got: usize,
    },
    /// More bytes than any value may have.
    #[error("takes {got} bytes; at most {limit} are allowed")]
    TooLarge {
        /// The most allowed, bytes.
        limit: usize,
        /// The size, bytes.
        got: usize,
    },
    /// The number is outside the field's range.
    #[error("is out of range ({})", range_words(.min, .max))]
    OutOfRange {
        /// The least allowed.
        min: Option<f64>,
        /// The greatest allowed.
        max: Option<f64>,
    },
    /// The text is not in the picklist.
    #[error("is not in the picklist ({})", picklist_words(.allowed))]
    NotInPicklist {
        /// The picklist.
        allowed: Vec<String>,
    },
    /// Not a calendar date in its one spelling.
    #[error("is not a date spelt like `2026-11-22`")]
    BadDate,
    /// Not money in its one spelling.
    #[error("{0}")]
    BadMoney(#[from] MoneyError),
    /// NaN or infinite.
    #[error("is not a finite number")]
    NotANumber,
    /// Not the 16 bytes of a record id.
    #[error("is not a record id of 16 bytes")]
    BadReference,
    /// Not an email address.
    #[error("is not an email address")]
    BadEmail,
    /// Not a telephone number.
    #[error("is not a telephone number")]
    BadPhone,
    /// Not a web address.
    #[error("is not a web address with http or https and a host")]
    BadUrl,
    /// Blank: a member of a set needs at least one visible character.
    #[error("is a blank member")]
    BadMember,
    /// Text with the character U+0000, which no SQL text column holds.
    #[error("contains the character U+0000")]
    Nul,
}

impl Field {
    /// Whether a write may put `value` here: all of [`check_type`](Self::check_type), then the form of
    /// emails, phones and web addresses, the picklist, and the field's validation.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check(&self, value: &Value) -> Result<(), Violation> {
        self.check_type(value)?;
        match value {
            Value::Null if self.validation.required => Err(Violation::Required),
            Value::Str(text) if self.validation.required && is_blank(text) => {
                Err(Violation::Required)
            }
            Value::Str(text) => {
                check_form(&self.kind, text)?;
                check_words(&self.validation, text)
            }
            Value::Text(text) => check_words(&self.validation, text),
            Value::Int(number) => check_range(&self.validation, *number as f64),
            Value::Float(number) => check_range(&self.validation, *number),
            Value::Set(members) => members.iter().try_for_each(|m| self.check_member(m)),
            Value::Null
            | Value::Bool(_)
            | Value::Timestamp(_)
            | Value::Bytes(_)
            | Value::Counter(_) => Ok(()),
        }
    }

    /// Whether `value` is of this field's type, within the bounds of any value, and in its canonical
    /// spelling. Nothing stricter may be asked of what was accepted once: validation can change. `Null`
    /// fits every type that is written as a whole; an `int` fits a `float` field, which may once have
    /// been an `int` field.
    ///
    /// # Errors
    /// The first rule that does not hold.
    pub fn check_type(&self, value: &Value) -> Result<(), Violation> {
        match (&self.kind, value) {
            (kind, Value::Null) if kind.is_replaced() => Ok(()),
            (FieldKind::Date, Value::Str(text)) => check_date(text),
            (FieldKind::Money, Value::Str(text)) => Ok(text.parse::<Money>().map(drop)?),
            (kind, Value::Str(text)) if kind.is_string_like() => {
                check_text_size(text, VALUE_BYTES_MAX)
            }
            (FieldKind::Int | FieldKind::Float, Value::Int(_))
            | (FieldKind::Bool, Value::Bool(_))
            | (FieldKind::Timestamp, Value::Timestamp(_))
            | (FieldKind::Counter, Value::Counter(_)) => Ok(()),
            (FieldKind::Float, Value::Float(number)) if number.is_finite() => Ok(()),
            (FieldKind::Float, Value::Float(_)) => Err(Violation::NotANumber),
            (FieldKind::Ref(_), Value::Bytes(bytes)) if bytes.len() == 16 => Ok(()),
            (FieldKind::Ref(_), Value::Bytes(_)) => Err(Violation::BadReference),
            (FieldKind::Text, Value::Text(text)) => check_prose_size(text),
            (FieldKind::Set(_), Value::Set(members)) => {
                members.iter().try_for_each(|m| self.check_member_type(m))
            }
            (kind, value) => Err(Violation::WrongType { expected: kind.name(), got: value.kind() }),
        }
    }

    /// Whether a write may add `member` to this set.
    ///
    /// # Errors
    /// The first rule that does not hold; [`Violation::WrongType`] when this is no set.
    pub fn check_member(&self, member: &str) -> Result<(), Violation> {
        self.check_member_type(member)?;
        if let FieldKind::Set(element) = &self.kind {
            check_form(element, member)?;
        }
        check_words(&self.validation, member)
    }

    /// Whether `member` is one of this set as far as its type goes: visible, and short enough for a key.
    ///
    /// # Errors
    /// The first rule that does not hold; [`Violation::WrongType`] when this is no set.
    pub fn check_member_type(&self, member: &str) -> Result<(), Violation> {
        if !self.kind.is_set() {
            return Err(Violation::WrongType { expected: self.kind.name(), got: "set" });
        }
        check_text_size(member, self.member_bytes_max())?;
        if is_blank(member) { Err(Violation::BadMember) } else { Ok(()) }
    }

    /// The longest member that leaves room for the set's name in a key, bytes.
    pub(super) fn member_bytes_max(&self) -> usize {
        KEY_BYTES_MAX.saturating_sub(self.key.len() + 1)
    }
}

fn is_blank(text: &str) -> bool {
    text.trim().is_empty()
}

fn check_text_size(text: &str, limit: usize) -> Result<(), Violation> {
    if text.len() > limit {
        return Err(Violation::TooLarge { limit, got: text.len() });
    }
    if text.contains('\0') { Err(Violation::Nul) } else { Ok(()) }
}

fn check_prose_size(text: &str) -> Result<(), Violation> {
    check_chars(text, TEXT_CHARS_MAX)?;
    if text.contains('\0') { Err(Violation::Nul) } else { Ok(()) }
}

fn check_chars(text: &str, limit: usize) -> Result<(), Violation> {
    let got = text.chars().count();
    if got > limit { Err(Violation::TooLong { limit, got }) } else { Ok(()) }
}

fn check_date(text: &str) -> Result<(), Violation> {
    let number = |part: &str| {
        let digits = !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        part.parse::<i64>().ok().filter(|_| digits)
    };
    let [b'0'..=b'9', _, _, _, b'-', _, _, b'-', _, _] = text.as_bytes() else {
        return Err(Violation::BadDate);
    };
    let part = |range| text.get(range).and_then(number);
    part(0..4)
        .zip(part(5..7))
        .zip(part(8..10))
        .and_then(|((year, month), day)| days_from_civil(year, month, day))
        .map(drop)
        .ok_or(Violation::BadDate)
}

fn check_range(validation: &Validation, number: f64) -> Result<(), Violation> {
    let Validation { min, max, .. } = *validation;
    if min.is_some_and(|min| number < min) || max.is_some_and(|max| number > max) {
        return Err(Violation::OutOfRange { min, max });
    }
    Ok(())
}

fn check_words(validation: &Validation, text: &str) -> Result<(), Violation> {
    if let Some(limit) = validation.max_chars {
        check_chars(text, limit)?;
    }
    match &validation.pattern {
        Some(pattern) if !pattern.is_match(text) => {
            Err(Violation::Pattern { pattern: pattern.as_str().to_owned() })
        }
        _ => Ok(()),
    }
}

fn check_form(kind: &FieldKind, text: &str) -> Result<(), Violation> {
    match kind {
        FieldKind::Email if !is_email(text) => Err(Violation::BadEmail),
        FieldKind::Phone if !is_phone(text) => Err(Violation::BadPhone),
        FieldKind::Url if !is_url(text) => Err(Violation::BadUrl),
        FieldKind::Enum(allowed) if !allowed.iter().any(|value| value == text) => {
            Err(Violation::NotInPicklist { allowed: allowed.clone() })
        }
        _ => Ok(()),
    }
}

/// One `@` between two sides without spaces, and a domain without empty labels. Who receives mail there
/// only a mail server knows.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.split_once('@') else { return false };
    let visible = !text.chars().any(|c| c.is_whitespace() || c.is_control());
    visible
        && text.len() <= EMAIL_BYTES_MAX
        && !local.is_empty()
        && !domain.contains('@')
        && domain.split('.').all(|label| !label.is_empty())
}

/// Digits with the usual separators, and perhaps an extension after `x` or `ext`.
fn is_phone(text: &str) -> bool {
    let lower = text.trim().to_ascii_lowercase();
    let (number, extension) = match lower.split_once("ext").or_else(|| lower.split_once('x')) {
        Some((number, extension)) => {
            (number, Some(extension.trim_start_matches(['.', ':']).trim()))
        }
        None => (lower.as_str(), None),
    };
    let digits = number.bytes().filter(u8::is_ascii_digit).count();
    let separators = |c: char| c.is_ascii_digit() || " +-().\u{a0}/".contains(c);
    (PHONE_DIGITS_MIN..=PHONE_DIGITS_MAX).contains(&digits)
        && number.chars().all(separators)
        && extension.is_none_or(|e| !e.is_empty() && e.bytes().all(|b| b.is_ascii_digit()))
}

/// `http` or `https`, then a host, without spaces.
fn is_url(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else { return false };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host_and_port = authority.rsplit('@').next().unwrap_or_default();
    let host = host_and_port.rsplit_once(':').map_or(host_and_port, |(host, _)| host);
    (scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https"))
        && !host.is_empty()
        && !host.starts_with('.')
        && !text.chars().any(|c| c.is_whitespace() || c.is_control())
}

fn range_words(min: &Option<f64>, max: &Option<f64>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{min} to {max}"),
        (Some(min), None) => format!("at least {min}"),
        (None, Some(max)) => format!("at most {max}"),
        (None, None) => "no limits".to_owned(),
    }
}

fn picklist_words(allowed: &[String]) -> String {
    let shown = allowed.iter().take(PICKLIST_VALUES_SHOWN_MAX).map(String::as_str);
    let more = allowed.len().saturating_sub(PICKLIST_VALUES_SHOWN_MAX);
    let words = shown.collect::<Vec<_>>().join(", ");
    if more == 0 { words } else { format!("{words} and {more} more") }
}

/// The longest address that mail can be sent to, bytes (RFC 5321).
const EMAIL_BYTES_MAX: usize = 254;
/// Emergency numbers have three.
const PHONE_DIGITS_MIN: usize = 3;
/// Twice what E.164 allows: people type trunk prefixes as well.
const PHONE_DIGITS_MAX: usize = 30;
/// A message names at most this many values of a picklist.
const PICKLIST_VALUES_SHOWN_MAX: usize = 12;

#[cfg(test)]
mod tests;
