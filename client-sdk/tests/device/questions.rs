//! Queries, references and full text.

use client_sdk::{Edits, Paging, QueryError, RecordId, Value};
use serde::Deserialize;

use crate::harness::Device;

#[derive(Debug, PartialEq, Deserialize)]
struct Line {
    _id: RecordId,
    name: String,
    revenue: Option<i64>,
    revenue_currency: Option<String>,
}

#[test]
fn a_query_reads_typed_columns_with_parameters_and_pages() {
    let device = Device::new("ada");
    let mut ids = Vec::new();
    for number in 0..5 {
        let edits = Edits::new()
            .set("name", format!("Account {number}"))
            .set("revenue", format!("{number}.50 CHF"));
        ids.push(device.client.create("account", edits).unwrap());
    }
    let sql = "SELECT _id, name, revenue, revenue_currency FROM account
               WHERE revenue >= ? ORDER BY revenue";
    let rows = device
        .client
        .query_as::<Line>(sql, &[Value::from(150)], Paging { limit: 2, offset: 1 })
        .unwrap();
    let wanted = |number: usize| Line {
        _id: ids[number],
        name: format!("Account {number}"),
        revenue: Some(number as i64 * 100 + 50),
        revenue_currency: Some("CHF".to_owned()),
    };
    assert_eq!(rows, [wanted(2), wanted(3)]);
    let rows = device.client.query(sql, &[Value::from(150)], Paging::first(2)).unwrap();
    assert!(rows.more);
}

#[test]
fn a_query_can_do_nothing_but_read() {
    let device = Device::new("ada");
    let refused = |sql| device.client.query(sql, &[], Paging::default()).unwrap_err();
    for sql in [
        "DELETE FROM account",
        "UPDATE account SET name = 'x'",
        "WITH x AS (SELECT 1) DELETE FROM account",
        "PRAGMA query_only = OFF",
        "ATTACH 'other.db' AS other",
        "SELECT 1; DELETE FROM account",
        "",
        "BEGIN",
    ] {
        assert!(matches!(refused(sql), QueryError::NotReadOnly | QueryError::Sql(_)), "{sql}");
    }
    assert!(matches!(refused("SELECT nothing FROM nowhere"), QueryError::Sql(_)));
    assert!(matches!(refused("SELECT ?"), QueryError::Sql(_)));
}

#[test]
fn records_that_reference_another_are_listed() {
    let device = Device::new("ada");
    let account = device.client.create("account", Edits::new().set("name", "Acme")).unwrap();
    let contact = |name: &str| {
        let edits = Edits::new().set("last_name", name).set("account", account);
        device.client.create("contact", edits).unwrap()
    };
    let mut wanted = vec![contact("Roe"), contact("Doe")];
    wanted.sort_unstable();
    let found =
        device.client.referencing("contact", "account", account, Paging::first(10)).unwrap();
    assert_eq!(found, wanted);
    assert!(device.client.referencing("contact", "nothing", account, Paging::first(1)).is_err());
}

#[test]
fn search_finds_beginnings_of_words_and_follows_every_edit() {
    let device = Device::new("ada");
    let client = &device.client;
    let edits = Edits::new().set("name", "Zürich Lebensmittel").add("tags", "vip");
    let id = client.create("account", edits).unwrap();
    let found = |text: &str| {
        client.search("account", text, 10).unwrap().iter().map(|hit| hit.id).collect::<Vec<_>>()
    };
    assert_eq!(found("zuri leb"), [id]);
    assert_eq!(found("VIP"), [id]);
    assert_eq!(found("\"zur* OR"), Vec::<RecordId>::new());
    client.update(id, Edits::new().set("name", "Bern")).unwrap();
    assert_eq!(found("zuri"), Vec::<RecordId>::new());
    assert_eq!(found("bern"), [id]);
    client.delete(id).unwrap();
    assert_eq!(found("bern"), Vec::<RecordId>::new());
    assert!(matches!(client.search("nothing", "x", 1), Err(QueryError::NotSearchable { .. })));
}

#[test]
fn sets_have_a_table_of_members() {
    let device = Device::new("ada");
    let edits = Edits::new().set("name", "Acme").add("tags", "vip").add("tags", "old");
    let id = device.client.create("account", edits).unwrap();
    device.client.update(id, Edits::new().remove("tags", "old")).unwrap();
    let sql = "SELECT a.tags FROM account a JOIN account__tags t ON t._row = a._row
               WHERE t.member = ?";
    let rows = |tag: &str| device.client.query(sql, &[Value::from(tag)], Paging::first(9)).unwrap();
    assert_eq!(rows("vip").rows, [vec![Value::from("[\"vip\"]")]]);
    assert!(rows("old").rows.is_empty());
}
