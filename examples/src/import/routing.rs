//! Who looks after an account. The export does not say, so whoever has most of an account's deals does, in the
//! territory of these deals. An account without deals stays with whoever imports it.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use crdt_core::record::Value;

use super::ImportRecord;

/// By owner: how many deals of an account, and where.
type Owners<'a> = BTreeMap<&'a [u8], (usize, Option<&'a Value>)>;

/// Gives each account the owner and the territory that its deals say.
pub(super) fn assign(
    accounts: Vec<ImportRecord>,
    opportunities: &[ImportRecord],
) -> Vec<ImportRecord> {
    let mut deals: BTreeMap<&[u8], Owners<'_>> = BTreeMap::new();
    for deal in opportunities {
        if let (Some(account), Some(owner)) = (bytes(deal, "account"), bytes(deal, "owner")) {
            let owners = deals.entry(account).or_default();
            let (count, _) = owners.entry(owner).or_insert((0, deal.field("territory")));
            *count += 1;
        }
    }
    let assign = |account: ImportRecord| {
        let owners = deals.get(&account.id.as_bytes()[..]).into_iter().flatten();
        let Some((owner, (_, territory))) =
            owners.min_by_key(|(owner, (n, _))| (Reverse(*n), *owner))
        else {
            return account;
        };
        account.with("owner", Value::Bytes(owner.to_vec())).with("territory", territory.cloned())
    };
    accounts.into_iter().map(assign).collect()
}

fn bytes<'a>(record: &'a ImportRecord, field: &str) -> Option<&'a [u8]> {
    match record.field(field) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}
