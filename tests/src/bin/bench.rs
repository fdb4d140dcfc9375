//! The benchmark's command line: runs it and prints its figures.

use std::process::ExitCode;

use tests::bench::{self, apart, options};

fn main() -> ExitCode {
    // Some parts start this program once more, as a server.
    let mut arguments = std::env::args().skip(1);
    if let (Some(apart::SERVE), Some(folder)) = (arguments.next().as_deref(), arguments.next()) {
        return match apart::serve(folder.as_ref()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("{error:#}");
                ExitCode::FAILURE
            }
        };
    }
    let options = match options::Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", options::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(problem) => {
            eprintln!("{problem}\n{}", options::USAGE);
            return ExitCode::from(2);
        }
    };
    match bench::run(&options) {
        Ok(report) if options.json => println!("{}", report.json()),
        Ok(report) => print!("{report}"),
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
