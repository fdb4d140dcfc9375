//! Small drawings beside each other, as SVG: how values grow with the number of records. Both axes are
//! logarithmic and every drawing spans as many powers of ten, so that what is linear rises by one for one and what is
//! flat does not.

use std::fmt::Write as _;

/// One drawing.
#[derive(Debug, Clone, PartialEq)]
pub struct Panel {
    /// What is drawn.
    pub title: String,
    /// In which unit.
    pub unit: &'static str,
    /// Number of records and value, in order; both above zero.
    pub points: Vec<(f64, f64)>,
}

/// Drawings in a row.
const COLUMNS: usize = 3;
/// A drawing with its labels, px.
const WIDTH: f64 = 300.0;
const HEIGHT: f64 = 230.0;
/// Between a drawing's edge and its field, px.
const LEFT: f64 = 56.0;
const RIGHT: f64 = 20.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 36.0;
const INK: &str = "#1f2933";
const FAINT: &str = "#6b7785";
const GRID: &str = "#e3e7eb";
const LINE: &str = "#1f6feb";

/// The drawings, as one SVG document.
#[must_use]
pub fn draw(panels: &[Panel]) -> String {
    let rows = panels.len().div_ceil(COLUMNS);
    let (width, height) = (WIDTH * COLUMNS as f64, HEIGHT * rows as f64);
    let mut svg = format!(
        r#"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" font-family="system-ui, sans-serif" font-size="11" fill="{INK}">"#
    );
    svg.push('\n');
    line(&mut svg, &format!(r##"<rect width="{width}" height="{height}" fill="#ffffff"/>"##));
    let decades = decades(panels);
    for (place, panel) in panels.iter().enumerate() {
        let (x, y) = ((place % COLUMNS) as f64 * WIDTH, (place / COLUMNS) as f64 * HEIGHT);
        line(&mut svg, &format!(r#"<g transform="translate({x} {y})">"#));
        Field::of(panel, decades).draw(panel, &mut svg);
        line(&mut svg, "</g>");
    }
    line(&mut svg, "</svg>");
    svg
}

/// How many powers of ten each axis of values spans: as many as the widest needs, and no fewer than that of numbers
/// of records.
fn decades(panels: &[Panel]) -> i32 {
    let span = |values: Vec<f64>| {
        let (low, high) = ends(&values);
        high - low
    };
    let spans = panels.iter().flat_map(|panel| {
        let (x, y): (Vec<f64>, Vec<f64>) = panel.points.iter().copied().unzip();
        [span(x), span(y)]
    });
    spans.max().unwrap_or(1)
}

/// The powers of ten around some values.
fn ends(values: &[f64]) -> (i32, i32) {
    let low = values.iter().copied().fold(f64::INFINITY, f64::min).log10().floor() as i32;
    let high = values.iter().copied().fold(0.0, f64::max).log10().ceil() as i32;
    (low, high.max(low + 1))
}

/// Where values stand in a drawing.
struct Field {
    from_x: i32,
    from_y: i32,
    decades: i32,
}

impl Field {
    fn of(panel: &Panel, decades: i32) -> Self {
        let (x, y): (Vec<f64>, Vec<f64>) = panel.points.iter().copied().unzip();
        Self { from_x: ends(&x).0, from_y: ends(&y).0, decades }
    }

    fn x(&self, records: f64) -> f64 {
        let share = (records.log10() - f64::from(self.from_x)) / f64::from(self.decades);
        LEFT + share * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.from_y)) / f64::from(self.decades);
        HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)
    }

    fn draw(&self, panel: &Panel, svg: &mut String) {
        let Panel { title, unit, points } = panel;
        line(
            svg,
            &format!(
                r#"<text x="{LEFT}" y="22" font-weight="600" font-size="13">{title}, {unit}</text>"#
            ),
        );
        for step in 0..=self.decades {
            let (records, value) = (power(self.from_x + step), power(self.from_y + step));
            let (x, y) = (self.x(records), self.y(value));
            let (right, bottom) = (WIDTH - RIGHT, HEIGHT - BOTTOM);
            line(
                svg,
                &format!(
                    r#"<path d="M{x:.1} {TOP}V{bottom:.1}M{LEFT} {y:.1}H{right:.1}" stroke="{GRID}"/>"#
                ),
            );
            label(svg, [x, bottom + 16.0], "middle", &short(records));
            label(svg, [LEFT - 6.0, y + 4.0], "end", &short(value));
        }
        let path: Vec<String> = points
            .iter()
            .map(|(records, value)| format!("{:.1},{:.1}", self.x(*records), self.y(*value)))
            .collect();
        line(
            svg,
            &format!(
                r#"<polyline points="{}" fill="none" stroke="{LINE}" stroke-width="2"/>"#,
                path.join(" ")
            ),
        );
        for (records, value) in points {
            let (x, y) = (self.x(*records), self.y(*value));
            line(
                svg,
                &format!(
                    r#"<circle cx="{x:.1}" cy="{y:.1}" r="3" fill="{LINE}"><title>{records} records: {value:.3} {unit}</title></circle>"#
                ),
            );
        }
        let ends = [(points.first(), "start"), (points.last(), "middle")];
        for (end, anchor) in ends {
            let Some((records, value)) = end else { continue };
            let [x, y] = [self.x(*records), self.y(*value) - 8.0];
            let text = short(*value);
            line(
                svg,
                &format!(r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}">{text}</text>"#),
            );
        }
    }
}

fn label(svg: &mut String, [x, y]: [f64; 2], anchor: &str, text: &str) {
    line(
        svg,
        &format!(
            r#"<text x="{x:.1}" y="{y:.1}" text-anchor="{anchor}" fill="{FAINT}">{text}</text>"#
        ),
    );
}

fn power(exponent: i32) -> f64 {
    10_f64.powi(exponent)
}

/// A number in two or three digits.
fn short(value: f64) -> String {
    match value {
        1e6.. => format!("{:.0}M", value / 1e6),
        1e3.. => format!("{:.0}k", value / 1e3),
        10.0.. => format!("{value:.0}"),
        1.0.. => format!("{}", (value * 10.0).round() / 10.0),
        _ => format!("{}", (value * 1e3).round() / 1e3),
    }
}

fn line(svg: &mut String, text: &str) {
    writeln!(svg, "{text}").unwrap_or_default();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_linear_rises_one_for_one_and_what_is_flat_does_not() {
        let points = |value: fn(f64) -> f64| {
            [1e3, 1e4, 1e5].map(|records| (records, value(records))).to_vec()
        };
        let linear = Panel { title: "a".into(), unit: "s", points: points(|n| n / 1e3) };
        let flat = Panel { title: "b".into(), unit: "ms", points: points(|_| 3.0) };
        let decades = decades(&[linear.clone(), flat.clone()]);
        assert_eq!(decades, 2);
        let rise = |panel: &Panel| {
            let field = Field::of(panel, decades);
            let [first, .., last] = &panel.points[..] else { panic!("two points") };
            (field.y(first.1) - field.y(last.1)) / (HEIGHT - TOP - BOTTOM)
        };
        assert!((rise(&linear) - 1.0).abs() < 1e-9);
        assert!(rise(&flat).abs() < 1e-9);
        let svg = draw(&[linear, flat]);
        assert_eq!(svg.matches("<circle").count(), 6);
        assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"));
    }

    #[test]
    fn numbers_are_short() {
        let shown = [0.004, 0.5, 1.26, 12.3, 345.6, 250_000.0, 2e6].map(short);
        assert_eq!(shown, ["0.004", "0.5", "1.3", "12", "346", "250k", "2M"]);
    }
}
