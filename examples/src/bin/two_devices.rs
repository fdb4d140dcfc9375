//! The same record on two devices: edits made apart merge the same way on both.

use anyhow::Result;
use client_sdk::Edits;
use examples::stage::Stage;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let stage = Stage::start(folder.path(), &["Ada", "Ben"])?;
    let ada = stage.device(folder.path(), "Ada")?;
    let ben = stage.device(folder.path(), "Ben")?;

    let acme = ada.create("account", Edits::new().set("name", "Acme"))?;
    stage.sync(&ada)?;
    stage.sync(&ben)?;

    // Both are offline now.
    ada.update(acme, Edits::new().set("phone", "+1 555 0100").increment("visits", 1))?;
    ben.update(acme, Edits::new().set("website", "https://acme.example").increment("visits", 1))?;
    ben.update(acme, Edits::new().add("tags", "vip"))?;

    for device in [&ada, &ben, &ada] {
        stage.sync(device)?;
    }
    for (name, device) in [("Ada", &ada), ("Ben", &ben)] {
        let account = device.get(acme)?.expect("both hold the account");
        println!(
            "{name}: phone {:?}, website {:?}, {} visits, tags {:?}, last edited by {:?}",
            account.text("phone"),
            account.text("website"),
            account.int("visits").unwrap_or(0),
            account.members("tags"),
            account.updated_by_name()
        );
        assert_eq!(account.int("visits"), Some(2));
        assert!(account.text("phone").is_some() && account.text("website").is_some());
    }
    Ok(())
}
