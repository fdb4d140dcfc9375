//! Why a command failed, by who has to act.

use std::error::Error;

use sync_server::admin::{AdminError, with_causes};
use sync_server::config::ConfigProblems;
use sync_server::tls::TlsError;

/// Why a command failed, by who has to act.
pub(crate) enum Failure {
    /// Whoever typed the command or wrote the files that it names.
    Input(String),
    /// Whoever runs the machine.
    Machine(String),
    /// What was looked at is not in order, and the output has said so.
    Unsound,
}

/// The machine's failure, with its causes.
pub(crate) fn machine(error: impl Error) -> Failure {
    Failure::Machine(with_causes(&error))
}

impl From<ConfigProblems> for Failure {
    fn from(problems: ConfigProblems) -> Self {
        Self::Input(format!("the configuration has to be corrected\n{problems}"))
    }
}

impl From<TlsError> for Failure {
    fn from(error: TlsError) -> Self {
        Self::Input(with_causes(&error))
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Self {
        let text = with_causes(&error);
        if error.is_bad_input() { Self::Input(text) } else { Self::Machine(text) }
    }
}
