//! What a field's values may be beyond its type: picklist, pattern, range, length.

use super::table::{Placed, TableReader};
use crate::limits::{TEXT_CHARS_MAX, VALUE_BYTES_MAX};
use crate::schema::problem::Problems;
use crate::schema::{Field, FieldKind, Pattern, Validation};

/// Reads the validation that applies to the field's type.
pub(super) fn read(
    field: &Field,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Validation {
    let mut validation = Validation::default();
    let kind = match &field.kind {
        FieldKind::Set(element) => element,
        kind => kind,
    };
    if field.kind.is_replaced() {
        validation.required = read_required(field, reader, problems);
    }
    if matches!(kind, FieldKind::String | FieldKind::Email | FieldKind::Phone | FieldKind::Url) {
        validation.pattern = read_pattern(reader, problems);
        let most = if field.kind.is_set() { field.member_bytes_max() } else { VALUE_BYTES_MAX };
        validation.max_chars = read_max_chars(most, reader, problems);
    }
    if matches!(kind, FieldKind::Text) {
        validation.max_chars = read_max_chars(TEXT_CHARS_MAX, reader, problems);
    }
    if matches!(kind, FieldKind::Int | FieldKind::Float) {
        (validation.min, validation.max) = read_range(reader, problems);
    }
    validation
}

/// The values of a picklist, in the order of the file.
pub(super) fn read_picklist(
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Vec<String> {
    let at = reader.at;
    let values = reader.strings("values", problems);
    if values.is_empty() {
        problems.add(at, "an enum needs `values`: a list of at least one string");
    }
    if values.len() > PICKLIST_VALUES_MAX {
        let got = values.len();
        problems.add(
            at,
            format!("the picklist has {got} values; at most {PICKLIST_VALUES_MAX} are allowed"),
        );
    }
    for value in &values {
        check_words(value, "a picklist value", PICKLIST_VALUE_CHARS_MAX, problems);
    }
    values.into_iter().map(|value| value.value.to_owned()).collect()
}

/// A name for people: short, visible, and without spaces around it.
pub(crate) fn check_label(label: &Placed<&str>, problems: &mut Problems<'_>) {
    check_words(label, "a label", LABEL_CHARS_MAX, problems);
}

fn check_words(words: &Placed<&str>, what: &str, limit: usize, problems: &mut Problems<'_>) {
    let text = words.value;
    if text.is_empty() || text.trim() != text || text.chars().any(char::is_control) {
        problems.add(
            words.at,
            format!(
                "{what} may not be blank, nor begin or end with spaces, nor hold control characters"
            ),
        );
    }
    if text.chars().count() > limit {
        problems.add(words.at, format!("{what} may have at most {limit} characters"));
    }
}

fn read_required(field: &Field, reader: &mut TableReader<'_>, problems: &mut Problems<'_>) -> bool {
    let at = reader.at;
    let required = reader.flag("required", problems);
    if required && field.hidden {
        problems.add(
            at,
            format!(
                "field `{}` is hidden, so nobody could give it the value it requires",
                field.key
            ),
        );
    }
    required
}

fn read_pattern(reader: &mut TableReader<'_>, problems: &mut Problems<'_>) -> Option<Pattern> {
    let source = reader.string("pattern", problems)?;
    if source.value.len() > PATTERN_BYTES_MAX {
        problems.add(source.at, format!("a pattern may have at most {PATTERN_BYTES_MAX} bytes"));
        return None;
    }
    let compiled = Pattern::compile(source.value);
    if let Err(error) = &compiled {
        // The error draws the pattern over several lines; the last one says what is wrong.
        let shown = error.to_string();
        let reason = shown.lines().last().unwrap_or_default().trim_start_matches("error: ");
        problems.add(source.at, format!("`pattern` is not a regular expression: {reason}"));
    }
    compiled.ok()
}

fn read_max_chars(
    most: usize,
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> Option<usize> {
    let limit = reader.whole("max_chars", problems)?;
    let chars = usize::try_from(limit.value).ok().filter(|chars| (1..=most).contains(chars));
    if chars.is_none() {
        problems.add(limit.at, format!("`max_chars` must be from 1 to {most} here"));
    }
    chars
}

fn read_range(
    reader: &mut TableReader<'_>,
    problems: &mut Problems<'_>,
) -> (Option<f64>, Option<f64>) {
    let min = reader.number("min", problems);
    let max = reader.number("max", problems);
    for bound in min.iter().chain(&max) {
        if bound.value.abs() > BOUND_MAX {
            problems.add(
                bound.at,
                format!("a bound must lie within ±{BOUND_MAX}, where numbers are exact"),
            );
        }
    }
    if let (Some(min), Some(max)) = (&min, &max)
        && min.value > max.value
    {
        problems.add(min.at, "`min` is greater than `max`");
    }
    (min.map(|min| min.value), max.map(|max| max.value))
}

/// Values of one picklist: more are a reference to an entity of their own.
const PICKLIST_VALUES_MAX: usize = 500;
/// A picklist value, characters: it has to fit into a set's key in any script.
const PICKLIST_VALUE_CHARS_MAX: usize = 60;
/// A label, characters.
const LABEL_CHARS_MAX: usize = 120;
/// A pattern as spelt, bytes.
const PATTERN_BYTES_MAX: usize = 512;
/// The greatest bound: whole numbers up to 2⁵³ are exact in a float.
const BOUND_MAX: f64 = 9_007_199_254_740_992.0;
