//! Verifying the chain: takes the rows as they are stored, one after the other, and names the first that is
//! wrong. What comes after it hangs on it and says nothing.

use std::fmt;

use aws_lc_rs::digest::{Context, SHA256};

use super::{Entry, Head, Hex, Verdict, What};

/// The hash before the first entry.
#[must_use]
pub fn first_hash() -> [u8; 32] {
    sha256(&[b"fieldbook audit 1"])
}

/// The hash of an entry's bytes after the hash before it.
#[must_use]
pub fn next_hash(before: &[u8; 32], bytes: &[u8]) -> [u8; 32] {
    sha256(&[before, bytes])
}

/// SHA-256 of parts, one after the other.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut hash = [0; 32];
    hash.copy_from_slice(context.finish().as_ref());
    hash
}

/// What is wrong with an audit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Finding {
    /// Entries are missing where later ones stand.
    Removed {
        /// The first that is missing.
        first: u64,
        /// The last that is missing.
        last: u64,
    },
    /// The entry or its hash is not what was written.
    Altered {
        /// Which.
        number: u64,
    },
    /// Another entry stands in its place: entries were swapped, or one was put in between.
    Moved {
        /// The place.
        number: u64,
        /// The entry that stands there.
        holds: u64,
    },
    /// The end was cut off.
    Truncated {
        /// The last entry that is there.
        last: u64,
        /// An entry that was there.
        expected: u64,
        /// What knows of that entry.
        known_from: Witness,
    },
    /// The chain holds together and is not the one that the saved head belongs to: it was written anew.
    Rewritten {
        /// The saved head's entry: it or one before it is not what it was.
        number: u64,
    },
    /// Entries stand behind the one that the audit says is its last: they were put there.
    Added {
        /// The first of them.
        first: u64,
    },
    /// The note of the last entry does not fit it.
    HeadAltered {
        /// The last entry.
        number: u64,
    },
}

/// What knows of an entry that is missing at the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Witness {
    /// The head that was given.
    SavedHead,
    /// The audit's own note of its last entry.
    OwnHead,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Removed { first, last } if first == last => {
                write!(f, "entry {first} was removed")
            }
            Self::Removed { first, last } => write!(f, "entries {first} to {last} were removed"),
            Self::Altered { number } => write!(f, "entry {number} was tampered with"),
            Self::Moved { number, holds } => write!(
                f,
                "in the place of entry {number} stands entry {holds}: entries were reordered or one was put in"
            ),
            Self::Truncated { last, expected, known_from } => {
                let source = match known_from {
                    Witness::SavedHead => "the saved head",
                    Witness::OwnHead => "its note of the last entry",
                };
                write!(
                    f,
                    "the audit was truncated: it ends at entry {last}, and {source} names entry {expected}"
                )
            }
            Self::Rewritten { number } => write!(
                f,
                "the audit was written anew: entry {number} does not have the hash of the saved head"
            ),
            Self::Added { first } => write!(f, "entry {first} was added behind the last entry"),
            Self::HeadAltered { number } => {
                write!(
                    f,
                    "the note of the last entry was tampered with: it does not fit entry {number}"
                )
            }
        }
    }
}

/// A sound audit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Summary {
    /// Its head.
    pub head: Head,
    /// Accepted batches among its entries.
    pub accepted: u64,
    /// Refused batches.
    pub refused: u64,
    /// Administrative acts.
    pub acts: u64,
}

/// Reads rows in the order of their numbers and holds one hash.
pub struct Verifier {
    head: Head,
    saved: Option<Head>,
    summary: Summary,
}

impl Verifier {
    /// Begins before the first entry; `saved` is a head that was kept elsewhere.
    #[must_use]
    pub fn new(saved: Option<Head>) -> Self {
        let head = Head::empty();
        Self { head, saved, summary: Summary { head, accepted: 0, refused: 0, acts: 0 } }
    }

    /// Looks at the next row: the number under which it stands, its bytes, and the hash beside them.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn row(&mut self, number: i64, bytes: &[u8], hash: &[u8]) -> Result<(), Finding> {
        let expected = self.head.number + 1;
        let decoded = Entry::from_bytes(bytes);
        match u64::try_from(number) {
            Ok(number) if number == expected => {}
            Ok(number) if number > expected => {
                return Err(Finding::Removed { first: expected, last: number - 1 });
            }
            // Rows come in their order, so only a number below 1 is left: nobody ever wrote one.
            Ok(_) | Err(_) => return Err(Finding::Altered { number: expected }),
        }
        let computed = next_hash(&self.head.hash, bytes);
        if computed != *hash {
            return Err(match decoded {
                Ok((holds, _)) if holds != expected => Finding::Moved { number: expected, holds },
                _ => Finding::Altered { number: expected },
            });
        }
        // A row whose hash fits and whose bytes do not say its number was made by somebody else.
        let Ok((holds, entry)) = decoded else { return Err(Finding::Altered { number: expected }) };
        if holds != expected {
            return Err(Finding::Moved { number: expected, holds });
        }
        self.head = Head { number: expected, hash: computed };
        if self.saved.is_some_and(|saved| saved.number == expected && saved.hash != computed) {
            return Err(Finding::Rewritten { number: expected });
        }
        self.count(&entry);
        Ok(())
    }

    fn count(&mut self, entry: &Entry) {
        match &entry.what {
            What::Act(_) => self.summary.acts += 1,
            What::Batch(judged) | What::Relayed(_, judged) => match judged.verdict {
                Verdict::Accepted { .. } => self.summary.accepted += 1,
                Verdict::Refused { .. } => self.summary.refused += 1,
                Verdict::Already { .. } => {}
            },
        }
    }

    /// Ends after the last row: `own` is the audit's own note of its last entry, the number and the hash.
    ///
    /// # Errors
    /// What is wrong with the end.
    pub fn finish(self, own: Option<(i64, &[u8])>) -> Result<Summary, Finding> {
        let last = self.head.number;
        if let Some(saved) = self.saved {
            if saved.number > last {
                let known_from = Witness::SavedHead;
                return Err(Finding::Truncated { last, expected: saved.number, known_from });
            }
            if saved.number == 0 && saved != Head::empty() {
                return Err(Finding::Rewritten { number: 0 });
            }
        }
        let Some((number, hash)) = own else { return Err(Finding::HeadAltered { number: last }) };
        match u64::try_from(number) {
            Ok(number) if number > last => {
                let known_from = Witness::OwnHead;
                Err(Finding::Truncated { last, expected: number, known_from })
            }
            Ok(number) if number < last => Err(Finding::Added { first: number + 1 }),
            Ok(_) if hash == self.head.hash => Ok(Summary { head: self.head, ..self.summary }),
            Ok(_) | Err(_) => Err(Finding::HeadAltered { number: last }),
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { head, accepted, refused, acts } = self;
        write!(
            f,
            "OK: {} entries ({accepted} batches accepted, {refused} refused, {acts} acts), head {} {}",
            head.number,
            head.number,
            Hex(&head.hash)
        )
    }
}
