//! Edits of one record, as an app says them.

use crdt_core::record::Value;

/// Edits of one record, in order. Fields of several sections may be mixed: the SDK sends each to its
/// document, in one batch.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Edits {
    steps: Vec<(String, Step)>,
}

/// One edit of one field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Step {
    Set(Value),
    Add(String),
    Remove(String),
    Increment(i64),
    Splice { at: usize, delete: usize, insert: String },
    SetText(String),
}

impl Edits {
    /// No edits.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Writes a value. `Value::Set` makes a set have just these members; a string written to a prose field
    /// is [`set_text`](Self::set_text).
    #[must_use]
    pub fn set(self, field: impl Into<String>, value: impl Into<Value>) -> Self {
        self.step(field, Step::Set(value.into()))
    }

    /// Unsets a field; empties a set.
    #[must_use]
    pub fn unset(self, field: impl Into<String>) -> Self {
        self.step(field, Step::Set(Value::Null))
    }

    /// Adds a set's member. Beats a removal made at the same time elsewhere.
    #[must_use]
    pub fn add(self, set: impl Into<String>, member: impl Into<String>) -> Self {
        self.step(set, Step::Add(member.into()))
    }

    /// Removes a set's member; nothing happens when it is not there.
    #[must_use]
    pub fn remove(self, set: impl Into<String>, member: impl Into<String>) -> Self {
        self.step(set, Step::Remove(member.into()))
    }

    /// Adds to a counter; increments made elsewhere add up with this one.
    #[must_use]
    pub fn increment(self, counter: impl Into<String>, by: i64) -> Self {
        self.step(counter, Step::Increment(by))
    }

    /// Edits prose: at a character, delete so many, then insert.
    #[must_use]
    pub fn splice(
        self,
        text: impl Into<String>,
        at: usize,
        delete: usize,
        insert: impl Into<String>,
    ) -> Self {
        self.step(text, Step::Splice { at, delete, insert: insert.into() })
    }

    /// Makes prose say `contents` by writing only what differs between a common beginning and end.
    #[must_use]
    pub fn set_text(self, text: impl Into<String>, contents: impl Into<String>) -> Self {
        self.step(text, Step::SetText(contents.into()))
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// These edits, with others in the place of those of the same fields.
    pub(crate) fn amended(mut self, by: Self) -> Self {
        self.steps.retain(|(field, _)| !by.steps.iter().any(|(named, _)| named == field));
        self.steps.extend(by.steps);
        self
    }

    pub(crate) fn steps(&self) -> &[(String, Step)] {
        &self.steps
    }

    fn step(mut self, field: impl Into<String>, step: Step) -> Self {
        self.steps.push((field.into(), step));
        self
    }
}

/// The one splice between two texts: what stands between their common beginning and end, in characters.
pub(crate) fn difference(old: &str, new: &str) -> Option<(usize, usize, String)> {
    let old: Vec<char> = old.chars().collect();
    let new: Vec<char> = new.chars().collect();
    let start = old.iter().zip(&new).take_while(|(a, b)| a == b).count();
    let (old_rest, new_rest) = (&old[start..], &new[start..]);
    let end = old_rest.iter().rev().zip(new_rest.iter().rev()).take_while(|(a, b)| a == b).count();
    let delete = old_rest.len() - end;
    let insert: String = new_rest[..new_rest.len() - end].iter().collect();
    (delete > 0 || !insert.is_empty()).then_some((start, delete, insert))
}

/// The splice that turns `before` into `after`, for a text that says `now` in the meantime. What others wrote
/// there stays: where both changed the same place, only what was inserted comes, behind theirs.
pub(crate) fn carried(before: &str, after: &str, now: &str) -> Option<(usize, usize, String)> {
    let (at, delete, insert) = difference(before, after)?;
    let Some((their_at, their_delete, their_insert)) = difference(before, now) else {
        return Some((at, delete, insert));
    };
    let grown = their_insert.chars().count();
    if at + delete <= their_at {
        return Some((at, delete, insert));
    }
    if at >= their_at + their_delete {
        return Some((at - their_delete + grown, delete, insert));
    }
    (!insert.is_empty()).then_some((their_at + grown, 0, insert))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_of_two_texts_is_one_splice_in_characters() {
        let insert = |text: &str| text.to_owned();
        assert_eq!(difference("naïve idea", "naïve big idea"), Some((6, 0, insert("big "))));
        assert_eq!(difference("aaa", "aa"), Some((2, 1, String::new())));
        assert_eq!(difference("", "😀"), Some((0, 0, insert("😀"))));
        assert_eq!(difference("same", "same"), None);
    }

    #[test]
    fn a_splice_is_carried_over_what_others_wrote_meanwhile() {
        let carried = |before, after, now: &str| {
            let Some((at, delete, insert)) = carried(before, after, now) else {
                return now.to_owned();
            };
            let mut says: Vec<char> = now.chars().collect();
            says.splice(at..at + delete, insert.chars());
            says.into_iter().collect::<String>()
        };
        assert_eq!(carried("one two", "one big two", "one two"), "one big two");
        assert_eq!(carried("one two", "one big two", "one two three"), "one big two three");
        assert_eq!(carried("one two", "one two!", "zero one two"), "zero one two!");
        assert_eq!(
            carried("one two", "one 2", "one three"),
            "one three2",
            "nothing of theirs goes"
        );
        assert_eq!(carried("one two", "one", "one three"), "one three");
        assert_eq!(carried("", "mine", "theirs"), "minetheirs");
    }
}
