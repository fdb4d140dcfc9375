//! The tables that [`Client::query`](crate::Client::query) reads: public, and stable from version to version.
//!
//! **One table for each entity** of the schema (`contact`, `account`, …), one row for each record that is on
//! this device and not deleted. `case` and other words of SQL are to be quoted.
//!
//! | column | holds |
//! | --- | --- |
//! | `_row` | INTEGER key; stable while the record stays on the device |
//! | `_id` | the record's id, BLOB of 16 bytes |
//! | `_created_at`, `_updated_at` | INTEGER, milliseconds since 1970, UTC |
//! | `_created_by`, `_updated_by` | a member's id, BLOB of 16 bytes; NULL when unknown |
//! | `_sync_state` | `synced`, `pending` or `disputed` |
//! | one for each field | TEXT, INTEGER or REAL; groups as `address_street`; references BLOB |
//! | money: `amount`, `amount_currency` | minor units, and three letters |
//! | sets | TEXT, a JSON array; and the table `contact__tags` (`_row`, `member`) |
//! | `extra` | JSON of keys that this device's schema does not know |
//!
//! `contact_fts` is the full-text table of an entity with searchable fields; its rowid is `_row`. It is
//! brought up to date before [`Client::search`](crate::Client::search) answers, so ask that instead.
//!
//! | table | holds |
//! | --- | --- |
//! | `document` | a section of a record: `record`, `section`, `entity`, the server's `number` |
//! | `change` | its changes: `document`, the outbox number `batch`, `state` (0 unanswered, 1 accepted, 2 folded), `bytes` (empty where the document's cells tell it all) |
//! | `outbox` | batches in order: `number`, `batch`, `state` (0 unanswered, 1 accepted), `created_at`, `bytes`, `position`; `hold` (0 none, 1 refused, 2 builds on a refused one, 3 accepted in another form): why it is not sent at present |
//! | `conflict` | `record`, `entity`, `section`, `field`, `open`, `contenders` (JSON: value, actor, member, time) |
//! | `dispute` | refused batches: `batch`, `kind`, `policy_version`, `records`, `reasons`, `tried` (JSON) |
//! | `resolution` | decided disputes: `batch`, `how` (`discarded`, `resent`, `amended`), `successor`, `resolved_at` |
//! | `scope` | where the device stands in each scope: `position`, `catching_from`, `standing` (0 held, 1 gained, 2 lost) |
//! | `actor` | whose a replica is: `replica`, `member`, `name` |
//! | `meta` | what the store knows about itself: `key`, `value` |
//!
//! Tables whose names begin with `_` are the SDK's own and may change.
