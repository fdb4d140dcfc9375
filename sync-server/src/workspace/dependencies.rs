//! Finding what a change depends on: the wire names dependencies shortly, the index knows them in full.

use crdt_core::id::ChangeHash;
use crdt_core::protocol::Dependencies;
use crdt_core::record::{Known, Reason};

use super::draft::Draft;
use crate::store::{Read, StoreError};

/// The whole hashes of a change's dependencies and its causal past; the inner error when one is not here.
pub(super) fn resolve(
    tx: &dyn Read,
    draft: &Draft,
    chained: Option<&ChangeHash>,
    deps: &Dependencies,
) -> Result<Result<(Vec<ChangeHash>, Known), Reason>, StoreError> {
    if is_heads(draft, chained, deps) {
        return Ok(Ok((draft.cells.heads().to_vec(), Known::heads(&draft.cells))));
    }
    let mut known = Known::default();
    let mut hashes = Vec::new();
    let mut take = |prefix: u32, whole: Option<&ChangeHash>| -> Result<bool, StoreError> {
        let Some((hash, max_op, clock)) = find(tx, draft, prefix, whole)? else { return Ok(false) };
        known.add(max_op, &clock);
        hashes.push(hash);
        Ok(true)
    };
    let mut all = true;
    match deps {
        Dependencies::Chained => match chained {
            Some(hash) => all &= take(hash.short(), Some(hash))?,
            None => all = false,
        },
        Dependencies::Short(prefixes) => {
            for prefix in prefixes {
                all &= take(*prefix, None)?;
            }
        }
        Dependencies::Long(wanted) => {
            for hash in wanted {
                all &= take(hash.short(), Some(hash))?;
            }
        }
    }
    Ok(if all { Ok((hashes, known)) } else { Err(Reason::UnknownDependency) })
}

/// The usual case, without a look at the index: the author had seen everything.
fn is_heads(draft: &Draft, chained: Option<&ChangeHash>, deps: &Dependencies) -> bool {
    let heads = draft.cells.heads();
    match deps {
        Dependencies::Chained => chained.is_some_and(|hash| heads == [*hash]),
        Dependencies::Short(prefixes) => {
            prefixes.len() == heads.len()
                && heads
                    .iter()
                    .all(|head| prefixes.iter().filter(|p| **p == head.short()).count() == 1)
        }
        Dependencies::Long(hashes) => {
            hashes.len() == heads.len() && heads.iter().all(|head| hashes.contains(head))
        }
    }
}

type Found = (ChangeHash, u64, crdt_core::record::Clock);

/// The one change of the document that a prefix (or a whole hash) names; heads win over older changes.
fn find(
    tx: &dyn Read,
    draft: &Draft,
    prefix: u32,
    whole: Option<&ChangeHash>,
) -> Result<Option<Found>, StoreError> {
    let fits =
        |hash: &ChangeHash| whole.is_none_or(|whole| whole == hash) && hash.short() == prefix;
    let added = draft.added.iter().filter(|added| fits(&added.hash));
    let mut found: Vec<Found> =
        added.map(|added| (added.hash, added.change.max_op(), added.clock.clone())).collect();
    if let Some(number) = draft.number {
        let stored = tx.changes_like(number, prefix)?;
        let stored = stored.into_iter().filter(|row| fits(&row.hash));
        found.extend(stored.map(|row| (row.hash, row.max_op, row.clock)));
    }
    if found.len() > 1 {
        found.retain(|(hash, ..)| draft.cells.heads().contains(hash));
    }
    Ok(if found.len() == 1 { found.pop() } else { None })
}
