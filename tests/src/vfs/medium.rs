//! What a simulated disk holds: what is synced apart from what is only written, and what a power cut leaves
//! of the two. Pure: no file is opened here.

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::Rng as _;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;

/// What a disk writes whole or not at all, bytes.
pub const SECTOR: usize = 512;

/// The files of a disk, by name.
#[derive(Debug, Clone, Default)]
pub struct Medium {
    files: BTreeMap<Arc<str>, Stored>,
}

/// The contents of files; those that do not exist have none.
pub type Image = BTreeMap<Arc<str>, Option<Vec<u8>>>;

/// One thing that was done to a disk.
#[derive(Debug, Clone)]
pub enum Op {
    /// The file was there, with these contents, when it was opened first.
    Found(Arc<str>, Arc<[u8]>),
    /// The file was made.
    Created(Arc<str>),
    /// Bytes were written at a place.
    Wrote(Arc<str>, u64, Arc<[u8]>),
    /// The file was cut to a length.
    Truncated(Arc<str>, u64),
    /// The file was synced.
    Synced(Arc<str>),
    /// A sync failed: what was written stays readable until the power goes, and no later sync saves it.
    SyncFailed(Arc<str>),
    /// The file was removed; durably so when its folder was synced as well.
    Removed(Arc<str>, Removal),
}

/// Whether a removal outlives a power cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Removal {
    /// Yes.
    Durable,
    /// Perhaps.
    Unsynced,
}

#[derive(Debug, Clone, Default)]
struct Stored {
    /// What who reads it finds; nothing when there is no file.
    current: Option<Vec<u8>>,
    /// What is synced; nothing when the file itself is not.
    durable: Option<Vec<u8>>,
    /// What was written since, in order.
    unsynced: Vec<Unsynced>,
}

#[derive(Debug, Clone)]
enum Unsynced {
    Write(u64, Arc<[u8]>),
    Length(u64),
    /// The file was removed, and perhaps made anew: what came before may come back.
    Anew,
}

impl Medium {
    /// Notes what was done.
    pub fn apply(&mut self, op: &Op) {
        match op {
            Op::Found(name, bytes) => {
                self.files.insert(Arc::clone(name), Stored::at_rest(bytes.to_vec()));
            }
            Op::Created(name) => {
                self.of(name).current.get_or_insert_default();
            }
            Op::Wrote(name, at, bytes) => {
                self.of(name).change(Unsynced::Write(*at, Arc::clone(bytes)));
            }
            Op::Truncated(name, length) => self.of(name).change(Unsynced::Length(*length)),
            Op::Synced(name) => {
                let stored = self.of(name);
                let is_new = stored.durable.is_none();
                let durable = stored.durable.get_or_insert_default();
                stored.unsynced.drain(..).for_each(|change| change.apply(durable));
                if is_new {
                    // With a new file its folder is synced, and so is what was removed there.
                    self.files.values_mut().for_each(Stored::removal_is_durable);
                }
            }
            Op::SyncFailed(name) => self.of(name).unsynced.clear(),
            Op::Removed(name, Removal::Durable) => *self.of(name) = Stored::default(),
            Op::Removed(name, Removal::Unsynced) => {
                let stored = self.of(name);
                stored.unsynced.push(Unsynced::Anew);
                stored.current = None;
            }
        }
    }

    fn of(&mut self, name: &Arc<str>) -> &mut Stored {
        self.files.entry(Arc::clone(name)).or_default()
    }

    /// The names of its files, also of those that were removed.
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.files.keys()
    }

    /// What every file says when nothing is lost, as when only the process dies.
    #[must_use]
    pub fn as_written(&self) -> Image {
        let files = self.files.iter();
        files.map(|(name, stored)| (Arc::clone(name), stored.current.clone())).collect()
    }

    /// What a power cut leaves: of what is not synced anything may be there, torn, or in another order.
    #[must_use]
    pub fn after_power_cut(&self, rng: &mut StdRng) -> Image {
        let mut image = Image::new();
        for (name, stored) in &self.files {
            image.insert(Arc::clone(name), stored.survived(rng));
        }
        image
    }

    /// What a file says at present.
    #[must_use]
    pub fn contents(&self, name: &str) -> Option<&[u8]> {
        self.files.get(name)?.current.as_deref()
    }

    /// Whether anything could be lost at present.
    #[must_use]
    pub fn is_synced(&self) -> bool {
        self.files.values().all(|stored| stored.unsynced.is_empty())
    }
}

