//! Which scopes a document is in and which a member has: the seam where policy is decided.

use crdt_core::id::{DocumentId, MemberId};
use crdt_core::record::Cells;

/// Decides about scopes. Called under the workspace's lock; answers from what it is given.
pub trait Access: Send + Sync {
    /// The scopes of a document that is new or has changed.
    fn scopes_of_document(&self, id: &DocumentId, entity: &str, cells: &Cells) -> Vec<String>;
    /// Whether a change of a document can move it between scopes: then they are asked for again.
    fn moves(&self, id: &DocumentId, entity: &str) -> bool;
    /// The scopes that a member may subscribe to.
    fn scopes_of_member(&self, member: &MemberId, sections: &[String]) -> Vec<String>;
}

/// Every member sees every record: one scope for each section.
#[derive(Debug, Clone, Copy, Default)]
pub struct OpenAccess;

/// The scope of every document of a section.
fn section_scope(section: &str) -> String {
    if section == crdt_core::id::Section::MAIN {
        "workspace".to_owned()
    } else {
        format!("workspace#{section}")
    }
}

impl Access for OpenAccess {
    fn scopes_of_document(&self, id: &DocumentId, _entity: &str, _cells: &Cells) -> Vec<String> {
        vec![section_scope(id.section.as_str())]
    }

    fn moves(&self, _id: &DocumentId, _entity: &str) -> bool {
        false
    }

    fn scopes_of_member(&self, _member: &MemberId, sections: &[String]) -> Vec<String> {
        sections.iter().map(|section| section_scope(section)).collect()
    }
}
