//! The server's program: parses the command line, calls the library, and says on the exit status who has to
//! act: 0 nobody, 2 whoever typed this, 1 whoever runs the machine.

mod cli;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::Parser as _;
use sync_server::config::ServerConfig;
use sync_server::tls::Acceptor;
use sync_server::{server, telemetry};

use cli::{Cli, Failure, machine, say};

fn main() -> ExitCode {
    let Cli { place, command } = Cli::parse();
    let (status, text) = match cli::run(place, command) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(Failure::Input(text)) => (2, text),
        Err(Failure::Machine(text)) => (1, text),
        Err(Failure::Unsound) => return ExitCode::FAILURE,
    };
    // When standard error is closed there is nobody left to tell; the status still says it.
    writeln!(io::stderr(), "error: {text}").unwrap_or_default();
    ExitCode::from(status)
}

fn serve(config: ServerConfig) -> Result<(), Failure> {
    telemetry::init_logs(config.log).map_err(machine)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().map_err(machine)?;
    runtime.block_on(async {
        // Listened for before anything is opened, so that no signal falls between.
        let stop = stop_signal().map_err(machine)?;
        server::serve(config, stop).await.map_err(machine)
    })
}

fn check(config: &ServerConfig) -> Result<(), Failure> {
    if let Some(files) = &config.tls {
        Acceptor::from_files(&files.cert, &files.key)?;
    }
    say("the configuration is fine")
}

/// Ends with the first SIGTERM or SIGINT.
#[cfg(unix)]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        tracing::info!("asked to stop");
    })
}

/// Ends with Ctrl-C.
#[cfg(not(unix))]
fn stop_signal() -> io::Result<impl Future<Output = ()> + Send + 'static> {
    Ok(async {
        if let Err(error) = tokio::signal::ctrl_c().await {
            tracing::error!(%error, "Ctrl-C cannot be heard");
            std::future::pending::<()>().await;
        }
    })
}
