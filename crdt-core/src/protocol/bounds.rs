//! Counts what a message would hold before anything is decoded: two bytes on the wire can become two hundred
//! in memory, before any user is known.

use prost::encoding::decode_varint;

use super::frame::FrameError;
use crate::limits;

/// A repeated field, or a message on the way to one.
pub(super) struct Part {
    tag: u64,
    what: &'static str,
    most: usize,
    holds: Holds,
}

enum Holds {
    Messages(&'static [Part]),
    Texts,
    Numbers,
}

/// An envelope of [`super::wire`].
pub(super) const ENVELOPE: &[Part] = &[
    one(1, &[numbers(1, "versions", 64), list(9, "scopes", limits::SCOPES_MAX, &[])]),
    one(
        2,
        &[
            list(3, "epochs", EPOCHS_MAX, &[]),
            list(5, "receipts", limits::RECEIPTS_PER_WELCOME_MAX, RECEIPT),
            texts(6, "scopes", limits::SCOPES_MAX),
            one(
                17,
                &[
                    texts(2, "territories", limits::DOCUMENT_KEYS_MAX),
                    texts(3, "teams", limits::DOCUMENT_KEYS_MAX),
                ],
            ),
        ],
    ),
    one(3, &[list(2, "batches", limits::PUSH_BATCHES_MAX, BATCH)]),
    one(4, &[list(1, "receipts", limits::RECEIPTS_PER_WELCOME_MAX, RECEIPT)]),
    one(7, &[numbers(1, "documents to fetch", limits::PAGE_ENTRIES_MAX)]),
    one(
        11,
        &[list(
            2,
            "documents to compare",
            limits::COMPARED_MAX,
            &[numbers(3, "actors", 2 * limits::DOCUMENT_ACTORS_MAX)],
        )],
    ),
    one(
        12,
        &[list(
            2,
            "documents to compare",
            limits::COMPARED_MAX,
            &[numbers(2, "actors", 2 * limits::DOCUMENT_ACTORS_MAX)],
        )],
    ),
    one(
        13,
        &[
            list(2, "documents", limits::COMPARED_MAX, CHANGES),
            list(3, "authors", limits::RELAY_CHANGES_MAX, &[]),
        ],
    ),
    one(17, &[list(1, "receipts", limits::BATCHES_IN_FLIGHT_MAX, &[])]),
];

/// A page's body.
pub(super) const PAGE: &[Part] = &[
    list(2, "scopes", limits::SCOPES_MAX + 1, &[]),
    list(3, "entries", PAGE_ENTRIES_READ_MAX, &[list(3, "changes", usize::MAX, CHANGE)]),
    list(4, "authors", limits::FRAME_ACTORS_MAX, &[]),
    texts(6, "scopes", limits::SCOPES_MAX),
];

const BATCH: &[Part] = &[list(5, "documents in a batch", limits::BATCH_DOCUMENTS_MAX, CHANGES)];

const CHANGES: &[Part] = &[list(3, "changes in a batch", limits::BATCH_CHANGES_MAX, CHANGE)];

const CHANGE: &[Part] = &[list(
    8,
    "operations",
    limits::CHANGE_OPS_MAX,
    &[
        numbers(2, "predecessors", 2 * limits::OP_PREDS_MAX),
        one(12, &[numbers(1, "elements in front", 2)]),
    ],
)];

const RECEIPT: &[Part] = &[
    one(3, ACCEPTED),
    one(4, ACCEPTED),
    one(5, &[list(1, "reasons", limits::BATCH_CHANGES_MAX, &[])]),
];

const ACCEPTED: &[Part] = &[list(2, "documents", limits::BATCH_DOCUMENTS_MAX, &[])];

const fn list(tag: u64, what: &'static str, most: usize, inside: &'static [Part]) -> Part {
    Part { tag, what, most, holds: Holds::Messages(inside) }
}

const fn one(tag: u64, inside: &'static [Part]) -> Part {
    list(tag, "messages", 1, inside)
}

const fn texts(tag: u64, what: &'static str, most: usize) -> Part {
    Part { tag, what, most, holds: Holds::Texts }
}

const fn numbers(tag: u64, what: &'static str, most: usize) -> Part {
    Part { tag, what, most, holds: Holds::Numbers }
}

/// Whether a message of this shape holds no more than it may.
///
/// # Errors
/// When it holds too many of something, or is no protobuf.
pub(super) fn check(bytes: &[u8], shape: &[Part]) -> Result<(), FrameError> {
    let mut left = PARTS_FREE + bytes.len() / PART_BYTES;
    walk(bytes, shape, &mut left)
}

fn walk(mut bytes: &[u8], shape: &[Part], left: &mut usize) -> Result<(), FrameError> {
    let mut counts = [0_usize; SHAPE_PARTS_MAX];
    while !bytes.is_empty() {
        let (tag, payload) = next_field(&mut bytes).ok_or_else(malformed)?;
        let Some(place) = shape.iter().position(|part| part.tag == tag) else { continue };
        let part = &shape[place];
        let count = match (&part.holds, payload) {
            (Holds::Numbers, Some(packed)) => packed.iter().filter(|byte| **byte < 0x80).count(),
            _ => 1,
        };
        counts[place] = counts[place].saturating_add(count);
        if counts[place] > part.most {
            return Err(FrameError::TooMany(part.what));
        }
        if let (Holds::Messages(inside), Some(payload)) = (&part.holds, payload) {
            *left = left.checked_sub(1).ok_or(FrameError::TooMany("parts"))?;
            walk(payload, inside, left)?;
        }
    }
    Ok(())
}

/// The next field's tag, and its payload when it has a length of its own.
fn next_field<'a>(bytes: &mut &'a [u8]) -> Option<(u64, Option<&'a [u8]>)> {
    let key = varint(bytes)?;
    let payload = match key & 7 {
        0 => {
            varint(bytes)?;
            None
        }
        1 => bytes.split_off(..8).map(|_| None)?,
        2 => {
            let length = usize::try_from(varint(bytes)?).ok()?;
            Some(bytes.split_off(..length)?)
        }
        5 => bytes.split_off(..4).map(|_| None)?,
        _ => return None,
    };
    Some((key >> 3, payload))
}

fn varint(bytes: &mut &[u8]) -> Option<u64> {
    decode_varint(bytes).ok()
}

fn malformed() -> FrameError {
    FrameError::Malformed("its fields do not end where they should".to_owned())
}

/// Logs before the present one; each stands for a restored backup.
const EPOCHS_MAX: usize = 1_024;
/// Entries of a page that is read. Pages aim for far fewer, but a position is never split between pages, and
/// all of a device's documents can leave its scopes at one.
const PAGE_ENTRIES_READ_MAX: usize = 150 * limits::PAGE_ENTRIES_MAX;
/// Parts that any message may have.
const PARTS_FREE: usize = 4_096;
/// What the smallest part that says something takes on the wire, bytes: a document that left a scope. An
/// operation that unsets a field of one letter takes 7.
const PART_BYTES: usize = 6;
/// The longest list above.
const SHAPE_PARTS_MAX: usize = 9;

const _: () = assert!(ENVELOPE.len() <= SHAPE_PARTS_MAX && RECEIPT.len() <= SHAPE_PARTS_MAX);
