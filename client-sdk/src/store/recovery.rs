//! After the server was restored from a backup: what the device knows of the log goes back to where the logs
//! part, and what was accepted beyond is sent again.

use crdt_core::planted::{Bug, planted};
use crdt_core::protocol::{Parting, Welcome};

use super::{Session, outbox, relay, scope};
use crate::error::StoreError;

/// Takes the welcome's log for the present one. Gives how many batches are sent again; nothing when it is the
/// one that is known.
pub(crate) fn adopt_epoch(
    session: &mut Session<'_>,
    welcome: &Welcome,
) -> Result<Option<usize>, StoreError> {
    let known = session.state.meta.epoch.replace(welcome.epoch);
    let Some(known) = known.filter(|known| *known != welcome.epoch) else { return Ok(None) };
    // Of a log that the server does not know nothing is taken for the present one's.
    let parting = Parting::from(&welcome.lineage, &known).unwrap_or(Parting::NOTHING);
    if !planted(Bug::CursorsKept) {
        scope::cut_back(&session.tx, &parting, session.state.meta.left)?;
    }
    if session.state.meta.left > parting.last {
        session.state.meta.left = 0;
    }
    if !planted(Bug::NumbersKept) {
        forget_numbers(session, &parting)?;
    }
    relay::begin(session, parting.last)?;
    if planted(Bug::ResendForgotten) {
        return Ok(Some(0));
    }
    Ok(Some(outbox::send_again(session, parting.last)?))
}

/// Numbers of documents that only the lost part of the log knew: the server may give them to others.
fn forget_numbers(session: &Session<'_>, parting: &Parting) -> Result<(), StoreError> {
    let documents = parting.documents.cast_signed();
    let sql = "UPDATE document SET number = NULL WHERE number > ?1";
    session.tx.prepare_cached(sql)?.execute([documents])?;
    let sql = "DELETE FROM _broken WHERE number > ?1";
    session.tx.prepare_cached(sql)?.execute([documents])?;
    Ok(())
}
