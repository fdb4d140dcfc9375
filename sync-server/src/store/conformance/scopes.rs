//! Scopes: what is in them, what has left them, and that a feed over them serves each device rightly.

use std::collections::BTreeSet;

use crdt_core::id::{DocumentId, ReplicaId};
use crdt_core::policy::Subscription;
use crdt_core::protocol::{Cursor, Entry, Hello, Page};

use super::Harness;
use super::material::Paper;
use crate::store::{Place, Read, ScopeRow, Store, StoreError, read, write};
use crate::workspace::{Feed, Stride};

pub(super) fn listed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let numbers = write(&*store, |tx| {
        let mut papers = Vec::new();
        for n in 1..=4 {
            let paper = Paper::create(tx, n, "main")?;
            // The first three came with one position of the log's.
            tx.enter("west", paper.number, 4.max(u64::from(n)))?;
            papers.push(paper);
        }
        papers[0].write(tx, "later")?;
        tx.enter("east", papers[0].number, 5)?;
        Ok(papers.iter().map(|paper| paper.number).collect::<Vec<_>>())
    })?;
    read(&*store, |tx| {
        let row = |place: usize, position, entered| ScopeRow {
            document: numbers[place],
            position,
            entered,
        };
        let all = [row(1, 4, 4), row(2, 4, 4), row(3, 4, 4), row(0, 5, 4)];
        assert_eq!(tx.scope_after("west", 0, 10)?, all);
        assert_eq!(tx.scope_after("west", 0, 1)?, all[..3], "a position is never split");
        assert_eq!(tx.scope_after("west", 4, 10)?, all[3..]);
        assert!(tx.scope_after("west", 5, 10)?.is_empty());
        assert!(tx.scope_after("nowhere", 0, 10)?.is_empty());
        let place = |scope: &str, entered| Place { scope: scope.to_owned(), entered };
        assert_eq!(tx.scopes_of(numbers[0])?, [place("east", 5), place("west", 4)]);
        assert_eq!(tx.scopes_of(numbers[1])?, [place("west", 4)]);
        assert_eq!(tx.scopes_of(u64::MAX)?, []);
        assert_eq!(tx.entity_of(numbers[0])?.as_deref(), Some("account"));
        assert_eq!((tx.entity_of(0)?, tx.entity_of(u64::MAX)?), (None, None));
        Ok(())
    })
}

pub(super) fn entered(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let numbers = write(&*store, |tx| {
        let mut numbers = Vec::new();
        for (n, entered) in [(1, 3), (2, 3), (3, 5), (4, 7)] {
            let mut paper = Paper::create(tx, n, "main")?;
            tx.enter("west", paper.number, entered)?;
            tx.touch(paper.number, 2)?;
            paper.append(tx, u64::from(n), "later")?;
            numbers.push(paper.number);
        }
        tx.enter("east", numbers[0], 5)?;
        Ok(numbers)
    })?;
    read(&*store, |tx| {
        let documents = |rows: Vec<ScopeRow>| {
            rows.iter().map(|row| (row.document, row.entered)).collect::<Vec<_>>()
        };
        let [one, two, three, four] = numbers[..] else { panic!("four were made") };
        let all = [(four, 7), (three, 5), (one, 3), (two, 3)];
        assert_eq!(documents(tx.entered_before("west", u64::MAX, 9)?), all);
        assert_eq!(documents(tx.entered_before("west", 7, 1)?), all[..1]);
        assert_eq!(documents(tx.entered_before("west", 4, 1)?), all[2..], "whole positions");
        assert!(tx.entered_before("west", 2, 9)?.is_empty());
        assert!(tx.entered_before("nowhere", 9, 9)?.is_empty());
        let upwards = [(one, 3), (two, 3), (three, 5), (four, 7)];
        assert_eq!(documents(tx.entered_after("west", 0, 9)?), upwards);
        assert_eq!(documents(tx.entered_after("west", 0, 1)?), upwards[..2], "whole positions");
        assert_eq!(documents(tx.entered_after("west", 3, 1)?), upwards[2..3]);
        assert!(tx.entered_after("west", 7, 9)?.is_empty());
        assert!(tx.entered_after("nowhere", 0, 9)?.is_empty());
        assert_eq!(tx.entered_at(5)?, [one, three], "of every scope");
        assert_eq!(tx.entered_at(4)?, [0; 0]);
        let rows = tx.scope_after("west", 0, 9)?;
        assert!(rows.iter().all(|row| row.position == row.entered), "a change before the entry");
        Ok(())
    })
}

