//! The built-in policy of a sales organisation in the model's words, from what it promises and not from its
//! text.

use std::collections::{BTreeMap, BTreeSet};

use super::policy::{Act, Policy, Reach, Rule, Those};

const CUSTOMERS: [&str; 9] =
    ["account", "contact", "lead", "opportunity", "line_item", "activity", "task", "case", "note"];

/// Role by role.
#[must_use]
pub fn policy() -> Policy {
    use Act::{Create, Delete, Merge, Read, Transfer, Update};
    let customers = || Those::named(&CUSTOMERS);
    let everybody_reads =
        || Rule::new(Those::named(&["member", "product"]), &[Reach::Shared], &[Read]);
    let rep = vec![
        Rule::new(customers(), &[Reach::Own, Reach::Territory], &[Read, Create, Update, Delete]),
        Rule::new(
            Those::named(&["activity", "task"]),
            &[Reach::Own, Reach::Territory],
            &[Transfer],
        ),
        everybody_reads(),
    ];
    let region = [Reach::Own, Reach::Region];
    let manager = vec![
        Rule::new(customers(), &region, &[Read, Create, Update, Delete, Transfer, Merge])
            .everywhere(),
        Rule::new(Those::named(&["kept_edit"]), &region, &[Read, Update]).everywhere(),
        everybody_reads(),
    ];
    let support = vec![
        Rule::new(Those::named(&["case"]), &[Reach::All], &[Read, Create, Update]),
        Rule::new(Those::named(&["account", "contact"]), &[Reach::All], &[Read]),
        Rule::new(
            Those::named(&["activity", "task", "note"]),
            &[Reach::Own],
            &[Read, Create, Update, Delete],
        ),
        everybody_reads(),
    ];
    let roles = [
        ("rep", rep),
        ("manager", manager),
        ("support", support),
        ("admin", vec![Rule::new(Those::All, &[Reach::All], &every_act()).everywhere()]),
        ("auditor", vec![Rule::new(Those::All, &[Reach::All], &[Read]).everywhere()]),
    ];
    Policy {
        version: 1,
        default_role: None,
        shared: BTreeSet::from(["member".to_owned(), "product".to_owned()]),
        regions: BTreeMap::new(),
        roles: roles.into_iter().map(|(name, rules)| (name.to_owned(), rules)).collect(),
    }
}

/// Every act.
#[must_use]
pub fn every_act() -> Vec<Act> {
    Act::ALL.map(|(act, _)| act).to_vec()
}
