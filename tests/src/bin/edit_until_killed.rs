//! A device as a process of its own: opens its file, syncs, edits, and says each edit once it is confirmed,
//! until it is killed. The test beside it does the killing, and looks for what was said.

use std::io::Write as _;

use anyhow::{Context as _, Result, ensure};
use client_sdk::{Client, Config, Edits, Paging, StaticToken};
use crdt_core::id::RecordId;
use crdt_core::record::Value;
use tests::real_server::WORKSPACE;

/// It stops by itself after so many edits, should nobody kill it.
const EDITS_MAX: u64 = 100_000;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut next =
        || arguments.next().context("usage: edit_until_killed FILE URL TOKEN MEMBER ROUND");
    let (file, url, token) = (next()?, next()?, next()?);
    let (member, round) = (next()?.parse()?, next()?);
    let begun = std::time::Instant::now();
    let config = Config::new(file, WORKSPACE, member).server(url, StaticToken::new(token));
    let client = Client::open(config)?;
    ensure!(client.open_report().damaged.is_none(), "{:?}", client.open_report());
    say(format_args!("opened {}", begun.elapsed().as_millis()))?;
    let counted = counted(&client)?;
    say(format_args!("counting {counted}"))?;
    let _syncing = client.start_sync()?;
    for edit in 0..EDITS_MAX {
        let name = format!("{round}.{edit}");
        let record = client.create("account", Edits::new().set("name", name.as_str()))?;
        say(format_args!("made {record}"))?;
        client.update(
            record,
            Edits::new().set("source_id", name.as_str()).add("tags", name.as_str()),
        )?;
        say(format_args!("called {record} {name}"))?;
        client.update(counted, Edits::new().increment("visits", 1))?;
        say(format_args!("visited"))?;
        client.idle_work()?;
    }
    Ok(())
}

/// The record that all rounds count on.
fn counted(client: &Client) -> Result<RecordId> {
    let sql = "SELECT \"_id\" FROM account WHERE name = 'Counted'";
    let found = client.query(sql, &[], Paging::first(1))?;
    if let Some([Value::Bytes(bytes)]) = found.rows.first().map(Vec::as_slice) {
        return RecordId::try_from(&bytes[..]).context("a record has an id");
    }
    Ok(client.create("account", Edits::new().set("name", "Counted"))?)
}

/// Says a line at once: what is said is confirmed. Without a listener the process ends.
fn say(line: std::fmt::Arguments<'_>) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
