//! The import as a whole: every row accounted for, each repair, gap and refusal, and bad input.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::PathBuf;

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::Schema;

use super::*;

const ACCOUNTS: &str = "account,sector,year_established,revenue,employees,office_location,\
subsidiary_of\nAlder,retail,1990,1.5,10,Japan,Birch\nBirch,retail,1980,1100.04,99,Japan,\n";
const PRODUCTS: &str = "product,series,sales_price\nGTX Pro,GTX,4821\nMG Special,MG,55\n";
const TEAMS: &str = "sales_agent,manager,regional_office\nAnn Lee,Bo Berg,West\n";
const PIPELINE: &str = "opportunity_id,sales_agent,product,account,deal_stage,engage_date,\
close_date,close_value\n";

/// Imports the small export above with some of its files replaced.
fn import_with(replaced: &[(&str, &str)]) -> Result<Import, InputError> {
    let pipeline = format!("{PIPELINE}A1,Ann Lee,GTX Pro,Alder,Won,2017-01-01,2017-02-01,4800\n");
    let texts = [ACCOUNTS, PRODUCTS, TEAMS, &pipeline];
    let text_of = |(file, text): (&'static str, _)| {
        let other = replaced.iter().find(|(name, _)| *name == file).map(|(_, text)| *text);
        (file, other.unwrap_or(text))
    };
    let files: Vec<(&str, &str)> = FILES.into_iter().zip(texts).map(text_of).collect();
    read_text(&files)
}

/// Imports one row of the pipeline.
fn import_deal(row: &str) -> Import {
    import_with(&[(opportunities::FILE, &format!("{PIPELINE}{row}\n"))]).unwrap()
}

/// What was noted, one line each.
fn notes_of(import: &Import) -> Vec<String> {
    import.report.notes.iter().map(ToString::to_string).collect()
}

fn record<'a>(import: &'a Import, entity: &str, key: &str) -> &'a ImportRecord {
    let id = RecordId::from_source_key(entity, key);
    import.records.iter().find(|record| record.id == id).unwrap()
}

/// The four outcomes add up to the rows, and every kept row is a record.
fn assert_accounted_for(import: &Import) {
    for file in &import.report.files {
        assert_eq!(file.imported + file.repaired + file.with_gap + file.refused, file.rows);
    }
    let total = import.report.total();
    let records = total.rows - total.refused + import.report.managers;
    assert_eq!(import.records.len() as u64, records);
}

/// What the schema and the store will ask of the records.
fn assert_records_can_be_written(import: &Import) {
    let mut ids = BTreeSet::new();
    for record in &import.records {
        let entity = Schema::builtin().entity(record.entity).unwrap();
        for (name, value) in &record.fields {
            let field = entity.field(name).unwrap_or_else(|| panic!("{} {name}", record.entity));
            assert_eq!(field.check(value), Ok(()), "{} {name}", record.entity);
            if let Value::Bytes(target) = value {
                let target = RecordId::try_from(target.as_slice()).unwrap();
                assert!(ids.contains(&target), "{} {name} comes before its target", record.entity);
            }
        }
        for field in entity.fields.iter().filter(|field| field.validation.required) {
            assert!(record.field(&field.key).is_some(), "{} {}", record.entity, field.key);
        }
        assert!(ids.insert(record.id), "{} {} twice", record.entity, record.id);
    }
}

#[test]
fn rows_become_records_with_references_after_their_targets() {
    let import = import_with(&[]).unwrap();
    assert_accounted_for(&import);
    assert_records_can_be_written(&import);
    assert_eq!(notes_of(&import), Vec::<String>::new());
    assert_eq!((import.report.total().imported, import.report.managers), (6, 1));

    let agent = record(&import, "member", "Ann Lee");
    let manager = record(&import, "member", "Bo Berg").id;
    assert_eq!(agent.field("manager"), Some(&manager.into()));
    assert_eq!(agent.field("territory"), Some(&"west".into()));
    assert_eq!(record(&import, "member", "Bo Berg").field("region"), Some(&"west".into()));
    let account = record(&import, "account", "Alder");
    assert_eq!(account.field("revenue"), Some(&"1500000.00 USD".into()));
    assert_eq!(account.field("parent"), Some(&record(&import, "account", "Birch").id.into()));
    let deal = record(&import, "opportunity", "A1");
    assert_eq!(deal.field("name"), Some(&"GTX Pro for Alder".into()));
    assert_eq!(deal.field("owner"), Some(&agent.id.into()));
    assert_eq!(deal.field("stage"), Some(&"won".into()));
    assert_eq!(deal.field("close_value"), Some(&"4800.00 USD".into()));
    assert_eq!(deal.field("source_id"), Some(&"A1".into()));
}

