//! Every bound of the system, each with its unit and its reason. Relations between them are checked at
//! compile time.

/// A WebSocket frame and a message, bytes: one frame carries at most one batch and some room.
pub const FRAME_BYTES_MAX: usize = 1024 * 1024;
/// What a compressed frame may inflate to, bytes: four times a frame, stated and checked before inflating.
pub const PLAIN_BYTES_MAX: usize = 4 * FRAME_BYTES_MAX;
/// Frames shorter than this are sent as they are, bytes: compressing them saves nothing.
pub const COMPRESS_FROM_BYTES: usize = 1024;
/// What a page aims for, bytes: small enough to apply within one display frame or two.
pub const PAGE_BYTES_TARGET: usize = 256 * 1024;
/// Entries of one page: bounds the work of its transaction.
pub const PAGE_ENTRIES_MAX: usize = 2_000;

/// One change, encoded, bytes.
pub const CHANGE_BYTES_MAX: usize = 64 * 1024;
/// Operations of one change: Automerge's cost grows with operations, not bytes.
pub const CHANGE_OPS_MAX: usize = 1_000;
/// Dependencies of one change: concurrent heads that one person can have seen.
pub const CHANGE_DEPS_MAX: usize = 512;
/// Predecessors of one operation: concurrent values of one key.
pub const OP_PREDS_MAX: usize = 512;

/// A text field, characters.
pub const TEXT_CHARS_MAX: usize = 100_000;
/// Any other value, bytes.
pub const VALUE_BYTES_MAX: usize = 8 * 1024;
/// The value of `$deleted`, bytes: a clock with 24 bytes an actor.
pub const CLOCK_BYTES_MAX: usize = 64 * 1024;
/// A name in the schema, bytes: also a table or column name.
pub const NAME_BYTES_MAX: usize = 64;
/// A key of a document, bytes: a set's name, `/`, and a member.
pub const KEY_BYTES_MAX: usize = 320;
/// One increment of a counter, so that totals cannot overflow within 9 million increments.
pub const INCREMENT_MAX: i64 = 1_000_000_000_000;

/// Changes of one batch.
pub const BATCH_CHANGES_MAX: usize = 1_000;
/// One batch on the wire, before compression, bytes.
pub const BATCH_BYTES_MAX: usize = 512 * 1024;
/// Batches of one push: what may be in flight.
pub const PUSH_BATCHES_MAX: usize = 64;
/// Documents of one batch.
pub const BATCH_DOCUMENTS_MAX: usize = 1_000;

/// Live keys of one document.
pub const DOCUMENT_KEYS_MAX: usize = 512;
/// A saved document, bytes.
pub const DOCUMENT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Actors that wrote in one document: each costs 24 bytes in every clock.
pub const DOCUMENT_ACTORS_MAX: usize = 2_048;

/// Actors that one frame names.
pub const FRAME_ACTORS_MAX: usize = 65_536;
/// What a page may be in all, with one entry as large as a document may be, bytes.
pub const PAGE_BYTES_MAX: usize = 16 * 1024 * 1024;
/// One part of a page, bytes: half a frame.
pub const PAGE_PART_BYTES: usize = 512 * 1024;
/// Pages sent and not yet acknowledged, per connection.
pub const PAGES_IN_FLIGHT_MAX: usize = 4;
/// Batches sent and not yet answered, per connection: what a day offline wrote goes out in a few round trips.
pub const BATCHES_IN_FLIGHT_MAX: usize = 64;
/// What they take before compression, bytes: sixteen of the largest.
pub const BYTES_IN_FLIGHT_MAX: usize = 8 * 1024 * 1024;
/// What a server takes of them before it calls that a breach, bytes: it counts whole frames.
pub const BYTES_TAKEN_IN_FLIGHT_MAX: usize = BYTES_IN_FLIGHT_MAX + PLAIN_BYTES_MAX;
/// Bytes of a change's hash that its sender sends along: enough to notice that two sides encode differently.
pub const HASH_CLAIM_BYTES: usize = 4;
/// Loads of documents for changes of one member that need history, per minute.
pub const SLOW_DOORS_PER_MINUTE: u32 = 3_000;
/// Batches that a device follows one by one; one that is further behind catches up by index. Changes of
/// the log's last so many positions are never folded, so that following stays cheap.
pub const FOLLOWED_BATCHES_MAX: u64 = 2_000;
/// Batches that are read at a time while following.
pub const FOLLOW_STEP: usize = 256;
/// Documents that are read at a time while catching up by index.
pub const CATCH_UP_STEP: usize = 500;
/// From this many unfolded changes on, a document may be folded: fewer load in a tenth of a millisecond, and
/// folding them again and again would write more than it saves.
pub const FOLD_CHANGES_MIN: u64 = 64;
/// The largest number of a receipt: numbers are counted up from what a device claims, and must never overflow.
pub const RECEIPT_NUMBER_MAX: u64 = 1 << 53;
/// The name of a scope with the entities of it, bytes.
pub const SCOPE_BYTES_MAX: usize = 2_048;
/// Documents that one message compares: a device goes through all it may have to give in such steps.
pub const COMPARED_MAX: usize = 500;
/// What a message that compares aims for, bytes: a document's actors take a few bytes each.
pub const COMPARE_BYTES: usize = 128 * 1024;
/// Changes of one message that gives back what a restored server lacks: the work of one commit.
pub const RELAY_CHANGES_MAX: usize = 500;
/// What such a message aims for, bytes.
pub const RELAY_BYTES: usize = 256 * 1024;
/// Changes that one member may give back within a minute.
pub const RELAYED_PER_MINUTE: u32 = 20_000;
/// How long a restored server takes other people's changes from those who hold them, milliseconds: 90 days.
pub const RECOVERY_MS: i64 = 90 * 24 * 60 * 60 * 1000;
/// Changes of one workspace that wait for what they depend on.
pub const PARKED_MAX: u64 = 100_000;
/// The same, bytes.
pub const PARKED_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// What a device calls itself, bytes.
pub const DEVICE_NAME_BYTES_MAX: usize = 200;
/// Scopes of one member.
pub const SCOPES_MAX: usize = 1_024;
/// Receipts of one welcome that name their documents, bytes: half a frame.
pub const WELCOME_RECEIPT_BYTES: usize = FRAME_BYTES_MAX / 2;
/// Receipts of one welcome; the device acknowledges them by storing them.
pub const RECEIPTS_PER_WELCOME_MAX: usize = 10_000;
/// A token, bytes.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;
/// schema.toml, bytes.
pub const SCHEMA_BYTES_MAX: usize = 512 * 1024;

