//! A generated export in the shape of crm-sales, for who has none: the same files, the same mess.
//!
//! It is written as CSV text and read back by the same reader, so the demo shows what an import does.

use std::fmt::Write as _;

use crdt_core::time::{Timestamp, days_from_civil};

use crate::import::{self, Import};

/// A workspace for the demo: 12 members in 3 territories, 40 accounts, 7 products, 400 opportunities.
/// The same seed gives the same records.
#[must_use]
pub fn generate(seed: u64) -> Import {
    let files = files(seed);
    let files: Vec<(&str, &str)> =
        files.iter().map(|(file, text)| (*file, text.as_str())).collect();
    import::read_text(&files).expect("every file is written with its header and whole quotes")
}

/// The same sample as the text of its four files. The same seed gives the same bytes.
#[must_use]
pub fn files(seed: u64) -> Vec<(&'static str, String)> {
    let mut dice = Dice(seed);
    let accounts = account_names();
    let [accounts_file, products_file, teams_file, pipeline_file] = import::FILES;
    vec![
        (accounts_file, accounts_csv(&accounts, &mut dice)),
        (products_file, products_csv()),
        (teams_file, teams_csv()),
        (pipeline_file, pipeline_csv(&accounts, &mut dice)),
    ]
}

fn account_names() -> Vec<String> {
    let pair = |first: &&str| FIELDS_OF_WORK.map(|second| format!("{first} {second}"));
    PLACES.iter().flat_map(pair).collect()
}

fn accounts_csv(names: &[String], dice: &mut Dice) -> String {
    let mut csv = Csv::new(import::headers::ACCOUNTS);
    for (index, name) in names.iter().enumerate() {
        let sector = if index % 13 == 4 { "technolgy" } else { *dice.pick(&SECTORS) };
        let country = if index == 9 { "Philipines" } else { *dice.pick(&COUNTRIES) };
        // The groups are the last five, so that most parents come after their firms.
        let parent = if index % 6 == 5 { names[names.len() - 1 - index % 5].as_str() } else { "" };
        csv.row(&[
            name,
            sector,
            &(1950 + dice.below(70)).to_string(),
            &format!("{}.{:02}", dice.below(5_000), dice.below(100)),
            &(5 + dice.below(20_000)).to_string(),
            country,
            parent,
        ]);
    }
    csv.text
}

fn products_csv() -> String {
    let mut csv = Csv::new(import::headers::PRODUCTS);
    for (name, series, price) in PRODUCTS {
        csv.row(&[name, series, &price.to_string()]);
    }
    csv.text
}

fn teams_csv() -> String {
    let mut csv = Csv::new(import::headers::TEAMS);
    for (office, manager, agents) in TEAMS {
        agents.iter().for_each(|agent| csv.row(&[agent, manager, office]));
    }
    csv.text
}

fn pipeline_csv(accounts: &[String], dice: &mut Dice) -> String {
    let mut csv = Csv::new(import::headers::PIPELINE);
    for index in 0..OPPORTUNITIES {
        let agent = if index == ROW_OF_A_STRANGER { "Nobody Known" } else { dice.agent() };
        let (product, _, price) = dice.pick(&PRODUCTS);
        let product = if *product == "Trail Pro" { "TrailPro" } else { product };
        let stage =
            *dice.pick(&["Prospecting", "Engaging", "Won", "Won", "Won", "Won", "Lost", "Lost"]);
        let over = stage == "Won" || stage == "Lost";
        let account = if !over && dice.below(3) > 0 { "" } else { dice.pick(accounts).as_str() };
        let engaged = i64::try_from(dice.below(400)).unwrap_or(0);
        let closed = engaged + 5 + i64::try_from(dice.below(120)).unwrap_or(0);
        let engaged = if stage == "Prospecting" { String::new() } else { day(engaged) };
        let closed = match index {
            ROW_OF_NO_DAY => "2025-02-30".to_owned(),
            _ if over => day(closed),
            _ => String::new(),
        };
        let value = match stage {
            "Won" => (price * (80 + dice.below(40)) / 100).to_string(),
            "Lost" => "0".to_owned(),
            _ => String::new(),
        };
        let id = format!("{index:03}{:05X}", dice.below(1 << 20));
        csv.row(&[&id, agent, product, account, stage, &engaged, &closed, &value]);
    }
    csv.text
}

/// A date, counted from the sample's first day.
fn day(number: i64) -> String {
    let first = days_from_civil(2025, 1, 1).expect("New Year's Day exists");
    let mut text = Timestamp::from_millis((first + number) * 86_400_000).to_string();
    text.truncate("2025-01-01".len());
    text
}

