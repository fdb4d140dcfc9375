//! The SQLite VFS under a disk: passes everything on to the platform's own, asks the disk what becomes of
//! each operation, and tells it what was done.
//!
//! A VFS is a table of C functions, so this is the one module with unsafe code. Its safety rests on what
//! SQLite promises of a VFS: the file handed to a method is one that `open` has filled, `close` is the last
//! call for it, and memory that is passed holds as many bytes as are said. Nothing here panics.
#![expect(unsafe_code, reason = "a SQLite VFS is a table of C functions")]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::medium::{Op, SECTOR};
use super::{Fate, Shared, Trouble, removal};

/// A VFS that SQLite knows until this is dropped. Its table is never freed: a connection may outlive it.
pub(super) struct Registration {
    name: &'static str,
    vfs: &'static Vfs,
    shared: Arc<Shared>,
}

/// The table that SQLite has.
struct Vfs(ffi::sqlite3_vfs);

// SAFETY: the table is not changed after registration but for SQLite's own list, under SQLite's own lock.
unsafe impl Send for Vfs {}
// SAFETY: as above.
unsafe impl Sync for Vfs {}

/// What SQLite calls a file: its own part first, then ours.
#[repr(C)]
struct File {
    base: ffi::sqlite3_file,
    handle: *mut Handle,
}

/// One open file.
struct Handle {
    shared: Arc<Shared>,
    /// The platform's file, in memory of the size that it asked for.
    inner: Vec<u64>,
    /// Its name and the life in which it was opened, when the disk watches it.
    watched: Option<(Arc<str>, u64)>,
}

/// Databases and their logs.
const WATCHED: c_int =
    ffi::SQLITE_OPEN_MAIN_DB | ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL;

static DISKS: AtomicU64 = AtomicU64::new(0);

impl Registration {
    pub(super) fn new(shared: &Arc<Shared>) -> Self {
        let number = DISKS.fetch_add(1, Ordering::Relaxed);
        let name = CString::new(format!("fieldbook-disk-{number}")).unwrap_or_default();
        let name: &'static CStr = Box::leak(name.into_boxed_c_str());
        // SAFETY: SQLite always has a platform VFS, and it is never unregistered.
        let path_max = unsafe { (*platform()).mxPathname };
        let app = Arc::into_raw(Arc::clone(shared)).cast_mut().cast::<c_void>();
        let vfs: &'static Vfs = Box::leak(Box::new(Vfs(ffi::sqlite3_vfs {
            iVersion: 2,
            szOsFile: c_int::try_from(size_of::<File>()).unwrap_or(c_int::MAX),
            mxPathname: path_max,
            pNext: ptr::null_mut(),
            zName: name.as_ptr(),
            pAppData: app,
            xOpen: Some(open),
            xDelete: Some(delete),
            xAccess: Some(access),
            xFullPathname: Some(full_pathname),
            xDlOpen: None,
            xDlError: None,
            xDlSym: None,
            xDlClose: None,
            xRandomness: Some(randomness),
            xSleep: Some(sleep),
            xCurrentTime: Some(current_time),
            xGetLastError: Some(get_last_error),
            xCurrentTimeInt64: Some(current_time_int64),
            xSetSystemCall: None,
            xGetSystemCall: None,
            xNextSystemCall: None,
        })));
        // SAFETY: the table lives for ever and is complete.
        let registered = unsafe { ffi::sqlite3_vfs_register(vfs.pointer(), 0) };
        assert_eq!(registered, ffi::SQLITE_OK, "SQLite takes the VFS");
        Self { name: name.to_str().unwrap_or_default(), vfs, shared: Arc::clone(shared) }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        // SAFETY: it was registered, and its table stays where it is.
        unsafe { ffi::sqlite3_vfs_unregister(self.vfs.pointer()) };
        // The table stays for connections that are still open, and what it points to with it: a few bytes,
        // once what was written is forgotten.
        self.shared.forget();
    }
}

impl Vfs {
    fn pointer(&'static self) -> *mut ffi::sqlite3_vfs {
        ptr::from_ref(&self.0).cast_mut()
    }
}

/// The platform's VFS; where there is one for files that no other process opens, that one: it asks the
/// operating system for no locks, and keeps the index of the log in memory of its own.
fn platform() -> *mut ffi::sqlite3_vfs {
    // SAFETY: a name is a C string, or null: then it is the default one, and ours never is.
    unsafe {
        let alone = ffi::sqlite3_vfs_find(c"unix-excl".as_ptr());
        if alone.is_null() { ffi::sqlite3_vfs_find(ptr::null()) } else { alone }
    }
}

