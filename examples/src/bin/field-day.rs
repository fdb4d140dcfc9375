//! The demo: reads its arguments, tells the story, and says on the exit status how it ended: 0 all devices
//! show what was expected, and the same of what they share, 1 they do not, 2 the input is not what it should
//! be.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use examples::field_day::{self, Audience, Options};
use examples::{import, sample};

/// Three reps and their manager work offline on a sales pipeline and merge through a real server.
#[derive(Parser)]
#[command(version)]
struct Cli {
    /// Read accounts.csv, products.csv, sales_teams.csv and sales_pipeline.csv from this folder
    #[arg(long, value_name = "DIR")]
    csv: Option<PathBuf>,
    /// Vary what everyone does offline
    #[arg(long, default_value_t = 42, value_name = "N")]
    seed: u64,
    /// Print one JSON object at the end and nothing else
    #[arg(long)]
    json: bool,
    /// Keep the databases in this folder
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Import the same input a second time, which must change nothing
    #[arg(long)]
    import_twice: bool,
    /// Change one cell of one device before the comparison, which must then fail
    #[arg(long, hide = true)]
    flip_one_cell: bool,
    /// Let everybody do everything, which the comparison must notice
    #[arg(long, hide = true)]
    open_policy: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let input = match &cli.csv {
        Some(folder) => match import::read(folder) {
            Ok(input) => input,
            Err(error) => {
                eprintln!("{error}");
                return ExitCode::from(2);
            }
        },
        None => sample::generate(cli.seed),
    };
    let audience = if cli.json { Audience::Program } else { Audience::Person };
    let options = Options {
        seed: cli.seed,
        keep: cli.keep,
        audience,
        import_twice: cli.import_twice,
        flip_one_cell: cli.flip_one_cell,
        open_policy: cli.open_policy,
    };
    match field_day::run(&options, &input) {
        Ok(outcome) => {
            if cli.json {
                let text = serde_json::to_string_pretty(&outcome).unwrap_or_default();
                // A reader that has gone needs no answer; the status tells the rest.
                let _ = writeln!(std::io::stdout(), "{text}");
            }
            if outcome.converged { ExitCode::SUCCESS } else { ExitCode::from(1) }
        }
        Err(error) => {
            eprintln!("field-day: {error:#}");
            ExitCode::from(1)
        }
    }
}
