//! What can be wrong with a configuration, and where it was written.

use std::fmt;
use std::path::PathBuf;

/// Where a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A line of the file, counted from one.
    File {
        /// The file.
        path: PathBuf,
        /// The line.
        line: usize,
    },
    /// The file as a whole.
    WholeFile(PathBuf),
    /// An environment variable.
    Environment(String),
    /// A flag of the command line.
    Flag(&'static str),
}

/// What is wrong with one setting.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// The file cannot be read.
    #[error("cannot be read: {0}; check the path and the permissions")]
    Unreadable(String),
    /// The file is not TOML.
    #[error("is not TOML: {0}")]
    Syntax(String),
    /// No such key.
    #[error("unknown key{}", .meant.map(|key| format!("; did you mean {key}?")).unwrap_or_default())]
    Unknown {
        /// A key that may have been meant.
        meant: Option<&'static str>,
    },
    /// A value of another type.
    #[error("must be {expected}, not {got}")]
    WrongType {
        /// What the key takes.
        expected: &'static str,
        /// The type that came.
        got: &'static str,
    },
    /// A value that does not spell what the key takes.
    #[error("must be {expected}, not {got:?}")]
    NotA {
        /// What the key takes.
        expected: &'static str,
        /// The value that came.
        got: String,
    },
    /// A number out of bounds.
    #[error("must be between {min} and {max}, not {got}")]
    OutOfBounds {
        /// The least.
        min: u64,
        /// The most.
        max: u64,
        /// The number that came.
        got: i128,
    },
    /// A key, or one of several, without which the rest means nothing.
    #[error("has no {key}")]
    Incomplete {
        /// What is missing.
        key: &'static str,
    },
    /// Two keys that exclude each other.
    #[error("has both {one} and {other}; keep one of them")]
    Both {
        /// The one.
        one: &'static str,
        /// The other.
        other: &'static str,
    },
    /// Two issuers whose tokens could not be told apart.
    #[error("has the same iss as issuer.{other}; tokens could not be told apart")]
    SameIssuer {
        /// The other issuer.
        other: String,
    },
    /// A key that means nothing without another.
    #[error("needs {other} as well; set both or neither")]
    Needs {
        /// The key that is missing.
        other: &'static str,
    },
}

/// One thing that has to be corrected.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub source: Source,
    /// The key, when the problem belongs to one.
    pub key: Option<String>,
    /// What is wrong.
    pub fault: Fault,
}

/// Everything that has to be corrected; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigProblems(pub(super) Vec<Problem>);

impl ConfigProblems {
    /// The problems, in the order of the layers.
    #[must_use]
    pub fn all(&self) -> &[Problem] {
        &self.0
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File { path, line } => write!(f, "{}:{line}", path.display()),
            Self::WholeFile(path) => write!(f, "{}", path.display()),
            Self::Environment(name) => write!(f, "environment variable {name}"),
            Self::Flag(name) => f.write_str(name),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: ", self.source)?;
        if let Some(key) = &self.key {
            write!(f, "`{key}` ")?;
        }
        self.fault.fmt(f)
    }
}

impl fmt::Display for ConfigProblems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigProblems {}