#[test]
fn an_account_belongs_to_whoever_has_most_of_its_deals_and_to_their_territory() {
    let teams = format!("{TEAMS}Cy Dahl,Di Ek,East\n");
    let deals = [("A1", "Ann Lee"), ("A2", "Cy Dahl"), ("A3", "Cy Dahl")]
        .map(|(id, agent)| format!("{id},{agent},GTX Pro,Alder,Won,2017-01-01,2017-02-01,4800\n"));
    let pipeline = format!("{PIPELINE}{}", deals.concat());
    let import = import_with(&[(members::FILE, &teams), (opportunities::FILE, &pipeline)]).unwrap();
    let alder = record(&import, "account", "Alder");
    assert_eq!(alder.field("owner"), Some(&record(&import, "member", "Cy Dahl").id.into()));
    assert_eq!(alder.field("territory"), Some(&"east".into()));
    let without_deals = record(&import, "account", "Birch");
    assert_eq!(without_deals.field("owner"), None);
    assert_eq!(without_deals.field("territory"), None);
}

#[test]
fn importing_twice_gives_the_same_records_whatever_the_order_of_the_rows() {
    let (head, rows) = ACCOUNTS.split_once('\n').unwrap();
    let mut rows: Vec<&str> = rows.lines().collect();
    rows.reverse();
    let reversed = format!("{head}\r\n{}\r\n", rows.join("\r\n"));
    let again = import_with(&[(accounts::FILE, &reversed)]).unwrap();
    assert_eq!(import_with(&[]).unwrap().records, again.records);
}

#[test]
fn misspelt_names_are_repaired_and_listed() {
    let import = import_deal("A1,ANN LEE,GTXPro,alder,won,2017-01-01,2017-02-01,4800");
    assert_eq!(
        notes_of(&import),
        [
            "sales_pipeline.csv, line 2: repaired: sales_agent \"ANN LEE\" became \"Ann Lee\"",
            "sales_pipeline.csv, line 2: repaired: product \"GTXPro\" became \"GTX Pro\"",
            "sales_pipeline.csv, line 2: repaired: account \"alder\" became \"Alder\"",
            "sales_pipeline.csv, line 2: repaired: deal_stage \"won\" became \"Won\"",
        ]
    );
    assert_eq!(import.report.total().repaired, 1, "a row counts once");

    let accounts =
        ACCOUNTS.replace("Alder,retail", "Alder,retial").replace("99,Japan", "99,Jappan");
    let import = import_with(&[(accounts::FILE, &accounts)]).unwrap();
    assert_eq!(import.report.tally(accounts::FILE, Kind::Repair, "sector"), 1);
    assert_eq!(import.report.tally(accounts::FILE, Kind::Repair, "office_location"), 1);
    assert_eq!(record(&import, "account", "Alder").field("sector"), Some(&"retail".into()));
    assert_eq!(record(&import, "account", "Birch").field("country"), Some(&"Japan".into()));
}

#[test]
fn a_missing_account_is_a_gap_and_a_repaired_row_with_a_gap_counts_as_repaired() {
    let import = import_deal("A1,Ann Lee,GTX Pro,,Engaging,2017-01-01,,");
    assert_eq!(notes_of(&import), ["sales_pipeline.csv, line 2: gap: account is empty"]);
    assert_eq!(import.report.files[3].with_gap, 1);
    let deal = record(&import, "opportunity", "A1");
    assert_eq!(deal.field("account"), None);
    assert_eq!(deal.field("name"), Some(&"GTX Pro, account unknown".into()));

    let import = import_deal("A1,Ann Lee,GTXPro,,Won,2017-01-01,,");
    assert_eq!((import.report.files[3].repaired, import.report.files[3].with_gap), (1, 0));
    for column in ["account", "close_date", "close_value"] {
        assert_eq!(import.report.tally(opportunities::FILE, Kind::Gap, column), 1, "{column}");
    }
}

