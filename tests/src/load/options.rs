//! How large a load is, and what the command line says of it.

use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};

/// How the program is called.
pub const USAGE: &str =
    "usage: load [--half-open N] [--deaf N] [--flooders N] [--honest N] [--rounds N] [--pushes N]

  --half-open N    sockets that never finish their handshake, 0 to 15000 (10000)
  --deaf N         devices that do not read, 0 to 2000 (1000)
  --flooders N     members who push without end, 0 to 500 (100)
  --honest N       members who work, 1 to 100 (10)
  --rounds N       how often each of them connects, 1 to 1000 (20)
  --pushes N       edits in each round, 1 to 1000 (10)
  --spent          measures once more when the flooders have used up what a member may send at once
  --set NAME=VALUE a setting of the server: FIELDBOOK__LIMITS__MAX_CONNECTIONS=20000";

/// How large a load is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Sockets that never finish their handshake.
    pub half_open: usize,
    /// Devices that are welcomed and do not read.
    pub deaf: usize,
    /// Members who push without end.
    pub flooders: usize,
    /// Members who work.
    pub honest: usize,
    /// How often each of them connects.
    pub rounds: usize,
    /// Edits in each round.
    pub pushes: usize,
    /// Time between two edits of one member.
    pub pace: Duration,
    /// Whether to measure once more when the flooders have used up what a member may send at once.
    pub spent: bool,
    /// Settings of the server, by their environment variables.
    pub settings: Vec<(String, String)>,
}

impl Options {
    /// What the promise speaks of.
    #[must_use]
    pub fn full() -> Self {
        Self {
            half_open: 10_000,
            deaf: 1_000,
            flooders: 100,
            honest: 10,
            rounds: 20,
            pushes: 10,
            pace: Duration::from_millis(100),
            spent: false,
            settings: Vec::new(),
        }
    }

    /// Enough to see that it holds, within seconds.
    #[must_use]
    pub fn small() -> Self {
        Self {
            half_open: 500,
            deaf: 50,
            flooders: 10,
            honest: 5,
            rounds: 4,
            pushes: 5,
            pace: Duration::from_millis(20),
            spent: false,
            settings: Vec::new(),
        }
    }

    /// The same, once.
    #[must_use]
    pub fn once(&self) -> Self {
        Self { rounds: 1, ..self.clone() }
    }

    /// Reads the arguments after the program's name; nothing when help is asked for.
    ///
    /// # Errors
    /// When an argument is unknown, has no value, or lies out of bounds.
    pub fn parse(arguments: impl IntoIterator<Item = String>) -> Result<Option<Self>> {
        let mut options = Self::full();
        let mut arguments = arguments.into_iter();
        while let Some(name) = arguments.next() {
            let mut value = || arguments.next().with_context(|| format!("{name} wants a value"));
            match name.as_str() {
                "--half-open" => options.half_open = number(&name, &value()?, 0, 15_000)?,
                "--deaf" => options.deaf = number(&name, &value()?, 0, 2_000)?,
                "--flooders" => options.flooders = number(&name, &value()?, 0, 500)?,
                "--honest" => options.honest = number(&name, &value()?, 1, 100)?,
                "--rounds" => options.rounds = number(&name, &value()?, 1, 1_000)?,
                "--pushes" => options.pushes = number(&name, &value()?, 1, 1_000)?,
                "--spent" => options.spent = true,
                "--set" => {
                    let text = value()?;
                    let (key, value) = text.split_once('=').context("--set wants NAME=VALUE")?;
                    options.settings.push((key.to_owned(), value.to_owned()));
                }
                "--help" | "-h" => return Ok(None),
                _ => bail!("there is no option {name}"),
            }
        }
        Ok(Some(options))
    }
}

fn number(name: &str, text: &str, min: usize, max: usize) -> Result<usize> {
    let number: usize = text.parse().with_context(|| format!("{name}: {text} is no number"))?;
    ensure!((min..=max).contains(&number), "{name}: {number} is not between {min} and {max}");
    Ok(number)
}
