//! Searches for planted bugs: `cargo run -p tests --bin planted -- search [LIMIT] [BUG ...]` runs up to LIMIT
//! schedules with each bug and writes those that catch one into `tests/planted_seeds.txt`; `replay BUG` shows
//! how its schedule fails.

#[cfg(debug_assertions)]
fn main() -> anyhow::Result<()> {
    hunt::main()
}

#[cfg(not(debug_assertions))]
fn main() {
    eprintln!("a release carries no bugs; build without --release");
}

#[cfg(debug_assertions)]
mod hunt {
    use std::sync::{Mutex, PoisonError};
    use std::time::Instant;

    use anyhow::{Context as _, bail};
    use crdt_core::planted::Bug;
    use tests::planted::{self, Kind, Outcome, Seeds};
    use tests::simulator::cores::on_every_core;

    /// Schedules of one search unless another number is given.
    const LIMIT: u64 = 1_000;

    pub(super) fn main() -> anyhow::Result<()> {
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            ["search", ref rest @ ..] => {
                let limit = rest.first().and_then(|text| text.parse().ok());
                search(limit.unwrap_or(LIMIT), &rest[usize::from(limit.is_some())..])
            }
            ["replay", name] => replay(name),
            _ => bail!("say `search [LIMIT] [BUG ...]` or `replay BUG`"),
        }
    }

    fn search(limit: u64, names: &[&str]) -> anyhow::Result<()> {
        let named = |name: &&str| Bug::named(name).with_context(|| format!("no bug {name}"));
        let mut bugs = names.iter().map(named).collect::<anyhow::Result<Vec<Bug>>>()?;
        if bugs.is_empty() {
            bugs.extend(Bug::ALL);
        }
        on_every_core(&bugs, |bug| hunt(*bug, limit));
        Ok(())
    }

    /// One writer of the table at a time.
    static TABLE: Mutex<()> = Mutex::new(());

    fn hunt(bug: Bug, limit: u64) {
        let begun = Instant::now();
        let found = planted::search(bug, Kind::of(bug), limit);
        let (name, seconds) = (bug.name(), begun.elapsed().as_secs());
        let Some(caught) = found.caught else {
            println!("{name:<24} NOT FOUND, reached {} times, {seconds} s", found.reached);
            return;
        };
        let (kind, seed) = (caught.kind.name(), caught.seed);
        println!(
            "{name:<24} {kind} {seed}, {} schedules, {seconds} s: {}",
            caught.schedules, caught.check
        );
        let _one = TABLE.lock().unwrap_or_else(PoisonError::into_inner);
        let mut seeds = Seeds::read().unwrap_or_default();
        seeds.put(caught);
        if let Err(error) = seeds.write() {
            println!("the table could not be written: {error}");
        }
    }

    fn replay(name: &str) -> anyhow::Result<()> {
        let bug = Bug::named(name).with_context(|| format!("no bug {name}"))?;
        let seeds = Seeds::read().map_err(anyhow::Error::msg)?;
        let caught = seeds.get(bug).context("no schedule is known to catch it")?;
        println!("{name}: {}", bug.harm());
        match planted::run(caught.kind, caught.seed, Some(bug)) {
            Outcome::Held => bail!("schedule {} does not catch it any more", caught.seed),
            Outcome::Failed { said, .. } => println!("{said}"),
        }
        Ok(())
    }
}
