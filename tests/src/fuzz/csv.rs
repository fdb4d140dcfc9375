//! Bytes → the four tables of a CRM export. Every row is read or reported, and reading again gives the same.

use examples::import::{FILES, read_text};

/// What separates the four texts in an input.
pub(super) const SEPARATOR: &str = "\u{1}";

pub(super) fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let texts: Vec<&str> = text.split(SEPARATOR).collect();
    let files: Vec<(&str, &str)> = FILES.into_iter().zip(texts).collect();
    let Ok(import) = read_text(&files) else { return };
    let rows: usize = files.iter().map(|(_, text)| text.lines().count()).sum();
    assert!(import.records.len() <= 2 * rows, "{} records of {rows} rows", import.records.len());
    assert_eq!(read_text(&files).as_ref(), Ok(&import), "the same files give the same records");
}