/// policy.toml, bytes.
pub const POLICY_BYTES_MAX: usize = 64 * 1024;
/// Roles of one policy.
pub const ROLES_MAX: usize = 64;
/// Rules of one role: every question walks through those of one entity and action.
pub const ROLE_RULES_MAX: usize = 256;
/// Territories of one region: each is a scope of everyone who may read the region.
pub const REGION_TERRITORIES_MAX: usize = 256;
/// The name of a territory, a team or a region, characters: it becomes part of a scope's name.
pub const ROUTING_NAME_CHARS_MAX: usize = 100;
/// Records that are looked up to place one record: its parents, and what they were merged into.
pub const ROUTES_FOLLOWED_MAX: usize = 256;
/// Entities that one subscription names; more are spread over several.
pub const SUBSCRIPTION_ENTITIES_MAX: usize = 16;

/// How far ahead of the server's clock an edit may be stamped, milliseconds.
pub const CLOCK_AHEAD_MS_MAX: i64 = 5 * 60 * 1000;
/// From this error on, a device stamps unsent edits again before it sends them, milliseconds.
pub const CLOCK_ERROR_MS_TOLERATED: i64 = 2 * 60 * 1000;
/// No edit is older than this, milliseconds since 1970 (2015-01-01): the clock was not set.
pub const EDIT_TIME_MS_MIN: i64 = 1_420_070_400_000;

/// A conflict shows at most this many values; the winner is always among them.
pub const CONFLICT_VALUES_SHOWN_MAX: usize = 16;

// A control character of two bytes is written as `%xx%xx`; 16 bytes hold the scope's kind and the marks.
const _: () = assert!(
    6 * ROUTING_NAME_CHARS_MAX + (SUBSCRIPTION_ENTITIES_MAX + 1) * (NAME_BYTES_MAX + 1) + 16
        <= SCOPE_BYTES_MAX
);
const _: () = assert!(BATCH_BYTES_MAX * 2 <= FRAME_BYTES_MAX);
const _: () = assert!(BATCH_BYTES_MAX <= BYTES_IN_FLIGHT_MAX);
const _: () = assert!(CHANGE_BYTES_MAX < BATCH_BYTES_MAX);
const _: () = assert!(PAGE_BYTES_TARGET < FRAME_BYTES_MAX);
const _: () = assert!(VALUE_BYTES_MAX < CHANGE_BYTES_MAX);
const _: () = assert!(BATCH_DOCUMENTS_MAX <= BATCH_CHANGES_MAX);
const _: () = assert!(CLOCK_AHEAD_MS_MAX > CLOCK_ERROR_MS_TOLERATED);
const _: () = assert!(PAGE_PART_BYTES * 2 <= FRAME_BYTES_MAX);
const _: () = assert!(PAGE_BYTES_MAX > DOCUMENT_BYTES_MAX + PAGE_BYTES_TARGET);
const _: () = assert!(PAGE_BYTES_MAX / 2 > DOCUMENT_BYTES_MAX);
