//! The end of the story: everything compared with what the models expect, and told.

use std::collections::BTreeMap;

use anyhow::Result;
use client_sdk::{Client, Paging};
use crdt_core::record::Value;
use crdt_core::record::document::{self, Purpose};
use crdt_core::schema::Schema;

use super::cast::{Cast, Person};
use super::digest::{self, Records};
use super::oracle::Oracle;
use super::outcome::{Outcome, ReportJson};
use super::plan::{Act, Deed};
use super::proof::{self, Access, Counts, Finance, HandedOver, RefusedByServer, RefusedOnDevice};
use super::scenes::Attempt;
use super::sight::Sight;
use super::world::Device;
use super::{Options, Story, telling, verdict};
use crate::import::{Import, Kind, Report};

/// How many records the imports wrote.
pub(super) struct Imported {
    /// The first one.
    pub(super) first: usize,
    /// The second one, when there was one.
    pub(super) again: Option<usize>,
}

impl Story {
    /// What came of everything.
    pub(super) fn judge(
        mut self,
        options: &Options,
        input: &Import,
        devices: &[Device],
        deeds: &[Deed],
        attempt: &Attempt,
        imported: &Imported,
    ) -> Result<Outcome> {
        let oracle = Oracle::new(deeds);
        let schema = Schema::builtin();
        let office = &devices[Cast::OFFICE];
        for kept in proof::kept_edits(&office.client)? {
            self.sight.add("kept_edit", kept.id, &[("record", kept.record.into())]);
        }
        let mut surprises = Vec::new();
        let (mut conflicts, mut open_conflicts) = (0, 0);
        for device in devices {
            let verdict = verdict::check(device, &oracle, &self.sight)?;
            (conflicts, open_conflicts) = (verdict.conflicts, verdict.open);
            surprises.extend(verdict.surprises);
        }
        let (held, digests) = self.compare(devices, &mut surprises)?;
        self.step("compare");
        let access = self.prove(devices, attempt, &mut surprises)?;
        let mut different = digests.values();
        let first = different.next();
        let same = different.all(|digest| Some(digest) == first);
        let outcome = Outcome {
            seed: options.seed,
            records: counts(&office.client, schema)?,
            report: ReportJson::from(&input.report),
            imported_records: imported.first,
            imported_again: imported.again,
            edits: deeds.len(),
            conflicts,
            open_conflicts,
            converged: same && surprises.is_empty(),
            surprises,
            digests,
            held,
            access,
            document_loads_for_text: document::loads(Purpose::Text),
            document_loads_outside_text: document::loads_outside_text(),
            steps: std::mem::take(&mut self.steps),
        };
        self.tell_outcome(&oracle, &outcome);
        Ok(outcome)
    }

    /// Each device against the model of who sees what and against the office's, which holds everything: how
    /// many records each holds, and digests of what the team has in common.
    fn compare(
        &self,
        devices: &[Device],
        surprises: &mut Vec<String>,
    ) -> Result<(BTreeMap<String, usize>, BTreeMap<String, String>)> {
        let schema = Schema::builtin();
        let expected = devices.iter().map(|device| self.sight.held_by(&device.person));
        let expected: Vec<Records> = expected.collect();
        let mut common = expected[0].clone();
        for records in &expected[Cast::TEAM] {
            common.retain(|id| records.contains(id));
        }
        let sectioned = Records::from([self.scenes.deal]);
        let (mut held, mut digests) = (BTreeMap::new(), BTreeMap::new());
        let everything: Vec<&Records> = expected.iter().chain([&common]).collect();
        let office =
            digest::digests(&devices[Cast::OFFICE].client, schema, &everything, &sectioned)?;
        for (place, device) in devices.iter().enumerate() {
            let name = &device.person.name;
            let shown = digest::shown(&device.client, schema)?;
            if shown != expected[place] {
                let missing = expected[place].difference(&shown).count();
                let extra = shown.difference(&expected[place]).count();
                surprises.push(format!(
                    "{name}: of the records {missing} are missing and {extra} are too many"
                ));
            }
            held.insert(name.clone(), shown.len());
            let sets = [&expected[place], &common];
            let found = digest::digests(&device.client, schema, &sets, &sectioned)?;
            if found[0] != office[place] {
                surprises.push(format!("{name}: the records do not show what the office shows"));
            }
            if Cast::TEAM.contains(&place) || place == Cast::OFFICE {
                digests.insert(name.clone(), found[1].clone());
            }
        }
        Ok((held, digests))
    }

