//! Entries as lines for other programs: one JSON object an entry, or CSV with a line for each record.

use serde_json::{Value, json};

use super::{Act, Entry, Head, Hex, Judged, RecordLine, Verdict, What};

/// The first line of a CSV export.
pub const CSV_HEADER: &str = "n,received_at,member,replica,device,role,policy_version,what,edited_at,batch,\
     position,record,entity,fields,rules,reasons,more_records,more_reasons,hash";

/// An entry as one line of JSON, without a line break.
#[must_use]
pub fn json_line(head: &Head, entry: &Entry) -> String {
    let who = &entry.who;
    let mut line = json!({
        "n": head.number,
        "received_at": entry.received_at.to_string(),
        "member": who.member.map(|id| id.to_string()),
        "replica": who.replica.map(|id| id.to_string()),
        "device": who.device.map(|id| id.to_string()),
        "role": who.role,
        "policy_version": entry.policy_version,
        "what": word(&entry.what),
        "hash": Hex(&head.hash).to_string(),
    });
    let more = match &entry.what {
        What::Batch(judged) => batch(judged),
        What::Relayed(by, judged) => {
            let mut value = batch(judged);
            value["relayed_by"] = json!({
                "member": by.member.to_string(),
                "replica": by.replica.to_string(),
                "device": by.device.map(|id| id.to_string()),
            });
            value
        }
        What::Act(act) => subject(act),
    };
    if let (Value::Object(line), Value::Object(more)) = (&mut line, more) {
        line.extend(more);
    }
    line.to_string()
}

/// An entry as lines of CSV, each with its line break: one for each record, or one when it has none.
#[must_use]
pub fn csv_lines(head: &Head, entry: &Entry) -> String {
    let lines = match &entry.what {
        What::Act(act) => vec![tail_of_act(act)],
        What::Batch(judged) | What::Relayed(_, judged) if judged.records.is_empty() => {
            vec![tail_of_record(judged, None)]
        }
        What::Batch(judged) | What::Relayed(_, judged) => {
            judged.records.iter().map(|record| tail_of_record(judged, Some(record))).collect()
        }
    };
    let who = &entry.who;
    let mut text = String::new();
    for tail in lines {
        let mut cells = vec![
            head.number.to_string(),
            entry.received_at.to_string(),
            shown(who.member.as_ref()),
            shown(who.replica.as_ref()),
            shown(who.device.as_ref()),
            who.role.clone().unwrap_or_default(),
            entry.policy_version.to_string(),
            word(&entry.what).to_owned(),
        ];
        if let What::Relayed(by, _) = &entry.what {
            // The columns are for ever: who gave it back stands beside what was done.
            cells[7] = format!("{} by {} {}", cells[7], by.member, by.replica);
        }
        cells.extend(tail);
        cells.push(Hex(&head.hash).to_string());
        let cells: Vec<String> = cells.iter().map(|cell| quoted(cell)).collect();
        text.push_str(&cells.join(","));
        text.push('\n');
    }
    text
}

const fn word(what: &What) -> &'static str {
    match what {
        What::Act(act) => act.word(),
        What::Batch(judged) => match judged.verdict {
            Verdict::Accepted { .. } => "accepted",
            Verdict::Already { .. } => "already",
            Verdict::Refused { .. } => "refused",
        },
        What::Relayed(_, judged) => match judged.verdict {
            Verdict::Accepted { .. } => "relayed",
            Verdict::Already { .. } => "relayed_already",
            Verdict::Refused { .. } => "relay_refused",
        },
    }
}

const fn position(verdict: &Verdict) -> Option<u64> {
    match verdict {
        Verdict::Accepted { position } | Verdict::Already { position } => Some(*position),
        Verdict::Refused { .. } => None,
    }
}

