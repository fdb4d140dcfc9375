//! Finding things: typed columns and plain SQL for lists, full text for words, references between records.

use std::error::Error;

use client_sdk::{Client, Config, EditError, Edits, Paging};
use crdt_core::id::MemberId;
use crdt_core::record::Value;
use serde::Deserialize;

/// A row of a list, as an app would show it.
#[derive(Debug, Deserialize)]
struct Line {
    last_name: String,
    score: i64,
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let ada = MemberId::from_source_key("member", "Ada");
    let client = Client::open(Config::new(folder.path().join("crm.db"), "field", ada))?;

    let people = [("Olivia", "Tanaka", 80), ("Noah", "Tanner", 35), ("Emma", "Rossi", 90)];
    let (acme, emma) = client.transaction(|tx| {
        let acme = tx.create("account", Edits::new().set("name", "Acme"))?;
        let mut last = acme;
        for (first, name, score) in people {
            let contact = Edits::new().set("first_name", first).set("last_name", name);
            last = tx.create("contact", contact.set("score", score).set("account", acme))?;
        }
        Ok::<_, EditError>((acme, last))
    })?;

    // Every field is a column; indexes are declared in the schema.
    let sql = "SELECT last_name, score FROM contact WHERE score >= ?1 ORDER BY score DESC";
    let page = client.query(sql, &[Value::from(50)], Paging::first(50))?;
    for line in page.typed::<Line>()? {
        println!("{:<8} {}", line.last_name, line.score);
    }

    // Each word is the beginning of one.
    let hits = client.search("contact", "tan", 10)?;
    println!("`tan` finds {} contacts", hits.len());
    assert_eq!(hits.len(), 2);

    // References: from a contact to its account, and back.
    let account = client.related(emma, "account")?.ok_or("Emma has an account")?;
    println!("Emma works for {}", account.text("name").unwrap_or("?"));
    let contacts = client.referencing("contact", "account", acme, Paging::first(50))?;
    assert_eq!(contacts.len(), 3);

    // Queries read; they never write.
    let refused = client.query("DELETE FROM contact", &[], Paging::first(1));
    println!("refused: {}", refused.expect_err("queries are read-only"));
    Ok(())
}
