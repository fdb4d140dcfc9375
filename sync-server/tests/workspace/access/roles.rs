//! What each role of the sales policy may write, and what the refusal says when it may not.

use crdt_core::record::{Edit, Scalar};

use crate::support::device::put;
use crate::support::sales::{
    ADMIN, AUDITOR, MANAGER_WEST, NOBODY, REP_EAST, REP_WEST, SUPPORT, account, codes, device,
    office, reference, refusals,
};
use crate::support::world::member;

#[test]
fn a_rep_writes_records_of_the_territory_and_own_ones() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let batch = rep.edit(account, &[put("phone", "555 0100")]);
    world.accept(&mut rep, batch);
    let (contact, batch) =
        rep.create("contact", &[put("last_name", "Ada"), reference("account", account)]);
    world.accept(&mut rep, batch);
    // A lead of no territory is its creator's.
    let (lead, batch) = rep.create("lead", &[put("last_name", "Bea")]);
    world.accept(&mut rep, batch);
    let clock = rep.documents[&crdt_core::id::DocumentId::main(lead)].cells.clock().to_bytes();
    let delete = Edit::Put { key: "$deleted".to_owned(), value: Scalar::Bytes(clock) };
    let batch = rep.edit(lead, &[delete]);
    world.accept(&mut rep, batch);
    world.sync(&mut admin);
    world.assert_same(&admin);
    let mut east = device(&mut world, REP_EAST);
    assert!(!east.documents.keys().any(|id| [account, contact, lead].contains(&id.record)));
    world.sync(&mut east);
}

#[test]
fn a_rep_may_not_move_a_record_nor_write_outside_the_territory() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let batch = rep.edit(account, &[put("territory", "east")]);
    let refused = refusals(&mut world, &mut rep, batch);
    assert_eq!(refused[0].code, "forbidden");
    assert_eq!(refused[0].document.as_ref().map(|id| id.record), Some(account));
    assert_eq!(refused[0].rule.as_deref(), Some("role `rep` of policy 1"));
    assert!(refused[0].text.starts_with("transfer of `account` is denied"), "{}", refused[0].text);
    // A record of another territory and owner is nothing that a rep may make.
    let owner = reference("owner", member(REP_EAST).into());
    let edits = [put("name", "Theirs"), put("territory", "east"), owner];
    let (_, batch) = rep.create("account", &edits);
    assert_eq!(codes(&mut world, &mut rep, batch), ["forbidden"]);
}

#[test]
fn a_merger_needs_both_records_and_both_of_one_entity() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let west = account(&mut world, &mut admin, "west");
    let other = account(&mut world, &mut admin, "west");
    let east = account(&mut world, &mut admin, "east");
    let mut manager = device(&mut world, MANAGER_WEST);
    let unknown = member(99).into();
    let contact = {
        let (contact, batch) = manager.create("contact", &[put("last_name", "Ada")]);
        world.accept(&mut manager, batch);
        contact
    };
    let refused = [(east, "out_of_scope"), (unknown, "out_of_scope"), (contact, "wrong_operation")];
    for (n, (target, code)) in (20..).zip(refused) {
        let mut manager = world.device_of(n, member(MANAGER_WEST));
        world.sync(&mut manager);
        let batch = manager.edit(west, &[reference("$merged_into", target)]);
        assert_eq!(codes(&mut world, &mut manager, batch), [code]);
    }
    let mut rep = device(&mut world, REP_WEST);
    let batch = rep.edit(west, &[reference("$merged_into", other)]);
    assert_eq!(codes(&mut world, &mut rep, batch), ["forbidden"]);
    let batch = manager.edit(west, &[reference("$merged_into", other)]);
    world.accept(&mut manager, batch);
}

#[test]
fn a_rep_has_no_finance_section_and_a_manager_has() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    assert!(rep.documents.keys().all(|id| id.section.is_main()));
    let batch = rep.edit_section(account, "finance", &[put("credit_limit", "1.00 USD")]);
    let refused = refusals(&mut world, &mut rep, batch);
    assert_eq!(
        (refused[0].code.as_str(), refused[0].field.as_deref()),
        ("forbidden", Some("finance"))
    );
    // Nor when the record is a new one of the rep's own.
    let (record, mut batch) =
        rep.create("account", &[put("name", "New"), put("territory", "west")]);
    let id = crdt_core::id::DocumentId { record, section: "finance".parse().unwrap() };
    batch.documents.push(rep.write(&id, "account", &[put("credit_limit", "1.00 USD")]));
    let refused = refusals(&mut world, &mut rep, batch);
    assert_eq!(
        (refused[0].code.as_str(), refused[0].field.as_deref()),
        ("forbidden", Some("finance"))
    );
    let mut manager = device(&mut world, MANAGER_WEST);
    assert!(manager.documents.keys().any(|id| id.section.as_str() == "finance"));
    let batch = manager.edit_section(account, "finance", &[put("credit_limit", "2.00 USD")]);
    world.accept(&mut manager, batch);
}

