//! What a device's tables show, read by SQL alone: none of the SDK's own code takes part.

use std::path::Path;

use crdt_core::record::Cells;
use crdt_core::schema::{Entity, Schema};
use rusqlite::types::Value as Sql;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value as Json;

use super::{Picture, cell_place, conflict_place, document_place, hex};

/// Columns that may differ between devices: where a row stands, and what is pending here.
const OWN_COLUMNS: [&str; 2] = ["_row", "_sync_state"];

pub(super) fn picture(path: &Path, schema: &Schema) -> Picture {
    let connection = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)
        .expect("a device's database can be read");
    let mut picture = Picture::default();
    for entity in schema.entities() {
        rows(&connection, entity, &mut picture);
        for set in entity.fields.iter().filter(|field| field.kind.is_set()) {
            members(&connection, entity, &set.column, &mut picture);
        }
    }
    documents(&connection, &mut picture);
    conflicts(&connection, &mut picture);
    picture
}

fn rows(connection: &Connection, entity: &Entity, picture: &mut Picture) {
    let sql = format!("SELECT * FROM \"{}\" ORDER BY _id", entity.name);
    each(connection, &sql, |columns, values| {
        let of = |name: &str| columns.iter().position(|column| column == name);
        let Some(Sql::Blob(id)) = of("_id").map(|place| &values[place]) else {
            panic!("a row of {} has no id", entity.name);
        };
        for (column, value) in columns.iter().zip(values) {
            if !OWN_COLUMNS.contains(&column.as_str()) && *value != Sql::Null {
                picture.put(cell_place(&entity.name, id, column), show(value));
            }
        }
    });
}

/// The members of a set as its table for queries has them: one line for each row of the entity.
fn members(connection: &Connection, entity: &Entity, column: &str, picture: &mut Picture) {
    let name = &entity.name;
    let sql = format!(
        "SELECT e._id, json_group_array(m.member)
         FROM (SELECT * FROM \"{name}__{column}\" ORDER BY _row, member) m
         LEFT JOIN \"{name}\" e ON e._row = m._row GROUP BY m._row"
    );
    each(connection, &sql, |_, values| {
        let id: &[u8] = if let Sql::Blob(id) = &values[0] { id } else { b"no row" };
        picture.put(cell_place(name, id, &format!("{column} members")), show(&values[1]));
    });
}

fn documents(connection: &Connection, picture: &mut Picture) {
    let sql = "SELECT record, section, number, cells, base IS NULL FROM document";
    each(connection, sql, |_, values| {
        let [Sql::Blob(record), Sql::Text(section), number, Sql::Blob(cells), accepted] = values
        else {
            panic!("a document's row is malformed")
        };
        let place = |what| document_place(record, section, what);
        picture.put(place("number"), show(number));
        let cells = Cells::from_stored(cells).expect("a device's cells can be read");
        picture.put(place("cells"), format!("{cells:?}"));
        if *accepted != Sql::Integer(1) {
            picture.put(place("pending"), "yes".to_owned());
        }
    });
}

fn conflicts(connection: &Connection, picture: &mut Picture) {
    let sql = "SELECT record, section, field, open, contenders FROM conflict";
    each(connection, sql, |_, values| {
        let [Sql::Blob(record), Sql::Text(section), Sql::Text(field), open, Sql::Text(contenders)] =
            values
        else {
            panic!("a conflict's row is malformed")
        };
        let contenders: Vec<Json> =
            serde_json::from_str(contenders).expect("contenders are a list in JSON");
        let of = |contender: &Json| {
            let part = |name: &str| {
                let value = contender.get(name).unwrap_or(&Json::Null);
                value.as_str().map_or_else(|| value.to_string(), str::to_owned)
            };
            [part("field"), part("actor"), part("member"), part("time")].join(" ")
        };
        let contenders: Vec<String> = contenders.iter().map(of).collect();
        let value = format!("open={} {}", show(open), contenders.join(", "));
        picture.put(conflict_place(record, section, field), value);
    });
}

fn each(connection: &Connection, sql: &str, mut take: impl FnMut(&[String], &[Sql])) {
    let mut statement = connection.prepare(sql).expect("the public tables are as documented");
    let columns: Vec<String> = statement.column_names().map(str::to_owned).collect();
    let mut rows = statement.query([]).expect("the public tables can be read");
    while let Some(row) = rows.next().expect("the public tables can be read") {
        let values: Vec<Sql> = (0..columns.len())
            .map(|column| row.get(column).expect("every value has a type"))
            .collect();
        take(&columns, &values);
    }
}

pub(super) fn show(value: &Sql) -> String {
    match value {
        Sql::Null => "null".to_owned(),
        Sql::Integer(number) => number.to_string(),
        Sql::Real(number) => format!("{number:?}"),
        Sql::Text(text) => text.clone(),
        Sql::Blob(bytes) => hex(bytes),
    }
}