struct Csv {
    text: String,
}

impl Csv {
    fn new(header: &[&str]) -> Self {
        Self { text: header.join(",") + "\n" }
    }

    fn row(&mut self, cells: &[&str]) {
        for (index, cell) in cells.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            let quoted = cell.contains([',', '"', '\n']);
            let written = if quoted {
                write!(self.text, "{comma}\"{}\"", cell.replace('"', "\"\""))
            } else {
                write!(self.text, "{comma}{cell}")
            };
            written.expect("writing to a string does not fail");
        }
        self.text.push('\n');
    }
}

/// A stream of numbers that depends on the seed alone, also in later versions of everything else
/// (`SplitMix64`).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        &choices[usize::try_from(index).expect("an index of a slice is a usize")]
    }

    fn agent(&mut self) -> &'static str {
        let (_, _, agents) = self.pick(&TEAMS);
        self.pick::<&str>(agents)
    }
}

const OPPORTUNITIES: u64 = 400;

/// Two rows that cannot be imported, so that the report has something to refuse.
const ROW_OF_A_STRANGER: u64 = 120;
const ROW_OF_NO_DAY: u64 = 250;

const TEAMS: [(&str, &str, [&str; 3]); 3] = [
    ("Central", "Ingrid Halvorsen", ["Tomas Okafor", "Lena Brandt", "Ravi Menon"]),
    ("East", "Marcus Delgado", ["Aiko Tanabe", "Siobhan Reyes", "Piotr Zielinski"]),
    ("West", "Farah Nasser", ["Joao Pinto", "Hanna Virtanen", "Caleb Osei"]),
];

const PRODUCTS: [(&str, &str, u64); 7] = [
    ("Trail Basic", "Trail", 550),
    ("Trail Pro", "Trail", 4_800),
    ("Trail Plus Basic", "Trail", 1_100),
    ("Trail Plus Pro", "Trail", 5_500),
    ("Camp Special", "Camp", 60),
    ("Camp Advanced", "Camp", 3_400),
    ("Summit 500", "Summit", 26_800),
];

const PLACES: [&str; 8] =
    ["Alder", "Birchwood", "Copper Bay", "Dunmore", "Elkhorn", "Fairview", "Granite", "Harbor"];

/// One needs quotes and one looks like a formula: both are just names.
const FIELDS_OF_WORK: [&str; 5] =
    ["Supply", "Foods, Inc.", "Clinic", "=Systems", "\"Blue Door\" Hotels"];

const SECTORS: [&str; 6] =
    ["technology", "medical", "retail", "software", "finance", "entertainment"];

const COUNTRIES: [&str; 6] =
    ["United States", "United States", "United States", "Canada", "Mexico", "Japan"];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::import::Kind;

    #[test]
    fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
        assert_eq!(files(7), files(7));
        assert_ne!(files(7), files(8));
        assert_eq!(generate(7), generate(7));
    }

    #[test]
    fn every_seed_shows_every_kind_of_mess_and_accounts_for_every_row() {
        for seed in (0..20).chain([u64::MAX]) {
            let Import { report, records } = generate(seed);
            for file in &report.files {
                let sum = file.imported + file.repaired + file.with_gap + file.refused;
                assert_eq!(sum, file.rows, "seed {seed}, {}", file.file);
            }
            let total = report.total();
            let kept = total.rows - total.refused + report.managers;
            assert_eq!(kept, records.len() as u64, "seed {seed}");
            assert_eq!((total.rows, total.refused, report.managers), (456, 2, 3), "seed {seed}");
            for (file, kind, column) in [
                ("sales_pipeline.csv", Kind::Repair, "product"),
                ("sales_pipeline.csv", Kind::Gap, "account"),
                ("accounts.csv", Kind::Repair, "sector"),
                ("accounts.csv", Kind::Repair, "office_location"),
            ] {
                assert!(report.tally(file, kind, column) > 0, "seed {seed}: {file} {column}");
            }
        }
    }

    #[test]
    fn a_later_version_writes_the_same_sample() {
        let last_line = |(_, text): &(_, String)| text.lines().last().map(str::to_owned);
        let last_lines: Vec<String> = files(1).iter().filter_map(last_line).collect();
        assert_eq!(
            last_lines,
            [
                "\"Harbor \"\"Blue Door\"\" Hotels\",medical,2016,4668.84,7504,United States,",
                "Summit 500,Summit,26800",
                "Caleb Osei,Farah Nasser,West",
                "399B3380,Hanna Virtanen,Summit 500,Dunmore Supply,Lost,2025-04-24,2025-07-29,0",
            ]
        );
    }
}