impl From<&Image> for Medium {
    /// A disk that has come to rest with these files.
    fn from(image: &Image) -> Self {
        let present = image
            .iter()
            .filter_map(|(name, bytes)| Some((Arc::clone(name), Stored::at_rest(bytes.clone()?))));
        Self { files: present.collect() }
    }
}

impl Stored {
    fn at_rest(bytes: Vec<u8>) -> Self {
        Self { current: Some(bytes.clone()), durable: Some(bytes), unsynced: Vec::new() }
    }

    fn removal_is_durable(&mut self) {
        let anew = self.unsynced.iter().rposition(|change| matches!(change, Unsynced::Anew));
        if let Some(place) = anew {
            self.durable = None;
            self.unsynced.drain(..=place);
        }
    }

    fn change(&mut self, change: Unsynced) {
        change.apply(self.current.get_or_insert_default());
        self.unsynced.push(change);
    }

    fn survived(&self, rng: &mut StdRng) -> Option<Vec<u8>> {
        let (kept, changes) = self.incarnation(rng);
        let Some(mut bytes) = kept else {
            // The folder's entry may not have been written, whatever the file's own sectors say.
            if changes.is_empty() || rng.random_bool(0.3) {
                return None;
            }
            let mut bytes = Vec::new();
            survive(changes, &mut bytes, rng);
            return Some(bytes);
        };
        survive(changes, &mut bytes, rng);
        Some(bytes)
    }

    /// Which file the name stands for after a power cut: the newest, or one whose removal was lost.
    fn incarnation(&self, rng: &mut StdRng) -> (Option<Vec<u8>>, &[Unsynced]) {
        let anew = self.unsynced.iter().rposition(|change| matches!(change, Unsynced::Anew));
        let Some(place) = anew else { return (self.durable.clone(), &self.unsynced) };
        if self.durable.is_some() && rng.random_bool(0.5) {
            let first = self.unsynced.iter().position(|change| matches!(change, Unsynced::Anew));
            return (self.durable.clone(), &self.unsynced[..first.unwrap_or(place)]);
        }
        let newest = if self.current.is_some() { &self.unsynced[place + 1..] } else { &[] };
        (None, newest)
    }
}

impl Unsynced {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(at, written) => write_at(bytes, *at, written),
            Self::Length(length) => bytes.resize(usize_of(*length), 0),
            Self::Anew => bytes.clear(),
        }
    }

    /// Some sectors of it.
    fn tear(&self, bytes: &mut Vec<u8>, rng: &mut StdRng) {
        let Self::Write(at, written) = self else { return self.apply(bytes) };
        let mut done = 0;
        while done < written.len() {
            let place = usize_of(*at) + done;
            let end = (done + SECTOR - place % SECTOR).min(written.len());
            match rng.random_range(0..10) {
                0..5 => write_at(bytes, place as u64, &written[done..end]),
                // The power went while the head was over the sector.
                5 => write_at(bytes, place as u64, &garbage(end - done, rng)),
                _ => {}
            }
            done = end;
        }
    }
}

/// How the disk's cache was written out before the power went.
fn survive(changes: &[Unsynced], bytes: &mut Vec<u8>, rng: &mut StdRng) {
    match rng.random_range(0..6) {
        0 => changes.iter().for_each(|change| change.apply(bytes)),
        1 => {}
        2 => {
            let whole = rng.random_range(0..=changes.len());
            changes[..whole].iter().for_each(|change| change.apply(bytes));
            if let Some(torn) = changes.get(whole) {
                torn.tear(bytes, rng);
            }
        }
        3 => {
            let kept = changes.iter().filter(|_| rng.random_bool(0.7)).collect::<Vec<_>>();
            kept.into_iter().for_each(|change| change.apply(bytes));
        }
        _ => {
            let mut order: Vec<&Unsynced> = changes.iter().collect();
            order.shuffle(rng);
            for change in order {
                match rng.random_range(0..3) {
                    0 => change.apply(bytes),
                    1 => change.tear(bytes, rng),
                    _ => {}
                }
            }
        }
    }
}

fn garbage(length: usize, rng: &mut StdRng) -> Vec<u8> {
    (0..length).map(|_| rng.random()).collect()
}

/// Writes beyond the end leave zeros in between.
fn write_at(bytes: &mut Vec<u8>, at: u64, written: &[u8]) {
    let at = usize_of(at);
    if at == bytes.len() {
        return bytes.extend_from_slice(written);
    }
    let end = at + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[at..end].copy_from_slice(written);
}

fn usize_of(number: u64) -> usize {
    usize::try_from(number).expect("a simulated file fits the memory")
}