#[test]
fn rows_that_make_no_sense_are_refused_with_their_line_and_the_others_go_on() {
    let good = "B1,Ann Lee,GTX Pro,Alder,Won,2017-01-01,2017-02-01,4800";
    for (bad, why) in [
        (
            "A1,Nobody,GTX Pro,Alder,Won,2017-01-01,2017-02-01,1",
            "sales_agent \"Nobody\" is unknown",
        ),
        ("A1,,GTX Pro,Alder,Won,2017-01-01,2017-02-01,1", "sales_agent is empty"),
        ("A1,Ann Lee,GTX Max,Alder,Won,2017-01-01,2017-02-01,1", "product \"GTX Max\" is unknown"),
        ("A1,Ann Lee,GTX Pro,Oak,Won,2017-01-01,2017-02-01,1", "account \"Oak\" is unknown"),
        (
            "A1,Ann Lee,GTX Pro,Alder,Sold,2017-01-01,2017-02-01,1",
            "deal_stage \"Sold\" is no stage",
        ),
        (
            "A1,Ann Lee,GTX Pro,Alder,Won,2017-02-30,2017-03-01,1",
            "engage_date \"2017-02-30\" is no date of the calendar (YYYY-MM-DD)",
        ),
        (
            "A1,Ann Lee,GTX Pro,Alder,Won,2017-02-02,2017-02-01,1",
            "close_date 2017-02-01 is before the engage_date 2017-02-02",
        ),
        ("A1,Ann Lee,GTX Pro,Alder,Won,2017-01-01,2017-02-01,-5", "close_value \"-5\" is negative"),
        (
            "A1,Ann Lee,GTX Pro,Alder,Won,2017-01-01,2017-02-01,=1+1",
            "close_value \"=1+1\" is no number with at most 2 decimals",
        ),
        (",Ann Lee,GTX Pro,Alder,Won,2017-01-01,2017-02-01,1", "opportunity_id is empty"),
        (good, "opportunity_id \"B1\" is already on line 2"),
    ] {
        let import = import_deal(&format!("{good}\n{bad}"));
        let expected = format!("sales_pipeline.csv, line 3: refused: {why}");
        assert_eq!(notes_of(&import), [expected], "{bad}");
        assert_eq!((import.report.files[3].imported, import.report.files[3].refused), (1, 1));
        assert_accounted_for(&import);
    }
}

#[test]
fn a_refused_row_takes_along_what_cannot_stand_without_it_and_keeps_its_key_from_nobody() {
    let accounts = ACCOUNTS.replace("1980", "minus one");
    let import = import_with(&[(accounts::FILE, &accounts)]).unwrap();
    assert_eq!(import.report.total().refused, 3, "Birch, its child Alder, and the deal with Alder");
    assert_accounted_for(&import);

    let again = format!("{accounts}Birch,retail,1980,1,1,Japan,\n");
    let import = import_with(&[(accounts::FILE, &again)]).unwrap();
    assert_eq!(import.report.total().refused, 1);
    assert_eq!(import.report.notes[0].line, 3);
}

#[test]
fn a_cell_that_no_record_can_hold_refuses_its_row_alone() {
    let row = format!("A1,Ann Lee,{},Alder,Won,2017-01-01,2017-02-01,1", "x".repeat(9_000));
    assert_eq!(
        notes_of(&import_deal(&row)),
        ["sales_pipeline.csv, line 2: refused: product has 9000 bytes, more than 8192"]
    );
}

#[test]
fn what_the_schema_does_not_take_refuses_its_row_alone() {
    let accounts = format!("{ACCOUNTS}Oak,retail,12,1,1,Japan,\n");
    let import = import_with(&[(accounts::FILE, &accounts)]).unwrap();
    let [note] = notes_of(&import).try_into().unwrap();
    assert!(note.starts_with("accounts.csv, line 4: refused: year_established is out of range"));

    let teams = format!("{TEAMS}Cy Dee,{},West\n", "x".repeat(201));
    let import = import_with(&[(members::FILE, &teams)]).unwrap();
    let [note] = notes_of(&import).try_into().unwrap();
    assert!(note.starts_with("sales_teams.csv, line 3: refused: name is"), "{note}");
    assert_records_can_be_written(&import);
}

#[test]
fn what_looks_like_a_formula_is_just_a_name() {
    let products = format!("{PRODUCTS}\"=SUM(A1,B1)\",@x,1\n");
    let import = import_with(&[(products::FILE, &products)]).unwrap();
    let product = record(&import, "product", "=SUM(A1,B1)");
    assert_eq!(product.field("name"), Some(&"=SUM(A1,B1)".into()));
}

