//! What somebody tried on a record that had moved away is kept beside the record, and nothing else is.

use crdt_core::id::RecordId;
use crdt_core::record::Value;

use crate::support::device::put;
use crate::support::sales::{
    ADMIN, MANAGER_EAST, REP_EAST, REP_WEST, account, codes, device, in_full, office, reference,
    values,
};
use crate::support::world::{World, member, records_of};

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn kept(world: &World) -> Vec<RecordId> {
    records_of(world, "kept_edit")
}

#[test]
fn an_edit_of_a_record_that_moved_away_meanwhile_waits_for_its_new_manager() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let offline =
        rep.edit(account, &[put("phone", "555 0100"), put("website", "https://a.example")]);
    let batch = admin.edit(account, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    let mut feed = world.connect(&mut rep);
    assert_eq!(codes(&mut world, &mut rep, offline.clone()), ["out_of_scope"]);
    let [id] = kept(&world)[..] else { panic!("{:?}", kept(&world)) };
    let said = values(&world, "kept_edit", id, "main");
    assert_eq!(said["record"], Value::Bytes(account.as_bytes().to_vec()));
    assert_eq!(said["author"], Value::Bytes(member(REP_WEST).as_bytes().to_vec()));
    assert_eq!(text(said.get("status")), "open");
    let tried: serde_json::Value = serde_json::from_str(text(said.get("tried"))).unwrap();
    assert_eq!(tried, serde_json::json!({"phone": "555 0100", "website": "https://a.example"}));
    // The device drops the record, and the manager of the east sees what was tried; its author does not.
    world.drain(&mut rep, &mut feed);
    assert!(!rep.documents.keys().any(|document| [account, id].contains(&document.record)));
    let manager = device(&mut world, MANAGER_EAST);
    assert!(manager.documents.keys().any(|document| document.record == id));
    let east = device(&mut world, REP_EAST);
    assert!(!east.documents.keys().any(|document| document.record == id));
    // The same batch again keeps nothing more.
    assert_eq!(codes(&mut world, &mut rep, offline), ["out_of_scope"]);
    assert_eq!(kept(&world), [id]);
}

#[test]
fn it_is_kept_by_its_name_too_and_when_the_member_lost_the_territory() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let offline = rep.edit(account, &[put("phone", "555 0100")]);
    let offline = in_full(&rep, offline);
    world.set(member(REP_WEST), "rep", &["east"]);
    world.connect(&mut rep);
    assert_eq!(codes(&mut world, &mut rep, offline), ["out_of_scope"]);
    assert_eq!(kept(&world).len(), 1);
}

#[test]
fn what_a_manager_tried_on_finance_is_kept_in_that_section_alone() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "east");
    let mut manager = device(&mut world, MANAGER_EAST);
    let offline = manager.edit_section(account, "finance", &[put("credit_limit", "7.00 USD")]);
    let batch = admin.edit(account, &[put("territory", "west")]);
    world.accept(&mut admin, batch);
    assert_eq!(codes(&mut world, &mut manager, offline), ["out_of_scope"]);
    let [id] = kept(&world)[..] else { panic!() };
    let main = format!("{:?}", values(&world, "kept_edit", id, "main"));
    assert!(!main.contains("7.00"), "{main}");
    let finance = values(&world, "kept_edit", id, "finance");
    assert_eq!(text(finance.get("tried_finance")), r#"{"credit_limit":"7.00 USD"}"#);
}

#[test]
fn a_strangers_probing_leaves_nothing() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut stranger = device(&mut world, REP_EAST);
    // A device that was handed the administrator's copy of the record, and names it in full.
    stranger.documents.clone_from(&admin.documents);
    let batch = stranger.edit(account, &[put("phone", "555 0100")]);
    let batch = in_full(&stranger, batch);
    let head = world.head();
    assert_eq!(codes(&mut world, &mut stranger, batch), ["out_of_scope"]);
    let (_, missing) =
        stranger.create("contact", &[put("last_name", "x"), reference("account", account)]);
    drop(missing);
    assert_eq!((world.head(), kept(&world)), (head, Vec::new()));
}

#[test]
fn an_edit_that_is_forbidden_on_a_record_in_sight_is_its_authors_alone() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let batch = rep.edit(account, &[put("territory", "east")]);
    assert_eq!(codes(&mut world, &mut rep, batch), ["forbidden"]);
    assert!(kept(&world).is_empty());
}

#[test]
fn no_member_has_more_kept_than_an_hours_worth() {
    let mut world = office();
    let mut admin = device(&mut world, ADMIN);
    let account = account(&mut world, &mut admin, "west");
    let mut rep = device(&mut world, REP_WEST);
    let offline = rep.edit(account, &[put("phone", "555 0100")]);
    let batch = admin.edit(account, &[put("territory", "east")]);
    world.accept(&mut admin, batch);
    for n in 0..=u16::MAX {
        let mut again = offline.clone();
        again.id.0[..2].copy_from_slice(&n.to_be_bytes());
        assert_eq!(codes(&mut world, &mut rep, again), ["out_of_scope"]);
        if usize::from(n) > kept(&world).len() {
            assert_eq!(kept(&world).len(), 200);
            return;
        }
    }
    panic!("there is no bound");
}
