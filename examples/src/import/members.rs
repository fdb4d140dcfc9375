//! The sales teams: a member for every agent, and one for every manager that the agents name.

use std::collections::{BTreeMap, BTreeSet};

use crdt_core::id::RecordId;

use super::ImportRecord;
use super::cell::Keys;
use super::order::{Child, parents_first};
use super::repair::Names;
use super::report::{Judged, Refusal, Remark, Report};
use super::table::{Header, Row};

pub(super) const FILE: &str = "sales_teams.csv";
pub(super) const HEADER: Header = &["sales_agent", "manager", "regional_office"];

/// The people of the export.
pub(super) struct Team {
    /// Managers before those whom they manage.
    pub(super) records: Vec<ImportRecord>,
    /// Who can own an opportunity.
    pub(super) agents: Names,
    /// Where each agent works.
    pub(super) territories: BTreeMap<String, String>,
}

struct Agent {
    name: String,
    manager: Option<String>,
    manager_is_agent: bool,
    territory: Option<String>,
    record: ImportRecord,
}

impl Child for Agent {
    const COLUMN: &'static str = "manager";

    fn name(&self) -> &str {
        &self.name
    }

    fn parent(&self) -> Option<&str> {
        self.manager.as_deref().filter(|_| self.manager_is_agent)
    }
}

pub(super) fn read(rows: &[Row], report: &mut Report) -> Team {
    let mut keys = Keys::default();
    let judged: Vec<Judged<Agent>> =
        rows.iter().map(|row| row.judge(|row, remarks| agent(row, &mut keys, remarks))).collect();
    let is_agent = |name: &String| keys.contains(name);
    let judged = judged.into_iter().map(|row| {
        row.and_then(|agent, _| {
            let manager_is_agent = agent.manager.as_ref().is_some_and(is_agent);
            Ok(Agent { manager_is_agent, ..agent })
        })
    });
    let agents = report.close_file(FILE, parents_first(judged.collect()));

    let mut records = managers(&agents);
    report.managers = records.len() as u64;
    let names = Names::of(agents.iter().map(Child::name));
    let mut territories = BTreeMap::new();
    for Agent { name, territory, record, .. } in agents {
        records.push(record);
        if let Some(territory) = territory {
            territories.insert(name, territory);
        }
    }
    Team { records, agents: names, territories }
}

fn agent(row: &Row, keys: &mut Keys, remarks: &mut Vec<Remark>) -> Result<Agent, Refusal> {
    let name = row.required("sales_agent")?;
    let manager = row.expected("manager", remarks);
    let territory = row.expected("regional_office", remarks).map(str::to_lowercase);
    if let Some(manager) = manager {
        manager_record(manager, None).checked()?;
    }
    let record = ImportRecord::new("member", name)
        .with("name", name)
        .with("role", "rep")
        .with("territory", territory.as_deref())
        .with("manager", manager.map(|name| RecordId::from_source_key("member", name)))
        .checked()?;
    keys.claim(row, "sales_agent")?;
    let manager = manager.map(str::to_owned);
    Ok(Agent { name: name.to_owned(), manager, manager_is_agent: false, territory, record })
}

/// A member for each manager who is not an agent too. They work in the territory that their agents share, and
/// it is the region whose records they see.
fn managers(agents: &[Agent]) -> Vec<ImportRecord> {
    let mut territories: BTreeMap<&str, BTreeSet<Option<&str>>> = BTreeMap::new();
    for agent in agents.iter().filter(|agent| !agent.manager_is_agent) {
        if let Some(manager) = &agent.manager {
            territories.entry(manager).or_default().insert(agent.territory.as_deref());
        }
    }
    let shared = |territories: BTreeSet<Option<&str>>| match territories.len() {
        1 => territories.first().copied().flatten().map(str::to_owned),
        _ => None,
    };
    territories.into_iter().map(|(name, all)| manager_record(name, shared(all))).collect()
}

fn manager_record(name: &str, territory: Option<String>) -> ImportRecord {
    ImportRecord::new("member", name)
        .with("name", name)
        .with("role", "manager")
        .with("territory", territory.as_deref())
        .with("region", territory)
}
