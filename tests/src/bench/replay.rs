//! The floor of bulk work: every row of some tables, read from a device's file, inserted into an empty
//! database by bare SQLite.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params_from_iter};

use super::floor::{self, Durability};

/// Tables with all their rows, in memory.
pub struct Tables {
    tables: Vec<Table>,
    indexes: Vec<String>,
    words: Words,
}

struct Table {
    create: String,
    insert: String,
    rows: Vec<Vec<Sql>>,
}

struct Words {
    create: String,
    columns: String,
}

/// When indexes and full text are built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Indexes {
    /// After all rows, full text too: the cheapest way into an empty database.
    Afterwards,
    /// Row by row; full text not at all.
    Kept,
}

impl Tables {
    /// Reads them from a file.
    ///
    /// # Errors
    /// When one is not there.
    pub fn read(path: &Path, names: &[&str]) -> Result<Self> {
        let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let mut tables = Vec::new();
        let mut indexes = Vec::new();
        for name in names {
            tables.push(Table::read(&connection, name)?);
            let sql = "SELECT sql FROM sqlite_master
                       WHERE type = 'index' AND tbl_name = ?1 AND sql IS NOT NULL";
            let mut statement = connection.prepare(sql)?;
            for index in statement.query_map([name], |row| row.get(0))? {
                indexes.push(index?);
            }
        }
        let words = Words {
            create: definition(&connection, "contact_fts")?,
            columns: columns(&connection, "contact_fts")?.join(", "),
        };
        Ok(Self { tables, indexes, words })
    }

    /// Inserts all rows into a new file, in transactions of so many rows of the first table and what belongs
    /// to them; gives how long it took.
    ///
    /// # Errors
    /// When the database refuses.
    pub fn insert(
        &self,
        path: &Path,
        step: usize,
        durability: Durability,
        indexes: Indexes,
    ) -> Result<Duration> {
        let mut connection = floor::open(path, durability)?;
        for table in &self.tables {
            connection.execute_batch(&table.create)?;
        }
        connection.execute_batch(&self.words.create)?;
        if indexes == Indexes::Kept {
            connection.execute_batch(&self.indexes.join(";"))?;
        }
        let steps = self.tables[0].rows.len().div_ceil(step).max(1);
        let begin = Instant::now();
        for number in 0..steps {
            let tx = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for table in &self.tables {
                let mut statement = tx.prepare_cached(&table.insert)?;
                let count = table.rows.len();
                for row in &table.rows[count * number / steps..count * (number + 1) / steps] {
                    statement.execute(params_from_iter(row))?;
                }
            }
            tx.commit()?;
        }
        if indexes == Indexes::Afterwards {
            connection.execute_batch(&self.indexes.join(";"))?;
            let Words { columns, .. } = &self.words;
            connection.execute_batch(&format!(
                "INSERT INTO contact_fts (rowid, {columns}) SELECT _row, {columns} FROM contact"
            ))?;
        }
        Ok(begin.elapsed())
    }
}

impl Table {
    fn read(connection: &Connection, name: &str) -> Result<Self> {
        let names = columns(connection, name)?;
        let places: Vec<String> = (1..=names.len()).map(|place| format!("?{place}")).collect();
        let (listed, places) = (names.join(", "), places.join(", "));
        // The order in which they were written: member tables have no row ids, and are sorted by row.
        let sql = format!("SELECT {listed} FROM \"{name}\" ORDER BY 1");
        let mut statement = connection.prepare(&sql)?;
        let mut found = statement.query([])?;
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            rows.push((0..names.len()).map(|place| row.get(place)).collect::<Result<_, _>>()?);
        }
        Ok(Self {
            create: definition(connection, name)?,
            insert: format!("INSERT INTO \"{name}\" ({listed}) VALUES ({places})"),
            rows,
        })
    }
}

fn definition(connection: &Connection, name: &str) -> Result<String> {
    let sql = "SELECT sql FROM sqlite_master WHERE type = 'table' AND name = ?1";
    connection
        .query_row(sql, [name], |row| row.get(0))
        .with_context(|| format!("the table {name} is not there"))
}

fn columns(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names =
        statement.query_map([table], |row| Ok(format!("\"{}\"", row.get::<_, String>(0)?)))?;
    Ok(names.collect::<Result<_, _>>()?)
}
