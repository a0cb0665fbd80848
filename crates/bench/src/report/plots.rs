//! The plots, as SVG whose text is text.
//!
//! Both kinds are lists of horizontal bars with a name to the left and a figure to the right, so that
//! long names have room and nobody has to tell contestants apart by colour alone.

mod axis;

use plotters::{
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

use self::axis::Axis;
use super::{bound_text, capitalised};
use crate::{Failure, figures::Row, runner::Measure, table};

/// The colours of Okabe and Ito, which those who see fewer colours can tell apart.
const OURS: RGBColor = RGBColor(0, 114, 178);
const OTHERS: [RGBColor; 6] = [
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(86, 180, 233),
    RGBColor(240, 228, 66),
    RGBColor(150, 150, 150),
];
const MISSED: RGBColor = RGBColor(213, 94, 0);
const INK: RGBColor = RGBColor(40, 40, 40);
const FAINT: RGBColor = RGBColor(215, 215, 215);

const WIDTH: i32 = 1040;
const TITLE: i32 = 34;
const LINE: i32 = 20;
const GAP: i32 = 8;
const BOTTOM: i32 = 44;
const LETTER: i32 = 7;
const FONT: &str = "sans-serif";
/// Plotters writes this, divided by 1.24, as the size in pixels.
const SIZE: f64 = 15.0;
const BIG: f64 = 18.0;

/// A bound that is kept so many times over is kept: longer bars are cut, or the others could not be
/// told apart.
const CLEAR: f64 = 10.0;

/// A list of bars, with nothing left to decide.
#[derive(Debug)]
struct Plot {
    title: String,
    axis: Axis,
    /// What the axis shows.
    caption: String,
    /// Where bars begin; `None` for the axis's own beginning.
    from: Option<f64>,
    lines: Vec<Line>,
    show: fn(f64, Measure) -> String,
    measure: Measure,
}

#[derive(Debug)]
enum Line {
    Heading(String),
    Bar(Bar),
    Gap,
}

#[derive(Debug)]
struct Bar {
    name: String,
    /// `None` where there is no figure.
    value: Option<f64>,
    /// From where to where it varied.
    spread: Option<(f64, f64)>,
    text: String,
    colour: RGBColor,
}

/// How many times better than its bound each ratio is; `None` where nothing is bounded.
pub(super) fn overview(rows: &[Row]) -> Result<Option<String>, Failure> {
    let bars: Vec<Bar> = rows.iter().filter_map(margin).collect();
    let values = || {
        let spreads = bars.iter().filter_map(|bar| bar.spread);
        let ends = spreads.flat_map(|(least, greatest)| [least, greatest]);
        ends.chain(bars.iter().filter_map(|bar| bar.value))
    };
    if bars.is_empty() {
        return Ok(None);
    }
    let axis = Axis::logarithmic(values().chain([0.5, 2.0])).within(CLEAR);
    let plot = Plot {
        title: "Ratios beside their bounds".to_owned(),
        axis,
        caption: "times better than the bound, log scale; left of 1: missed; thin line: spread"
            .to_owned(),
        from: Some(1.0),
        lines: bars
            .into_iter()
            .map(|bar| Line::Bar(cut(bar, axis)))
            .collect(),
        show: |value, _| format!("{value:.2}×"),
        measure: Measure::Count,
    };
    plot.draw().map(Some)
}

/// A bar that is longer than the axis says how long it is.
fn cut(mut bar: Bar, axis: Axis) -> Bar {
    if let Some(value) = bar.value.filter(|value| axis.ends_before(*value)) {
        bar.text = format!("{} ({value:.0}×)", bar.text);
    }
    bar
}

fn margin(row: &Row) -> Option<Bar> {
    let (bound, ratio) = row.bound.zip(row.ratio)?;
    let ends = row.least.zip(row.greatest);
    let spread = ends.map(|(one, other)| (bound.margin(one), bound.margin(other)));
    let met = row.met == Some(true);
    let verdict = if met { "" } else { ": missed" };
    Some(Bar {
        name: format!("{} / {}", row.title(), row.against),
        value: Some(bound.margin(ratio)),
        spread: spread.map(|(one, other)| (one.min(other), one.max(other))),
        text: format!("{} {}{verdict}", table::ratio(ratio), bound_text(bound)),
        colour: if met { OURS } else { MISSED },
    })
}

/// A figure beside an axis, without digits that say nothing.
fn plain(figure: &str) -> String {
    let end = figure.find([' ', '×']).unwrap_or(figure.len());
    let (number, unit) = figure.split_at(end);
    if !number.contains('.') {
        return figure.to_owned();
    }
    let number = number.trim_end_matches('0').trim_end_matches('.');
    format!("{number}{unit}")
}

/// One plot for each measure of a part: what each contestant came to in each of its races.
pub(super) fn bars(rows: &[&Row]) -> Result<Vec<(&'static str, String)>, Failure> {
    let mut plots: Vec<(&'static str, String)> = vec![];
    for row in rows {
        let name = name(row.measure);
        if plots.iter().any(|(known, _)| *known == name) {
            continue;
        }
        let same = rows.iter().filter(|it| it.measure == row.measure);
        let same: Vec<&Row> = same.copied().collect();
        if let Some(plot) = figures(&same) {
            plots.push((name, plot.draw()?));
        }
    }
    Ok(plots)
}

fn name(measure: Measure) -> &'static str {
    match measure {
        Measure::Time => "time",
        Measure::Rate => "rate",
        Measure::Bandwidth => "bandwidth",
        Measure::Memory => "memory",
        Measure::Count => "count",
    }
}

/// The plot of rows of one measure; `None` where there is no figure at all.
fn figures(rows: &[&Row]) -> Option<Plot> {
    let first = rows.first()?;
    let values = rows.iter().flat_map(|row| [row.ours, row.theirs]);
    let axis = Axis::fitting(values.flatten())?;
    let better = if first.measure.less_is_better() {
        "less is better"
    } else {
        "more is better"
    };
    let scale = if axis.is_logarithmic() {
        ", log scale"
    } else {
        ""
    };
    let mut lines = vec![];
    for race in rows.chunk_by(|one, next| one.setting == next.setting) {
        if !lines.is_empty() {
            lines.push(Line::Gap);
        }
        lines.push(Line::Heading(race[0].setting.clone()));
        lines.extend(contestants(race, rows).map(Line::Bar));
    }
    Some(Plot {
        title: capitalised(&first.part),
        axis,
        caption: format!("{}: {better}{scale}", name(first.measure)),
        from: None,
        lines,
        show: |value, measure| measure.show(value),
        measure: first.measure,
    })
}

/// Ours, then the others of one race. Whoever has a name has one colour in the whole plot.
fn contestants<'a>(race: &'a [&Row], all: &'a [&Row]) -> impl Iterator<Item = Bar> + 'a {
    let mut names: Vec<&str> = vec![];
    for row in all {
        if !names.contains(&row.against.as_str()) {
            names.push(&row.against);
        }
    }
    let colour = move |name: &str| {
        let at = names.iter().position(|known| *known == name);
        OTHERS[at.unwrap_or(0) % OTHERS.len()]
    };
    let bar = |row: &Row, name: &str, value: Option<f64>, colour| Bar {
        name: name.to_owned(),
        value,
        spread: None,
        text: value.map_or_else(|| absence(row), |value| row.measure.show(value)),
        colour,
    };
    let ours = race
        .iter()
        .take(1)
        .map(move |row| bar(row, &row.us, row.ours, OURS));
    // A race with nobody else has one row, of ours.
    let others = race.iter().filter(|row| row.against != row.us);
    ours.chain(others.map(move |row| bar(row, &row.against, row.theirs, colour(&row.against))))
}

fn absence(row: &Row) -> String {
    let why = if row.not_run.is_some() {
        "not run"
    } else {
        "failed"
    };
    why.to_owned()
}

impl Line {
    fn height(&self) -> i32 {
        match self {
            Self::Heading(_) | Self::Bar(_) => LINE,
            Self::Gap => GAP,
        }
    }
}

/// A font of this size, in one of the two weights.
fn font(size: f64, weight: FontStyle, horizontal: HPos, vertical: VPos) -> TextStyle<'static> {
    let font = (FONT, size, weight).into_font();
    TextStyle::from(font)
        .color(&INK)
        .pos(Pos::new(horizontal, vertical))
}

