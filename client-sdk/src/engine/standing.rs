//! Where the device stands in its scopes, as far as a session has to know.

use std::collections::BTreeMap;

use crdt_core::protocol::{Cursor, ScopeCursor};

/// A cursor for every scope.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Standing {
    /// In every scope that is not an exception.
    cursor: Cursor,
    exceptions: BTreeMap<String, Cursor>,
}

impl Standing {
    pub(super) fn new(cursor: Cursor, exceptions: Vec<ScopeCursor>) -> Self {
        let exceptions = exceptions.into_iter().map(|at| (at.scope, at.cursor)).collect();
        Self { cursor, exceptions }
    }

    /// A page was stored.
    pub(super) fn move_to(&mut self, cursors: &[ScopeCursor]) {
        let (all, some): (Vec<_>, Vec<_>) = cursors.iter().partition(|at| at.scope.is_empty());
        if let Some(all) = all.last() {
            self.cursor = all.cursor;
            self.exceptions.clear();
        }
        self.exceptions.extend(some.into_iter().map(|at| (at.scope.clone(), at.cursor)));
    }

    /// Scopes are gone.
    pub(super) fn drop_scopes(&mut self, dropped: &[String]) {
        for scope in dropped {
            self.exceptions.remove(scope);
        }
    }

    /// Whether everything up to `head` has come, whole.
    pub(super) fn reaches(&self, head: u64) -> bool {
        let reached = |cursor: &Cursor| cursor.from.is_none() && cursor.position >= head;
        reached(&self.cursor) && self.exceptions.values().all(reached)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(name: &str, cursor: Cursor) -> ScopeCursor {
        ScopeCursor { scope: name.to_owned(), cursor }
    }

    #[test]
    fn one_scope_that_is_behind_or_partial_is_enough_to_be_behind() {
        let mut standing = Standing::new(Cursor::at(9), vec![scope("team:a", Cursor::at(3))]);
        assert!(!standing.reaches(9));
        standing.move_to(&[scope("team:a", Cursor { position: 9, from: Some(3) })]);
        assert!(!standing.reaches(9));
        standing.move_to(&[scope("team:a", Cursor::at(9))]);
        assert!(standing.reaches(9) && !standing.reaches(10));
        standing.move_to(&[scope("", Cursor::at(12))]);
        assert!(standing.reaches(12));
        standing.move_to(&[scope("team:b", Cursor::at(3))]);
        assert!(!standing.reaches(12));
        standing.drop_scopes(&["team:b".to_owned()]);
        assert!(standing.reaches(12), "a scope that is gone holds nothing up");
    }
}
