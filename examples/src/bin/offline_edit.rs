//! Writing without a network: everything works from the first second, and what is unsent can be seen.

use std::error::Error;

use client_sdk::{Client, Config, Edits};
use crdt_core::id::MemberId;
use crdt_core::record::Money;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ada = MemberId::from_source_key("member", "Ada");
    let path = folder.path().join("crm.db");
    let client = Client::open(Config::new(&path, "field", ada).member_name("Ada"))?;

    // One transaction: both records or none, here and on the server.
    let (acme, deal) = client.transaction(|tx| {
        let acme = tx.create("account", Edits::new().set("name", "Acme").add("tags", "vip"))?;
        let amount: Money = "12500.00 USD".parse().expect("the amount is well spelt");
        let deal =
            Edits::new().set("name", "Acme renewal").set("account", acme).set("amount", amount);
        Ok::<_, client_sdk::EditError>((acme, tx.create("opportunity", deal)?))
    })?;
    client.update(acme, Edits::new().increment("visits", 1).set("phone", "+1 555 0100"))?;

    // A value that breaks a rule is refused before anything is written.
    let refused = client.update(deal, Edits::new().set("probability", 150));
    println!("refused: {}", refused.expect_err("a probability is at most 100"));

    // The device is switched off and on again: nothing is lost.
    client.close();
    let client = Client::open(Config::new(&path, "field", ada))?;
    let account = client.get(acme)?.ok_or("the account is there")?;
    println!(
        "{} has {} visit and is tagged {:?}",
        account.text("name").unwrap_or("?"),
        account.int("visits").unwrap_or(0),
        account.members("tags")
    );
    let unsent = client.unsent()?;
    println!("{} batches with {} records wait for a network", unsent.batches, unsent.records);
    assert_eq!((unsent.batches, unsent.records), (2, 2));
    Ok(())
}
