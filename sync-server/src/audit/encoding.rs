//! The canonical bytes of an entry: one entry has exactly one encoding, and other bytes do not decode.
//!
//! Integers are big-endian. A *text* is its length in bytes (4 bytes), then UTF-8. An *option* is a byte 0,
//! or a byte 1 and the value. A *list* is its length (4 bytes), then its items. Ids and hashes are their
//! bytes. In this order:
//!
//! | what | encoding |
//! | --- | --- |
//! | version | the byte 1 |
//! | number, received at (ms), policy version | 8 bytes each |
//! | member, replica, device, role | options of 16, 12, 16 bytes and of a text |
//! | what | a byte: 0 a batch, 128 a change that was given back, 1 to 11 an act, in the order of [`Act`] |
//!
//! A change that was given back goes on with who gave it: member (16 bytes), replica (12), device (an option
//! of 16), and then as a batch. A batch goes on with its id (16 bytes), edited at (an option of 8 bytes), the verdict (a byte: 0 accepted,
//! 1 already, each with its position in 8 bytes; 2 refused, with a list of reasons and 8 bytes for how many
//! more), the list of records and 8 bytes for how many more. A reason is code (text), record (option of 16
//! bytes), section, field, rule (options of text). A record is its id (option of 16 bytes), entity (option of
//! text), the list of its sections (text, then the list of field names), the list of rules (text). An act goes
//! on with what it names: a member's, device's or record's 16 bytes, a list of field names, or a version in 8 bytes and
//! a hash of 32.

use std::collections::BTreeMap;

use crdt_core::id::{BatchId, DeviceId, MemberId, RecordId, ReplicaId, Section};
use crdt_core::time::Timestamp;

use super::{Act, Entry, Judged, ReasonLine, RecordLine, Relayer, Verdict, What, Who};

const VERSION: u8 = 1;
/// Beyond every act.
const RELAYED: u8 = 128;

/// Bytes are not the encoding of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the bytes are not the encoding of an entry")]
pub struct EncodingError;

impl Entry {
    /// Its canonical bytes under a number.
    #[must_use]
    pub fn to_bytes(&self, number: u64) -> Vec<u8> {
        let mut to = Writer(Vec::with_capacity(256));
        to.byte(VERSION);
        to.number(number);
        to.time(self.received_at);
        to.number(self.policy_version);
        to.option(self.who.member.as_ref(), |to, id| to.raw(id.as_bytes()));
        to.option(self.who.replica.as_ref(), |to, id| to.raw(id.as_bytes()));
        to.option(self.who.device.as_ref(), |to, id| to.raw(id.as_bytes()));
        to.option(self.who.role.as_deref(), Writer::text);
        match &self.what {
            What::Batch(judged) => {
                to.byte(0);
                to.judged(judged);
            }
            What::Relayed(by, judged) => {
                to.byte(RELAYED);
                to.raw(by.member.as_bytes());
                to.raw(by.replica.as_bytes());
                to.option(by.device.as_ref(), |to, id| to.raw(id.as_bytes()));
                to.judged(judged);
            }
            What::Act(act) => to.act(act),
        }
        to.0
    }

