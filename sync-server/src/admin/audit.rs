//! Reading a workspace's audit from its file, beside a running server or without one.

use std::io::Write;

use crate::audit::{CSV_HEADER, Entry, Finding, Head, Summary, Verifier, csv_lines, json_line};
use crate::config::ServerConfig;
use crate::store::StoreError;
use crate::store::sqlite::audit::AuditFile;

use super::{AdminError, existing};

/// How an entry is exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFormat {
    /// One JSON object a line, for each entry.
    JsonLines,
    /// Comma-separated, a line for each record of an entry.
    Csv,
}

/// Walks through a workspace's audit; `saved` is a head that was kept elsewhere. The inner result says what
/// is wrong with it.
///
/// # Errors
/// When there is no such workspace or its file cannot be read.
pub fn verify(
    config: &ServerConfig,
    workspace: &str,
    saved: Option<Head>,
) -> Result<Result<Summary, Finding>, AdminError> {
    let file = AuditFile::open(&existing(config, workspace)?)?;
    let mut verifier = Verifier::new(saved);
    // Also what stands before the first entry is looked at.
    let read = file.each(i64::MIN, |number, bytes, hash| verifier.row(number, bytes, hash))?;
    Ok(read
        .and_then(|own| verifier.finish(own.as_ref().map(|(number, hash)| (*number, &hash[..])))))
}

/// The head of a workspace's audit, to be kept elsewhere.
///
/// # Errors
/// When there is no such workspace or its file cannot be read.
pub fn head(config: &ServerConfig, workspace: &str) -> Result<Head, AdminError> {
    let file = AuditFile::open(&existing(config, workspace)?)?;
    let Ok(own) = file.each(i64::MAX, |_, _, _| Ok::<(), std::convert::Infallible>(()))?;
    let Some((number, hash)) = own else { return Ok(Head::empty()) };
    match (u64::try_from(number), <[u8; 32]>::try_from(hash)) {
        (Ok(number), Ok(hash)) => Ok(Head { number, hash }),
        _ => Err(damaged("the note of the audit's last entry")),
    }
}

/// Writes the entries from a number on as readable lines.
///
/// # Errors
/// When there is no such workspace, its file cannot be read, an entry is damaged, or `to` fails.
pub fn export(
    config: &ServerConfig,
    workspace: &str,
    from: u64,
    format: ExportFormat,
    to: &mut dyn Write,
) -> Result<(), AdminError> {
    let file = AuditFile::open(&existing(config, workspace)?)?;
    let failed = |source| AdminError::Io { path: "the output".to_owned(), source };
    if format == ExportFormat::Csv {
        writeln!(to, "{CSV_HEADER}").map_err(failed)?;
    }
    let from = i64::try_from(from).unwrap_or(i64::MAX);
    file.each(from, |number, bytes, hash| {
        let read = (Entry::from_bytes(bytes), <[u8; 32]>::try_from(hash));
        let (Ok((said, entry)), Ok(hash)) = read else {
            return Err(damaged(&format!("entry {number} of the audit")));
        };
        let head = Head { number: said, hash };
        let lines = match format {
            ExportFormat::JsonLines => json_line(&head, &entry) + "\n",
            ExportFormat::Csv => csv_lines(&head, &entry),
        };
        to.write_all(lines.as_bytes()).map_err(failed)
    })?
    .map(drop)
}

fn damaged(what: &str) -> AdminError {
    let text = format!("{what} cannot be read; `sync-server audit verify` says more");
    StoreError::Damaged(text).into()
}
