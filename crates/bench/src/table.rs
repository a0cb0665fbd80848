//! What the terminal shows: progress while it runs, the table and what it comes to at the end.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the benchmark's way of saying anything"
)]

use std::{
    io::{IsTerminal, stderr},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use crate::{
    Failure,
    args::Scale,
    figures::{Counts, Figures, Row},
    runner::{Bound, Measure, ROUNDS, Race},
};

const HEADINGS: [&str; 8] = [
    "part", "setting", "ours", "against", "theirs", "ratio", "spread", "verdict",
];

/// Says how the command line is used.
pub(crate) fn usage(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}

/// Says why there is nothing to show.
pub(crate) fn failure(failure: &Failure) -> ExitCode {
    eprintln!("procession-bench: {failure}");
    ExitCode::FAILURE
}

/// Says what there is.
pub(crate) fn list(races: &[Race]) {
    for race in races {
        let names: Vec<_> = race.contestants.iter().map(|one| one.name).collect();
        println!("{}: {}", race.title(), names.join(", "));
    }
}

/// Says where something was written.
pub(crate) fn written(path: &Path) {
    println!("written: {}", path.display());
}

/// One line on standard error that says what is running.
pub(crate) struct Progress {
    races: usize,
    race: usize,
    title: String,
    started: Instant,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(races: usize) -> Self {
        Self {
            races,
            race: 0,
            title: String::new(),
            started: Instant::now(),
            terminal: stderr().is_terminal(),
        }
    }

    /// A race begins.
    pub(crate) fn race(&mut self, race: &Race) {
        let left = time_left(self.started.elapsed(), self.race, self.races);
        self.race += 1;
        self.title = match left {
            Some(left) => format!("{} (about {} left)", race.title(), span(left)),
            None => race.title(),
        };
        if !self.terminal {
            eprintln!("{}/{} {}", self.race, self.races, self.title);
        }
    }

    /// A race is run again.
    pub(crate) fn once_more(&mut self) {
        let (race, races, title) = (self.race, self.races, &self.title);
        let clear = if self.terminal { "\r\x1b[K" } else { "" };
        eprintln!("{clear}{race}/{races} {title}: a bound is missed by more than twice, once more");
    }

    /// A sample begins.
    pub(crate) fn sample(&mut self, round: usize, rounds: usize, name: &str) {
        if self.terminal {
            let (race, races, title) = (self.race, self.races, &self.title);
            eprint!("\r\x1b[K{race}/{races} {title}: round {round}/{rounds}, {name}");
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.terminal {
            eprint!("\r\x1b[K");
        }
    }
}

/// What is left if the races to come take as long as those that are done.
fn time_left(elapsed: Duration, done: usize, all: usize) -> Option<Duration> {
    let done = u32::try_from(done).ok().filter(|done| *done > 0)?;
    let all = u32::try_from(all).ok()?;
    Some(elapsed / done * all.saturating_sub(done))
}

/// Minutes and seconds.
pub(crate) fn span(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds / 60 {
        0 => format!("{seconds} s"),
        minutes => format!("{minutes} min {} s", seconds % 60),
    }
}

/// Prints where the figures come from, the table, and what has to be known to read it.
pub(crate) fn print(figures: &Figures) {
    println!("{}", figures.machine);
    println!("{}", how(figures.scale));
    if cfg!(debug_assertions) {
        println!("a debug build: its ratios say little, use --release");
    }
    let rows: Vec<[String; 8]> = figures.rows.iter().map(cells).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count());
        cells.max().unwrap_or(0).max(HEADINGS[column].len())
    };
    let widths: [usize; 8] = std::array::from_fn(width);
    println!("\n{}", line(&HEADINGS.map(String::from), &widths));
    for row in &rows {
        println!("{}", line(row, &widths));
    }
    println!("\nratio: ours / theirs, the median over the rounds; spread: its least and greatest.");
    println!("times are better when less (a ratio below 1), rates and bandwidths when more.");
    for row in &figures.rows {
        if let Some(note) = &row.note {
            println!("{}, {}: {note}.", row.title(), row.against);
        }
    }
    println!("\n{}", figures.counts().show(figures.scale));
    println!("took {}", span(Duration::from_secs_f64(figures.seconds)));
}

/// How a run of this scale measures.
pub(crate) fn how(scale: Scale) -> String {
    let rounds = scale.rounds(ROUNDS);
    let quick = match scale {
        Scale::Full => "",
        Scale::Quick => "a quick run, with figures not to be trusted: ",
    };
    format!("{quick}medians of {rounds} interleaved rounds, where a part has no number of its own")
}

