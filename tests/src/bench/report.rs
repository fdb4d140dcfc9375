//! Everything that one run of the benchmark found, for people and for programs.

use std::fmt;

use serde::Serialize;

use super::figure::{Figure, Spread, Target};
use super::loads::Loads;
use super::machine::Machine;
use super::options::Options;
use super::workload::SEED;

/// The figures of all workloads, and what they were measured on.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    machine: Machine,
    records: usize,
    runs: usize,
    seed: i32,
    /// Whether the records were read from files.
    from_files: bool,
    workloads: Vec<Section>,
}

#[derive(Debug, Clone, Serialize)]
struct Section {
    name: &'static str,
    figures: Vec<Figure>,
    document_loads: Loads,
    notes: Vec<String>,
}

impl Report {
    /// A report without figures.
    #[must_use]
    pub fn new(options: &Options) -> Self {
        Self {
            machine: Machine::read(),
            records: options.n,
            runs: options.runs,
            seed: SEED,
            from_files: options.workload.is_some(),
            workloads: Vec::new(),
        }
    }

    /// Adds a workload's figures, the documents that it loaded, and what else is to be known.
    pub fn add(
        &mut self,
        name: &'static str,
        figures: Vec<Figure>,
        document_loads: Loads,
        notes: Vec<String>,
    ) {
        self.workloads.push(Section { name, figures, document_loads, notes });
    }

    /// As one JSON object.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::to_value(self).expect("all keys are strings and all numbers are finite")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Machine { model, cores } = &self.machine;
        let from = if self.from_files { "read from files" } else { "generated" };
        writeln!(f, "{model}, {cores} cores; N = {}, {from}, seed {}", self.records, self.seed)?;
        writeln!(f, "medians of {} runs; in brackets the least and the greatest\n", self.runs)?;
        let head = [
            "figure",
            "unit",
            "value",
            "floor",
            "ratio",
            "target",
            "met",
            "spread",
            "of the floor",
        ];
        row(f, &head)?;
        for section in &self.workloads {
            writeln!(f, "{}", section.name)?;
            for figure in &section.figures {
                line(f, figure)?;
            }
            for note in &section.notes {
                writeln!(f, "  {note}")?;
            }
        }
        writeln!(f, "\ndocuments loaded, server and devices together")?;
        for section in &self.workloads {
            let Loads { text, slow_door, whole, fold, verify } = section.document_loads;
            let name = section.name.split_once(' ').map_or(section.name, |(name, _)| name);
            writeln!(
                f,
                "  {name}  text {text}, slow door {slow_door}, whole {whole}, fold {fold}, \
                 verify {verify}"
            )?;
        }
        Ok(())
    }
}

fn line(f: &mut fmt::Formatter<'_>, figure: &Figure) -> fmt::Result {
    let spread = |spread: Spread| format!("[{} – {}]", short(spread.min), short(spread.max));
    let floor = figure.floor;
    row(
        f,
        &[
            &figure.name,
            figure.unit,
            &short(figure.value.median),
            &floor.map_or_else(String::new, |floor| short(floor.median)),
            &figure.ratio().map_or_else(String::new, |ratio| format!("{ratio:.2}")),
            &figure.target.map_or_else(String::new, wanted),
            figure.is_met().map_or("", |met| if met { "yes" } else { "NO" }),
            &spread(figure.value),
            &floor.map_or_else(String::new, spread),
        ],
    )
}

fn wanted(target: Target) -> String {
    match target {
        Target::AtMost(most) => format!("≤ {}", short(most)),
        Target::AtLeast(least) => format!("≥ {}", short(least)),
        Target::TimesFloor(times) => format!("≤ {times:.2} ×"),
    }
}

fn row(f: &mut fmt::Formatter<'_>, cells: &[&str; 9]) -> fmt::Result {
    let [name, unit, value, floor, ratio, target, met, spread, floor_spread] = cells;
    let text = format!(
        "  {name:<44} {unit:<12} {value:>9} {floor:>9} {ratio:>6} {target:>9} {met:<3}  {spread:<21} \
         {floor_spread}"
    );
    writeln!(f, "{}", text.trim_end())
}

/// Three digits, or all before the point.
fn short(number: f64) -> String {
    match number.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{number:.0}"),
        size if size >= 10.0 => format!("{number:.1}"),
        _ => format!("{number:.2}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let options = Options::parse(std::iter::empty()).unwrap().unwrap();
        let mut report = Report::new(&options);
        let figure = Figure::new("p50", "µs", &[30.0, 31.0, 29.0]).floor(&[20.0, 19.0, 21.0]);
        let figure = figure.target(Target::TimesFloor(1.2));
        report.add("W2 edits", vec![figure], Loads::default(), vec!["a note".to_owned()]);
        report
    }

    #[test]
    fn a_line_shows_value_floor_ratio_target_and_both_spreads() {
        let text = report().to_string();
        let line = text.lines().find(|line| line.contains("p50")).unwrap();
        let words: Vec<&str> = line.split_whitespace().collect();
        let expected =
            "p50 µs 30.0 20.0 1.50 ≤ 1.20 × NO [29.0 – 31.0] [19.0 – 21.0]".split_whitespace();
        assert_eq!(words, expected.collect::<Vec<_>>());
        assert!(text.contains("slow door 0"));
    }

    #[test]
    fn the_json_form_is_one_object_with_every_figure() {
        let json = report().json();
        assert_eq!(json["seed"], 42);
        assert_eq!(json["workloads"][0]["figures"][0]["value"]["median"], 30.0);
        assert_eq!(json["workloads"][0]["figures"][0]["floor"]["min"], 19.0);
        assert_eq!(json["workloads"][0]["document_loads"]["text"], 0);
    }
}
