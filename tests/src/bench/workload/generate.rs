//! The generator of the workload: the same seed gives the same records as the workload's own script.

use crdt_core::time::Timestamp;
use serde_json::Value as Json;

use super::{Address, Contact, FieldEdit, Question, Workload};

/// The seed of the records; the edits have the next one.
pub const SEED: i32 = 42;

impl Workload {
    /// Generates the workload of `n` records. The first records of a larger one are the same.
    #[must_use]
    pub fn generate(n: usize) -> Self {
        let mut records = Lots(SEED);
        let contacts: Vec<Contact> = (0..n).map(|_| contact(&mut records)).collect();
        let mut edits = Lots(SEED + 1);
        let w2 = (0..2_000).map(|place| field_edit(&mut edits, &contacts, place)).collect();
        let (w3_a, w3_b) = offline_edits(&contacts);
        let w4 = (0..500).map(|place| FieldEdit {
            id: contacts[edits.below(n)].id.clone(),
            field: "title".to_owned(),
            value: format!("live {place}").into(),
        });
        let w4 = w4.collect();
        let filters = (0..50).map(|_| filter(&mut edits)).collect::<Vec<_>>();
        let w7 = filters.into_iter().chain((0..50).map(|_| prefix(&mut edits))).collect();
        Self { contacts, w2, w3_a, w3_b, w4, w7 }
    }
}

/// Random numbers: mulberry32.
struct Lots(i32);

