//! A server inside a program or a test, and a device that stays connected and watches what changes.

use std::time::Duration;

use anyhow::{Context as _, Result};
use client_sdk::Edits;
use examples::stage::Stage;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::start(folder.path(), &["Ada", "Ben"])?;
    let ada = stage.device(folder.path(), "Ada")?;
    let ben = stage.device(folder.path(), "Ben")?;

    // Sync runs until its handle is dropped; changes are told as they arrive.
    let _syncing = (ada.start_sync()?, ben.start_sync()?);
    let changes = ben.watch();
    let acme = ada.create("account", Edits::new().set("name", "Acme"))?;
    loop {
        let change = changes.wait(Duration::from_secs(20)).context("nothing arrived in time")?;
        if change.records.contains(&acme) {
            println!("Ben hears of {} changed tables", change.tables.len());
            break;
        }
    }
    let account = ben.get(acme)?.context("the account has arrived")?;
    println!("Ben sees {:?}, and his sync is {:?}", account.text("name"), ben.status().phase);
    Ok(())
}