    /// What came of the scenes about access. The server is stopped for its audit.
    fn prove(
        &mut self,
        devices: &[Device],
        attempt: &Attempt,
        surprises: &mut Vec<String>,
    ) -> Result<Access> {
        let mut accounting = BTreeMap::new();
        for device in devices {
            let (counts, holds) = Counts::of(&device.client)?;
            if !holds {
                surprises.push(format!("{}: the edits do not add up", device.person.name));
            }
            accounting.insert(device.person.name.clone(), counts);
        }
        let access = Access {
            refused_on_device: RefusedOnDevice::of(attempt),
            refused_by_server: RefusedByServer::look(&self.scenes, devices)?,
            handed_over: HandedOver::look(&self.scenes, devices)?,
            finance: Finance::look(&self.scenes, devices)?,
            accounting,
            audit: self.world.audit()?,
        };
        surprises.extend(access.surprises());
        Ok(access)
    }

    pub(super) fn tell_report(&self, report: &Report) {
        let total = report.total();
        self.teller.chapter("The pipeline");
        self.teller.line(&format!(
            "  {} rows read: {} imported, {} repaired, {} with a gap, {} refused",
            total.rows, total.imported, total.repaired, total.with_gap, total.refused
        ));
        for (file, kind, column, count) in report.tallies() {
            let word = match kind {
                Kind::Repair => "repaired",
                Kind::Gap => "missing",
                Kind::Refusal => "refused",
            };
            self.teller.line(&format!("    {file}: {count} × `{column}` {word}"));
        }
        for note in report.notes.iter().filter(|note| note.kind == Kind::Refusal) {
            self.teller.line(&format!("    {note}"));
        }
    }

    pub(super) fn tell_offline(&self, attempt: &Attempt) {
        let name = first_name(&self.cast.people[0]);
        match &attempt.refused {
            Some(reason) => {
                self.teller
                    .line(&format!("  {name} tries to raise a commission. The device refuses:"));
                self.teller.line(&format!("    {reason}"));
                self.teller.line(
                    "  A patched app sends it anyway, and the next edit of the same deal after it.",
                );
            }
            None => {
                self.teller.line(&format!("  {name} raises a commission, and NOTHING stops it."))
            }
        }
        let rep = first_name(&self.cast.people[self.scenes.rep]);
        let to = self.cast.people[Cast::NEIGHBOUR].territory.as_deref().unwrap_or("?");
        self.teller.line(&format!(
            "  While {rep} is out and edits an account, the office hands it to the territory `{to}`."
        ));
    }

    fn tell_outcome(&self, oracle: &Oracle, outcome: &Outcome) {
        self.tell_conflicts(oracle);
        self.tell_access(&outcome.access);
        self.teller.chapter("What every step cost");
        let rows: Vec<Vec<String>> = outcome
            .steps
            .iter()
            .map(|step| {
                vec![
                    step.name.to_owned(),
                    format!("{} ms", step.milliseconds),
                    format!("{} B", step.bytes_up),
                    format!("{} B", step.bytes_down),
                ]
            })
            .collect();
        telling::table(&["step", "time", "up", "down"], &rows)
            .iter()
            .for_each(|line| self.teller.line(line));
        self.teller.chapter("What the devices show of the records that they share");
        for (name, digest) in &outcome.digests {
            self.teller.line(&format!("  {name:<24} {}", &digest[..16]));
        }
        for surprise in &outcome.surprises {
            self.teller.line(&format!("  NOT AS EXPECTED  {surprise}"));
        }
        let end: &[&str] = match outcome.converged {
            true => &[
                "  All devices show identical rows and open conflicts of what they share. Each holds what its",
                "  member may see, and nothing else. Every edit is accounted for.",
            ],
            false => &["  The devices do NOT show the same, or not what was expected."],
        };
        end.iter().for_each(|line| self.teller.line(line));
    }

    fn tell_conflicts(&self, oracle: &Oracle) {
        self.teller.chapter("Who disagreed, and what each field's rule decided");
        let mut rows = Vec::new();
        for ((id, field), expected) in oracle.fields.iter().filter(|(_, e)| e.is_conflict()) {
            if oracle.deleted.contains_key(id) {
                continue;
            }
            let tried = expected.tried.iter().map(|(who, value)| {
                format!(
                    "{}: {}",
                    first_name(&self.cast.people[*who]),
                    value.as_str().unwrap_or("?")
                )
            });
            rows.push(vec![
                format!("{} {field}", expected.entity),
                tried.collect::<Vec<_>>().join(", "),
                expected.rule.to_owned(),
                expected.value.as_str().unwrap_or("?").to_owned(),
            ]);
        }
        for _ in oracle.deleted.values().filter(|edited| **edited) {
            rows.push(vec![
                "opportunity".to_owned(),
                "deleted by one, edited by another".to_owned(),
                "delete".to_owned(),
                "deleted; offers to restore it with the edit".to_owned(),
            ]);
        }
        let head = ["field", "what they wrote", "rule", "shown"];
        telling::table(&head, &rows).iter().for_each(|line| self.teller.line(line));
        let alone = oracle.fields.values().filter(|expected| !expected.is_conflict()).count();
        self.teller.line(&format!(
            "  {alone} other fields merged by themselves, {} records are new",
            oracle.created.len()
        ));
    }

