//! `sync-server explain` and `simulate`: what the policy says, and what another one would.

use std::path::Path;

use crdt_core::id::{MemberId, RecordId};
use sync_server::admin::{AdminReply, AdminRequest, ExplanationLines, SimulationLines};
use sync_server::config::ServerConfig;

use super::table::{Table, or_dash};
use super::{Failure, Output, Target, ask, read_file, say, say_json, unexpected};

pub(super) fn explain(
    config: &ServerConfig,
    target: &Target,
    member: MemberId,
    record: RecordId,
    output: Output,
) -> Result<(), Failure> {
    match ask(config, target, AdminRequest::Explain { member, record })? {
        AdminReply::Explanation(lines) if output.json => say_json(&lines),
        AdminReply::Explanation(lines) => say(&explanation(&lines)),
        other => Err(unexpected(&other)),
    }
}

fn explanation(lines: &ExplanationLines) -> String {
    let mut table = Table::new(&["action", "section", "fields", "verdict", "because"]);
    for line in &lines.lines {
        table.row([
            line.action.clone(),
            line.section.clone(),
            or_dash(Some(line.fields.join(" "))),
            if line.allowed { "allowed" } else { "denied" }.to_owned(),
            line.because.clone(),
        ]);
    }
    let role = lines.role.as_deref().unwrap_or("none");
    let (scopes, shown_by) = (lines.scopes.join(", "), or_dash(Some(lines.shown_by.join(", "))));
    format!(
        "role:     {role}\nentity:   {}\nscopes:   {scopes}\nshown by: {shown_by}\n\n{}",
        lines.entity,
        table.text()
    )
}

pub(super) fn simulate(
    config: &ServerConfig,
    target: &Target,
    file: &Path,
    output: Output,
) -> Result<(), Failure> {
    let (text, file) = read_file(file)?;
    match ask(config, target, AdminRequest::Simulate { text, file })? {
        AdminReply::Simulation(lines) if output.json => say_json(&lines),
        AdminReply::Simulation(lines) => say(&simulation(&lines)),
        other => Err(unexpected(&other)),
    }
}

fn simulation(lines: &SimulationLines) -> String {
    let headings = ["member", "name", "records gained", "lost", "bytes gained", "lost"];
    let mut table = Table::new(&headings);
    for line in &lines.members {
        table.row([
            line.member.to_string(),
            line.name.clone(),
            line.records_gained.to_string(),
            line.records_lost.to_string(),
            line.bytes_gained.to_string(),
            line.bytes_lost.to_string(),
        ]);
    }
    format!("policy version {} to {}\n\n{}", lines.from, lines.to, table.text())
}
