//! Field day: three reps and their manager work offline for two days and meet again, under the sales policy.
//!
//! Everything is real: a server on a loopback port, a database file for each device, the sales pipeline of
//! [`crate::import`]. The plan of what everyone does comes from a seed; what should come of it comes from
//! small models that share no code with the engine: one of merging, one of who sees what.

mod act;
mod cast;
mod digest;
mod oracle;
mod outcome;
mod plan;
mod proof;
mod report;
mod scenes;
mod sight;
mod telling;
mod verdict;
mod world;

use std::path::PathBuf;

use anyhow::{Context as _, Result};
use crdt_core::policy;
use crdt_core::schema::Schema;

use crate::import::Import;
use act::{import, perform};
use cast::Cast;
pub use outcome::{Outcome, ReportJson, Step};
use plan::Deed;
pub use proof::Access;
use scenes::{Attempt, Scenes};
use sight::Sight;
pub use telling::{Audience, Teller};
use world::{Device, Traffic, World};

/// What a run is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// Varies the edits.
    pub seed: u64,
    /// Where the databases go; a temporary folder that is removed when nothing is said.
    pub keep: Option<PathBuf>,
    /// Who reads.
    pub audience: Audience,
    /// Imports the same input once more before anybody goes offline: it must change nothing.
    pub import_twice: bool,
    /// Changes one cell of one device before they are compared: the comparison must notice.
    pub flip_one_cell: bool,
    /// Lets everybody do everything: the comparison must notice.
    pub open_policy: bool,
}

/// Tells the whole story.
///
/// # Errors
/// When the stage cannot be built or a device refuses what it should take; what is shown at the end is in
/// the outcome and no error.
pub fn run(options: &Options, input: &Import) -> Result<Outcome> {
    let teller = Teller::new(options.audience);
    let temporary;
    let folder = match &options.keep {
        Some(folder) => folder.clone(),
        None => {
            temporary = tempfile::tempdir()?;
            temporary.path().to_owned()
        }
    };
    std::fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
    let mut present = std::fs::read_dir(&folder)?;
    anyhow::ensure!(
        present.next().is_none(),
        "{} is not empty: name a new folder",
        folder.display()
    );
    let mut sight = Sight::of(&input.records);
    let cast = Cast::choose(input, &sight)?;
    let scenes = Scenes::choose(&cast, &sight, &input.records)?;
    let office = cast::office_person();
    sight.add("member", crdt_core::id::RecordId(office.member.0), &[]);
    let policy = if options.open_policy { policy::OPEN } else { policy::SALES };
    let world = World::start(&folder, policy, &office)?;
    let mut story = Story::new(teller, world, cast, scenes, sight);
    story.tell_report(&input.report);
    let devices = story.devices()?;
    let imported_records = story.fill(&devices, input)?;
    let imported_again = match options.import_twice {
        true => Some(import(&devices[Cast::OFFICE].client, &input.records, &story.teller)?),
        false => None,
    };
    let (deeds, attempt) = story.offline(options.seed, &devices, input)?;
    story.meet(&devices)?;
    if options.flip_one_cell {
        report::flip(&devices[0])?;
    }
    let imported = report::Imported { first: imported_records, again: imported_again };
    story.judge(options, input, &devices, &deeds, &attempt, &imported)
}

/// A run on its way.
struct Story {
    teller: Teller,
    world: World,
    cast: Cast,
    scenes: Scenes,
    sight: Sight,
    steps: Vec<Step>,
    at: (u64, Traffic),
}

impl Story {
    fn new(teller: Teller, world: World, cast: Cast, scenes: Scenes, sight: Sight) -> Self {
        let at = (0, Traffic::default());
        Self { teller, world, cast, scenes, sight, steps: Vec::new(), at }
    }

    /// Notes what happened since the last step.
    fn step(&mut self, name: &'static str) {
        let (ms, traffic) = (self.teller.elapsed_ms(), self.world.traffic());
        let (ms_before, before) = self.at;
        self.at = (ms, traffic);
        self.steps.push(Step {
            name,
            milliseconds: ms - ms_before,
            bytes_up: traffic.up - before.up,
            bytes_down: traffic.down - before.down,
        });
    }

    fn devices(&self) -> Result<Vec<Device>> {
        let names = ["rep-1", "rep-2", "rep-3", "manager", "neighbour", "office"];
        let people = self.cast.people.iter().zip(names);
        people.map(|(person, name)| self.world.device(person, name)).collect()
    }

