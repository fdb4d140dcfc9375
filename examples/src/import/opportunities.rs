//! The sales pipeline: opportunities with their account, product and owner.

use std::collections::BTreeMap;

use crdt_core::id::{MemberId, RecordId};

use super::ImportRecord;
use super::cell::Keys;
use super::repair::{Meaning, Names};
use super::report::{Judged, Refusal, Remark, Report, clip};
use super::table::{Header, Row};

pub(super) const FILE: &str = "sales_pipeline.csv";
pub(super) const HEADER: Header = &[
    "opportunity_id",
    "sales_agent",
    "product",
    "account",
    "deal_stage",
    "engage_date",
    "close_date",
    "close_value",
];

/// What an opportunity may refer to.
pub(super) struct Known<'a> {
    pub(super) agents: &'a Names,
    pub(super) territories: &'a BTreeMap<String, String>,
    pub(super) accounts: &'a Names,
    pub(super) products: &'a Names,
}

pub(super) fn read(rows: &[Row], known: &Known<'_>, report: &mut Report) -> Vec<ImportRecord> {
    let stages = Names::of(STAGES.iter().map(|(name, _)| *name));
    let mut keys = Keys::default();
    let judged: Vec<Judged<ImportRecord>> = rows
        .iter()
        .map(|row| {
            row.judge(|row, remarks| {
                let record = known.opportunity(row, &stages, remarks)?;
                keys.claim(row, "opportunity_id")?;
                Ok(record)
            })
        })
        .collect();
    report.close_file(FILE, judged)
}

impl Known<'_> {
    fn opportunity(
        &self,
        row: &Row,
        stages: &Names,
        remarks: &mut Vec<Remark>,
    ) -> Result<ImportRecord, Refusal> {
        let key = row.required("opportunity_id")?;
        row.required("sales_agent")?;
        let owner = row.reference("sales_agent", self.agents, remarks)?;
        let product = row.reference("product", self.products, remarks)?;
        let account = row.reference("account", self.accounts, remarks)?;
        for (column, missing) in [("product", product.is_none()), ("account", account.is_none())] {
            if missing {
                remarks.push(Remark::gap(column, "is empty"));
            }
        }
        let stage = stage(row, stages, remarks)?;
        let engaged = row.date("engage_date")?;
        let closed = row.date("close_date")?;
        if let (Some(engaged), Some(closed)) = (engaged, closed)
            && closed < engaged
        {
            let what = format!("{closed} is before the engage_date {engaged}");
            return Err(Refusal::new("close_date", what));
        }
        let value = row.dollars("close_value", 0)?;
        note_unfinished(stage, closed.is_none(), value.is_none(), remarks);
        ImportRecord::new("opportunity", key)
            .with("name", name(product, account))
            .with("account", account.map(|name| RecordId::from_source_key("account", name)))
            .with("product", product.map(|name| RecordId::from_source_key("product", name)))
            .with("owner", owner.map(|name| MemberId::from_source_key("member", name)))
            .with("territory", owner.and_then(|name| self.territories.get(name)).cloned())
            .with("stage", stage)
            .with("engage_date", engaged)
            .with("close_date", closed)
            .with("close_value", value)
            .with("source_id", key)
            .checked()
    }
}

/// The stage as the schema spells it.
fn stage(row: &Row, stages: &Names, remarks: &mut Vec<Remark>) -> Result<&'static str, Refusal> {
    let text = row.required("deal_stage")?;
    let found = match stages.find(text) {
        Meaning::Known(name) => name,
        Meaning::Repaired(name) => {
            remarks.push(Remark::repair("deal_stage", text, name));
            name
        }
        Meaning::Unknown => "",
    };
    let stage = STAGES.iter().find(|(name, _)| *name == found).map(|(_, stage)| *stage);
    stage.ok_or_else(|| Refusal::new("deal_stage", format!("{} is no stage", clip(text))))
}

/// A deal that is over has a day and a value; an open one has neither yet.
fn note_unfinished(stage: &str, no_day: bool, no_value: bool, remarks: &mut Vec<Remark>) {
    let over = stage == "won" || stage == "lost";
    for (column, missing) in [("close_date", no_day), ("close_value", no_value)] {
        if over && missing {
            remarks.push(Remark::gap(column, format!("is empty, and the deal is {stage}")));
        }
    }
}

/// What a rep reads in a list, since the source has no names. It is ours, so it may be cut short.
fn name(product: Option<&str>, account: Option<&str>) -> String {
    let whole = match (product, account) {
        (Some(product), Some(account)) => format!("{product} for {account}"),
        (Some(product), None) => format!("{product}, account unknown"),
        (None, Some(account)) => format!("A deal with {account}"),
        (None, None) => "A deal, account unknown".to_owned(),
    };
    whole.chars().take(NAME_CHARS_MAX).collect()
}

/// The schema takes names of this many characters.
const NAME_CHARS_MAX: usize = 200;

/// The source's stages and the schema's.
const STAGES: [(&str, &str); 4] =
    [("Prospecting", "prospecting"), ("Engaging", "engaging"), ("Won", "won"), ("Lost", "lost")];