impl Lots {
    /// At least 0 and less than 1.
    fn draw(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x6D2B_79F5);
        let a = self.0.cast_unsigned();
        let mut t = (a ^ (a >> 15)).wrapping_mul(1 | a);
        t = t.wrapping_add((t ^ (t >> 7)).wrapping_mul(61 | t)) ^ t;
        f64::from(t ^ (t >> 14)) / 4_294_967_296.0
    }

    fn below(&mut self, bound: usize) -> usize {
        // Both are far below 2^53, and the product is not negative.
        (self.draw() * bound as f64) as usize
    }

    fn number(&mut self, bound: i64) -> i64 {
        (self.draw() * bound as f64) as i64
    }

    fn pick(&mut self, of: &[&'static str]) -> &'static str {
        of[self.below(of.len())]
    }

    fn hex(&mut self, digits: usize) -> String {
        (0..digits).map(|_| char::from(b"0123456789abcdef"[self.below(16)])).collect()
    }

    fn uuid(&mut self) -> String {
        let (a, b, c) = (self.hex(8), self.hex(4), self.hex(3));
        let variant = char::from(b"89ab"[self.below(4)]);
        let (d, e) = (self.hex(3), self.hex(12));
        format!("{a}-{b}-4{c}-{variant}{d}-{e}")
    }
}

/// Every draw in its order: the next record depends on it.
fn contact(lots: &mut Lots) -> Contact {
    let id = lots.uuid();
    let first_name = lots.pick(&FIRST_NAMES);
    let last_name = lots.pick(&LAST_NAMES);
    let company = format!("{} {}", lots.pick(&COMPANIES), lots.pick(&TRADES));
    let domain = company.to_lowercase().replace(' ', "-");
    let tags = tags(lots);
    let note = note(lots);
    let created = FIRST_DAY_MS + lots.number(900) * DAY_MS + lots.number(DAY_MS);
    let updated = created + lots.number(120) * DAY_MS;
    Contact {
        title: lots.pick(&TITLES).to_owned(),
        emails: vec![
            format!("{first_name}.{last_name}{}@{domain}.example", lots.below(100)).to_lowercase(),
            format!("{}{last_name}{}@mail.example", &first_name[..1], lots.below(1_000))
                .to_lowercase(),
        ],
        phones: vec![
            format!("+49 30 {}", 1_000_000 + lots.number(8_999_999)),
            format!("+1 512 {}", 1_000_000 + lots.number(8_999_999)),
        ],
        address: Address {
            street: format!("{} {} Street", 1 + lots.below(240), lots.pick(&STREETS)),
            city: lots.pick(&CITIES).to_owned(),
            zip: (10_000 + lots.number(89_999)).to_string(),
            country: lots.pick(&COUNTRIES).to_owned(),
        },
        owner: format!("user-{:02}", lots.below(40)),
        stage: lots.pick(&STAGES).to_owned(),
        score: lots.number(101),
        amount: lots.number(5_000_000),
        created_at: Timestamp::from_millis(created).to_string(),
        updated_at: Timestamp::from_millis(updated).to_string(),
        id,
        first_name: first_name.to_owned(),
        last_name: last_name.to_owned(),
        company,
        tags,
        note,
    }
}

fn tags(lots: &mut Lots) -> Vec<String> {
    let mut tags: Vec<String> = Vec::new();
    while tags.len() < 3 {
        let tag = lots.pick(&TAGS);
        if !tags.iter().any(|present| present == tag) {
            tags.push(tag.to_owned());
        }
    }
    tags
}

fn note(lots: &mut Lots) -> String {
    let mut note = lots.pick(&NOTES).to_owned();
    while note.len() < 190 {
        note.push(' ');
        note.push_str(lots.pick(&NOTES));
    }
    note.chars().take(210).collect::<String>().trim_end().to_owned()
}

fn field_edit(lots: &mut Lots, contacts: &[Contact], place: usize) -> FieldEdit {
    let id = contacts[lots.below(contacts.len())].id.clone();
    let field = ["stage", "score", "title", "note"][place % 4];
    let value = match field {
        "stage" => Json::from(lots.pick(&STAGES)),
        "score" => lots.number(101).into(),
        "title" => format!("{} #{place}", lots.pick(&TITLES)).into(),
        _ => format!("{} {} (edit {place})", lots.pick(&NOTES), lots.pick(&NOTES)).into(),
    };
    FieldEdit { id, field: field.to_owned(), value }
}

/// A edits the first records; B begins in their middle, first with another field, then with the same.
fn offline_edits(contacts: &[Contact]) -> (Vec<FieldEdit>, Vec<FieldEdit>) {
    let count = if contacts.len() >= 1_500 { 1_000 } else { contacts.len() * 2 / 3 };
    let (half, quarter) = (count / 2, count / 4);
    let edit = |place: usize, field: &str, value: String| FieldEdit {
        id: contacts[place].id.clone(),
        field: field.to_owned(),
        value: value.into(),
    };
    let a = (0..count).map(|place| edit(place, "title", format!("A-title {place}")));
    let b = (half..half + count).map(|place| {
        if place < half + quarter {
            edit(place, "company", format!("B-company {place}"))
        } else {
            edit(place, "title", format!("B-title {place}"))
        }
    });
    (a.collect(), b.collect())
}

fn filter(lots: &mut Lots) -> Question {
    Question::Filter {
        stage: lots.pick(&STAGES).to_owned(),
        min_score: lots.number(40),
        order: "score desc, id asc".to_owned(),
        limit: 50,
    }
}

fn prefix(lots: &mut Lots) -> Question {
    Question::Prefix {
        field: "last_name".to_owned(),
        prefix: lots.pick(&LAST_NAMES)[..3].to_owned(),
        order: "last_name asc, id asc".to_owned(),
        limit: 50,
    }
}

const DAY_MS: i64 = 86_400_000;
/// 2023-01-01.
const FIRST_DAY_MS: i64 = 1_672_531_200_000;
const FIRST_NAMES: [&str; 50] = [
    "Olivia", "Noah", "Emma", "Liam", "Ava", "Mia", "Lucas", "Elena", "Mateo", "Sofia", "Yuki",
    "Hiro", "Anika", "Priya", "Omar", "Leila", "Jonas", "Freya", "Igor", "Tanya", "Chloe", "Hugo",
    "Ines", "Pablo", "Nadia", "Karim", "Bianca", "Marco", "Greta", "Felix", "Aisha", "Samuel",
    "Ruth", "Daniel", "Miriam", "Theo", "Clara", "Victor", "Alice", "Bruno", "Zoe", "Ethan",
    "Grace", "Oscar", "Ida", "Nils", "Astrid", "Lars", "Maren", "Peter",
];
const LAST_NAMES: [&str; 50] = [
    "Smith",
    "Johnson",
    "Garcia",
    "Martinez",
    "Brown",
    "Davies",
    "Muller",
    "Schmidt",
    "Rossi",
    "Ferrari",
    "Tanaka",
    "Suzuki",
    "Sharma",
    "Patel",
    "Kowalski",
    "Novak",
    "Ivanov",
    "Petrov",
    "Hansen",
    "Larsen",
    "Nguyen",
    "Tran",
    "Kim",
    "Park",
    "Silva",
    "Santos",
    "Dubois",
    "Moreau",
    "Jansen",
    "Bakker",
    "Okafor",
    "Mensah",
    "Haddad",
    "Rahman",
    "Cohen",
    "Levy",
    "OBrien",
    "Murphy",
    "Lindqvist",
    "Berg",
    "Fischer",
    "Weber",
    "Costa",
    "Almeida",
    "Popov",
    "Horvat",
    "Kaya",
    "Demir",
    "Yilmaz",
    "Reyes",
];
const COMPANIES: [&str; 26] = [
    "Acme",
    "Borealis",
    "Cobalt",
    "Delta",
    "Everest",
    "Fjord",
    "Granite",
    "Harbor",
    "Indigo",
    "Juniper",
    "Keystone",
    "Lumen",
    "Meridian",
    "Northwind",
    "Orchid",
    "Pioneer",
    "Quartz",
    "Redwood",
    "Summit",
    "Tidal",
    "Umber",
    "Vertex",
    "Willow",
    "Xenon",
    "Yarrow",
    "Zephyr",
];
const TRADES: [&str; 12] = [
    "Logistics",
    "Systems",
    "Foods",
    "Partners",
    "Industries",
    "Labs",
    "Health",
    "Energy",
    "Media",
    "Capital",
    "Robotics",
    "Textiles",
];
const TITLES: [&str; 12] = [
    "Account Executive",
    "Chief Financial Officer",
    "Head of Procurement",
    "IT Manager",
    "Marketing Director",
    "Operations Lead",
    "Owner",
    "Purchasing Agent",
    "Sales Engineer",
    "VP of Product",
    "Warehouse Supervisor",
    "Office Manager",
];
const STREETS: [&str; 12] = [
    "Oak", "Maple", "Station", "Church", "Mill", "Park", "High", "Victoria", "King", "Lake",
    "River", "Market",
];
const CITIES: [&str; 16] = [
    "Berlin", "Lyon", "Porto", "Austin", "Denver", "Osaka", "Pune", "Lagos", "Bergen", "Krakow",
    "Leeds", "Toronto", "Quito", "Izmir", "Gdansk", "Turin",
];
const COUNTRIES: [&str; 14] =
    ["DE", "FR", "PT", "US", "JP", "IN", "NG", "NO", "PL", "GB", "CA", "EC", "TR", "IT"];
const TAGS: [&str; 15] = [
    "vip",
    "newsletter",
    "renewal",
    "churn-risk",
    "partner",
    "trial",
    "enterprise",
    "smb",
    "inbound",
    "outbound",
    "event-2025",
    "referral",
    "net-30",
    "nda",
    "pilot",
];
const STAGES: [&str; 6] = ["lead", "qualified", "proposal", "negotiation", "won", "lost"];
const NOTES: [&str; 12] = [
    "Asked for a revised quote before the end of the quarter.",
    "Prefers to be called in the morning.",
    "Met at the trade fair and wants a demo for the whole team.",
    "Budget was approved but legal still has to sign off.",
    "Currently uses a competitor and is unhappy with support.",
    "Send the onboarding checklist next week.",
    "Contract renews automatically unless cancelled in writing.",
    "Needs delivery to two warehouses.",
    "Interested in the annual plan with a discount.",
    "Spoke with the assistant and left a message.",
    "Wants references from the same industry.",
    "Follow up after the board meeting.",
];

#[cfg(test)]
mod tests {
    use serde::Serialize;
    use sha2::{Digest as _, Sha256};

    use super::*;

    /// The hash of a file as the workload's script writes it.
    fn hash<T: Serialize>(rows: &[T]) -> String {
        let mut hasher = Sha256::new();
        for row in rows {
            hasher.update(serde_json::to_string(row).unwrap());
            hasher.update("\n");
        }
        hasher.finalize().iter().take(8).map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn the_generated_workload_is_byte_for_byte_that_of_the_script() {
        let workload = Workload::generate(1_000);
        assert_eq!(hash(&workload.contacts), "86366fbc2dc41b80");
        assert_eq!(hash(&workload.w2), "60e47c934afd07f0");
        assert_eq!(hash(&workload.w3_a), "a3b49f620eed183d");
        assert_eq!(hash(&workload.w3_b), "ec9cdfc13efa4abf");
        assert_eq!(hash(&workload.w4), "c5b4639dd9358cd2");
        assert_eq!(hash(&workload.w7), "47db56999d5186fa");
    }

    #[test]
    fn the_first_records_of_a_larger_workload_are_the_same() {
        let (small, large) = (Workload::generate(300), Workload::generate(1_600));
        assert_eq!(small.contacts, large.contacts[..300]);
        assert_eq!((large.w3_a.len(), large.w3_b.len()), (1_000, 1_000));
    }
}
