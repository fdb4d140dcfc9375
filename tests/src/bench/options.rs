//! What the command line of the benchmark says.

use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};

/// How the benchmark is called.
pub const USAGE: &str =
    "usage: bench [--n RECORDS] [--runs RUNS] [--only PARTS] [--workload DIR] [--dir DIR] [--json]

  --n RECORDS      how many contacts, 300 to 250000 (10000)
  --runs RUNS      how often each workload is run, 1 to 20 (5)
  --only PARTS     those alone, with commas between them: W1, W2, W3, W4, W5, W6, W7, W8, W9, intake, idle
  --workload DIR   read contacts-N.jsonl and the others from DIR instead of generating the same records
  --growth FILE    draw into FILE (SVG) how the costs grow from 1000 to RECORDS records, and run no part
  --dir DIR        put the databases below DIR, which should be on a real disk (the system's temporary folder)
  --json           print one JSON object instead of a table";

/// A part of the benchmark that can be run alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(missing_docs, reason = "docs/PERFORMANCE.md says what each is")]
pub enum Part {
    W1,
    W2,
    W3,
    W4,
    W5,
    W6,
    W7,
    W8,
    W9,
    Intake,
    Idle,
}

impl Part {
    const ALL: [(&'static str, Self); 11] = [
        ("W1", Self::W1),
        ("W2", Self::W2),
        ("W3", Self::W3),
        ("W4", Self::W4),
        ("W5", Self::W5),
        ("W6", Self::W6),
        ("W7", Self::W7),
        ("W8", Self::W8),
        ("W9", Self::W9),
        ("intake", Self::Intake),
        ("idle", Self::Idle),
    ];

    fn named(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(own, _)| own.eq_ignore_ascii_case(name.trim()));
        let (_, part) = found.with_context(|| format!("there is no part {name}"))?;
        Ok(*part)
    }
}

/// What to run, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// How many contacts.
    pub n: usize,
    /// How often each workload is run.
    pub runs: usize,
    /// What is run.
    pub parts: Vec<Part>,
    /// Where the workload's files lie; without them they are generated.
    pub workload: Option<PathBuf>,
    /// Below which folder the databases are made.
    pub folder: PathBuf,
    /// Where to draw how the costs grow, instead of running parts.
    pub growth: Option<PathBuf>,
    /// Whether to print JSON.
    pub json: bool,
}

impl Options {
    /// Reads the arguments after the program's name; nothing when help is asked for.
    ///
    /// # Errors
    /// When an argument is unknown, has no value, or lies out of bounds.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self {
            n: 10_000,
            runs: 5,
            parts: Part::ALL.map(|(_, part)| part).to_vec(),
            workload: None,
            growth: None,
            folder: std::env::temp_dir(),
            json: false,
        };
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} wants a value"));
            match name.as_str() {
                "--n" => options.n = number(&name, &value()?, 300, 250_000)?,
                "--runs" => options.runs = number(&name, &value()?, 1, 20)?,
                "--only" => {
                    options.parts = value()?.split(',').map(Part::named).collect::<Result<_>>()?;
                }
                "--workload" => options.workload = Some(value()?.into()),
                "--growth" => options.growth = Some(value()?.into()),
                "--dir" => options.folder = value()?.into(),
                "--json" => options.json = true,
                "--help" | "-h" => return Ok(None),
                _ => bail!("there is no option {name}"),
            }
        }
        Ok(Some(options))
    }

    /// Whether a part is run.
    #[must_use]
    pub fn wants(&self, part: Part) -> bool {
        self.parts.contains(&part)
    }
}

fn number(name: &str, text: &str, min: usize, max: usize) -> Result<usize> {
    let number: usize = text.parse().with_context(|| format!("{name}: {text} is no number"))?;
    ensure!((min..=max).contains(&number), "{name}: {number} is not between {min} and {max}");
    Ok(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(line: &str) -> Result<Option<Options>> {
        Options::parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn options_are_read_and_have_defaults() {
        let options = parse("--n 1000 --json --workload files --runs 5").unwrap().unwrap();
        assert_eq!((options.n, options.runs, options.json), (1_000, 5, true));
        assert_eq!(options.workload, Some("files".into()));
        let options = parse("").unwrap().unwrap();
        assert_eq!((options.n, options.runs, options.json), (10_000, 5, false));
        assert!(options.wants(Part::W1) && options.wants(Part::Idle));
        assert_eq!(parse("--growth g.svg").unwrap().unwrap().growth, Some("g.svg".into()));
        let options = parse("--only w3,Intake").unwrap().unwrap();
        assert_eq!(options.parts, [Part::W3, Part::Intake]);
        assert!(!options.wants(Part::W1));
        assert_eq!(parse("--help").unwrap(), None);
    }

    #[test]
    fn unknown_options_missing_values_and_numbers_out_of_bounds_are_refused() {
        for line in [
            "--m 1",
            "--n",
            "--n many",
            "--n 299",
            "--n 250001",
            "--runs 0",
            "--n 1000 x",
            "--only W0",
        ] {
            assert!(parse(line).is_err(), "{line}");
        }
    }
}