impl Handle {
    fn inner(&mut self) -> *mut ffi::sqlite3_file {
        self.inner.as_mut_ptr().cast()
    }
}

/// Calls a method of the platform's file.
macro_rules! pass {
    ($handle:expr, $method:ident $(, $argument:expr)*) => {{
        let inner = $handle.inner();
        match (*(*inner).pMethods).$method {
            Some(method) => method(inner $(, $argument)*),
            None => ffi::SQLITE_IOERR,
        }
    }};
}

/// Calls a function of the platform's VFS.
macro_rules! platform {
    ($function:ident $(, $argument:expr)*) => {{
        let platform = platform();
        match (*platform).$function {
            Some(function) => function(platform $(, $argument)*),
            None => ffi::SQLITE_ERROR,
        }
    }};
}

/// # Safety
/// `file` was filled by [`open`] and not closed since.
unsafe fn handle<'a>(file: *mut ffi::sqlite3_file) -> &'a mut Handle {
    // SAFETY: as promised by whoever calls.
    unsafe { &mut *(*file.cast::<File>()).handle }
}

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: `vfs` is ours, `file` has room for ours, and the platform's own gets what it asked for.
    unsafe {
        (*file).pMethods = ptr::null();
        let bytes = usize::try_from((*platform()).szOsFile).unwrap_or(0);
        let mut inner = vec![0_u64; bytes.div_ceil(8)];
        let opened = platform!(xOpen, name, inner.as_mut_ptr().cast(), flags, out);
        if opened != ffi::SQLITE_OK {
            return opened;
        }
        let shared = (*vfs).pAppData.cast::<Shared>().cast_const();
        Arc::increment_strong_count(shared);
        let shared = Arc::from_raw(shared);
        let watched = (flags & WATCHED != 0 && !name.is_null()).then(|| {
            let name: Arc<str> = CStr::from_ptr(name).to_string_lossy().into();
            let life = shared.opened(&name);
            (name, life)
        });
        let handle = Box::new(Handle { shared, inner, watched });
        (*file.cast::<File>()).handle = Box::into_raw(handle);
        (*file).pMethods = &METHODS;
        ffi::SQLITE_OK
    }
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: the last call for this file: the handle is taken back and freed.
    unsafe {
        let mut handle = Box::from_raw((*file.cast::<File>()).handle);
        (*file).pMethods = ptr::null();
        if let Some((name, life)) = &handle.watched {
            handle.shared.closed(name, *life);
        }
        pass!(handle, xClose)
    }
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    to: *mut c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: `to` has room for so many bytes.
    unsafe {
        let handle = handle(file);
        let fate = handle.watched.as_ref().map(|(_, life)| handle.shared.reads(*life));
        match fate {
            None | Some(Fate::Done) => pass!(handle, xRead, to, bytes, at),
            Some(Fate::Struck(Trouble::ShortRead)) => {
                // With an error, as an operating system says it: a short read without one is the end of a
                // file for SQLite.
                pass!(handle, xRead, to, bytes / 2, at);
                ffi::SQLITE_IOERR_READ
            }
            Some(Fate::Struck(_) | Fate::Dead) => ffi::SQLITE_IOERR_READ,
        }
    }
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    from: *const c_void,
    bytes: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: `from` holds so many bytes.
    unsafe {
        let handle = handle(file);
        let Some((name, life)) = handle.watched.clone() else {
            return pass!(handle, xWrite, from, bytes, at);
        };
        let (fails, bytes) = match handle.shared.writes(life) {
            Fate::Done => (ffi::SQLITE_OK, bytes),
            Fate::Dead => return ffi::SQLITE_IOERR_WRITE,
            Fate::Struck(Trouble::Full) => return ffi::SQLITE_FULL,
            Fate::Struck(_) => {
                let sector = c_int::try_from(SECTOR).unwrap_or(c_int::MAX);
                (ffi::SQLITE_IOERR_WRITE, bytes / 2 / sector * sector)
            }
        };
        let (Ok(length), Ok(place)) = (usize::try_from(bytes), u64::try_from(at)) else {
            return ffi::SQLITE_IOERR_WRITE;
        };
        if length == 0 {
            return fails;
        }
        let written = pass!(handle, xWrite, from, bytes, at);
        if written != ffi::SQLITE_OK {
            return written;
        }
        let contents = std::slice::from_raw_parts(from.cast::<u8>(), length);
        handle.shared.did(Op::Wrote(name, place, contents.into()));
        fails
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, size: ffi::sqlite3_int64) -> c_int {
    // SAFETY: the file is open.
    unsafe {
        let handle = handle(file);
        if let Some((name, life)) = handle.watched.clone() {
            match handle.shared.writes(life) {
                Fate::Done | Fate::Struck(Trouble::Full) => {}
                Fate::Struck(_) | Fate::Dead => return ffi::SQLITE_IOERR_TRUNCATE,
            }
            let length = u64::try_from(size).unwrap_or(0);
            handle.shared.did(Op::Truncated(name, length));
        }
        pass!(handle, xTruncate, size)
    }
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _: c_int) -> c_int {
    // SAFETY: the file is open.
    let handle = unsafe { handle(file) };
    let Some((name, life)) = handle.watched.clone() else { return ffi::SQLITE_OK };
    match handle.shared.syncs(life) {
        Fate::Done => {
            handle.shared.did(Op::Synced(name));
            ffi::SQLITE_OK
        }
        Fate::Dead => ffi::SQLITE_IOERR_FSYNC,
        Fate::Struck(_) => {
            handle.shared.did(Op::SyncFailed(name));
            ffi::SQLITE_IOERR_FSYNC
        }
    }
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    size: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xFileSize, size) }
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xLock, level) }
}

unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xUnlock, level) }
}

unsafe extern "C" fn check_reserved_lock(
    file: *mut ffi::sqlite3_file,
    result: *mut c_int,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xCheckReservedLock, result) }
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xFileControl, operation, argument) }
}

unsafe extern "C" fn sector_size(_: *mut ffi::sqlite3_file) -> c_int {
    c_int::try_from(SECTOR).unwrap_or(c_int::MAX)
}

/// What SQLite takes for granted of every disk unless told otherwise, and no more.
unsafe extern "C" fn device_characteristics(_: *mut ffi::sqlite3_file) -> c_int {
    ffi::SQLITE_IOCAP_POWERSAFE_OVERWRITE
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xShmMap, page, size, extend, out) }
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    count: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xShmLock, offset, count, flags) }
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: the file is open.
    unsafe {
        let inner = handle(file).inner();
        if let Some(barrier) = (*(*inner).pMethods).xShmBarrier {
            barrier(inner);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, delete: c_int) -> c_int {
    // SAFETY: the file is open.
    unsafe { pass!(handle(file), xShmUnmap, delete) }
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    syncs_folder: c_int,
) -> c_int {
    // SAFETY: `vfs` is ours and lives, and `name` is a C string.
    unsafe {
        let shared = &*(*vfs).pAppData.cast::<Shared>();
        let path: Arc<str> = CStr::from_ptr(name).to_string_lossy().into();
        if !shared.watches(&path) {
            return platform!(xDelete, name, 0);
        }
        match shared.removes(&path) {
            Fate::Done | Fate::Struck(Trouble::Full) => {}
            Fate::Struck(_) | Fate::Dead => return ffi::SQLITE_IOERR_DELETE,
        }
        let deleted = platform!(xDelete, name, 0);
        if deleted == ffi::SQLITE_OK {
            let lasting = syncs_folder != 0 && !shared.is_lying();
            shared.did(Op::Removed(path, removal(lasting)));
        }
        deleted
    }
}

unsafe extern "C" fn access(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    result: *mut c_int,
) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xAccess, name, flags, result) }
}

unsafe extern "C" fn full_pathname(
    _: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xFullPathname, name, bytes, out) }
}

unsafe extern "C" fn randomness(_: *mut ffi::sqlite3_vfs, bytes: c_int, out: *mut c_char) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xRandomness, bytes, out) }
}

unsafe extern "C" fn sleep(_: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xSleep, microseconds) }
}

unsafe extern "C" fn current_time(_: *mut ffi::sqlite3_vfs, out: *mut f64) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xCurrentTime, out) }
}

unsafe extern "C" fn get_last_error(
    _: *mut ffi::sqlite3_vfs,
    bytes: c_int,
    out: *mut c_char,
) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xGetLastError, bytes, out) }
}

unsafe extern "C" fn current_time_int64(
    _: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: the arguments are passed as they came.
    unsafe { platform!(xCurrentTimeInt64, out) }
}