#[test]
fn a_manager_moves_records_inside_the_region_only() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut manager = device(&mut world, MANAGER_WEST);
    let batch = manager.edit(account, &[reference("owner", member(REP_WEST).into())]);
    world.accept(&mut manager, batch);
    let batch = manager.edit(account, &[put("territory", "east")]);
    assert_eq!(codes(&mut world, &mut manager, batch), ["forbidden"], "not into another region");
}

#[test]
fn support_writes_cases_and_reads_customers() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut support = device(&mut world, SUPPORT);
    assert_eq!(support.scopes[0], "all/account,case,contact");
    let (case, batch) =
        support.create("case", &[put("subject", "It broke"), reference("account", account)]);
    world.accept(&mut support, batch);
    let before = support.documents.clone();
    let batch = support.edit(account, &[put("phone", "555 0100")]);
    assert_eq!(codes(&mut world, &mut support, batch), ["forbidden"]);
    // The device takes its edit back.
    support.documents = before;
    world.sync(&mut support);
    assert!(support.documents.contains_key(&crdt_core::id::DocumentId::main(case)));
    let entities = ["account", "case", "contact", "member", "product"];
    assert!(support.documents.values().all(|held| entities.contains(&held.entity.as_str())));
    // An edit of a record that the subscription's entities leave out stays out.
    let (lead, batch) = admin.create("lead", &[put("last_name", "Bea"), put("territory", "west")]);
    world.accept(&mut admin, batch);
    world.sync(&mut support);
    assert!(!support.documents.keys().any(|id| id.record == lead));
    world.assert_same(&support);
}

#[test]
fn an_auditor_has_everything_and_writes_nothing() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut auditor = device(&mut world, AUDITOR);
    world.assert_same(&auditor);
    assert_eq!(auditor.documents.len(), admin_view(&mut world).documents.len());
    let (head, batch) = (world.head(), auditor.edit(account, &[put("phone", "555 0100")]));
    assert_eq!(codes(&mut world, &mut auditor, batch), ["forbidden"]);
    let section = auditor.edit_section(account, "finance", &[put("credit_limit", "1.00 USD")]);
    assert_eq!(codes(&mut world, &mut auditor, section), ["forbidden"]);
    let (_, batch) = auditor.create("account", &[put("name", "Mine")]);
    assert_eq!(codes(&mut world, &mut auditor, batch), ["forbidden"]);
    assert_eq!(world.head(), head, "nothing has changed");
}

fn admin_view(world: &mut crate::support::world::World) -> crate::support::device::Device {
    let mut other = world.device_of(100, member(ADMIN));
    world.sync(&mut other);
    other
}

#[test]
fn a_member_without_a_role_sees_nothing_and_writes_nothing() {
    let mut world = office();
    let mut nobody = device(&mut world, NOBODY);
    assert!(nobody.scopes.is_empty() && nobody.documents.is_empty());
    let (_, batch) = nobody.create("account", &[put("name", "Mine")]);
    let refused = refusals(&mut world, &mut nobody, batch);
    assert_eq!((refused[0].code.as_str(), refused[0].rule.as_deref()), ("forbidden", None));
}

#[test]
fn a_batch_over_several_records_is_refused_for_each_of_them_and_as_a_whole() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let one = account(&mut world, &mut admin, "west");
    let two = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let main = crdt_core::id::DocumentId::main;
    let parts = vec![
        rep.write(
            &main(one),
            "account",
            &[put("territory", "east"), put("website", "https://a.b")],
        ),
        rep.write(&main(two), "account", &[put("territory", "east")]),
    ];
    let batch = rep.batch(parts);
    let head = world.head();
    let refused = refusals(&mut world, &mut rep, batch);
    let records: std::collections::BTreeSet<_> =
        refused.iter().filter_map(|r| r.document.as_ref()).map(|id| id.record).collect();
    assert_eq!(records, [one, two].into());
    assert_eq!(world.head(), head);
}

#[test]
fn receipts_name_the_policy_that_judged() {
    let mut world = office();
    let mut rep = device(&mut world, REP_WEST);
    let (_, batch) = rep.create("lead", &[put("last_name", "Bea")]);
    assert_eq!(world.push(&mut rep, batch).policy_version, 1);
}