fn batch(judged: &Judged) -> Value {
    let records = judged.records.iter().map(|line| {
        let fields = line.fields.iter();
        let fields: serde_json::Map<String, Value> =
            fields.map(|(section, names)| (section.to_string(), json!(names))).collect();
        json!({
            "record": line.record.map(|id| id.to_string()),
            "entity": line.entity,
            "fields": fields,
            "rules": line.rules,
        })
    });
    let mut value = json!({
        "batch": judged.batch.to_string(),
        "edited_at": judged.edited_at.map(|time| time.to_string()),
        "position": position(&judged.verdict),
        "records": records.collect::<Vec<_>>(),
        "more_records": judged.more_records,
    });
    if let Verdict::Refused { reasons, more } = &judged.verdict {
        let reasons = reasons.iter().map(|reason| {
            json!({
                "code": reason.code,
                "record": reason.record.map(|id| id.to_string()),
                "section": reason.section.as_ref().map(ToString::to_string),
                "field": reason.field,
                "rule": reason.rule,
            })
        });
        value["reasons"] = reasons.collect();
        value["more_reasons"] = json!(more);
    }
    value
}

fn subject(act: &Act) -> Value {
    match act {
        Act::MemberAdded { member, fields } | Act::MemberSet { member, fields } => {
            json!({ "subject": member.to_string(), "fields": fields })
        }
        Act::MemberDisabled { member }
        | Act::MemberEnabled { member }
        | Act::PasswordSet { member }
        | Act::TokensRevoked { member } => json!({ "subject": member.to_string() }),
        Act::PolicyPut { version, digest } | Act::SchemaPut { version, digest } => {
            json!({ "version": version, "digest": Hex(digest).to_string() })
        }
        Act::DeviceRevoked { device } => json!({ "subject": device.to_string() }),
        Act::Restored { position } => json!({ "position": position }),
        Act::RecordErased { record } => json!({ "subject": record.to_string() }),
    }
}

/// The cells from `edited_at` to `more_reasons`.
fn tail_of_record(judged: &Judged, line: Option<&RecordLine>) -> [String; 10] {
    let fields = line.map(|line| {
        let named = line.fields.iter().flat_map(|(section, names)| {
            names.iter().map(move |name| match section.is_main() {
                true => name.clone(),
                false => format!("{section}:{name}"),
            })
        });
        named.collect::<Vec<_>>().join(" ")
    });
    let (reasons, more) = match &judged.verdict {
        Verdict::Refused { reasons, more } => {
            let codes = reasons.iter().map(|reason| match &reason.field {
                Some(field) => format!("{}:{field}", reason.code),
                None => reason.code.clone(),
            });
            (codes.collect::<Vec<_>>().join(" "), more.to_string())
        }
        Verdict::Accepted { .. } | Verdict::Already { .. } => Default::default(),
    };
    [
        shown(judged.edited_at.as_ref()),
        judged.batch.to_string(),
        shown(position(&judged.verdict).as_ref()),
        shown(line.and_then(|line| line.record.as_ref())),
        line.and_then(|line| line.entity.clone()).unwrap_or_default(),
        fields.unwrap_or_default(),
        line.map(|line| line.rules.join("; ")).unwrap_or_default(),
        reasons,
        judged.more_records.to_string(),
        more,
    ]
}

/// The same cells of an act: its subject stands where a record would.
fn tail_of_act(act: &Act) -> [String; 10] {
    let (subject, fields) = match act {
        Act::MemberAdded { member, fields } | Act::MemberSet { member, fields } => {
            (member.to_string(), fields.join(" "))
        }
        Act::MemberDisabled { member }
        | Act::MemberEnabled { member }
        | Act::PasswordSet { member }
        | Act::TokensRevoked { member } => (member.to_string(), String::new()),
        Act::PolicyPut { version, .. } | Act::SchemaPut { version, .. } => {
            (format!("version {version}"), String::new())
        }
        Act::DeviceRevoked { device } => (device.to_string(), String::new()),
        Act::Restored { position } => (format!("position {position}"), String::new()),
        Act::RecordErased { record } => (record.to_string(), String::new()),
    };
    let mut cells: [String; 10] = Default::default();
    cells[3] = subject;
    cells[5] = fields;
    cells
}

fn shown(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

/// A cell as CSV spells it.
fn quoted(cell: &str) -> String {
    if cell.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", cell.replace('"', "\"\""))
    } else {
        cell.to_owned()
    }
}