impl Counts {
    /// One line: what a run came to.
    pub(crate) fn show(self, scale: Scale) -> String {
        let gross = match scale {
            Scale::Full => 0,
            Scale::Quick => self.grossly_missed,
        };
        let bounds = self.met + self.missed;
        let bad = [
            (self.missed, "MISSED"),
            (gross, "of these BY MORE THAN TWICE, each time"),
            (self.failed, "comparisons FAILED"),
            (self.not_run, "comparisons not run"),
        ];
        let bad = bad.iter().filter(|(count, _)| *count > 0);
        let bad = bad.map(|(count, what)| format!("{count} {what}"));
        let good = format!("of {bounds} bounds {} are met", self.met);
        std::iter::once(good)
            .chain(bad)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

/// A ratio, also one that is hardly anything.
pub(crate) fn ratio(ratio: f64) -> String {
    if ratio < 0.1 {
        format!("{ratio:.4}")
    } else {
        format!("{ratio:.2}")
    }
}

fn cells(row: &Row) -> [String; 8] {
    [
        row.part.clone(),
        row.setting.clone(),
        row.show(row.ours),
        row.against.clone(),
        row.show(row.theirs),
        row.ratio.map(ratio).unwrap_or_default(),
        row.spread(),
        row.verdict(),
    ]
}

fn line(cells: &[String; 8], widths: &[usize; 8]) -> String {
    let cells = cells.iter().zip(widths);
    let padded: Vec<_> = cells
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    padded.join("  ").trim_end().to_owned()
}

impl Race {
    /// Part and setting.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.part, self.setting)
    }
}

impl Row {
    /// Part and setting.
    pub(crate) fn title(&self) -> String {
        format!("{}, {}", self.part, self.setting)
    }

    /// A figure of this row; a dash where there is none.
    pub(crate) fn show(&self, figure: Option<f64>) -> String {
        figure.map_or_else(|| "-".to_owned(), |figure| self.measure.show(figure))
    }

    /// The least and the greatest ratio.
    pub(crate) fn spread(&self) -> String {
        let both = self.least.zip(self.greatest);
        both.map(|(least, greatest)| format!("{}-{}", ratio(least), ratio(greatest)))
            .unwrap_or_default()
    }

    fn verdict(&self) -> String {
        if let Some(failed) = &self.failed {
            return format!("FAILED: {failed}");
        }
        if let Some(missing) = &self.not_run {
            return format!("not run: {missing}");
        }
        let Some(ratio) = self.ratio else {
            return "no rounds in common".to_owned();
        };
        let ahead = if self.measure.is_ahead(ratio) {
            "ahead"
        } else {
            "behind"
        };
        let Some(bound) = self.bound else {
            return ahead.to_owned();
        };
        let how = match (self.met, self.grossly_missed) {
            (Some(true), _) => "met",
            (_, true) => "MISSED BY MORE THAN TWICE",
            (_, false) => "MISSED",
        };
        format!("{ahead}, {} {how}", bound.show())
    }
}

impl Bound {
    fn show(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

impl Measure {
    /// A figure for people.
    pub(crate) fn show(self, figure: f64) -> String {
        match self {
            Self::Time if figure < 1e-6 => format!("{:.0} ns", figure * 1e9),
            Self::Time if figure < 1e-3 => format!("{:.1} us", figure * 1e6),
            Self::Time if figure < 1.0 => format!("{:.2} ms", figure * 1e3),
            Self::Time => format!("{figure:.2} s"),
            Self::Rate if figure < 10.0 => format!("{figure:.2} /s"),
            Self::Rate if figure < 1e4 => format!("{figure:.0} /s"),
            Self::Rate if figure < 1e6 => format!("{:.0} k/s", figure / 1e3),
            Self::Rate => format!("{:.2} M/s", figure / 1e6),
            Self::Memory => format!("{:.2} KiB", figure / 1024.0),
            Self::Count => format!("{figure:.2}"),
            Self::Bandwidth => format!("{:.0} MB/s", figure / 1e6),
        }
    }

    /// What its figures are in, before they are shown to people.
    pub(crate) fn unit(self) -> &'static str {
        match self {
            Self::Time => "s",
            Self::Rate => "1/s",
            Self::Bandwidth => "B/s",
            Self::Memory => "B",
            Self::Count => "1",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::figures::tests::made_up;

    #[test]
    fn a_verdict_says_what_there_is_to_say() {
        let mut row = made_up().rows.remove(0);
        assert_eq!(row.verdict(), "behind, <= 1.15 met");
        (row.ratio, row.met) = (Some(1.2), Some(false));
        assert_eq!(row.verdict(), "behind, <= 1.15 MISSED");
        row.grossly_missed = true;
        assert_eq!(row.verdict(), "behind, <= 1.15 MISSED BY MORE THAN TWICE");
        row.not_run = Some("node is not here".to_owned());
        assert_eq!(row.verdict(), "not run: node is not here");
        row.failed = Some("it broke".to_owned());
        assert_eq!(row.verdict(), "FAILED: it broke");
    }

    #[test]
    fn the_last_line_counts_what_is_wrong() {
        let mut figures = made_up();
        let counts = figures.counts();
        let expected = "of 1 bounds 1 are met, 1 comparisons not run";
        assert_eq!(counts.show(Scale::Full), expected);
        figures.rows[0].met = Some(false);
        figures.rows[0].grossly_missed = true;
        figures.rows.truncate(1);
        let counts = figures.counts();
        assert_eq!(counts.show(Scale::Full), "of 1 bounds 0 are met, 1 MISSED");
        assert!(
            counts
                .show(Scale::Quick)
                .ends_with("BY MORE THAN TWICE, each time")
        );
    }

    #[test]
    fn the_time_left_follows_from_the_time_gone() {
        let elapsed = Duration::from_secs(30);
        assert_eq!(time_left(elapsed, 0, 10), None);
        let left = time_left(elapsed, 2, 10).unwrap();
        assert_eq!(span(left), "2 min 0 s");
    }
}
