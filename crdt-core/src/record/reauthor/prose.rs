//! The order of unanswered characters, as their author saw it: enough to find what stands before one that
//! fell.

use std::collections::BTreeMap;

use crate::record::OpId;

/// Unanswered characters by field, in strands that hang on an accepted character or on the beginning.
#[derive(Debug, Default)]
pub(super) struct Prose(BTreeMap<String, Vec<Strand>>);

#[derive(Debug)]
struct Strand {
    after: Option<OpId>,
    /// Each character's old id, and its id now unless it fell.
    elements: Vec<(OpId, Option<OpId>)>,
}

impl Prose {
    /// Notes inserted characters, erased ones included: they keep their place. A new character stands right
    /// after its anchor, since its counter is larger than any that its author had seen.
    pub(super) fn insert(
        &mut self,
        field: &str,
        after: Option<OpId>,
        (first, len): (OpId, u64),
        now: Option<OpId>,
    ) {
        let elements = (0..len).map(|offset| {
            let moved = |id: OpId| OpId { counter: id.counter + offset, ..id };
            (moved(first), now.map(moved))
        });
        if !self.0.contains_key(field) {
            self.0.insert(field.to_owned(), Vec::new());
        }
        let Some(strands) = self.0.get_mut(field) else { return };
        for strand in strands.iter_mut() {
            let place = match after {
                anchor if anchor == strand.after => Some(0),
                Some(anchor) => strand.place(anchor).map(|place| place + 1),
                None => None,
            };
            if let Some(place) = place {
                strand.elements.splice(place..place, elements);
                return;
            }
        }
        strands.push(Strand { after, elements: elements.collect() });
    }

    /// The nearest character before a fallen one that is left; nothing for the beginning.
    pub(super) fn before(&self, field: &str, fallen: OpId) -> Option<OpId> {
        let strands = self.0.get(field)?;
        let (strand, place) =
            strands.iter().find_map(|strand| Some((strand, strand.place(fallen)?)))?;
        let left = strand.elements[..place].iter().rev().find_map(|(_, now)| *now);
        left.or(strand.after)
    }
}

impl Strand {
    fn place(&self, element: OpId) -> Option<usize> {
        self.elements.iter().position(|(old, _)| *old == element)
    }
}
