//! The benchmark's command line: runs it and prints its figures.

use std::process::ExitCode;

use tests::bench::{self, alone, apart, growth, options};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        // Some parts start this program once more, as a server or as a device.
        Some((first, rest)) if first == apart::SERVE => apart::run(rest),
        Some((first, rest)) if first == alone::PULL => alone::run(rest),
        _ => match options::Options::parse(arguments) {
            Ok(Some(options)) => run(&options),
            Ok(None) => Ok(format!("{}\n", options::USAGE)),
            Err(problem) => {
                eprintln!("{problem}\n{}", options::USAGE);
                return ExitCode::from(2);
            }
        },
    };
    match done {
        Ok(text) => {
            print!("{text}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(options: &options::Options) -> anyhow::Result<String> {
    if let Some(drawing) = &options.growth {
        return growth::run(options, drawing);
    }
    let report = bench::run(options)?;
    Ok(if options.json { format!("{}\n", report.json()) } else { report.to_string() })
}
