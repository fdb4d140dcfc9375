//! Numbers for the keys that most documents have: those of the built-in schema. Stored cells name them by number.
//!
//! A number stands in files: the list is added to at its end, and never changed otherwise.

use std::collections::BTreeMap;
use std::sync::LazyLock;

/// Each has its place, counted from 1, as its number. One that ends with `/` begins the keys of a set's members.
const NAMES: &[&str] = &[
    "$entity",
    "$created_at",
    "$created_by",
    "$deleted",
    "owner",
    "account",
    "tags/",
    "source_id",
    "first_name",
    "last_name",
    "company",
    "title",
    "department",
    "emails/",
    "phones/",
    "website",
    "address.street",
    "address.city",
    "address.state",
    "address.zip",
    "address.country",
    "reports_to",
    "stage",
    "score",
    "amount",
    "birthday",
    "language",
    "do_not_contact",
    "calls",
    "last_contacted_at",
    "source_created_at",
    "source_updated_at",
    "note",
    "journal",
    "name",
    "sector",
    "health",
    "year_established",
    "billing.street",
    "billing.city",
    "billing.state",
    "billing.zip",
    "billing.country",
    "shipping.street",
    "shipping.city",
    "shipping.state",
    "shipping.zip",
    "shipping.country",
    "revenue",
    "employees",
    "phone",
    "country",
    "parent",
    "territory",
    "team",
    "do_not_call",
    "visits",
    "last_visit_at",
    "credit_limit",
    "payment_terms_days",
    "notes",
    "product",
    "contact",
    "close_value",
    "forecast",
    "probability",
    "engage_date",
    "close_date",
    "next_step",
    "lost_reason",
    "competitors/",
    "commission",
    "margin",
    "description",
    "kind",
    "subject",
    "due_at",
    "started_at",
    "duration_minutes",
    "done",
    "outcome",
    "place",
    "latitude",
    "longitude",
    "lead",
    "opportunity",
    "attendees/",
    "email",
    "origin",
    "status",
    "budget",
    "converted_account",
    "converted_contact",
    "converted_opportunity",
    "first_response_at",
    "due",
    "remind_at",
    "priority",
    "about",
    "number",
    "channel",
    "opened_at",
    "solved_at",
    "reopen_count",
    "resolution",
    "body",
    "pinned",
    "quantity",
    "unit_price",
    "discount",
    "cost",
    "series",
    "code",
    "list_price",
    "unit_cost",
    "active",
    "role",
    "territories/",
    "region",
    "teams/",
    "manager",
    "quota",
    "time_zone",
    "record",
    "author",
    "tried",
    "tried_finance",
    "reason",
    "rule",
    "edited_at",
    "decided_by",
];

static NUMBERS: LazyLock<BTreeMap<&str, u64>> =
    LazyLock::new(|| NAMES.iter().copied().zip(1..).collect());

/// The number of the key, or of what it begins with, and what is left to be spelled; 0 and all of it when
/// it has none.
pub(super) fn shorten(key: &str) -> (u64, &str) {
    if let Some(number) = NUMBERS.get(key) {
        return (*number, "");
    }
    let (set, member) = key.split_at(key.find('/').map_or(0, |slash| slash + 1));
    NUMBERS.get(set).map_or((0, key), |number| (*number, member))
}

/// What a number stands for; nothing when this build does not know it.
pub(super) fn name(number: u64) -> Option<&'static str> {
    let Some(place) = number.checked_sub(1) else { return Some("") };
    NAMES.get(usize::try_from(place).ok()?).copied()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::{FieldKind, Schema};

    #[test]
    fn every_key_is_what_its_number_and_the_rest_say() {
        for key in
            NAMES.iter().copied().chain(["", "/", "tags/", "tags/a/b", "shoe_size", "shoes/x"])
        {
            let (number, rest) = shorten(key);
            assert_eq!(format!("{}{rest}", name(number).unwrap()), key);
        }
        assert_eq!(NUMBERS.len(), NAMES.len(), "no name has two numbers");
        assert_eq!(
            (shorten("$entity"), shorten("owner"), shorten("tags/vip")),
            ((1, ""), (5, ""), (7, "vip"))
        );
        assert_eq!(name(NAMES.len() as u64 + 1), None);
    }

    #[test]
    fn the_built_in_fields_have_numbers() {
        for field in Schema::builtin().entities().flat_map(|entity| &entity.fields) {
            let is_set = matches!(field.kind, FieldKind::Set(_));
            let key = if is_set { format!("{}/", field.key) } else { field.key.clone() };
            assert_ne!(shorten(&key).0, 0, "{key}");
        }
    }
}
