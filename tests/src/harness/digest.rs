//! Convergence: what a device's tables show against what the server's cells say, record by record and field
//! by field.

mod on_device;
mod on_server;
mod words;

use std::collections::BTreeMap;

use crdt_core::id::DocumentId;

use super::world::{Device, World};
pub use on_server::Said;

/// What a replica shows, one line for each thing that two replicas can differ in: place → value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Picture(BTreeMap<String, String>);

/// Differences that are printed.
const DIFFERENCES_SHOWN: usize = 20;

impl Picture {
    fn put(&mut self, place: String, value: String) {
        let before = self.0.insert(place, value);
        assert_eq!(before, None, "a place is shown twice");
    }

    /// How many things are shown.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is shown.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where two pictures differ: the place, and what each shows.
    #[must_use]
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let nothing = String::from("nothing");
        let places: std::collections::BTreeSet<&String> =
            self.0.keys().chain(other.0.keys()).collect();
        let show = |picture: &Self, place: &String| {
            picture.0.get(place).unwrap_or(&nothing).chars().take(200).collect::<String>()
        };
        places
            .into_iter()
            .filter(|place| self.0.get(*place) != other.0.get(*place))
            .map(|place| format!("{place}: {} ≠ {}", show(self, place), show(other, place)))
            .collect()
    }
}

impl World {
    /// What the server's cells say.
    #[must_use]
    pub fn picture_of_server(&self) -> Picture {
        self.said_by_server().picture(&|_| true)
    }

    /// What the server's documents say at this moment.
    #[must_use]
    pub fn said_by_server(&self) -> Said<'_> {
        Said::by(&self.server)
    }

    /// Checks that a device holds these documents of the server's and no others, and shows what they say.
    ///
    /// # Panics
    /// When it does not; the message names the table, the record and the field.
    pub fn assert_shows(&self, device: Device, is_visible: &dyn Fn(&DocumentId) -> bool) {
        self.assert_shows_of(&self.said_by_server(), device, is_visible);
    }

    /// As [`World::assert_shows`], with what the server was found to say.
    ///
    /// # Panics
    /// As [`World::assert_shows`].
    pub fn assert_shows_of(
        &self,
        said: &Said<'_>,
        device: Device,
        is_visible: &dyn Fn(&DocumentId) -> bool,
    ) {
        self.assert_pictured(device, &said.picture(is_visible));
    }

    /// What a device's tables show.
    #[must_use]
    pub fn picture_of(&self, device: Device) -> Picture {
        on_device::picture(self.at(device).path(), &self.server.schema())
    }

    /// Checks that every running device shows what the server's cells say: rows, sets, conflicts, and the
    /// cells of every document.
    ///
    /// # Panics
    /// When one does not; the message names the table, the record and the field.
    pub fn assert_converged(&self) {
        let wanted = self.picture_of_server();
        for device in self.everyone().filter(|device| self.at(*device).is_running()) {
            self.assert_pictured(device, &wanted);
        }
    }

    fn assert_pictured(&self, device: Device, wanted: &Picture) {
        let differences = self.picture_of(device).differences(wanted);
        let shown: Vec<&str> =
            differences.iter().take(DIFFERENCES_SHOWN).map(String::as_str).collect();
        assert!(
            differences.is_empty(),
            "{} (left) differs from the server (right) in {} places:\n  {}\n{}",
            self.at(device).name,
            differences.len(),
            shown.join("\n  "),
            super::replay_command(self.seed),
        );
        if let Some(fault) = words::fault(self.at(device).client(), &self.server.schema()) {
            panic!("{}: {fault}\n{}", self.at(device).name, super::replay_command(self.seed));
        }
        self.assert_verified(device);
        self.check_account(device);
    }

    /// Checks that a device's cells are what its documents say, read by Automerge itself.
    ///
    /// # Panics
    /// When some are not.
    fn assert_verified(&self, device: Device) {
        let report = self.at(device).client().verify().expect("the file can be read");
        let name = &self.at(device).name;
        assert!(
            report.differing.is_empty(),
            "{name}: documents say otherwise than their cells: {:?}\n{}",
            report.differing,
            super::replay_command(self.seed)
        );
    }
}

const DIGITS: &[u8; 16] = b"0123456789abcdef";

/// Bytes, as places and values spell them.
fn hex(bytes: &[u8]) -> String {
    let digits = |byte: &u8| [byte >> 4, byte & 15].map(|digit| char::from(DIGITS[digit as usize]));
    bytes.iter().flat_map(digits).collect()
}

/// What a row of an entity's table shows in one column.
fn cell_place(entity: &str, record: &[u8], column: &str) -> String {
    format!("row {entity} {} {column}", hex(record))
}

/// The document's cells and number.
fn document_place(record: &[u8], section: &str, what: &str) -> String {
    format!("document {}#{section} {what}", hex(record))
}

/// A row of the table of conflicts.
fn conflict_place(record: &[u8], section: &str, field: &str) -> String {
    format!("conflict {}#{section} {field}", hex(record))
}
