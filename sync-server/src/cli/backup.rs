//! `sync-server backup`, `restore` and `recovery`: copies of a workspace, and going on from one.

use std::path::{Path, PathBuf};

use serde_json::json;
use sync_server::admin::backup::{self, BackedUp, PutBack};
use sync_server::admin::recovery::{RecoveryLines, RestoredLine};
use sync_server::admin::{AdminReply, AdminRequest};
use sync_server::config::ServerConfig;

use super::table::{Table, or_dash};
use super::{Failure, Output, Target, ask, say, say_json, unexpected, warn};

/// Copies a workspace to a new file.
pub(super) fn back_up(
    config: &ServerConfig,
    target: &Target,
    file: &Path,
    output: Output,
) -> Result<(), Failure> {
    let BackedUp { contents, bytes, is_noted } = backup::back_up(config, &target.workspace, file)?;
    if !is_noted {
        warn("the workspace was restored meanwhile; this is a backup of the log before");
    }
    if output.json {
        return say_json(&json!({
            "position": contents.log.head,
            "documents": contents.documents,
            "bytes": bytes,
            "epoch": contents.log.epoch.to_string(),
            "audit": contents.audit.to_string(),
        }));
    }
    say(&format!(
        "{}: sound, {} documents up to position {}, {bytes} bytes; audit head {}",
        file.display(),
        contents.documents,
        contents.log.head,
        contents.audit,
    ))
}

/// Puts a workspace back to a backup.
pub(super) fn restore(
    config: &ServerConfig,
    target: &Target,
    file: &Path,
    output: Output,
) -> Result<(), Failure> {
    let PutBack { line, aside, unreadable } = backup::restore(config, &target.workspace, file)?;
    if let Some(why) = &unreadable {
        warn(&format!(
            "the file that was replaced cannot be read ({why}): what it held beyond the backup is not known"
        ));
    }
    if output.json {
        let aside = aside.as_ref().map(|path| path.display().to_string());
        return say_json(&json!({ "restored": line, "replaced": aside, "unreadable": unreadable }));
    }
    tell_restored(&target.workspace, &line, aside)
}

/// Says that the workspace's file was put back to an older state.
pub(super) fn confirm(
    config: &ServerConfig,
    target: &Target,
    common: u64,
    output: Output,
) -> Result<(), Failure> {
    match ask(config, target, AdminRequest::ConfirmRestore { common })? {
        AdminReply::Restored(line) if output.json => say_json(&json!({ "restored": line })),
        AdminReply::Restored(line) => tell_restored(&target.workspace, &line, None),
        other => Err(unexpected(&other)),
    }
}

fn tell_restored(
    workspace: &str,
    line: &RestoredLine,
    aside: Option<PathBuf>,
) -> Result<(), Failure> {
    let ended = match line.ended {
        Some(ended) => format!("the log before ended at {ended}, {} batches are lost", line.lost),
        None => "where the log before ended is not known".to_owned(),
    };
    say(&format!("{workspace} goes on from position {} in a new epoch; {ended}", line.position))?;
    if let Some(aside) = aside {
        say(&format!("the file that was replaced is kept as {}", aside.display()))?;
    }
    say(&format!("devices give back what they hold; see `sync-server recovery -w {workspace}`"))
}

/// Says how far a workspace has come back.
pub(super) fn recovery(
    config: &ServerConfig,
    target: &Target,
    close: bool,
    output: Output,
) -> Result<(), Failure> {
    let request = if close { AdminRequest::CloseRecovery } else { AdminRequest::Recovery };
    let lines = match ask(config, target, request)? {
        AdminReply::Recovery(lines) if output.json => return say_json(&lines),
        AdminReply::Recovery(lines) => lines,
        other => return Err(unexpected(&other)),
    };
    if lines.halted {
        say(
            "NOBODY IS SERVED: the workspace was put back to an older state. Restore a backup with",
        )?;
        say("`sync-server restore FILE`, or go on from here with `sync-server restore --confirm`")?;
    }
    say(&format!("epoch {}, position {}", lines.epoch, lines.head))?;
    match &lines.backup {
        Some(backup) => say(&format!("backed up to {} at {}", backup.position, backup.at))?,
        None => say("no backup is known")?,
    }
    tell_progress(&lines)?;
    for ahead in &lines.ahead {
        say(&format!(
            "device {} of {} stands at {}, beyond the end of the log (since {})",
            ahead.device,
            plain(&ahead.member_name),
            ahead.position,
            ahead.at
        ))?;
    }
    Ok(())
}

/// A name is free text: a control character in it must not reach a terminal.
fn plain(name: &str) -> String {
    name.replace(char::is_control, " ")
}

fn tell_progress(lines: &RecoveryLines) -> Result<(), Failure> {
    let Some(restored) = &lines.restored else { return say("never restored") };
    let ended = restored.ended.map_or("an unknown end".to_owned(), |end| end.to_string());
    say(&format!(
        "restored to {} at {}; the log before went to {ended}",
        restored.position, restored.at
    ))?;
    let givers = lines.devices.iter().filter(|line| line.returned > 0).count();
    say(&format!(
        "{} of {} lost batches came back, from {givers} devices",
        lines.returned, lines.lost
    ))?;
    if restored.relayed > 0 || restored.parked > 0 {
        say(&format!(
            "{} changes came back from {} devices of others; {} wait for what they depend on",
            restored.relayed, restored.relayed_by, restored.parked
        ))?;
    }
    if !restored.open {
        say("devices give back only their own work now")?;
    }
    let mut table =
        Table::new(&["device", "name", "member", "last seen", "since then", "back", "missing"]);
    for line in &lines.devices {
        table.row([
            or_dash(line.device.clone()),
            or_dash(Some(line.name.clone()).filter(|name| !name.is_empty())),
            line.member_name.clone(),
            or_dash(line.last_seen.map(|at| at.to_string())),
            if line.seen_since { "yes" } else { "not yet" }.to_owned(),
            line.returned.to_string(),
            line.missing.to_string(),
        ]);
    }
    say(&table.text())?;
    for missing in &lines.missing {
        say(&format!(
            "missing: position {} of the log before, batch {} of {}",
            missing.position,
            missing.batch,
            plain(&missing.member_name)
        ))?;
    }
    match lines.more_missing {
        0 => Ok(()),
        more => say(&format!("missing: {more} more")),
    }
}
