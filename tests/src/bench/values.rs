//! The floor of the wire: nothing but values, compressed.

use anyhow::Result;
use rusqlite::types::Value as Sql;

use super::workload::Contact;

/// The level at which pages and pushes are compressed.
const LEVEL: i32 = 3;

/// Appends a value: numbers with as many bytes as they need, the others with their length before them.
pub fn put(bytes: &mut Vec<u8>, value: &Sql) {
    match value {
        Sql::Null => bytes.push(0),
        Sql::Integer(number) => varint(bytes, number.cast_unsigned()),
        Sql::Real(number) => bytes.extend(number.to_be_bytes()),
        Sql::Text(text) => put_bytes(bytes, text.as_bytes()),
        Sql::Blob(blob) => put_bytes(bytes, blob),
    }
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    varint(bytes, value.len() as u64);
    bytes.extend(value);
}

fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The values of a record, one after the other.
///
/// # Errors
/// When its id is no UUID.
pub fn row(contact: &Contact) -> Result<Vec<u8>> {
    let mut bytes = super::contact::id(&contact.id)?.as_bytes().to_vec();
    let address = &contact.address;
    let texts = [&contact.first_name, &contact.last_name, &contact.company, &contact.title]
        .into_iter()
        .chain(&contact.emails)
        .chain(&contact.phones)
        .chain([&address.street, &address.city, &address.zip, &address.country])
        .chain(&contact.tags)
        .chain([&contact.owner, &contact.stage, &contact.created_at, &contact.updated_at])
        .chain([&contact.note]);
    texts.for_each(|text| put_bytes(&mut bytes, text.as_bytes()));
    varint(&mut bytes, contact.score.cast_unsigned());
    varint(&mut bytes, contact.amount.cast_unsigned());
    Ok(bytes)
}

/// How many bytes they take, compressed `chunk` at a time.
///
/// # Errors
/// When they cannot be compressed.
pub fn compressed(rows: &[Vec<u8>], chunk: usize) -> Result<usize> {
    let mut total = 0;
    for rows in rows.chunks(chunk) {
        total += zstd::bulk::compress(&rows.concat(), LEVEL)?.len();
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_take_as_many_bytes_as_they_need() {
        let mut bytes = Vec::new();
        put(&mut bytes, &Sql::Integer(300));
        put(&mut bytes, &Sql::Text("ab".to_owned()));
        put(&mut bytes, &Sql::Null);
        assert_eq!(bytes, [0xac, 0x02, 2, b'a', b'b', 0]);
    }
}
