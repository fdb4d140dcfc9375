//! A wiretap: everything that the server sends to each device, inflated, to be searched for what the device must
//! never be sent; and everything that a device has on its disk.

use std::collections::BTreeMap;
use std::fs;

use crdt_core::limits;
use crdt_core::protocol::{Message, decode_frame};

use super::{Device, World};

/// What was heard, by device.
#[derive(Debug, Default)]
pub(super) struct Wiretap {
    heard: BTreeMap<usize, Vec<u8>>,
    /// The body of the page that is coming.
    bodies: BTreeMap<usize, Vec<u8>>,
}

/// Frames that begin with this byte are compressed, behind four bytes that say their plain size.
const ZSTD: u8 = 1;

impl Wiretap {
    /// Notes a frame on its way to a device: as it is, and inflated.
    pub(super) fn hear(&mut self, device: usize, frame: &[u8]) {
        let heard = self.heard.entry(device).or_default();
        heard.extend_from_slice(frame);
        if let Some((&ZSTD, rest)) = frame.split_first() {
            heard.extend(inflated(&rest[4..]));
        }
        if let Ok(Message::Page(part)) = decode_frame(frame) {
            let body = self.bodies.entry(device).or_default();
            if part.part == 0 {
                body.clear();
            }
            body.extend_from_slice(&part.bytes);
            if part.last && part.plain_size > 0 {
                heard.extend(inflated(body));
            }
        }
    }
}

impl World {
    /// Listens to everything that devices are sent from now on.
    pub fn listen(&mut self) {
        self.wiretap = Some(Wiretap::default());
    }

    /// Everything that was sent to a device while [`World::listen`] was on.
    ///
    /// # Panics
    /// When nobody listens.
    #[must_use]
    pub fn heard(&self, device: Device) -> &[u8] {
        let wiretap = self.wiretap.as_ref().expect("somebody listens");
        wiretap.heard.get(&device.0).map_or(&[], Vec::as_slice)
    }

    /// The files of a device in which some bytes stand.
    ///
    /// # Panics
    /// When the files cannot be read.
    #[must_use]
    pub fn files_with(&self, device: Device, needle: &[u8]) -> Vec<String> {
        let files = self.files_of(device).into_iter();
        files.filter(|(_, bytes)| holds(bytes, needle)).map(|(name, _)| name).collect()
    }

    /// Every file that a device has, by name: the database and whatever SQLite keeps beside it.
    ///
    /// # Panics
    /// When the files cannot be read.
    #[must_use]
    pub fn files_of(&self, device: Device) -> BTreeMap<String, Vec<u8>> {
        let path = self.at(device).path();
        let own = path.file_name().expect("a database has a name").to_string_lossy();
        let folder = path.parent().expect("a database is in a folder");
        let files = fs::read_dir(folder).expect("the simulation's folder can be read");
        let files = files.map(|file| file.expect("the simulation's folder can be read"));
        let named = files.map(|file| (file.file_name().to_string_lossy().into_owned(), file));
        named
            .filter(|(name, _)| name.starts_with(&*own))
            .map(|(name, file)| (name, fs::read(file.path()).expect("a file can be read")))
            .collect()
    }
}

/// Whether bytes stand within others.
#[must_use]
pub fn holds(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}

fn inflated(packed: &[u8]) -> Vec<u8> {
    let limit = limits::PLAIN_BYTES_MAX.max(limits::PAGE_BYTES_MAX);
    zstd::bulk::decompress(packed, limit).expect("the server's own frames inflate")
}