/// Where things are, in pixels.
#[derive(Debug, Clone, Copy)]
struct Frame {
    left: i32,
    right: i32,
    top: i32,
    bottom: i32,
}

impl Plot {
    /// What the values beside the axis are round numbers of.
    fn unit(&self) -> f64 {
        match self.measure {
            Measure::Memory => 1024.0,
            _ => 1.0,
        }
    }

    fn frame(&self) -> Frame {
        let width = |text: &str| i32::try_from(text.chars().count()).unwrap_or(0) * LETTER;
        let bars = || {
            self.lines.iter().filter_map(|line| match line {
                Line::Bar(bar) => Some(bar),
                Line::Heading(_) | Line::Gap => None,
            })
        };
        let names = bars().map(|bar| width(&bar.name)).max().unwrap_or(0);
        let texts = bars().map(|bar| width(&bar.text)).max().unwrap_or(0);
        let height: i32 = self.lines.iter().map(Line::height).sum();
        Frame {
            left: 16 + names,
            right: WIDTH - 16 - texts,
            top: TITLE,
            bottom: TITLE + height + GAP / 2,
        }
    }

    fn draw(&self) -> Result<String, Failure> {
        let frame = self.frame();
        let height = frame.bottom + BOTTOM;
        let mut svg = String::new();
        {
            let size = (WIDTH.unsigned_abs(), height.unsigned_abs());
            let area = SVGBackend::with_string(&mut svg, size).into_drawing_area();
            area.fill(&WHITE)?;
            let title = font(BIG, FontStyle::Bold, HPos::Left, VPos::Center);
            area.draw(&Text::new(self.title.clone(), (12, TITLE / 2), title))?;
            self.draw_axis(&area, frame)?;
            self.draw_lines(&area, frame)?;
            area.present()?;
        }
        Ok(svg)
    }