    /// Reads what [`Entry::to_bytes`] wrote: the number and the entry.
    ///
    /// # Errors
    /// When the bytes are not exactly the encoding of an entry.
    pub fn from_bytes(bytes: &[u8]) -> Result<(u64, Self), EncodingError> {
        let mut from = Reader(bytes);
        if from.byte()? != VERSION {
            return Err(EncodingError);
        }
        let number = from.number()?;
        let received_at = from.time()?;
        let policy_version = from.number()?;
        let who = Who {
            member: from.option(Reader::member)?,
            replica: from.option(|from| from.raw().map(ReplicaId))?,
            device: from.option(|from| from.raw().map(DeviceId))?,
            role: from.option(Reader::text)?,
        };
        let what = match from.byte()? {
            0 => What::Batch(from.judged()?),
            RELAYED => {
                let by = Relayer {
                    member: from.member()?,
                    replica: from.raw().map(ReplicaId)?,
                    device: from.option(|from| from.raw().map(DeviceId))?,
                };
                What::Relayed(by, from.judged()?)
            }
            tag => What::Act(from.act(tag)?),
        };
        if !from.0.is_empty() {
            return Err(EncodingError);
        }
        Ok((number, Self { received_at, who, policy_version, what }))
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn byte(&mut self, byte: u8) {
        self.0.push(byte);
    }

    fn raw(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn number(&mut self, number: u64) {
        self.raw(&number.to_be_bytes());
    }

    fn time(&mut self, time: Timestamp) {
        self.raw(&time.as_millis().to_be_bytes());
    }

    /// Every text and list is bounded far below: an entry comes from a batch of at most 512 KiB.
    fn length(&mut self, length: usize) {
        self.raw(&u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes());
    }

    fn text(&mut self, text: &str) {
        self.length(text.len());
        self.raw(text.as_bytes());
    }

    fn option<T: ?Sized>(&mut self, value: Option<&T>, write: impl FnOnce(&mut Self, &T)) {
        self.byte(u8::from(value.is_some()));
        if let Some(value) = value {
            write(self, value);
        }
    }

    fn list<T>(&mut self, items: &[T], mut write: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        items.iter().for_each(|item| write(self, item));
    }

    fn texts(&mut self, texts: &[String]) {
        self.list(texts, |to, text| to.text(text));
    }

    fn judged(&mut self, judged: &Judged) {
        self.raw(judged.batch.as_bytes());
        self.option(judged.edited_at.as_ref(), |to, time| to.time(*time));
        match &judged.verdict {
            Verdict::Accepted { position } => {
                self.byte(0);
                self.number(*position);
            }
            Verdict::Already { position } => {
                self.byte(1);
                self.number(*position);
            }
            Verdict::Refused { reasons, more } => {
                self.byte(2);
                self.list(reasons, Self::reason);
                self.number(*more);
            }
        }
        self.list(&judged.records, Self::record);
        self.number(judged.more_records);
    }

    fn reason(&mut self, reason: &ReasonLine) {
        self.text(&reason.code);
        self.option(reason.record.as_ref(), |to, id| to.raw(id.as_bytes()));
        self.option(reason.section.as_ref(), |to, section| to.text(section.as_str()));
        self.option(reason.field.as_deref(), Self::text);
        self.option(reason.rule.as_deref(), Self::text);
    }

    fn record(&mut self, line: &RecordLine) {
        self.option(line.record.as_ref(), |to, id| to.raw(id.as_bytes()));
        self.option(line.entity.as_deref(), Self::text);
        self.length(line.fields.len());
        for (section, fields) in &line.fields {
            self.text(section.as_str());
            self.texts(fields);
        }
        self.texts(&line.rules);
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::MemberAdded { member, fields } => self.member_fields(1, member, fields),
            Act::MemberSet { member, fields } => self.member_fields(2, member, fields),
            Act::MemberDisabled { member } => self.tagged(3, member.as_bytes()),
            Act::MemberEnabled { member } => self.tagged(4, member.as_bytes()),
            Act::PolicyPut { version, digest } => self.put(5, *version, digest),
            Act::SchemaPut { version, digest } => self.put(6, *version, digest),
            Act::DeviceRevoked { device } => self.tagged(7, device.as_bytes()),
            Act::PasswordSet { member } => self.tagged(8, member.as_bytes()),
            Act::TokensRevoked { member } => self.tagged(9, member.as_bytes()),
            Act::Restored { position } => {
                self.byte(10);
                self.number(*position);
            }
            Act::RecordErased { record } => self.tagged(11, record.as_bytes()),
        }
    }

    fn tagged(&mut self, tag: u8, id: &[u8; 16]) {
        self.byte(tag);
        self.raw(id);
    }

    fn member_fields(&mut self, tag: u8, member: &MemberId, fields: &[String]) {
        self.tagged(tag, member.as_bytes());
        self.texts(fields);
    }

    fn put(&mut self, tag: u8, version: u64, digest: &[u8; 32]) {
        self.byte(tag);
        self.number(version);
        self.raw(digest);
    }
}

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn raw<const N: usize>(&mut self) -> Result<[u8; N], EncodingError> {
        let (bytes, rest) = self.0.split_first_chunk().ok_or(EncodingError)?;
        self.0 = rest;
        Ok(*bytes)
    }

    fn byte(&mut self) -> Result<u8, EncodingError> {
        self.raw().map(|[byte]| byte)
    }

    fn number(&mut self) -> Result<u64, EncodingError> {
        self.raw().map(u64::from_be_bytes)
    }

