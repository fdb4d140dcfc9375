//! Competing values: the field's rule picks one, all are kept until somebody writes the field. And undo.

use anyhow::Result;
use client_sdk::{Choice, Edits};
use examples::stage::Stage;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::start(folder.path(), &["Ada", "Ben"])?;
    let ada = stage.device(folder.path(), "Ada")?;
    let ben = stage.device(folder.path(), "Ben")?;
    let deal = ada.create("opportunity", Edits::new().set("name", "Acme renewal"))?;
    stage.sync(&ada)?;
    stage.sync(&ben)?;

    // `stage` is ranked: won beats lost, whoever wrote last. `close_date` asks a person.
    ada.update(deal, Edits::new().set("stage", "won").set("close_date", "2026-12-18"))?;
    ben.update(deal, Edits::new().set("stage", "lost").set("close_date", "2027-01-29"))?;
    for device in [&ada, &ben, &ada] {
        stage.sync(device)?;
    }
    for conflict in ada.conflicts(None)? {
        println!("{} ({}):", conflict.field, if conflict.open { "open" } else { "decided" });
        for value in &conflict.values {
            println!("  {:?} by {:?}", value.value, value.member_name);
        }
    }
    let shown = ben.get(deal)?.expect("both hold the deal");
    assert_eq!(shown.text("stage"), Some("won"));

    // Deciding on one device decides everywhere.
    ben.resolve(deal, "close_date", Choice::Value("2027-01-15".into()))?;
    for device in [&ben, &ada] {
        stage.sync(device)?;
    }
    let open = ada.conflicts(None)?.into_iter().filter(|conflict| conflict.open).count();
    println!("open after deciding: {open}");
    assert_eq!(open, 0);

    // A slip of the finger is taken back as an edit of its own.
    ada.update(deal, Edits::new().set("name", "Acme renwal"))?;
    ada.undo(deal)?;
    let name = ada.get(deal)?.and_then(|deal| deal.text("name").map(str::to_owned));
    println!("after undo: {name:?}");
    assert_eq!(name.as_deref(), Some("Acme renewal"));
    Ok(())
}