    fn draw_axis(&self, area: &Area<'_>, frame: Frame) -> Result<(), Failure> {
        let style = font(SIZE, FontStyle::Normal, HPos::Center, VPos::Top);
        for tick in self.axis.ticks(self.unit()) {
            let x = self.axis.place(tick, frame.left, frame.right);
            let line = vec![(x, frame.top), (x, frame.bottom)];
            area.draw(&PathElement::new(line, FAINT.stroke_width(1)))?;
            let label = if tick == 0.0 {
                "0".to_owned()
            } else {
                plain(&(self.show)(tick, self.measure))
            };
            area.draw(&Text::new(label, (x, frame.bottom + 4), style.clone()))?;
        }
        let middle = i32::midpoint(frame.left, frame.right);
        area.draw(&Text::new(
            self.caption.clone(),
            (middle, frame.bottom + 22),
            style,
        ))?;
        if let Some(from) = self.from {
            let x = self.axis.place(from, frame.left, frame.right);
            let line = vec![(x, frame.top), (x, frame.bottom)];
            area.draw(&PathElement::new(line, INK.stroke_width(2)))?;
        }
        Ok(())
    }

    fn draw_lines(&self, area: &Area<'_>, frame: Frame) -> Result<(), Failure> {
        let heading = font(SIZE, FontStyle::Bold, HPos::Left, VPos::Center);
        let mut top = frame.top;
        for line in &self.lines {
            match line {
                Line::Heading(text) => {
                    let place = (12, top + LINE / 2);
                    area.draw(&Text::new(text.clone(), place, heading.clone()))?;
                }
                Line::Bar(bar) => self.draw_bar(area, frame, top, bar)?,
                Line::Gap => {}
            }
            top += line.height();
        }
        Ok(())
    }

