//! `sync-server audit`: verifying, reading and anchoring the record of who did what.

use std::io::{self, BufWriter, Write as _};

use clap::{Subcommand, ValueEnum};
use serde_json::json;
use sync_server::admin::AdminError;
use sync_server::admin::audit::{self, ExportFormat};
use sync_server::audit::{BadHead, Head};
use sync_server::config::ServerConfig;

use super::{Failure, Output, Target, finished, machine, say, say_json};

#[derive(Subcommand)]
pub(crate) enum AuditCommand {
    /// Walk through the audit: exit status 0 and its head, or 1 and what is wrong at which entry
    Verify {
        #[command(flatten)]
        target: Target,
        /// A head that was kept elsewhere, as `audit head` printed it
        #[arg(long, value_name = "HASH@N", value_parser = saved_head)]
        head: Option<Head>,
        #[command(flatten)]
        output: Output,
    },
    /// Print the entries
    Export {
        #[command(flatten)]
        target: Target,
        /// The first entry
        #[arg(long, value_name = "N", default_value_t = 1)]
        from: u64,
        /// How
        #[arg(long, value_enum, default_value = "jsonl")]
        format: Format,
    },
    /// Print the head as HASH@N: keep it where nobody who can write here can write
    Head {
        #[command(flatten)]
        target: Target,
        #[command(flatten)]
        output: Output,
    },
}

/// How entries are printed.
#[derive(Clone, Copy, ValueEnum)]
pub(crate) enum Format {
    /// One JSON object a line, for each entry
    Jsonl,
    /// Comma-separated, a line for each record of an entry
    Csv,
}

fn saved_head(text: &str) -> Result<Head, BadHead> {
    text.parse()
}

pub(super) fn run(config: &ServerConfig, command: AuditCommand) -> Result<(), Failure> {
    match command {
        AuditCommand::Verify { target, head, output } => {
            verify(config, &target.workspace, head, output)
        }
        AuditCommand::Export { target, from, format } => {
            let format = match format {
                Format::Jsonl => ExportFormat::JsonLines,
                Format::Csv => ExportFormat::Csv,
            };
            let mut to = BufWriter::new(io::stdout().lock());
            let exported = audit::export(config, &target.workspace, from, format, &mut to);
            match exported {
                // A reader that has seen enough is no failure.
                Err(AdminError::Io { source, .. }) => finished(Err(source)),
                other => {
                    other?;
                    finished(to.flush())
                }
            }
        }
        AuditCommand::Head { target, output } => {
            let head = audit::head(config, &target.workspace)?;
            if output.json {
                return say_json(&json!({ "head": head.to_string(), "n": head.number }));
            }
            say(&head.to_string())
        }
    }
}

fn verify(
    config: &ServerConfig,
    workspace: &str,
    saved: Option<Head>,
    output: Output,
) -> Result<(), Failure> {
    let found = audit::verify(config, workspace, saved)?;
    if output.json {
        let value = match &found {
            Ok(summary) => json!({
                "sound": true,
                "head": summary.head.to_string(),
                "accepted": summary.accepted,
                "refused": summary.refused,
                "acts": summary.acts,
            }),
            Err(finding) => json!({ "sound": false, "finding": finding.to_string() }),
        };
        writeln!(io::stdout(), "{value:#}").map_err(machine)?;
        return found.map(drop).map_err(|_| Failure::Unsound);
    }
    match found {
        Ok(summary) => say(&summary.to_string()),
        Err(finding) => {
            say(&format!("NOT SOUND: {finding}"))?;
            Err(Failure::Unsound)
        }
    }
}
