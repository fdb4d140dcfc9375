//! Attempts: running something that may fail, and keeping what it said instead of printing it.

use std::any::Any;
use std::cell::RefCell;
use std::panic::{self, AssertUnwindSafe, PanicHookInfo};
use std::sync::Once;

/// Why an attempt failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What the check said.
    pub message: String,
    /// The check: file and line.
    pub place: String,
    /// The last things that happened.
    pub trace: Vec<String>,
}

/// What this thread keeps of the attempt under way.
struct Kept {
    place: String,
    trace: Vec<String>,
}

thread_local! {
    static KEPT: RefCell<Option<Kept>> = const { RefCell::new(None) };
}

/// Runs something; gives what it gave, or why it failed. Nothing is printed.
///
/// # Errors
/// When a check fails, which is a panic.
pub fn attempt<T>(work: impl FnOnce() -> T) -> Result<T, Failure> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !note_place(info) {
                before(info);
            }
        }));
    });
    let outer = KEPT.replace(Some(Kept { place: String::new(), trace: Vec::new() }));
    let done = panic::catch_unwind(AssertUnwindSafe(work));
    let kept = KEPT.replace(outer);
    done.map_err(|panic| {
        let (place, trace) = kept.map(|kept| (kept.place, kept.trace)).unwrap_or_default();
        Failure { message: message_of(&*panic), place, trace }
    })
}

/// Takes the last events of a world that is dropped by a failure; whether somebody wanted them.
pub(crate) fn keep_trace<'a>(lines: impl Iterator<Item = &'a str>) -> bool {
    KEPT.with_borrow_mut(|kept| match kept {
        Some(kept) => {
            kept.trace = lines.map(str::to_owned).collect();
            true
        }
        None => false,
    })
}

fn note_place(info: &PanicHookInfo<'_>) -> bool {
    KEPT.with_borrow_mut(|kept| match kept {
        Some(kept) => {
            kept.place = info.location().map_or_else(String::new, ToString::to_string);
            true
        }
        None => false,
    })
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_default()
}
