//! Full text: rows wait in a queue until they are idle or somebody searches.

use crdt_core::id::RecordId;
use crdt_core::schema::Entity;
use rusqlite::Connection;

use super::document::record_of;
use super::projection::quoted;
use super::projection::tables::{search_columns, search_table};
use crate::error::StoreError;
use crate::query::Hit;

/// Whether rows of an entity wait.
pub(crate) fn is_dirty(connection: &Connection, entity: &Entity) -> Result<bool, StoreError> {
    let sql = "SELECT EXISTS (SELECT 1 FROM _search_dirty WHERE entity = ?1)";
    Ok(connection.prepare_cached(sql)?.query_row([&entity.name], |row| row.get(0))?)
}

/// Writes the words of at most `limit` waiting rows; gives how many were written.
pub(crate) fn flush(
    connection: &Connection,
    entity: &Entity,
    limit: usize,
) -> Result<usize, StoreError> {
    let sql = "SELECT count(*), max(row) FROM
                   (SELECT row FROM _search_dirty WHERE entity = ?1 ORDER BY row LIMIT ?2)";
    let limit = i64::try_from(limit).unwrap_or(i64::MAX);
    let (count, last): (i64, Option<i64>) = connection
        .prepare_cached(sql)?
        .query_row((&entity.name, limit), |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(last) = last else { return Ok(0) };
    let words = quoted(&search_table(entity));
    let columns = search_columns(entity);
    let columns: Vec<String> = columns.iter().map(|column| quoted(column)).collect();
    let columns = columns.join(", ");
    let waiting = "(SELECT row FROM _search_dirty WHERE entity = ?1 AND row <= ?2)";
    let remove = format!("DELETE FROM {words} WHERE rowid IN {waiting}");
    let insert = format!(
        "INSERT INTO {words} (rowid, {columns})
         SELECT _row, {columns} FROM {} WHERE _row IN {waiting} ORDER BY _row",
        quoted(&entity.name)
    );
    // Full text writes what it has gathered to its tables at the end of each such statement: one for all
    // rows costs a quarter of one for each.
    if !columns.is_empty() {
        connection.prepare_cached(&remove)?.execute((&entity.name, last))?;
        connection.prepare_cached(&insert)?.execute((&entity.name, last))?;
    }
    let sql = "DELETE FROM _search_dirty WHERE entity = ?1 AND row <= ?2";
    connection.prepare_cached(sql)?.execute((&entity.name, last))?;
    Ok(usize::try_from(count).unwrap_or(usize::MAX))
}

/// Merges the words of an entity's table, about `pages` pages of them, so that those of rows that are gone
/// go as well; begins anew when `pages` is negative. Gives whether there is more to merge.
pub(crate) fn merge(
    connection: &Connection,
    entity: &Entity,
    pages: i64,
) -> Result<bool, StoreError> {
    if entity.search.is_empty() {
        return Ok(false);
    }
    let changes = |connection: &Connection| {
        connection.query_row("SELECT total_changes()", [], |row| row.get::<_, i64>(0))
    };
    let before = changes(connection)?;
    let words = quoted(&search_table(entity));
    let sql = format!("INSERT INTO {words} ({words}, rank) VALUES ('merge', ?1)");
    connection.prepare_cached(&sql)?.execute([pages])?;
    // Full text counts one change for the statement itself.
    Ok(changes(connection)? - before >= 2)
}

/// The records in which every word of `text` begins some word, the best first.
pub(crate) fn search(
    connection: &Connection,
    entity: &Entity,
    text: &str,
    limit: usize,
) -> Result<Vec<Hit>, StoreError> {
    let Some(wanted) = expression(text) else { return Ok(Vec::new()) };
    let words = quoted(&search_table(entity));
    let sql = format!(
        "SELECT t._id, rank FROM {words} JOIN {} t ON t._row = {words}.rowid
         WHERE {words} MATCH ?1 ORDER BY rank, {words}.rowid LIMIT ?2",
        quoted(&entity.name)
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query((wanted, i64::try_from(limit).unwrap_or(i64::MAX)))?;
    let mut hits = Vec::new();
    while let Some(row) = rows.next()? {
        let id: RecordId = record_of(&row.get::<_, Vec<u8>>(0)?)?;
        let rank: f64 = row.get(1)?;
        hits.push(Hit { id, score: -rank });
    }
    Ok(hits)
}

/// Each word as a quoted prefix, so that nothing of FTS5's own syntax gets through.
fn expression(text: &str) -> Option<String> {
    let words: Vec<String> = text
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .take(WORDS_MAX)
        .map(|word| format!("\"{word}\"*"))
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

/// Words of one search: beyond that it is pasted prose.
const WORDS_MAX: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_become_prefixes_and_the_syntax_of_full_text_is_plain_text() {
        assert_eq!(expression("ada  love").as_deref(), Some("\"ada\"* \"love\"*"));
        assert_eq!(
            expression("a\" OR NEAR(b)*").as_deref(),
            Some("\"a\"* \"OR\"* \"NEAR\"* \"b\"*")
        );
        assert_eq!(expression(" -*\" "), None);
    }
}