#[test]
fn files_that_are_not_the_table_stop_the_import_with_file_line_and_what_was_expected() {
    for (file, text, message) in [
        (
            "products.csv",
            "",
            "products.csv, line 1: expected the header product,series,sales_price, found an empty file",
        ),
        (
            "products.csv",
            "name,series,sales_price\n",
            "products.csv, line 1: expected the header product,series,sales_price, found \"name,series,sales_price\"",
        ),
        (
            "products.csv",
            "product,series,sales_price\nA,B,1\n\nC,D\n",
            "products.csv, line 4: expected 3 columns, found 2",
        ),
        (
            "products.csv",
            "product,series,sales_price\n\"A,B,1\nC,D,1\n",
            "products.csv, line 2: expected a closing quote, found the end of the file inside quotes",
        ),
    ] {
        assert_eq!(import_with(&[(file, text)]).unwrap_err().to_string(), message);
    }
    let missing = read_text(&[("accounts.csv", ACCOUNTS)]).unwrap_err();
    assert_eq!(missing.to_string(), "products.csv: expected a file, found none");
}

#[test]
fn a_folder_without_a_file_or_with_other_bytes_than_utf_8_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let write = |file: &str, bytes: &[u8]| fs::write(dir.path().join(file), bytes).unwrap();
    write("accounts.csv", ACCOUNTS.as_bytes());
    write("products.csv", b"product,series,sales_price\nCaf\xe9,X,1\n");
    write("sales_teams.csv", TEAMS.as_bytes());
    let error = read(dir.path()).unwrap_err();
    assert_eq!(error.to_string(), "products.csv, line 2: expected UTF-8 text, found byte 0xe9");

    write("products.csv", format!("\u{feff}{}", PRODUCTS.replace('\n', "\r\n")).as_bytes());
    let error = read(dir.path()).unwrap_err();
    assert_eq!((error.file.as_str(), error.line), ("sales_pipeline.csv", None));
    assert_eq!(error.expected, "a readable file");

    write("sales_pipeline.csv", PIPELINE.as_bytes());
    assert_eq!(read(dir.path()).unwrap().report.total().rows, 5);
}

#[test]
fn the_generated_sample_can_be_written() {
    let import = crate::sample::generate(3);
    assert_accounted_for(&import);
    assert_records_can_be_written(&import);
}

/// The folder of public data beside the checkout, or nothing where a stranger has none.
fn data_dir(name: &str) -> Option<PathBuf> {
    let beside = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../shared/data");
    let dir = env::var_os("FIELDBOOK_DATA_DIR").map_or_else(beside, PathBuf::from).join(name);
    if dir.is_dir() {
        return Some(dir);
    }
    assert!(env::var_os("FIELDBOOK_REQUIRE_DATA").is_none(), "{} is missing", dir.display());
    println!("skipped: {} is missing", dir.display());
    None
}

#[test]
fn every_row_of_the_crm_sales_data_is_imported() {
    let Some(dir) = data_dir("crm-sales") else { return };
    let import = read(&dir).unwrap();
    assert_accounted_for(&import);
    assert_records_can_be_written(&import);

    let report = &import.report;
    let rows: Vec<(&str, u64)> = report.files.iter().map(|file| (file.file, file.rows)).collect();
    assert_eq!(
        rows,
        [
            ("accounts.csv", 85),
            ("products.csv", 7),
            ("sales_teams.csv", 35),
            ("sales_pipeline.csv", 8_800),
        ]
    );
    assert_eq!(report.managers, 6);
    assert_eq!(report.tally("sales_pipeline.csv", Kind::Repair, "product"), 1_480);
    assert_eq!(report.tally("sales_pipeline.csv", Kind::Gap, "account"), 1_425);
    assert_eq!(report.tally("accounts.csv", Kind::Repair, "sector"), 12);
    assert_eq!(report.tally("accounts.csv", Kind::Repair, "office_location"), 1);
    assert_eq!(report.tallies().count(), 4, "no other repair, gap or refusal");
    let pipeline = &report.files[3];
    assert_eq!((pipeline.imported, pipeline.repaired), (6_117, 1_480));
    assert_eq!(
        (pipeline.with_gap, pipeline.refused),
        (1_203, 0),
        "222 are repaired and with a gap"
    );
    assert_eq!((report.total().refused, report.notes_left_out), (0, 0));
}

#[test]
fn other_exports_are_refused_as_bad_input_and_never_a_panic() {
    let Some(dir) = data_dir("messy-csv") else { return };
    let mut files = 0;
    for entry in fs::read_dir(dir).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        let error = import_with(&[(accounts::FILE, &text)]).unwrap_err();
        assert_eq!((error.file.as_str(), error.line), ("accounts.csv", Some(1)));
        files += 1;
    }
    assert!(files > 0);
}
