//! Reads a CRM export in the shape of crm-sales into records, and accounts for every row.
//!
//! Four files: accounts, products, sales teams and the sales pipeline. Ids come from the source's own
//! keys, so reading the same files again gives the same records. A row that makes no sense is refused
//! and reported while the rest goes on; a file that is not the table it should be stops everything
//! before anything is built.

mod accounts;
mod cell;
mod input;
mod known;
mod members;
mod opportunities;
mod order;
mod products;
mod quoting;
mod repair;
mod report;
mod routing;
mod table;

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use crdt_core::id::RecordId;
use crdt_core::record::Value;
use crdt_core::schema::Schema;

pub use input::InputError;
use report::Refusal;
pub use report::{FileReport, Kind, NOTES_MAX_PER_KIND, Note, Report};

/// What the files hold: records in an order in which references come after their targets.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    /// Managers and agents, then accounts, products, opportunities.
    pub records: Vec<ImportRecord>,
    /// What became of every row.
    pub report: Report,
}

/// One record to be written.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportRecord {
    /// Its entity in the built-in schema.
    pub entity: &'static str,
    /// Its id, made from the source's key.
    pub id: RecordId,
    /// The fields that have a value.
    pub fields: Vec<(&'static str, Value)>,
    /// The members of its sets.
    pub sets: Vec<(&'static str, Vec<String>)>,
}

impl ImportRecord {
    /// A record of `entity` that the source calls `key`.
    fn new(entity: &'static str, key: &str) -> Self {
        Self {
            entity,
            id: RecordId::from_source_key(entity, key),
            fields: Vec::new(),
            sets: Vec::new(),
        }
    }

    /// Adds a field unless there is nothing to add.
    fn with(mut self, field: &'static str, value: impl Into<Value>) -> Self {
        let value = value.into();
        if !value.is_null() {
            self.fields.push((field, value));
        }
        self
    }

    /// This record, if the schema takes each of its values: what cannot be written is refused with its
    /// row, not halfway through the writing.
    fn checked(self) -> Result<Self, Refusal> {
        let entity =
            Schema::builtin().entity(self.entity).expect("the schema has what is imported");
        for (name, value) in &self.fields {
            let field = entity.field(name).expect("the schema has what is imported");
            if let Err(violation) = field.check(value) {
                return Err(Refusal::new(name, violation.to_string()));
            }
        }
        Ok(self)
    }

    /// The value of a field; nothing when it has none.
    #[must_use]
    pub fn field(&self, field: &str) -> Option<&Value> {
        self.fields.iter().find(|(name, _)| *name == field).map(|(_, value)| value)
    }
}

/// The names of the four files.
pub const FILES: [&str; 4] = [accounts::FILE, products::FILE, members::FILE, opportunities::FILE];

/// The columns of each file, in their order.
pub mod headers {
    use super::{accounts, members, opportunities, products};

    /// Of `accounts.csv`.
    pub const ACCOUNTS: &[&str] = accounts::HEADER;
    /// Of `products.csv`.
    pub const PRODUCTS: &[&str] = products::HEADER;
    /// Of `sales_teams.csv`.
    pub const TEAMS: &[&str] = members::HEADER;
    /// Of `sales_pipeline.csv`.
    pub const PIPELINE: &[&str] = opportunities::HEADER;
}

/// Reads the four files of `dir`.
///
/// # Errors
/// When a file is missing, too large, not UTF-8, or not the table that it should be.
pub fn read(dir: &Path) -> Result<Import, InputError> {
    let mut texts = Vec::with_capacity(FILES.len());
    for file in FILES {
        texts.push((file, read_file(dir, file)?));
    }
    let files: Vec<(&str, &str)> =
        texts.iter().map(|(file, text)| (*file, text.as_str())).collect();
    read_text(&files)
}

/// Reads the four files from their texts, given with their names.
///
/// # Errors
/// When a file is missing or not the table that it should be.
pub fn read_text(files: &[(&str, &str)]) -> Result<Import, InputError> {
    let table = |file, header| {
        let text = files.iter().find(|(name, _)| *name == file).map(|(_, text)| *text);
        let text = text.ok_or_else(|| InputError::of_file(file, "a file", "none"))?;
        table::parse(file, text, header)
    };
    let account_rows = table(accounts::FILE, accounts::HEADER)?;
    let product_rows = table(products::FILE, products::HEADER)?;
    let member_rows = table(members::FILE, members::HEADER)?;
    let opportunity_rows = table(opportunities::FILE, opportunities::HEADER)?;

    let mut report = Report::default();
    let accounts = accounts::read(&account_rows, &mut report);
    let products = products::read(&product_rows, &mut report);
    let team = members::read(&member_rows, &mut report);
    let known = opportunities::Known {
        agents: &team.agents,
        territories: &team.territories,
        accounts: &accounts.names,
        products: &products.names,
    };
    let opportunities = opportunities::read(&opportunity_rows, &known, &mut report);

    let accounts = routing::assign(accounts.records, &opportunities);

    let records = [team.records, accounts, products.records, opportunities].concat();
    Ok(Import { records, report })
}

/// Records of one entity and the names under which other files refer to them.
struct Named {
    records: Vec<ImportRecord>,
    names: repair::Names,
}

fn read_file(dir: &Path, file: &str) -> Result<String, InputError> {
    let failed = |error: io::Error| InputError::of_file(file, "a readable file", error.to_string());
    let mut bytes = Vec::new();
    let opened = File::open(dir.join(file)).map_err(failed)?;
    opened.take(FILE_BYTES_MAX + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > FILE_BYTES_MAX {
        let expected = format!("at most {FILE_BYTES_MAX} bytes");
        return Err(InputError::of_file(file, &expected, "more"));
    }
    String::from_utf8(bytes).map_err(|error| {
        let good = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + good.iter().filter(|&&b| b == b'\n').count() as u64;
        let bad = error.as_bytes().get(good.len()).copied().unwrap_or_default();
        input::Problem::new(line, "UTF-8 text", format!("byte 0x{bad:02x}")).in_file(file)
    })
}

/// A file of the export, bytes: a hundred times the crm-sales pipeline, and it is held in memory.
const FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

#[cfg(test)]
mod tests;
