//! Bytes → a schema, and a policy on the built-in one. What parses parses again to the same, and a policy's
//! answers are the same each time.

use crdt_core::policy::Policy;
use crdt_core::schema::Schema;

/// The first byte says which of the two the rest is.
pub(super) fn run(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if kind % 2 == 0 { schema(text) } else { policy(text) }
}

fn schema(text: &str) {
    let Ok(schema) = Schema::parse(text, "schema.toml") else { return };
    let again = Schema::parse(schema.text(), "schema.toml").expect("what parsed parses");
    assert_eq!(again.version(), schema.version());
}

fn policy(text: &str) {
    let schema = Schema::builtin();
    let Ok(policy) = Policy::parse(text, "policy.toml", schema) else { return };
    let again = Policy::parse(policy.text(), "policy.toml", schema).expect("what parsed parses");
    assert_eq!(again.version(), policy.version());
}
