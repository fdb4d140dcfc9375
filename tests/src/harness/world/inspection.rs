//! Inspection: whoever wants to sees every page as the server sends it, with the server as it is at that moment.

use std::collections::BTreeMap;

use crdt_core::id::MemberId;
use crdt_core::protocol::{Message, Page, Staged, decode_frame};

use super::super::network::Wire;
use super::super::server::SimServer;
use super::World;

/// Looks at a page for a member.
type Look = Box<dyn FnMut(&SimServer, MemberId, &Page)>;

/// Who looks, and the pages of which some parts have been sent.
pub(super) struct Inspector {
    look: Look,
    staged: BTreeMap<Wire, Staged>,
}

impl World {
    /// Shows every page that the server sends from now on.
    pub fn inspect_pages(&mut self, look: impl FnMut(&SimServer, MemberId, &Page) + 'static) {
        self.inspector = Some(Inspector { look: Box::new(look), staged: BTreeMap::new() });
    }

    pub(super) fn inspect(&mut self, wire: Wire, frame: &[u8]) {
        let Some(inspector) = &mut self.inspector else { return };
        let Some(connection) = self.connections.get(&wire) else { return };
        let Ok(Message::Page(part)) = decode_frame(frame) else { return };
        let staged = inspector.staged.entry(wire).or_default();
        let taken = staged.take(part).expect("the server's pages can be read");
        if let Some((_, page)) = taken {
            let member = self.devices[connection.device].member();
            (inspector.look)(&self.server, member, &page);
        }
    }
}
