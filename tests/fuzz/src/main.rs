//! One target of `tests::fuzz`, chosen by the environment's `FIELDBOOK_FUZZ_TARGET`, under libFuzzer.
#![no_main]

use std::sync::LazyLock;

use tests::fuzz::{Target, target};

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FIELDBOOK_FUZZ_TARGET").unwrap_or_default();
    target(&name).unwrap_or_else(|| panic!("FIELDBOOK_FUZZ_TARGET names no target: {name:?}"))
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (TARGET.run)(bytes));