    /// The office imports and sends: who works where, and what they work on. Everybody else gets what is
    /// theirs.
    fn fill(&mut self, devices: &[Device], input: &Import) -> Result<usize> {
        self.teller.chapter("Before the field day");
        let office = &devices[Cast::OFFICE];
        let written = import(&office.client, &input.records, &self.teller)?;
        self.step("import on one device");
        let name = &office.person.name;
        self.teller
            .line(&format!("  {name} imports {written} records, offline: people with their"));
        self.teller.line("  roles and territories, and what they work on");
        self.world.sync(office)?;
        self.step("send the import");
        for (place, device) in devices.iter().enumerate() {
            self.world.sync(device)?;
            device.client.idle_work()?;
            self.teller.progress("devices", place + 1, devices.len());
        }
        self.step("first sync of the others");
        let step = &self.steps[self.steps.len() - 1];
        self.teller.line(&format!(
            "  three reps and two managers get what is theirs: {} ms, {} kB",
            step.milliseconds,
            step.bytes_down / 1_000
        ));
        let manager = &devices[Cast::MANAGER];
        self.scenes.note_commission(manager)?;
        self.world.sync(manager)?;
        let rows = devices.iter().map(|device| report::holdings(device, &self.sight));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let head = ["who", "is", "works in", "holds"];
        telling::table(&head, &rows).iter().for_each(|line| self.teller.line(line));
        Ok(written)
    }

    fn offline(
        &mut self,
        seed: u64,
        devices: &[Device],
        input: &Import,
    ) -> Result<(Vec<Deed>, Attempt)> {
        self.teller.chapter("Two days without a network");
        let now = crdt_core::time::Timestamp::from_millis(now_ms());
        let deeds = plan::plan(seed, &self.cast, &self.sight, &self.scenes, &input.records, now);
        perform(devices, &deeds)?;
        for deed in &deeds {
            match &deed.act {
                plan::Act::Create(fields) => {
                    self.sight.add(deed.entity, deed.record, fields);
                }
                plan::Act::Delete => self.sight.delete(deed.record),
                _ => {}
            }
        }
        let attempt = self.scenes.try_commission(&devices[0])?;
        self.scenes.send_commission_anyway(&devices[0])?;
        self.scenes.edit_account(&devices[self.scenes.rep])?;
        self.step("work offline");
        let team = devices[Cast::TEAM].iter().enumerate();
        let rows = team.map(|(who, device)| report::offline_work(who, device, &deeds));
        let rows = rows.collect::<Result<Vec<_>>>()?;
        let head = ["who", "is", "edits", "records", "created", "unsent"];
        telling::table(&head, &rows).iter().for_each(|line| self.teller.line(line));
        self.tell_offline(&attempt);
        let office = &devices[Cast::OFFICE];
        self.scenes.hand_over(office, &self.cast)?;
        self.world.sync(office)?;
        if let Some(territory) = &self.cast.people[Cast::NEIGHBOUR].territory {
            self.sight.hand_over(self.scenes.account, self.cast.heir, territory);
        }
        self.step("an account changes hands");
        Ok((deeds, attempt))
    }

    /// Everybody connects, twice: the first gets the last one's edits in the second round. In between the
    /// neighbours' manager decides on what was kept for them.
    fn meet(&mut self, devices: &[Device]) -> Result<()> {
        self.teller.chapter("Back in the network");
        for device in devices {
            self.world.sync(device)?;
        }
        self.step("reconnect and merge");
        let neighbour = &devices[Cast::NEIGHBOUR];
        self.world.sync(neighbour)?;
        proof::take_over(neighbour)?;
        for device in devices.iter().chain(devices) {
            self.world.sync(device)?;
        }
        self.settle(devices)?;
        self.step("decide, and hear of it");
        let [.., merged, _] = &self.steps[..] else { return Ok(()) };
        self.teller.line(&format!(
            "  everybody synced: {} ms, {} kB up, {} kB down",
            merged.milliseconds,
            merged.bytes_up / 1_000,
            merged.bytes_down / 1_000
        ));
        Ok(())
    }
}

impl Story {
    /// What hangs on an account follows it in steps of the server's own: whoever asked too early asks again.
    fn settle(&self, devices: &[Device]) -> Result<()> {
        for _ in 0..ROUNDS_MAX {
            let mut is_settled = true;
            for device in devices {
                let mut shown = digest::shown(&device.client, Schema::builtin())?;
                shown.retain(|id| self.sight.knows(*id));
                is_settled &= shown == self.sight.held_by(&device.person);
            }
            if is_settled {
                break;
            }
            for device in devices {
                self.world.sync(device)?;
            }
        }
        Ok(())
    }
}

/// How often everybody asks again before the story ends as it stands.
const ROUNDS_MAX: usize = 10;

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
