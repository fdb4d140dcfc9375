//! Figures: several measurements of one thing, and what the same thing costs at least.

use std::time::Duration;

use serde::Serialize;

/// The median of several measurements, and how far they lie apart.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one.
    pub median: f64,
    /// The least.
    pub min: f64,
    /// The greatest.
    pub max: f64,
}

impl Spread {
    /// Of the measurements of all runs; zeros when there are none.
    #[must_use]
    pub fn of(measured: &[f64]) -> Self {
        let mut sorted = measured.to_vec();
        sorted.sort_by(f64::total_cmp);
        let min = sorted.first().copied().unwrap_or_default();
        let max = sorted.last().copied().unwrap_or_default();
        Self { median: percentile(&sorted, 50), min, max }
    }
}

/// The smallest measurement that is not less than `percent` of them; `sorted` is in order.
#[must_use]
pub fn percentile(sorted: &[f64], percent: usize) -> f64 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

/// What one run of many single measurements says: the middle one, and what one in a hundred exceeds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Latency {
    /// The middle one.
    pub p50: f64,
    /// The one that one in a hundred exceeds.
    pub p99: f64,
}

impl Latency {
    /// Of the measurements of one run.
    #[must_use]
    pub fn of(mut measured: Vec<f64>) -> Self {
        measured.sort_by(f64::total_cmp);
        Self { p50: percentile(&measured, 50), p99: percentile(&measured, 99) }
    }
}

/// The latencies of several runs, side by side.
#[derive(Debug, Clone, Default)]
pub struct Latencies {
    p50: Vec<f64>,
    p99: Vec<f64>,
}

impl Latencies {
    /// Takes one run.
    pub fn push(&mut self, run: Latency) {
        self.p50.push(run.p50);
        self.p99.push(run.p99);
    }

    /// Two figures, against the floor of the same runs.
    #[must_use]
    pub fn figures(&self, name: &str, unit: &'static str, floor: Option<&Self>) -> [Figure; 2] {
        let figure = |percent: &str, own: &[f64], floor: Option<&[f64]>| {
            let figure = Figure::new(format!("{name} {percent}"), unit, own);
            match floor {
                Some(floor) => figure.floor(floor),
                None => figure,
            }
        };
        [
            figure("p50", &self.p50, floor.map(|floor| &floor.p50[..])),
            figure("p99", &self.p99, floor.map(|floor| &floor.p99[..])),
        ]
    }
}

/// What a figure is to reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub enum Target {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
    /// No more than so many times the floor.
    TimesFloor(f64),
}

/// One line of the report.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Figure {
    /// What was measured.
    pub name: String,
    /// In which unit.
    pub unit: &'static str,
    /// What it was.
    pub value: Spread,
    /// What the same work costs at least, in the same run of the program.
    pub floor: Option<Spread>,
    /// What it is to reach, when something was set.
    pub target: Option<Target>,
}

impl Figure {
    /// A figure without a floor.
    #[must_use]
    pub fn new(name: impl Into<String>, unit: &'static str, measured: &[f64]) -> Self {
        Self { name: name.into(), unit, value: Spread::of(measured), floor: None, target: None }
    }

    /// With what it is to reach.
    #[must_use]
    pub const fn target(mut self, target: Target) -> Self {
        self.target = Some(target);
        self
    }

    /// Whether it reaches its target; nothing without one, or when the floor that it speaks of is unknown.
    #[must_use]
    pub fn is_met(&self) -> Option<bool> {
        match self.target? {
            Target::AtMost(most) => Some(self.value.median <= most),
            Target::AtLeast(least) => Some(self.value.median >= least),
            Target::TimesFloor(times) => self.ratio().map(|ratio| ratio <= times),
        }
    }

    /// With the floor beside it.
    #[must_use]
    pub fn floor(mut self, measured: &[f64]) -> Self {
        self.floor = Some(Spread::of(measured));
        self
    }

    /// How many times the floor.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let floor = self.floor.filter(|floor| floor.median > 0.0)?;
        Some(self.value.median / floor.median)
    }
}

/// A duration in milliseconds.
#[must_use]
pub fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// A duration in microseconds.
#[must_use]
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_measurements_and_not_made_up() {
        let hundred: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((percentile(&hundred, 50), percentile(&hundred, 99)), (50.0, 99.0));
        assert_eq!(percentile(&[7.0], 99), 7.0);
        assert_eq!(percentile(&[], 50), 0.0);
        assert_eq!(Spread::of(&[3.0, 1.0, 2.0]), Spread { median: 2.0, min: 1.0, max: 3.0 });
    }

    #[test]
    fn a_ratio_needs_a_floor_above_zero() {
        let figure = Figure::new("x", "ms", &[3.0]);
        assert_eq!(figure.ratio(), None);
        assert_eq!(figure.clone().floor(&[0.0]).ratio(), None);
        assert_eq!(figure.floor(&[2.0]).ratio(), Some(1.5));
    }

    #[test]
    fn a_target_is_met_or_not_by_the_median() {
        let figure = Figure::new("x", "ms", &[1.0, 3.0, 9.0]);
        assert_eq!(figure.is_met(), None);
        let met = |target| figure.clone().floor(&[2.0]).target(target).is_met();
        assert_eq!(met(Target::AtMost(3.0)), Some(true));
        assert_eq!(met(Target::AtMost(2.9)), Some(false));
        assert_eq!(met(Target::AtLeast(3.0)), Some(true));
        assert_eq!(met(Target::AtLeast(3.1)), Some(false));
        assert_eq!(met(Target::TimesFloor(1.5)), Some(true));
        assert_eq!(met(Target::TimesFloor(1.4)), Some(false));
        assert_eq!(figure.target(Target::TimesFloor(1.5)).is_met(), None);
    }
}
