//! Images: the files of a device and of a server as the real code has just made them. They are made once for
//! each schema; the worlds of a process begin with copies, which takes a tenth of the time.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use client_sdk::{Client, Config, SeededEntropy};
use crdt_core::id::{Epoch, MemberId};
use crdt_core::schema::Schema;
use rusqlite::Connection;
use sync_server::store::sqlite::SqliteStore;

use super::device::WORKSPACE;
use super::files;

/// An image, and where in it something stands that each copy has for itself.
type Images = Mutex<BTreeMap<String, (Arc<[u8]>, Option<usize>)>>;

/// The epoch in the image of a server, in whose place each server gets its own.
const EPOCH: [u8; 16] = *b"no epoch at all!";

/// Puts a device's file at `path` that has the schema's tables and belongs to nobody yet: what is there when a
/// process dies before its first start is done.
pub(super) fn put_device(path: &Path, schema: &Arc<Schema>) {
    static DEVICES: Images = Mutex::new(BTreeMap::new());
    let (image, _) = image(&DEVICES, schema.text(), |made| {
        let mut config = Config::new(made, WORKSPACE, MemberId::from_source_key("nobody", ""));
        config = config.entropy(SeededEntropy::new(0));
        config.schema = Some(Arc::clone(schema));
        Client::open(config).expect("an empty folder takes a new device").close();
        let file = Connection::open(made).expect("a closed file can be opened");
        file.execute_batch(
            "DELETE FROM meta WHERE key NOT IN ('schema', 'projected_schema'); DELETE FROM actor",
        )
        .expect("a device has these tables");
    });
    fs::write(path, &*image).expect("the simulation's folder is writable");
}

/// Puts the file of a new server at `path`.
pub(super) fn put_server(path: &Path, epoch: Epoch, schema: &str) {
    static SERVERS: Images = Mutex::new(BTreeMap::new());
    let (image, place) = image(&SERVERS, schema, |made| {
        SqliteStore::create(made, Epoch(EPOCH), schema)
            .expect("an empty folder takes a new workspace");
    });
    let mut bytes = image.to_vec();
    let place = place.expect("a server's file names its epoch");
    bytes[place..][..EPOCH.len()].copy_from_slice(&epoch.0);
    fs::write(path, bytes).expect("the simulation's folder is writable");
}

fn image(images: &Images, schema: &str, make: impl FnOnce(&Path)) -> (Arc<[u8]>, Option<usize>) {
    let mut images = images.lock().unwrap_or_else(PoisonError::into_inner);
    let image = images.entry(schema.to_owned()).or_insert_with(|| {
        let folder = files::folder();
        let path = folder.path().join("image.db");
        make(&path);
        let bytes = fs::read(path).expect("what was made can be read");
        let place = bytes.windows(EPOCH.len()).position(|window| *window == EPOCH);
        (bytes.into(), place)
    });
    image.clone()
}
