//! What entities say about each other: references name entities that exist, and scopes are not inherited in
//! a circle.

use std::collections::{BTreeMap, BTreeSet};

use super::entity::EntityDraft;
use crate::schema::problem::Problems;

/// Checks every reference and every `inherits`.
pub(super) fn check(drafts: &[EntityDraft], problems: &mut Problems<'_>) {
    let names: BTreeSet<&str> = drafts.iter().map(|draft| draft.name.as_str()).collect();
    for target in drafts.iter().flat_map(|draft| &draft.fields).flat_map(|field| &field.targets) {
        if !names.contains(target.value.as_str()) {
            problems.add(
                target.at,
                format!("a ref names entity `{}`, which does not exist", target.value),
            );
        }
    }
    let parents: BTreeMap<&str, Vec<&str>> =
        drafts.iter().map(|draft| (draft.name.as_str(), parents_of(draft))).collect();
    for draft in drafts {
        let Some(inherits) = &draft.inherits else { continue };
        if reaches(&parents, &draft.name) {
            let name = &draft.name;
            problems
                .add(inherits.at, format!("entity `{name}` inherits its own scopes in a circle"));
        }
    }
}

/// The entities whose scopes this one may follow.
fn parents_of(draft: &EntityDraft) -> Vec<&str> {
    let field = draft.inherits.as_ref().and_then(|inherits| draft.field(&inherits.value));
    field.map_or_else(Vec::new, |field| field.targets.iter().map(|t| t.value.as_str()).collect())
}

/// Whether the way up from `start` comes back to it.
fn reaches(parents: &BTreeMap<&str, Vec<&str>>, start: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = parents.get(start).cloned().unwrap_or_default();
    while let Some(name) = open.pop() {
        if name == start {
            return true;
        }
        if seen.insert(name) {
            open.extend(parents.get(name).into_iter().flatten());
        }
    }
    false
}
