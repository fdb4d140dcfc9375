//! A disk for tests: SQLite writes through it to ordinary files, and it remembers what a power cut would
//! leave of them. It can fail at any operation, lie about syncs, and record everything that is done to it.
//!
//! Only databases and their logs are watched; what SQLite keeps beside them for itself is passed through.
//! Nothing is ever synced for real: what counts as durable is decided here.

pub mod medium;
pub mod recording;
mod shim;

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;

use medium::{Image, Medium, Op, Removal};
pub use recording::Recording;

/// A disk. Clones share it; databases on it are opened through the VFS of its [`name`](Disk::name).
#[derive(Clone)]
pub struct Disk {
    shared: Arc<Shared>,
    registration: Arc<shim::Registration>,
}

/// How a disk fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Trouble {
    /// A read gives nothing.
    ReadError,
    /// A read breaks off in the middle.
    ShortRead,
    /// A write fails, half done.
    WriteError,
    /// There is no room for a write.
    Full,
    /// A sync fails, and what it should have saved never becomes durable.
    SyncError,
}

impl Trouble {
    /// Every kind.
    pub const ALL: [Self; 5] =
        [Self::ReadError, Self::ShortRead, Self::WriteError, Self::Full, Self::SyncError];
}

/// How many operations of each class a disk has done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Reads.
    pub reads: u64,
    /// Writes, cuts and removals of files.
    pub writes: u64,
    /// Syncs.
    pub syncs: u64,
}

impl Counts {
    /// The operations at which a trouble can strike.
    #[must_use]
    pub const fn of(&self, trouble: Trouble) -> u64 {
        match trouble {
            Trouble::ReadError | Trouble::ShortRead => self.reads,
            Trouble::WriteError | Trouble::Full => self.writes,
            Trouble::SyncError => self.syncs,
        }
    }
}

/// What is known of a disk.
#[derive(Default)]
pub(crate) struct Shared {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    medium: Medium,
    /// How many connections have each file open.
    open: BTreeMap<Arc<str>, usize>,
    /// Counts power cuts: who opened a file before the last one reaches nothing any more.
    life: u64,
    counts: Counts,
    plan: Option<Plan>,
    struck: u64,
    is_lying: bool,
    log: Option<Vec<Op>>,
}

/// A trouble that is to come.
#[derive(Debug, Clone, Copy)]
struct Plan {
    trouble: Trouble,
    /// Operations of its class that still succeed.
    after: u64,
    times: u64,
}

/// What an operation of a connection meets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It is done.
    Done,
    /// It fails.
    Struck(Trouble),
    /// The power went after the file was opened.
    Dead,
}

impl Disk {
    /// A new disk, with nothing on it.
    ///
    /// # Panics
    /// When SQLite does not take the VFS.
    #[must_use]
    pub fn new() -> Self {
        let shared = Arc::new(Shared::default());
        let registration = Arc::new(shim::Registration::new(&shared));
        Self { shared, registration }
    }

    /// The name of its VFS.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.registration.name()
    }

    /// What was done so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }

    /// Lets so many operations of the trouble's class pass, and then so many fail.
    pub fn fail(&self, trouble: Trouble, after: u64, times: u64) {
        let mut state = self.shared.lock();
        state.plan = Some(Plan { trouble, after, times });
        state.struck = 0;
    }

    /// Takes back what [`Disk::fail`] asked for; gives what that was, and how often it has struck.
    pub fn calm(&self) -> (Option<Trouble>, u64) {
        let mut state = self.shared.lock();
        let trouble = state.plan.take().map(|plan| plan.trouble);
        (trouble, std::mem::take(&mut state.struck))
    }

    /// How often the trouble that was asked for last has struck.
    #[must_use]
    pub fn struck(&self) -> u64 {
        self.shared.lock().struck
    }

    /// From now on syncs are answered and not done.
    pub fn lie(&self) {
        self.shared.lock().is_lying = true;
    }

    /// Notes a file that is there already.
    pub fn find(&self, path: &Path) {
        let name: Arc<str> = path.display().to_string().into();
        let life = self.shared.opened(&name);
        self.shared.closed(&name, life);
    }

    /// Records what is done from now on. Files that are there are noted first.
    pub fn record(&self) {
        let mut state = self.shared.lock();
        let found = state.medium.as_written().into_iter();
        let found = found.filter_map(|(name, bytes)| Some(Op::Found(name, bytes?.into())));
        state.log = Some(found.collect());
    }

    /// How many operations were recorded.
    #[must_use]
    pub fn recorded(&self) -> usize {
        self.shared.lock().log.as_ref().map_or(0, Vec::len)
    }

    /// What was recorded; nothing more is.
    #[must_use]
    pub fn recording(&self) -> Recording {
        Recording::new(self.shared.lock().log.take().unwrap_or_default())
    }

    /// The power goes: files become what the disk had, and whoever has them open reaches nothing any more.
    /// They are to be dropped before the files are opened anew.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn power_off(&self, rng: &mut StdRng) {
        let mut state = self.shared.lock();
        let image = state.medium.after_power_cut(rng);
        state.put(&image);
    }

    /// The process dies: files stay as they are, and whoever has them open reaches nothing any more.
    pub fn orphan(&self) {
        self.shared.lock().orphan();
    }

    /// What a power cut would leave now.
    #[must_use]
    pub fn after_power_cut(&self, rng: &mut StdRng) -> Image {
        self.shared.lock().medium.after_power_cut(rng)
    }

    /// What its files say, as when the process dies and the power stays.
    #[must_use]
    pub fn as_written(&self) -> Image {
        self.shared.lock().medium.as_written()
    }

    /// Makes files what they were at another time; whoever has them open reaches nothing any more.
    ///
    /// # Panics
    /// When the files cannot be written.
    pub fn put(&self, image: &Image) {
        self.shared.lock().put(image);
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if Arc::strong_count(&self.registration) == 1 {
            // SQLite keeps the table for ever, and what hangs on it.
            *self.shared.lock() = State::default();
        }
    }
}

