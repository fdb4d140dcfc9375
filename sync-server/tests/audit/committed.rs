//! What judged batches leave in the audit, in the commit that answers them.

use crdt_core::id::DeviceId;
use crdt_core::protocol::Outcome;
use sync_server::audit::{Act, Entry, Verdict, Verifier, What};
use sync_server::store::read;

use super::support::device::put;
use super::support::world::{World, member};

/// Every entry of the workspace's audit, whose chain is sound.
fn entries(world: &World) -> Vec<Entry> {
    let (rows, head) =
        read(&*world.store, |tx| Ok((tx.audit_after(0, 10_000)?, tx.audit_head()?))).unwrap();
    let mut verifier = Verifier::new(None);
    let entries = rows.iter().map(|row| {
        verifier.row(row.number as i64, &row.bytes, &row.hash).unwrap();
        Entry::from_bytes(&row.bytes).unwrap().1
    });
    let entries = entries.collect();
    verifier.finish(Some((head.number as i64, &head.hash))).unwrap();
    entries
}

fn last(world: &World) -> Entry {
    entries(world).pop().expect("something was done")
}

#[test]
fn an_accepted_batch_is_told_with_who_where_what_and_by_which_rule() {
    let mut world = World::sales();
    world.set(member(1), "rep", &["west"]);
    let mut device = world.device(1);
    let (record, batch) =
        device.create("account", &[put("name", "Canary"), put("territory", "west")]);
    let position = world.accept(&mut device, batch.clone());
    let entry = last(&world);
    assert_eq!(entry.who.member, Some(member(1)));
    assert_eq!(entry.who.replica, Some(device.replica));
    assert_eq!(entry.who.device, Some(DeviceId([1; 16])));
    assert_eq!(entry.who.role.as_deref(), Some("rep"));
    assert_eq!(entry.policy_version, world.workspace.policy().version());
    assert_eq!(entry.received_at, World::now());
    let What::Batch(judged) = entry.what else { panic!("{entry:?}") };
    assert_eq!(judged.verdict, Verdict::Accepted { position });
    assert!(judged.edited_at.is_some_and(|at| at < World::now()));
    let [line] = &judged.records[..] else { panic!("{judged:?}") };
    assert_eq!((line.record, line.entity.as_deref()), (Some(record), Some("account")));
    let fields: Vec<&str> = line.fields.values().flatten().map(String::as_str).collect();
    assert_eq!(fields, ["$created_at", "$created_by", "$entity", "name", "territory"]);
    assert!(line.rules.iter().any(|rule| rule.contains("role `rep`, rule of line")), "{line:?}");
    // Sent again, it leaves an entry that says so.
    assert!(matches!(world.push(&mut device, batch).outcome, Outcome::Already { .. }));
    let What::Batch(judged) = last(&world).what else { panic!("a batch was answered") };
    assert_eq!(judged.verdict, Verdict::Already { position });
}

#[test]
fn a_refused_batch_is_told_with_its_reasons() {
    let mut world = World::sales();
    world.set(member(1), "auditor", &[]);
    let mut device = world.device(1);
    let (record, batch) = device.create("account", &[put("name", "Canary")]);
    let outcome = world.push(&mut device, batch).outcome;
    assert!(matches!(outcome, Outcome::Refused { .. }));
    let entry = last(&world);
    assert_eq!(entry.who.role.as_deref(), Some("auditor"));
    let What::Batch(judged) = entry.what else { panic!("{entry:?}") };
    let Verdict::Refused { reasons, more: 0 } = &judged.verdict else { panic!("{judged:?}") };
    assert!(reasons.iter().all(|reason| reason.code == "forbidden"), "{reasons:?}");
    assert_eq!(reasons[0].record, Some(record));
    assert!(reasons[0].rule.as_deref().is_some_and(|rule| rule.contains("auditor")));
    assert_eq!(judged.records[0].record, Some(record));
}

#[test]
fn a_member_that_is_changed_over_the_log_leaves_an_act_of_whoever_changed_it() {
    let mut world = World::sales();
    world.set(member(1), "admin", &[]);
    world.set(member(2), "rep", &["west"]);
    let mut device = world.device(1);
    world.sync(&mut device);
    let batch = device.edit(member(2).into(), &[put("role", "support")]);
    world.accept(&mut device, batch);
    let entry = last(&world);
    assert_eq!(entry.who.member, Some(member(1)));
    let act = Act::MemberSet { member: member(2), fields: vec!["role".to_owned()] };
    assert_eq!(entry.what, What::Act(act));
}

#[test]
fn a_refused_change_of_a_member_is_no_act() {
    let mut world = World::sales();
    world.set(member(1), "admin", &[]);
    world.set(member(2), "rep", &["west"]);
    let before = entries(&world).len();
    let mut device = world.device_of(2, member(2));
    world.sync(&mut device);
    let batch = device.edit(member(2).into(), &[put("role", "admin")]);
    world.refuse(&mut device, batch);
    let after = entries(&world);
    assert_eq!(after.len(), before + 1);
    assert!(matches!(after.last().map(|entry| &entry.what), Some(What::Batch(_))));
}

#[test]
fn a_put_policy_and_a_revoked_device_leave_acts_of_the_operator() {
    let mut world = World::sales();
    let text = world.workspace.policy().text().replacen("version = 1", "version = 2", 1);
    world.workspace.set_policy(World::now(), &text, "policy.toml").unwrap();
    world.workspace.revoke_device(World::now(), DeviceId([9; 16])).unwrap();
    let acts: Vec<Entry> = entries(&world).into_iter().rev().take(2).collect();
    assert_eq!(acts[0].what, What::Act(Act::DeviceRevoked { device: DeviceId([9; 16]) }));
    assert!(matches!(acts[1].what, What::Act(Act::PolicyPut { version: 2, .. })));
    assert!(acts.iter().all(|entry| entry.who == Default::default()));
}
