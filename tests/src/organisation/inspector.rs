//! The inspector: reads every page on its way to a device, and compares what it carries with what the model says
//! its member may have at that moment.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crdt_core::id::{MemberId, RecordId};
use crdt_core::protocol::{Entry, Page};

use super::governing::Organisation;
use crate::harness::server::SimServer;
use crate::harness::survey;
use crate::harness::world::World;

/// What everybody may have, as of a position of the log and a number of changes of access.
#[derive(Default)]
struct Known {
    as_of: Option<(u64, String)>,
    visible: BTreeMap<MemberId, BTreeSet<(RecordId, String)>>,
}

/// Lets every page be inspected from now on.
pub(super) fn watch(world: &mut World, organisation: Rc<RefCell<Organisation>>) {
    let mut known = Known::default();
    world.inspect_pages(move |server, member, page| {
        // While scopes are being found again a record may still stand where it stood.
        if server.is_rescoping() {
            return;
        }
        let mut organisation = organisation.borrow_mut();
        known.refresh(server, &organisation, member);
        let visible = &known.visible[&member];
        let sent = documents(server, page);
        organisation.inspected += sent.len() as u64;
        let stray = sent.iter().find(|place| !visible.contains(place));
        assert_eq!(stray, None, "a page for {member} has what the member may not have");
    });
}

impl Known {
    fn refresh(&mut self, server: &SimServer, organisation: &Organisation, member: MemberId) {
        let head = server.read(|tx| Ok(tx.log()?.head));
        let access = format!("{} {:?}", organisation.policy.version, organisation.members);
        let now = (head, access);
        if self.as_of.as_ref() != Some(&now) {
            self.visible.clear();
            self.as_of = Some(now);
        }
        self.visible.entry(member).or_insert_with(|| {
            let (policy, members) = (&organisation.policy, &organisation.members);
            survey::model_of(server, policy, members).0.visible(member)
        });
    }
}

/// The documents of which a page carries something.
fn documents(server: &SimServer, page: &Page) -> Vec<(RecordId, String)> {
    let numbers = page.entries.iter().filter_map(|entry| match entry {
        Entry::Changes { number, .. } | Entry::Document { number, .. } => Some(*number),
        _ => None,
    });
    let of = |number| {
        let row = server.read(|tx| tx.document(number)).expect("the server has what it sends");
        (row.id.record, row.id.section.to_string())
    };
    numbers.map(of).collect()
}
