//! The change that says all of a document: while nothing was written over, it need not be stored beside the cells.

use super::{Cells, Live};
use crate::record::{Action, Change, Op};

impl Cells {
    /// The change that wrote the document, when that was a single one of puts alone: it is put together from
    /// what is live. Who stored the cells in its place compares its hash with the head.
    #[must_use]
    pub fn only_change(&self) -> Option<Change> {
        let (actor, written) = self.actors.first_key_value()?;
        let last = self.last?;
        let is_one = self.actors.len() == 1 && self.heads.len() == 1 && written.seq == 1;
        if !is_one || written.max_op != self.keys.len() as u64 {
            return None;
        }
        let mut ops: Vec<Option<Op>> = vec![None; self.keys.len()];
        for (key, live) in self.keys.iter() {
            let [op] = live.as_slice() else { return None };
            let Live::Scalar(value) = &op.value else { return None };
            if op.id.actor != *actor || op.time != last.time {
                return None;
            }
            let place = usize::try_from(op.id.counter.checked_sub(1)?).ok()?;
            let action = Action::Put(value.clone());
            *ops.get_mut(place)? = Some(Op { key: key.clone(), action, preds: Vec::new() });
        }
        let ops = ops.into_iter().collect::<Option<Vec<Op>>>()?;
        let (actor, time) = (*actor, last.time);
        Some(Change { actor, seq: 1, start_op: 1, time, deps: Vec::new(), ops })
    }

    /// Whether [`Cells::only_change`] is this change, without putting it together.
    #[must_use]
    pub fn tell(&self, change: &Change) -> bool {
        let count = change.ops.len();
        let is_first = change.seq == 1 && change.start_op == 1 && change.deps.is_empty();
        let written = self.actors.first_key_value().filter(|_| self.actors.len() == 1);
        let is_whole = written.is_some_and(|(actor, written)| {
            *actor == change.actor && written.seq == 1 && written.max_op == count as u64
        });
        is_first
            && is_whole
            && self.heads.len() == 1
            && self.keys.len() == count
            && self.last.is_some_and(|last| last.time == change.time)
            && change.ops_with_ids().all(|(id, op)| {
                let [live] = self.live(&op.key) else { return false };
                let (Action::Put(put), Live::Scalar(value)) = (&op.action, &live.value) else {
                    return false;
                };
                op.preds.is_empty() && live.id == id && live.time == change.time && put == value
            })
    }
}

#[cfg(test)]
mod tests {
    use crate::id::ActorId;
    use crate::record::{Action, Author, Cells, Change, Edit, Scalar, SeedKind, seed};
    use crate::time::Timestamp;

    const ME: Author = Author { actor: ActorId([7; 16]), time: Timestamp::from_millis(1_000) };

    fn put(key: &str, value: Scalar) -> Edit {
        Edit::Put { key: key.to_owned(), value }
    }

    /// A document of one change, in which keys are not written in their order.
    fn created() -> (Cells, Change, crate::record::EncodedChange) {
        let mut cells = Cells::default();
        let edits = [
            put("title", Scalar::Str("Dr.".to_owned())),
            put("$entity", Scalar::Str("contact".to_owned())),
            put("score", Scalar::Float(0.5)),
            put("stage", Scalar::Null),
            Edit::add("tags/vip".to_owned()),
        ];
        let (change, encoded) = ME.write(&mut cells, &edits).remove(0);
        (cells, change, encoded)
    }

    #[test]
    fn a_creation_that_nothing_was_written_over_is_told_by_the_cells_byte_for_byte() {
        let (cells, change, encoded) = created();
        let told = Cells::from_stored(&cells.to_stored()).unwrap().only_change().unwrap();
        assert_eq!(told, change);
        assert!(cells.tell(&change));
        assert_eq!(told.encode(), encoded);
        assert_eq!(cells.heads(), [encoded.hash]);
    }

    #[test]
    fn where_more_was_written_the_cells_tell_no_change() {
        assert_eq!(Cells::default().only_change(), None);
        let later = Author { time: Timestamp::from_millis(2_000), ..ME };
        let other = Author { actor: ActorId([8; 16]), ..ME };
        for author in [ME, later, other] {
            for key in ["title", "department"] {
                let (mut cells, change, _) = created();
                author.write(&mut cells, &[put(key, Scalar::Str("x".to_owned()))]);
                assert_eq!(cells.only_change(), None, "{key}");
                assert!(!cells.tell(&change), "{key}");
            }
            let (mut cells, change, _) = created();
            author.write(&mut cells, &[Edit::Remove { key: "tags/vip".to_owned() }]);
            assert_eq!(cells.only_change(), None);
            assert!(!cells.tell(&change));
        }
        let (mut cells, change, _) = created();
        let text = seed(SeedKind::Text, "journal");
        cells.apply(&text, text.encode().hash);
        assert_eq!(cells.only_change(), None);
        assert!(!cells.tell(&change));
    }

    #[test]
    fn cells_tell_no_change_but_the_one_that_wrote_them() {
        let (cells, change, _) = created();
        let seq = Change { seq: 2, ..change.clone() };
        let time = Change { time: Timestamp::from_millis(2_000), ..change.clone() };
        let actor = Change { actor: ActorId([8; 16]), ..change.clone() };
        let deps = Change { deps: cells.heads().to_vec(), ..change.clone() };
        let mut value = change.clone();
        value.ops[0].action = Action::Put(Scalar::Str("Prof.".to_owned()));
        let mut order = change.clone();
        order.ops.swap(0, 1);
        let mut fewer = change;
        fewer.ops.pop();
        for other in [seq, time, actor, deps, value, order, fewer] {
            assert!(!cells.tell(&other), "{other:?}");
            assert_ne!(cells.only_change(), Some(other));
        }
    }
}
