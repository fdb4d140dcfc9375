//! Who may do what: asking the policy offline, being refused with a reason, sending something anyway, and
//! coming to terms with what the server refused.

use anyhow::{Context as _, Result};
use client_sdk::{Client, EditError, Edits, Permission, RecordId};
use crdt_core::policy::{self, Action};
use crdt_core::record::Money;
use examples::stage::{Seat, Stage, member};

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ada = Seat::new(member("Ada"), "Ada").role("rep").territory("west");
    let mia = Seat::new(member("Mia"), "Mia").role("manager").region("west");
    let stage = Stage::under(policy::SALES, folder.path(), &[ada, mia])?;
    let (rep, manager) = (stage.device(folder.path(), "Ada")?, stage.device(folder.path(), "Mia")?);
    stage.sync(&rep)?;
    stage.sync(&manager)?;

    // Ada's account stands in her territory, so that her manager has it as well, and its finance section.
    let acme = rep.create("account", Edits::new().set("name", "Acme").set("territory", "west"))?;
    stage.sync(&rep)?;
    stage.sync(&manager)?;
    let limit: Money = "20000.00 USD".parse()?;
    manager.update(acme, Edits::new().set("credit_limit", limit))?;
    stage.sync(&manager)?;
    stage.sync(&rep)?;
    println!("the manager reads a credit limit of {}", shown(&manager, acme)?);
    println!("the rep reads {}", shown(&rep, acme)?);

    // A form asks before it offers a field, offline. An edit that the policy denies is not stored.
    for (field, may) in rep.permissions(acme)? {
        if let Permission::Denied(denial) = may {
            println!("greyed out: {field}, since {}", denial.why);
        }
    }
    assert!(rep.can(Action::Update, acme, Some("phone"))?.is_offered());
    let wish = || Edits::new().set("payment_terms_days", 90).set("phone", "+1 555 0100");
    match rep.update(acme, wish()) {
        Err(EditError::Forbidden { denials }) => println!("refused here: {}", denials[0]),
        other => anyhow::bail!("the policy should deny it, and not {other:?}"),
    }
    assert!(rep.unsent()?.is_empty());

    // Sent anyway, the server refuses the batch as a whole. What was tried stays in front of Ada, and what
    // she did after it goes through.
    rep.transaction_allowing_dispute(|tx| tx.update(acme, wish()))?;
    rep.update(acme, Edits::new().increment("visits", 1))?;
    stage.sync(&rep)?;
    let dispute = rep.disputes()?.into_iter().next().context("the server refused it")?;
    println!("refused there: {}", dispute.reasons[0].text);
    let account = rep.get(acme)?.context("the account is hers")?;
    assert_eq!((account.int("visits"), account.text("phone")), (Some(1), None));

    // She gives the terms up and keeps the phone number.
    rep.discard(dispute.id)?;
    rep.update(acme, Edits::new().set("phone", "+1 555 0100"))?;
    stage.sync(&rep)?;
    stage.sync(&manager)?;
    let account = manager.get(acme)?.context("the account stands in the manager's region")?;
    println!("the manager sees the phone number {:?}", account.text("phone").unwrap_or("none"));
    assert_eq!((account.int("visits"), account.int("payment_terms_days")), (Some(1), None));
    let accounting = rep.accounting()?;
    println!("of {} edits {} were accepted", accounting.submitted, accounting.accepted);
    assert!(accounting.balances());
    Ok(())
}

/// The credit limit as a device shows it.
fn shown(client: &Client, account: RecordId) -> Result<String> {
    let record = client.get(account)?.context("the account is here")?;
    Ok(record.text("credit_limit").unwrap_or("nothing").to_owned())
}