    fn tell_access(&self, access: &Access) {
        let line = |text: String| self.teller.line(&text);
        let name = |place: usize| first_name(&self.cast.people[place]);
        self.teller.chapter("Who may see and do what");
        let server = &access.refused_by_server;
        line(format!("  The server refused what the patched app sent; {} reads why:", name(0)));
        server.reasons.iter().for_each(|reason| line(format!("    {reason}")));
        line(format!(
            "    kept for {}: {}; the next edit of the deal shows on {} devices",
            name(0),
            server.tried.join(", "),
            server.later_edit_on
        ));
        let handed = &access.handed_over;
        line(format!(
            "  The account has left {}'s device; {} edits wait there as disputes, and {} of them wait for {},",
            name(self.scenes.rep),
            handed.disputes,
            handed.kept_edits,
            name(Cast::NEIGHBOUR),
        ));
        line("    the new manager, who has taken them over".to_owned());
        let finance = &access.finance;
        line(format!(
            "  The commission: {} sees it ({} times in the files of the device), the reps do not ({} times)",
            name(Cast::MANAGER),
            finance.found_in_managers_files,
            finance.found_in_reps_files
        ));
        if let Some(audit) = &access.audit {
            line(format!(
                "  The audit verifies: {} entries, {} batches accepted, {} refused",
                audit.entries, audit.accepted, audit.refused
            ));
        }
        let rows = access.accounting.iter().map(|(name, counts)| {
            let numbers = [counts.submitted, counts.accepted, counts.disputed, counts.pending];
            std::iter::once(name.clone()).chain(numbers.map(|n| n.to_string())).collect()
        });
        let head = ["edits of", "submitted", "= accepted", "+ disputed", "+ pending"];
        telling::table(&head, &rows.collect::<Vec<_>>())
            .iter()
            .for_each(|line| self.teller.line(line));
    }
}

/// A line of the table of who holds what.
pub(super) fn holdings(device: &Device, sight: &Sight) -> Result<Vec<String>> {
    let person = &device.person;
    let shown = digest::shown(&device.client, Schema::builtin())?.len();
    let all = sight.records();
    Ok(vec![
        person.name.clone(),
        person.role.as_str().to_owned(),
        person.territory.clone().unwrap_or_else(|| "all".to_owned()),
        format!("{shown} of {all} records"),
    ])
}

/// A line of the table of what was done offline.
pub(super) fn offline_work(who: usize, device: &Device, deeds: &[Deed]) -> Result<Vec<String>> {
    let own: Vec<&Deed> = deeds.iter().filter(|deed| deed.who == who).collect();
    let records: std::collections::BTreeSet<_> = own.iter().map(|deed| deed.record).collect();
    let created = own.iter().filter(|deed| matches!(deed.act, Act::Create(_))).count();
    let unsent = device.client.unsent()?;
    Ok(vec![
        device.person.name.clone(),
        device.person.role.as_str().to_owned(),
        own.len().to_string(),
        records.len().to_string(),
        created.to_string(),
        format!("{} batches, {} B", unsent.batches, unsent.bytes),
    ])
}

fn first_name(person: &Person) -> &str {
    person.name.split(' ').next().unwrap_or(&person.name)
}

fn counts(client: &Client, schema: &Schema) -> Result<BTreeMap<String, u64>> {
    let mut counts = BTreeMap::new();
    for entity in schema.entities() {
        let sql = format!("SELECT count(*) FROM \"{}\"", entity.name);
        let rows = client.query(&sql, &[], Paging::first(1))?;
        let count =
            rows.rows.first().and_then(|row| row.first()).and_then(Value::as_int).unwrap_or(0);
        if count > 0 {
            counts.insert(entity.name.clone(), u64::try_from(count).unwrap_or(0));
        }
    }
    Ok(counts)
}

/// Changes one cell behind the client's back.
pub(super) fn flip(device: &Device) -> Result<()> {
    let connection = rusqlite::Connection::open(&device.path)?;
    let changed = connection.execute(
        "UPDATE account SET employees = coalesce(employees, 0) + 1 WHERE _row = (SELECT min(_row) FROM account)",
        [],
    )?;
    anyhow::ensure!(changed == 1, "there is no account to change");
    Ok(())
}
