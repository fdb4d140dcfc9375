//! The scenes about access: which records they need, and what people try in them.

use anyhow::{Context as _, Result};
use client_sdk::{EditError, Edits};
use crdt_core::id::RecordId;
use crdt_core::policy::Action;
use crdt_core::record::{Money, Value};

use super::cast::Cast;
use super::sight::Sight;
use super::world::Device;
use crate::import::ImportRecord;

/// The records of these scenes; nothing else in the story touches them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scenes {
    /// A deal of the first rep, whose commission is the manager's to set.
    pub deal: RecordId,
    /// An account that is handed to the neighbours.
    pub account: RecordId,
    /// The rep who looks after the account: a place in the cast.
    pub rep: usize,
}

/// What the manager notes as commission. No other text of the story reads like it.
pub const COMMISSION: &str = "7345.21 USD";
/// What the rep would rather have.
pub const WISHED: &str = "99999.99 USD";
/// What the rep notes on the deal after the edit that is refused.
pub const NEXT_STEP: &str = "Call back on Monday";
/// What the account's rep learns while the account changes hands.
pub const LEARNT: [(&str, &str); 2] =
    [("phone", "+1 555 0142"), ("website", "https://handed-over.example.com")];

/// How an edit ended that the policy should deny.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Whether a form would have offered the field.
    pub offered: bool,
    /// The reasons for which the device refused it; nothing when it did not.
    pub refused: Option<String>,
    /// Batches that were stored all the same.
    pub stored: u64,
}

impl Scenes {
    /// Chooses the records, the same for the same input.
    ///
    /// # Errors
    /// When the input has none that fit.
    pub fn choose(cast: &Cast, sight: &Sight, records: &[ImportRecord]) -> Result<Self> {
        let near = |deal: &&ImportRecord| sight.stands_in(deal.id, &cast.territory);
        let deals: Vec<&ImportRecord> = cast.open_deals(0, records).filter(near).collect();
        // The account with the fewest deals of the first rep: people need those to meet on.
        let (_, account, rep) = cast
            .accounts(records)
            .filter_map(|account| {
                let hanging = deals.iter().filter(|deal| hangs_on(deal, account.id)).count();
                Some(((hanging, account.id), account.id, cast.rep_of(account)?))
            })
            .min()
            .context("the story needs an account of one of its reps")?;
        let deal = deals.iter().filter(|deal| !hangs_on(deal, account)).map(|deal| deal.id).min();
        let deal = deal.context("the story needs an open deal of its first rep")?;
        Ok(Self { deal, account, rep })
    }

    /// Whether the scenes need a record for themselves.
    #[must_use]
    pub fn need(&self, record: &ImportRecord) -> bool {
        record.id == self.deal || record.id == self.account || hangs_on(record, self.account)
    }

    /// The manager notes the commission of the deal.
    ///
    /// # Errors
    /// When the manager's device refuses.
    pub fn note_commission(&self, manager: &Device) -> Result<()> {
        let commission = Edits::new().set("commission", money(COMMISSION)?);
        manager.client.update(self.deal, commission).context("noting a commission")
    }

    /// The rep tries to change it, with the app as it is.
    ///
    /// # Errors
    /// When the device fails.
    pub fn try_commission(&self, rep: &Device) -> Result<Attempt> {
        let client = &rep.client;
        let before = client.unsent()?.batches;
        let offered = client.can(Action::Update, self.deal, Some("commission"))?.is_offered();
        let wish = Edits::new().set("commission", money(WISHED)?);
        let refused = match client.update(self.deal, wish) {
            Ok(()) => None,
            Err(error @ EditError::Forbidden { .. }) => Some(error.to_string()),
            Err(error) => return Err(error.into()),
        };
        Ok(Attempt { offered, refused, stored: client.unsent()?.batches - before })
    }

    /// A patched app sends it anyway, together with a field that the rep may write, and the rep goes on
    /// working on the deal.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn send_commission_anyway(&self, rep: &Device) -> Result<()> {
        let wish = Edits::new().set("commission", money(WISHED)?).set("probability", 99);
        rep.client.transaction_allowing_dispute(|tx| tx.update(self.deal, wish))?;
        rep.client.update(self.deal, Edits::new().set("next_step", NEXT_STEP))?;
        Ok(())
    }

    /// The account's rep notes what they learn, in one edit after the other.
    ///
    /// # Errors
    /// When the device refuses.
    pub fn edit_account(&self, rep: &Device) -> Result<()> {
        for (field, value) in LEARNT {
            rep.client.update(self.account, Edits::new().set(field, value))?;
        }
        Ok(())
    }

    /// The office hands the account to the neighbours.
    ///
    /// # Errors
    /// When its device refuses.
    pub fn hand_over(&self, office: &Device, cast: &Cast) -> Result<()> {
        let owner = Edits::new().set("owner", cast.heir);
        let territory = cast.people[Cast::NEIGHBOUR].territory.as_deref();
        office.client.update(self.account, owner.set("territory", territory.map(Value::from)))?;
        Ok(())
    }
}

fn hangs_on(record: &ImportRecord, account: RecordId) -> bool {
    record.field("account") == Some(&Value::from(account))
}

fn money(text: &str) -> Result<Money> {
    text.parse().with_context(|| format!("reading {text}"))
}