pub(super) fn left(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let (number, position) = write(&*store, |tx| {
        let mut paper = Paper::create(tx, 1, "main")?;
        tx.enter("west", paper.number, 1)?;
        let position = paper.write(tx, "leaving")?;
        tx.leave("west", paper.number, position)?;
        tx.leave("east", paper.number, position)?;
        Ok((paper.number, position))
    })?;
    read(&*store, |tx| {
        assert_eq!(tx.scopes_of(number)?, []);
        assert_eq!(tx.left_between("west", 1, 2, 9)?, [(number, position)]);
        assert!(tx.left_between("west", 2, 9, 9)?.is_empty());
        assert!(tx.left_between("west", 0, 1, 9)?.is_empty());
        assert!(tx.left_between("east", 0, 9, 9)?.is_empty(), "it was never there");
        assert_eq!(tx.left_at(position)?, [(number, "west".to_owned())]);
        assert_eq!(tx.left_by(number)?, ["west"]);
        Ok(())
    })?;
    write(&*store, |tx| tx.enter("west", number, 3))?;
    read(&*store, |tx| {
        assert!(tx.left_between("west", 0, 9, 9)?.is_empty(), "it is back");
        assert!(tx.left_at(position)?.is_empty() && tx.left_by(number)?.is_empty());
        let row = ScopeRow { document: number, position: 3, entered: 3 };
        assert_eq!(tx.scope_after("west", 0, 9)?, [row]);
        Ok(())
    })?;
    // Two leave at one position and one later.
    write(&*store, |tx| {
        let papers = [Paper::create(tx, 2, "main")?, Paper::create(tx, 3, "main")?];
        for paper in &papers {
            tx.enter("west", paper.number, 4)?;
            tx.leave("west", paper.number, 5)?;
        }
        tx.leave("west", number, 6)
    })?;
    read(&*store, |tx| {
        assert_eq!(tx.left_between("west", 0, 9, 1)?.len(), 2, "a position is never split");
        assert_eq!(tx.left_between("west", 0, 9, 3)?.len(), 3);
        assert_eq!(tx.left_between("west", 5, 9, 1)?, [(number, 6)]);
        Ok(())
    })
}

/// A device that remembers which documents it has.
struct Reader {
    scopes: Vec<Subscription>,
    feed: Feed,
    has: BTreeSet<u64>,
    /// Numbers that came with their whole history or snapshot.
    whole: BTreeSet<u64>,
}

impl Reader {
    fn new(scopes: &[&str], stride: Stride, head: u64) -> Self {
        let hello = Hello {
            versions: Vec::new(),
            token: String::new(),
            replica: ReplicaId([9; 12]),
            lease: None,
            epoch: None,
            receipt: 0,
            schema_version: 0,
            cursor: Cursor::default(),
            exceptions: Vec::new(),
            client: String::new(),
            policy_version: 0,
            device: crdt_core::id::DeviceId([7; 16]),
            device_name: String::new(),
            left: 0,
            short_receipts: false,
        };
        let parse = |scope: &&str| scope.parse().expect("the contracts name good scopes");
        let scopes: Vec<Subscription> = scopes.iter().map(parse).collect();
        let feed = Feed::new(&hello, &scopes, &[], head).with_stride(stride);
        Self { scopes, feed, has: BTreeSet::new(), whole: BTreeSet::new() }
    }

    fn drain(&mut self, store: &dyn Store) -> Result<(), StoreError> {
        self.whole.clear();
        while let Some(page) = read(store, |tx| self.feed.next_page(tx, true))? {
            self.apply(page);
        }
        let wanted = read(store, |tx| self.wanted(tx))?;
        assert_eq!(self.has, wanted, "of the scopes {:?}", self.scopes);
        Ok(())
    }

    fn apply(&mut self, page: Page) {
        for entry in page.entries {
            match entry {
                Entry::Changes { number, identity: Some(_), .. }
                | Entry::Document { number, .. } => {
                    self.has.insert(number);
                    self.whole.insert(number);
                }
                Entry::Changes { number, .. } => assert!(self.has.contains(&number), "a stranger"),
                Entry::Left { number } => {
                    self.has.remove(&number);
                }
                Entry::Erased { .. } => panic!("nothing was erased"),
            }
        }
    }

    fn wanted(&self, tx: &dyn Read) -> Result<BTreeSet<u64>, StoreError> {
        let mut wanted = BTreeSet::new();
        for scope in &self.scopes {
            wanted.extend(tx.scope_after(&scope.scope(), 0, 1_000)?.iter().map(|row| row.document));
        }
        Ok(wanted)
    }
}

pub(super) fn fed(harness: &mut dyn Harness) -> Result<(), StoreError> {
    let store = harness.open()?;
    let finance = |id: &DocumentId| if id.section.is_main() { "" } else { "#finance" };
    let mut papers = write(&*store, |tx| {
        let mut papers = Vec::new();
        for (n, territory) in (1..).zip(["west", "east", "west"]) {
            for section in ["main", "finance"] {
                let paper = Paper::create(tx, n, section)?;
                let position = tx.head()?;
                let scope = format!("territory:{territory}{}", finance(&paper.id));
                tx.enter(&scope, paper.number, position)?;
                papers.push(paper);
            }
        }
        Ok(papers)
    })?;
    let head = read(&*store, |tx| tx.head())?;
    let short = Stride { followed_max: 1, follow: 1, catch_up: 1, ..Stride::default() };
    let mut readers: Vec<Reader> = [Stride::default(), short]
        .into_iter()
        .flat_map(|stride| {
            let (west, east) = ("territory:west", "territory:east");
            let finance = ["territory:west#finance", "territory:east#finance"];
            [&[west][..], &[east, finance[1]], &[finance[0], west], &[]]
                .map(|scopes| Reader::new(scopes, stride, head))
        })
        .collect();
    readers.iter_mut().try_for_each(|reader| reader.drain(&*store))?;
    assert_eq!(readers[0].has.len(), 2, "the sections of others are not for it");
    write(&*store, |tx| {
        let position = papers[0].write(tx, "moving")?;
        tx.leave("territory:west", papers[0].number, position)?;
        tx.enter("territory:east", papers[0].number, position)?;
        papers[2].write(tx, "staying").map(drop)
    })?;
    readers.iter_mut().try_for_each(|reader| reader.drain(&*store))?;
    assert!(!readers[0].has.contains(&papers[0].number), "it has left");
    assert!(readers[1].whole.contains(&papers[0].number), "it came whole");
    Ok(())
}
