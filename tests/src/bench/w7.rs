//! W7: pages of 50 from the local tables: a filter with an order, a prefix in order, and full text.

use std::path::Path;
use std::time::Instant;

use anyhow::{Result, ensure};
use client_sdk::{Client, Paging, Value};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::contact;
use super::figure::{Latencies, Latency, Target, micros};
use super::floor;
use super::loads::Loads;
use super::report::Report;
use super::stage::{Stage, owner};
use super::workload::{Question, Workload};

const FILTER: &str = "SELECT _id, first_name, last_name, company, stage, score FROM contact
    WHERE stage = ?1 AND score >= ?2 ORDER BY score DESC, _id LIMIT 50";
const PREFIX: &str = "SELECT _id, first_name, last_name, company, stage, score FROM contact
    WHERE last_name >= ?1 AND last_name < ?2 ORDER BY last_name, _id LIMIT 50";
const WORDS: &str =
    "SELECT t._id, rank FROM contact_fts JOIN contact t ON t._row = contact_fts.rowid
    WHERE contact_fts MATCH ?1 ORDER BY rank, contact_fts.rowid LIMIT 50";

/// A question as a statement with what is given to it.
struct Asked {
    sql: &'static str,
    given: Vec<Value>,
}

/// Runs it, on a copy of a device's file.
///
/// # Errors
/// When the device fails, or nothing is found.
pub fn run(
    stage: &Stage,
    workload: &Workload,
    base: &Path,
    runs: usize,
    report: &mut Report,
) -> Result<()> {
    let before = Loads::now();
    let path = stage.path("w7.db");
    floor::copy(base, &path)?;
    let client = stage.offline(&path, &owner(0))?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let bare = Connection::open_with_flags(&path, flags)?;
    let asked: Vec<Asked> = workload.w7.iter().map(Asked::of).collect();
    let (filters, prefixes): (Vec<&Asked>, Vec<&Asked>) =
        asked.iter().partition(|asked| asked.sql == FILTER);
    let words: Vec<&str> = prefixes.iter().filter_map(|asked| asked.given[0].as_str()).collect();
    let mut figures = Vec::new();
    for (name, questions, target) in [
        ("filter and order, page of 50,", filters, 100.0),
        ("prefix in order, page of 50,", prefixes, 1_000.0),
    ] {
        let (mut own, mut floors) = (Latencies::default(), Latencies::default());
        for _ in 0..runs {
            own.push(ask(&client, &questions)?);
            floors.push(ask_bare(&bare, &questions)?);
        }
        let [p50, p99] = own.figures(name, "µs", Some(&floors));
        figures.extend([p50.target(Target::AtMost(target)), p99]);
    }
    let (mut own, mut floors) = (Latencies::default(), Latencies::default());
    for _ in 0..runs {
        own.push(search(&client, &words)?);
        floors.push(search_bare(&bare, &words)?);
    }
    figures.extend(own.figures("full text by rank, page of 50,", "µs", Some(&floors)));
    client.close();
    report.add("W7 local queries", figures, Loads::now().since(&before), Vec::new());
    Ok(())
}

impl Asked {
    fn of(question: &Question) -> Self {
        match question {
            Question::Filter { stage, min_score, .. } => {
                Self { sql: FILTER, given: vec![stage.as_str().into(), (*min_score).into()] }
            }
            Question::Prefix { prefix, .. } => {
                let end = format!("{prefix}\u{10ffff}");
                Self { sql: PREFIX, given: vec![prefix.as_str().into(), end.into()] }
            }
        }
    }

    fn bare(&self) -> Vec<Sql> {
        let bare = |value: &Value| match value.as_int() {
            Some(number) => Sql::Integer(number),
            None => Sql::Text(value.as_str().unwrap_or_default().to_owned()),
        };
        self.given.iter().map(bare).collect()
    }
}

fn ask(client: &Client, questions: &[&Asked]) -> Result<Latency> {
    let mut measured = Vec::new();
    for asked in rounds(questions) {
        let begin = Instant::now();
        let rows = client.query(asked.sql, &asked.given, Paging::first(50))?;
        measured.push(micros(begin.elapsed()));
        ensure!(!rows.rows.is_empty(), "nothing was found");
    }
    Ok(Latency::of(measured))
}

fn ask_bare(bare: &Connection, questions: &[&Asked]) -> Result<Latency> {
    let mut measured = Vec::new();
    for asked in rounds(questions) {
        let given = asked.bare();
        let begin = Instant::now();
        let rows = rows(bare, asked.sql, &given)?;
        measured.push(micros(begin.elapsed()));
        ensure!(!rows.is_empty(), "nothing was found");
    }
    Ok(Latency::of(measured))
}

fn search(client: &Client, words: &[&str]) -> Result<Latency> {
    let mut measured = Vec::new();
    for word in rounds(words) {
        let begin = Instant::now();
        let hits = client.search(contact::ENTITY, word, 50)?;
        measured.push(micros(begin.elapsed()));
        ensure!(!hits.is_empty(), "nobody is called {word}");
    }
    Ok(Latency::of(measured))
}

fn search_bare(bare: &Connection, words: &[&str]) -> Result<Latency> {
    let mut measured = Vec::new();
    for word in rounds(words) {
        let given = [Sql::Text(format!("\"{word}\"*"))];
        let begin = Instant::now();
        let rows = rows(bare, WORDS, &given)?;
        measured.push(micros(begin.elapsed()));
        ensure!(!rows.is_empty(), "nobody is called {word}");
    }
    Ok(Latency::of(measured))
}

fn rows(bare: &Connection, sql: &str, given: &[Sql]) -> Result<Vec<Vec<Sql>>> {
    let mut statement = bare.prepare_cached(sql)?;
    let columns = statement.column_count();
    let mut found = statement.query(params_from_iter(given))?;
    let mut rows = Vec::new();
    while let Some(row) = found.next()? {
        rows.push((0..columns).map(|place| row.get(place)).collect::<Result<_, _>>()?);
    }
    Ok(rows)
}

/// Each question several times, so that one in a hundred is more than the slowest alone.
fn rounds<T: Copy>(questions: &[T]) -> impl Iterator<Item = T> {
    std::iter::repeat_n(questions, ROUNDS).flatten().copied()
}

/// How often each question is asked in one run.
const ROUNDS: usize = 10;
