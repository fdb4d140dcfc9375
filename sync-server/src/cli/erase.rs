//! `sync-server erase` and `sync-server erasure`: removing a record for good, and saying where it is gone.

use std::fmt::Write as _;

use crdt_core::id::RecordId;
use sync_server::admin::{
    AdminReply, AdminRequest, CertificateLines, ErasedLine, ErasedOnLine, HoldingsLines,
};
use sync_server::config::ServerConfig;

use super::device::device_table;
use super::{Failure, Output, Target, ask, say, say_json, unexpected};

/// Erases a record, once whoever asks has said that it is meant.
pub(super) fn erase(
    config: &ServerConfig,
    target: &Target,
    record: RecordId,
    yes: bool,
    output: Output,
) -> Result<(), Failure> {
    let request = match yes {
        true => AdminRequest::Erase { record },
        false => AdminRequest::PreviewErasure { record },
    };
    match ask(config, target, request)? {
        AdminReply::Erasure(lines) => shown(&lines, output),
        AdminReply::Holdings(lines) => Err(Failure::Input(not_yet(&lines))),
        other => Err(unexpected(&other)),
    }
}

/// Shows the certificate of an erasure.
pub(super) fn certificate(
    config: &ServerConfig,
    target: &Target,
    record: RecordId,
    output: Output,
) -> Result<(), Failure> {
    match ask(config, target, AdminRequest::ShowErasure { record })? {
        AdminReply::Erasure(lines) => shown(&lines, output),
        other => Err(unexpected(&other)),
    }
}

fn shown(lines: &CertificateLines, output: Output) -> Result<(), Failure> {
    match output.json {
        true => say_json(lines),
        false => say(&text(lines)),
    }
}

fn not_yet(lines: &HoldingsLines) -> String {
    let HoldingsLines { record, entity, sections, kept_edits, followers } = lines;
    let mut text = format!("this would erase the {entity} {record} for good:\n");
    for section in sections {
        let (name, changes, bytes) = (&section.section, section.changes, section.bytes);
        line(&mut text, format!("  section {name}: {changes} changes, {bytes} bytes"));
    }
    if *kept_edits > 0 {
        line(&mut text, format!("  kept edits of it: {kept_edits}"));
    }
    line(&mut text, format!("  records that hang on it stay and go on naming its id: {followers}"));
    text.push_str("nothing brings it back, no backup either. Repeat the command with --yes");
    text
}

fn text(lines: &CertificateLines) -> String {
    let mut text = String::new();
    line(&mut text, erased(&lines.erased));
    for with in &lines.with {
        line(&mut text, format!("with it: {}", erased(with)));
    }
    let ledger = match lines.on_ledger {
        true => "it stands on the ledger: no restore brings it back",
        false => "it does not stand on the ledger",
    };
    line(&mut text, ledger);
    let traces = match lines.erased.scrubbed_at {
        Some(at) => format!("the server's files hold no trace of it since {at}"),
        None => "traces in the server's files are removed as soon as nobody reads".to_owned(),
    };
    line(&mut text, traces);
    let confirmed = lines.devices.iter().filter(|line| line.confirmed_at.is_some()).count();
    let devices = lines.devices.len();
    line(&mut text, format!("{confirmed} of {devices} replicas have confirmed"));
    text.push_str(&table(&lines.devices));
    text
}

fn erased(line: &ErasedLine) -> String {
    let entity = line.entity.as_deref().unwrap_or("record (nothing of it was here)");
    let by = match (&line.by_name, &line.by) {
        (Some(name), _) => name.clone(),
        (None, Some(id)) => id.to_string(),
        (None, None) => "the operator".to_owned(),
    };
    format!(
        "{entity} {} was erased at position {} on {} by {by}: {} documents, {} changes, {} bytes, \
         {} receipts",
        line.record,
        line.position,
        line.at,
        line.documents,
        line.changes,
        line.bytes,
        line.receipts
    )
}

fn table(devices: &[ErasedOnLine]) -> String {
    let confirmed = |line: &ErasedOnLine| match (&line.confirmed_at, line.on.revoked) {
        (Some(at), _) => at.to_string(),
        (None, true) => "no; shut out, it wipes all".to_owned(),
        (None, false) => "not yet".to_owned(),
    };
    device_table("confirmed", devices.iter().map(|line| (&line.on, confirmed(line))))
}

fn line(text: &mut String, line: impl AsRef<str>) {
    writeln!(text, "{}", line.as_ref()).unwrap_or_default();
}
