//! Parents before children, so that a reference comes after its target.

use std::collections::BTreeMap;

use super::report::{Judged, Refusal, clip};

/// What refers to a parent by name in the same file.
pub(super) trait Child {
    /// The column that names the parent.
    const COLUMN: &'static str;

    fn name(&self) -> &str;

    /// The parent, when there is one and it is a row of this file.
    fn parent(&self) -> Option<&str>;
}

/// Reorders the rows so that each comes after its parent, refused rows last. A row is refused here
/// when going up from it leads to a refused row, or round in a circle.
pub(super) fn parents_first<T: Child>(rows: Vec<Judged<T>>) -> Vec<Judged<T>> {
    let placed = order(&rows);
    let mut rows: Vec<Option<Judged<T>>> = rows.into_iter().map(Some).collect();
    let mut ordered: Vec<Judged<T>> =
        placed.into_iter().filter_map(|index| rows[index].take()).collect();
    ordered.extend(rows.into_iter().flatten().map(|row| {
        row.and_then(|child, _| {
            let parent = clip(child.parent().unwrap_or_default());
            let what = format!("{parent} is refused itself, or the way up from it is a circle");
            Err(Refusal::new(T::COLUMN, what))
        })
    }));
    ordered
}

/// The indices of the rows that have a way up to a row without parent, parents first.
fn order<T: Child>(rows: &[Judged<T>]) -> Vec<usize> {
    let kept =
        || rows.iter().enumerate().filter_map(|(i, row)| Some((i, row.verdict.as_ref().ok()?)));
    let index_of: BTreeMap<&str, usize> = kept().map(|(index, row)| (row.name(), index)).collect();
    let mut children = vec![Vec::new(); rows.len()];
    let mut order = Vec::with_capacity(rows.len());
    for (index, row) in kept() {
        match row.parent().map(|parent| index_of.get(parent)) {
            None => order.push(index),
            Some(Some(&parent)) => children[parent].push(index),
            Some(None) => {}
        }
    }
    let mut done = 0;
    while let Some(&index) = order.get(done) {
        order.append(&mut children[index]);
        done += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Pair(&'static str, Option<&'static str>);

    impl Child for Pair {
        const COLUMN: &'static str = "parent";

        fn name(&self) -> &str {
            self.0
        }

        fn parent(&self) -> Option<&str> {
            self.1
        }
    }

    fn kept_of(pairs: &[(&'static str, Option<&'static str>)]) -> Vec<&'static str> {
        let row =
            |&(name, parent)| Judged { line: 0, remarks: vec![], verdict: Ok(Pair(name, parent)) };
        let rows = parents_first(pairs.iter().map(row).collect());
        assert_eq!(rows.len(), pairs.len(), "no row gets lost");
        rows.into_iter().filter_map(|row| row.verdict.ok()).map(|pair| pair.0).collect()
    }

    #[test]
    fn parents_come_first_whatever_the_order_of_the_rows() {
        assert_eq!(
            kept_of(&[("a", Some("c")), ("b", Some("a")), ("c", None), ("d", Some("c"))]),
            ["c", "a", "d", "b"]
        );
    }

    #[test]
    fn circles_and_children_of_refused_rows_are_refused() {
        assert_eq!(
            kept_of(&[
                ("a", Some("b")),
                ("b", Some("a")),
                ("self", Some("self")),
                ("below a circle", Some("a")),
                ("orphan", Some("refused")),
                ("grandchild", Some("orphan")),
                ("fine", None),
            ]),
            ["fine"]
        );
    }
}