impl Default for Disk {
    fn default() -> Self {
        Self::new()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection opened a file; gives the life in which it did.
    pub(crate) fn opened(&self, name: &Arc<str>) -> u64 {
        let mut state = self.lock();
        if state.open.get(name).copied().unwrap_or(0) == 0 {
            // Nobody had it open: somebody may have put another file there.
            let found = std::fs::read(&**name).unwrap_or_default();
            match state.medium.contents(name) {
                Some(known) if known == found => {}
                None if found.is_empty() => state.note(Op::Created(Arc::clone(name))),
                _ => state.note(Op::Found(Arc::clone(name), found.into())),
            }
        }
        *state.open.entry(Arc::clone(name)).or_default() += 1;
        state.life
    }

    /// Forgets everything; whoever has files open reaches nothing any more.
    pub(crate) fn forget(&self) {
        let mut state = self.lock();
        let life = state.life + 1;
        *state = State { life, ..State::default() };
    }

    pub(crate) fn closed(&self, name: &Arc<str>, life: u64) {
        let mut state = self.lock();
        let present = life == state.life;
        if let Some(open) = state.open.get_mut(name).filter(|_| present) {
            *open = open.saturating_sub(1);
        }
    }

    pub(crate) fn reads(&self, life: u64) -> Fate {
        let mut state = self.lock();
        state.counts.reads += 1;
        state.fate(life, |trouble| matches!(trouble, Trouble::ReadError | Trouble::ShortRead))
    }

    pub(crate) fn writes(&self, life: u64) -> Fate {
        let mut state = self.lock();
        state.counts.writes += 1;
        state.fate(life, |trouble| matches!(trouble, Trouble::WriteError | Trouble::Full))
    }

    pub(crate) fn syncs(&self, life: u64) -> Fate {
        let mut state = self.lock();
        state.counts.syncs += 1;
        state.fate(life, |trouble| trouble == Trouble::SyncError)
    }

    /// A removal names a file and no connection: it is the present life's when that has the database open.
    pub(crate) fn removes(&self, name: &str) -> Fate {
        let database = name.strip_suffix("-wal").or_else(|| name.strip_suffix("-journal"));
        let database = database.unwrap_or(name);
        let mut state = self.lock();
        if state.open.get(database).copied().unwrap_or(0) == 0 {
            return Fate::Dead;
        }
        state.counts.writes += 1;
        let life = state.life;
        state.fate(life, |trouble| matches!(trouble, Trouble::WriteError | Trouble::Full))
    }

    /// Notes what a connection did to a file.
    pub(crate) fn did(&self, op: Op) {
        let mut state = self.lock();
        match op {
            Op::Synced(_) if state.is_lying => {}
            op => state.note(op),
        }
    }

    /// Whether a file is one that this disk watches.
    pub(crate) fn watches(&self, name: &str) -> bool {
        self.lock().medium.contents(name).is_some()
    }

    pub(crate) fn is_lying(&self) -> bool {
        self.lock().is_lying
    }
}

impl State {
    fn note(&mut self, op: Op) {
        self.medium.apply(&op);
        if let Some(log) = &mut self.log {
            log.push(op);
        }
    }

    fn fate(&mut self, life: u64, concerns: impl Fn(Trouble) -> bool) -> Fate {
        if life != self.life {
            return Fate::Dead;
        }
        let Some(plan) = self.plan.as_mut().filter(|plan| concerns(plan.trouble)) else {
            return Fate::Done;
        };
        if plan.after > 0 {
            plan.after -= 1;
            return Fate::Done;
        }
        if plan.times == 0 {
            return Fate::Done;
        }
        plan.times -= 1;
        self.struck += 1;
        Fate::Struck(plan.trouble)
    }

    fn put(&mut self, image: &Image) {
        for name in self.medium.names().filter(|name| !image.contains_key(*name)) {
            remove(name);
        }
        for (name, bytes) in image {
            match bytes {
                Some(bytes) => std::fs::write(&**name, bytes).expect("the folder is writable"),
                None => remove(name),
            }
        }
        self.medium = Medium::from(image);
        self.orphan();
    }

    fn orphan(&mut self) {
        self.open.clear();
        self.life += 1;
        // The index of a log lives in memory that all processes shared.
        for name in self.medium.names() {
            remove(&format!("{name}-shm"));
        }
    }
}

fn remove(name: &str) {
    if Path::new(name).exists() {
        std::fs::remove_file(name).expect("the folder is writable");
    }
}

/// Whether a removal was said to be made durable.
pub(crate) const fn removal(syncs_folder: bool) -> Removal {
    if syncs_folder { Removal::Durable } else { Removal::Unsynced }
}