    fn draw_bar(&self, area: &Area<'_>, frame: Frame, top: i32, bar: &Bar) -> Result<(), Failure> {
        let place = |value| self.axis.place(value, frame.left, frame.right);
        let middle = top + LINE / 2;
        let name = font(SIZE, FontStyle::Normal, HPos::Right, VPos::Center);
        area.draw(&Text::new(bar.name.clone(), (frame.left - 6, middle), name))?;
        let mut end = self.from.map_or(frame.left, place);
        if let Some(value) = bar.value {
            let (from, to) = (end, place(value));
            let corners = [(from.min(to), top + 3), (from.max(to), top + LINE - 3)];
            area.draw(&Rectangle::new(corners, bar.colour.filled()))?;
            end = from.max(to);
        }
        if let Some((least, greatest)) = bar.spread {
            let line = vec![(place(least), middle), (place(greatest), middle)];
            area.draw(&PathElement::new(line, INK.stroke_width(1)))?;
            end = end.max(place(greatest));
        }
        let text = font(SIZE, FontStyle::Normal, HPos::Left, VPos::Center);
        area.draw(&Text::new(bar.text.clone(), (end + 6, middle), text))?;
        Ok(())
    }
}

type Area<'a> = DrawingArea<SVGBackend<'a>, plotters::coord::Shift>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::made_up;

    #[test]
    fn ours_has_one_colour_and_comes_first_in_each_race() {
        let rows = made_up().rows;
        let rows: Vec<&Row> = rows.iter().collect();
        let plot = figures(&rows).unwrap();
        let bars: Vec<_> = plot
            .lines
            .iter()
            .filter_map(|line| match line {
                Line::Bar(bar) => Some((bar.name.as_str(), bar.colour, bar.text.as_str())),
                _ => None,
            })
            .collect();
        let expected = [
            ("procession", OURS, "2.0 us"),
            ("raw", OTHERS[0], "2.0 us"),
            ("node", OTHERS[1], "not run"),
        ];
        assert_eq!(bars, expected);
    }

    #[test]
    fn a_missed_bound_is_left_of_1_and_says_so() {
        let mut row = made_up().rows.remove(0);
        (row.ratio, row.met) = (Some(2.3), Some(false));
        let bar = margin(&row).unwrap();
        assert_eq!(bar.colour, MISSED);
        assert!((bar.value.unwrap() - 0.5).abs() < 1e-9);
        assert_eq!(bar.text, "2.30 ≤ 1.15: missed");
    }

    #[test]
    fn what_is_far_beyond_a_bound_is_cut_and_says_how_far() {
        let mut row = made_up().rows.remove(0);
        (row.ratio, row.least, row.greatest) = (Some(0.0115), Some(0.01), Some(0.1));
        let svg = overview(&[row]).unwrap().unwrap();
        assert!(svg.contains("0.0115 ≤ 1.15 (100×)"), "{svg}");
    }

    #[test]
    fn figures_beside_an_axis_have_no_digits_too_many() {
        let all = ["10.00 ms", "0.50×", "200 k/s", "1.25", "100"].map(plain);
        assert_eq!(all, ["10 ms", "0.5×", "200 k/s", "1.25", "100"]);
    }

    #[test]
    fn nothing_to_show_is_no_plot() {
        let mut rows = made_up().rows;
        for row in &mut rows {
            (row.ours, row.theirs, row.ratio) = (None, None, None);
        }
        assert_eq!(overview(&rows).unwrap(), None);
        let rows: Vec<&Row> = rows.iter().collect();
        assert_eq!(bars(&rows).unwrap(), []);
    }
}
