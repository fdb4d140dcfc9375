//! The index of scopes: which documents are in each, since when, and which have left.

use super::StoreError;

/// A document in a scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScopeRow {
    /// The document.
    pub document: u64,
    /// The later of its last change and its entry.
    pub position: u64,
    /// Its entry.
    pub entered: u64,
}

/// A scope that a document is in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The scope.
    pub scope: String,
    /// When the document entered it.
    pub entered: u64,
}

/// Reading the index.
pub trait ReadScopes {
    /// The documents of a scope after a position, by position, at most `limit` and whole positions only
    /// (so it may be more).
    fn scope_after(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError>;
    /// The documents of a scope that entered it at a position or before, the latest first, at most `limit`
    /// and whole positions only (so it may be more).
    fn entered_before(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError>;
    /// The documents of a scope that entered it after a position, the earliest first, at most `limit` and
    /// whole positions only (so it may be more).
    fn entered_after(
        &self,
        scope: &str,
        position: u64,
        limit: usize,
    ) -> Result<Vec<ScopeRow>, StoreError>;
    /// The documents that entered any scope at a position and are still there, each once.
    fn entered_at(&self, position: u64) -> Result<Vec<u64>, StoreError>;
    /// The scopes that a document is in, by name.
    fn scopes_of(&self, document: u64) -> Result<Vec<Place>, StoreError>;
    /// The entity of a document's record.
    fn entity_of(&self, document: u64) -> Result<Option<String>, StoreError>;
    /// The documents that left a scope after a position and up to another, by the position of leaving, at
    /// most `limit` and whole positions only (so it may be more).
    fn left_between(
        &self,
        scope: &str,
        after: u64,
        up_to: u64,
        limit: usize,
    ) -> Result<Vec<(u64, u64)>, StoreError>;
    /// The documents that left a scope at a position and are not back in it, each with the scope.
    fn left_at(&self, position: u64) -> Result<Vec<(u64, String)>, StoreError>;
    /// The scopes that a document has left, by name.
    fn left_by(&self, document: u64) -> Result<Vec<String>, StoreError>;
}

/// Writing the index.
pub trait WriteScopes: ReadScopes {
    /// Puts a document into a scope, or notes its later change there.
    fn enter(&mut self, scope: &str, document: u64, position: u64) -> Result<(), StoreError>;
    /// Notes a change of a document in every scope that it is in, unless it entered there later; gives them.
    fn touch(&mut self, document: u64, position: u64) -> Result<Vec<String>, StoreError>;
    /// Takes a document out of a scope.
    fn leave(&mut self, scope: &str, document: u64, position: u64) -> Result<(), StoreError>;
}
