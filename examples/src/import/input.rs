//! Input that cannot be read at all: it stops the import before anything is built.

use std::error::Error;
use std::fmt;

/// A file is missing, not UTF-8, or not the table it should be. Nothing was imported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputError {
    /// The file's name.
    pub file: String,
    /// The line, when the problem has one.
    pub line: Option<u64>,
    /// What should have been there.
    pub expected: String,
    /// What was there.
    pub found: String,
}

impl InputError {
    /// A problem of the file as a whole.
    pub(super) fn of_file(file: &str, expected: &str, found: impl Into<String>) -> Self {
        Self {
            file: file.to_owned(),
            line: None,
            expected: expected.to_owned(),
            found: found.into(),
        }
    }
}

impl fmt::Display for InputError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        write!(f, ": expected {}, found {}", self.expected, self.found)
    }
}

impl Error for InputError {}

/// What is wrong at a line, before the file's name is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) line: u64,
    expected: String,
    found: String,
}

impl Problem {
    pub(super) fn new(line: u64, expected: impl Into<String>, found: impl Into<String>) -> Self {
        Self { line, expected: expected.into(), found: found.into() }
    }

    pub(super) fn in_file(self, file: &str) -> InputError {
        InputError {
            file: file.to_owned(),
            line: Some(self.line),
            expected: self.expected,
            found: self.found,
        }
    }
}