    fn time(&mut self) -> Result<Timestamp, EncodingError> {
        self.raw().map(|bytes| Timestamp::from_millis(i64::from_be_bytes(bytes)))
    }

    fn uuid(&mut self) -> Result<uuid::Uuid, EncodingError> {
        self.raw().map(uuid::Uuid::from_bytes)
    }

    fn member(&mut self) -> Result<MemberId, EncodingError> {
        self.uuid().map(MemberId)
    }

    fn length(&mut self) -> Result<usize, EncodingError> {
        let length = u32::from_be_bytes(self.raw()?) as usize;
        // Every item takes at least a byte: a longer list cannot be there, and nothing is reserved for it.
        if length > self.0.len() { Err(EncodingError) } else { Ok(length) }
    }

    fn text(&mut self) -> Result<String, EncodingError> {
        let length = self.length()?;
        let (bytes, rest) = self.0.split_at(length);
        self.0 = rest;
        std::str::from_utf8(bytes).map(str::to_owned).map_err(|_| EncodingError)
    }

    fn section(&mut self) -> Result<Section, EncodingError> {
        self.text()?.parse().map_err(|_| EncodingError)
    }

    fn option<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, EncodingError>,
    ) -> Result<Option<T>, EncodingError> {
        match self.byte()? {
            0 => Ok(None),
            1 => read(self).map(Some),
            _ => Err(EncodingError),
        }
    }

    fn list<T>(
        &mut self,
        mut read: impl FnMut(&mut Self) -> Result<T, EncodingError>,
    ) -> Result<Vec<T>, EncodingError> {
        let length = self.length()?;
        (0..length).map(|_| read(self)).collect()
    }

    fn texts(&mut self) -> Result<Vec<String>, EncodingError> {
        self.list(Self::text)
    }

    fn judged(&mut self) -> Result<Judged, EncodingError> {
        Ok(Judged {
            batch: self.raw().map(BatchId)?,
            edited_at: self.option(Self::time)?,
            verdict: match self.byte()? {
                0 => Verdict::Accepted { position: self.number()? },
                1 => Verdict::Already { position: self.number()? },
                2 => Verdict::Refused { reasons: self.list(Self::reason)?, more: self.number()? },
                _ => return Err(EncodingError),
            },
            records: self.list(Self::record)?,
            more_records: self.number()?,
        })
    }

    fn reason(&mut self) -> Result<ReasonLine, EncodingError> {
        Ok(ReasonLine {
            code: self.text()?,
            record: self.option(|from| from.uuid().map(RecordId))?,
            section: self.option(Self::section)?,
            field: self.option(Self::text)?,
            rule: self.option(Self::text)?,
        })
    }

    fn record(&mut self) -> Result<RecordLine, EncodingError> {
        let record = self.option(|from| from.uuid().map(RecordId))?;
        let entity = self.option(Self::text)?;
        let mut fields: BTreeMap<Section, Vec<String>> = BTreeMap::new();
        for (section, names) in self.list(|from| Ok((from.section()?, from.texts()?)))? {
            // Sections come once each and in their order: one entry has one encoding.
            if fields.last_key_value().is_some_and(|(last, _)| *last >= section) {
                return Err(EncodingError);
            }
            fields.insert(section, names);
        }
        Ok(RecordLine { record, entity, fields, rules: self.texts()? })
    }

    fn act(&mut self, tag: u8) -> Result<Act, EncodingError> {
        Ok(match tag {
            1 => Act::MemberAdded { member: self.member()?, fields: self.texts()? },
            2 => Act::MemberSet { member: self.member()?, fields: self.texts()? },
            3 => Act::MemberDisabled { member: self.member()? },
            4 => Act::MemberEnabled { member: self.member()? },
            5 => Act::PolicyPut { version: self.number()?, digest: self.raw()? },
            6 => Act::SchemaPut { version: self.number()?, digest: self.raw()? },
            7 => Act::DeviceRevoked { device: self.raw().map(DeviceId)? },
            8 => Act::PasswordSet { member: self.member()? },
            9 => Act::TokensRevoked { member: self.member()? },
            10 => Act::Restored { position: self.number()? },
            11 => Act::RecordErased { record: self.uuid().map(RecordId)? },
            _ => return Err(EncodingError),
        })
    }
}
