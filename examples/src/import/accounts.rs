//! The accounts, with their parents.

use crdt_core::id::RecordId;
use crdt_core::schema::Schema;

use super::cell::Keys;
use super::known::COUNTRIES;
use super::order::{Child, parents_first};
use super::repair::{Meaning, Names};
use super::report::{Judged, Refusal, Remark, Report, clip};
use super::table::{Header, Row};
use super::{ImportRecord, Named};

pub(super) const FILE: &str = "accounts.csv";
pub(super) const HEADER: Header = &[
    "account",
    "sector",
    "year_established",
    "revenue",
    "employees",
    "office_location",
    "subsidiary_of",
];

struct Account {
    name: String,
    parent: Option<String>,
    record: ImportRecord,
}

impl Child for Account {
    const COLUMN: &'static str = "subsidiary_of";

    fn name(&self) -> &str {
        &self.name
    }

    fn parent(&self) -> Option<&str> {
        self.parent.as_deref()
    }
}

pub(super) fn read(rows: &[Row], report: &mut Report) -> Named {
    let sectors = known_sectors();
    let countries = Names::of(COUNTRIES.iter().copied());
    let mut keys = Keys::default();
    let judged: Vec<Judged<Account>> = rows
        .iter()
        .map(|row| row.judge(|row, remarks| account(row, &sectors, &countries, &mut keys, remarks)))
        .collect();
    // Any row may name any other as its parent, so parents are looked up when all names are known.
    let names = Names::of(keys.iter());
    let judged = judged.into_iter().zip(rows).map(|(judged, row)| {
        judged.and_then(|account, remarks| {
            let parent = row.reference("subsidiary_of", &names, remarks)?.map(str::to_owned);
            Ok(Account { parent, ..account })
        })
    });
    let accounts = report.close_file(FILE, parents_first(judged.collect()));
    let names = Names::of(accounts.iter().map(Account::name));
    Named { records: accounts.into_iter().map(finish).collect(), names }
}

fn account(
    row: &Row,
    sectors: &Names,
    countries: &Names,
    keys: &mut Keys,
    remarks: &mut Vec<Remark>,
) -> Result<Account, Refusal> {
    let name = row.required("account")?;
    let year = row.whole("year_established")?;
    let record = ImportRecord::new("account", name)
        .with("name", name)
        .with("sector", sector(row, sectors, remarks))
        .with("year_established", noted("year_established", year, remarks))
        .with("revenue", noted("revenue", row.dollars("revenue", MILLIONS)?, remarks))
        .with("employees", noted("employees", row.whole("employees")?, remarks))
        .with("country", country(row, countries, remarks))
        .checked()?;
    keys.claim(row, "account")?;
    Ok(Account { name: name.to_owned(), parent: None, record })
}

fn finish(account: Account) -> ImportRecord {
    let parent = account.parent.map(|name| RecordId::from_source_key("account", &name));
    account.record.with("parent", parent)
}

/// The value, with a gap noted when there is none.
fn noted<T>(column: &'static str, value: Option<T>, remarks: &mut Vec<Remark>) -> Option<T> {
    if value.is_none() {
        remarks.push(Remark::gap(column, "is empty"));
    }
    value
}

/// A sector of the picklist. One outside it cannot be written, and is not worth the account.
fn sector<'a>(row: &Row, known: &'a Names, remarks: &mut Vec<Remark>) -> Option<&'a str> {
    let text = row.expected("sector", remarks)?;
    match known.find_misspelt(text) {
        Meaning::Known(name) => Some(name),
        Meaning::Repaired(name) => {
            remarks.push(Remark::repair("sector", text, name));
            Some(name)
        }
        Meaning::Unknown => {
            remarks.push(Remark::gap("sector", format!("{} is no known sector", clip(text))));
            None
        }
    }
}

/// A country. An unknown one is noted and kept as it is: the list of countries is ours, not the world's.
fn country<'a>(row: &'a Row, known: &'a Names, remarks: &mut Vec<Remark>) -> Option<&'a str> {
    let text = row.expected("office_location", remarks)?;
    match known.find_misspelt(text) {
        Meaning::Known(name) => Some(name),
        Meaning::Repaired(name) => {
            remarks.push(Remark::repair("office_location", text, name));
            Some(name)
        }
        Meaning::Unknown => {
            let what = format!("{} is no known country; kept as it is", clip(text));
            remarks.push(Remark::gap("office_location", what));
            Some(text)
        }
    }
}

/// The picklist of the schema, so that what the import takes is what a record may hold.
fn known_sectors() -> Names {
    let account = Schema::builtin().entity("account");
    let sector = account.and_then(|account| account.field("sector"));
    let picklist = sector.and_then(|field| field.kind.picklist()).unwrap_or_default();
    Names::of(picklist.iter().map(String::as_str))
}

/// The file gives revenue in millions of dollars: 10^6.
const MILLIONS: u32 = 6;
