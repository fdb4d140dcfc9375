//! What the server says about itself: log lines on standard error, and numbers for Prometheus.
//!
//! Neither ever holds field contents. Log lines are the process's, so `init_logs` belongs into `main`;
//! numbers are one server's, so several servers can live in one process.

pub mod metrics;

use std::io;

use tracing::level_filters::LevelFilter;
use tracing_subscriber::util::TryInitError;

use crate::config::{Log, LogFormat, LogLevel};

/// Lines are written already, by whoever came first.
#[derive(Debug, thiserror::Error)]
#[error("logs are already being written by another part of this process")]
pub struct AlreadyLogging(#[from] TryInitError);

/// Begins to write log lines of this process to standard error; panics are among them, by their place alone:
/// what one says may be a value of a record.
///
/// # Errors
/// Somebody else in this process has begun before.
pub fn init_logs(log: Log) -> Result<(), AlreadyLogging> {
    use tracing_subscriber::util::SubscriberInitExt;
    let lines = tracing_subscriber::fmt().with_max_level(filter(log.level)).with_writer(io::stderr);
    match log.format {
        LogFormat::Text => {
            use io::IsTerminal;
            lines.with_ansi(io::stderr().is_terminal()).finish().try_init()?;
        }
        LogFormat::Json => lines.json().flatten_event(true).finish().try_init()?,
    }
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(%place, "a panic");
    }));
    Ok(())
}

const fn filter(level: LogLevel) -> LevelFilter {
    match level {
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    }
}
