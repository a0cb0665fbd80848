//! What the terminal shows: progress while it runs, the table at the end.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the benchmark's way of saying anything"
)]

use std::{
    io::{IsTerminal, stderr},
    process::ExitCode,
};

use crate::{
    args::Scale,
    runner::{Bound, Contestant, Measure, Outcome, ROUNDS, Race, Standing},
};

const HEADINGS: [&str; 8] = [
    "part", "setting", "ours", "against", "theirs", "ratio", "spread", "verdict",
];

/// Says how the command line is used.
pub(crate) fn usage(what: &str) -> ExitCode {
    eprintln!("{what}");
    ExitCode::from(2)
}

/// Says what there is.
pub(crate) fn list(races: &[Race]) -> ExitCode {
    for race in races {
        let names: Vec<_> = race.contestants.iter().map(|one| one.name).collect();
        println!("{}: {}", race.title(), names.join(", "));
    }
    ExitCode::SUCCESS
}

/// Says where the figures come from.
pub(crate) fn machine(description: &str, scale: Scale) {
    println!("{description}");
    println!(
        "medians of {} interleaved rounds, where a part has no number of its own",
        scale.rounds(ROUNDS)
    );
    if cfg!(debug_assertions) {
        println!("a debug build: its ratios say little, use --release");
    }
}

/// One line on standard error that says what is running.
pub(crate) struct Progress {
    races: usize,
    race: usize,
    title: String,
    terminal: bool,
}

impl Progress {
    pub(crate) fn new(races: usize) -> Self {
        Self {
            races,
            race: 0,
            title: String::new(),
            terminal: stderr().is_terminal(),
        }
    }

    /// A race begins.
    pub(crate) fn race(&mut self, race: &Race) {
        self.race += 1;
        self.title = race.title();
        if !self.terminal {
            eprintln!("{}/{} {}", self.race, self.races, self.title);
        }
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

/// Prints the table and what has to be known to read it. Fails when a sample failed.
pub(crate) fn print(outcomes: &[Outcome]) -> ExitCode {
    let rows: Vec<[String; 8]> = outcomes.iter().flat_map(rows).collect();
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
    for (race, one) in contestants(outcomes).filter(|(_, one)| one.note.is_some()) {
        let title = race.title();
        println!("{title}, {}: {}.", one.name, one.note.unwrap_or_default());
    }
    let failed = outcomes.iter().flat_map(|outcome| &outcome.results);
    if failed.filter(|result| result.is_err()).count() > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

fn contestants(outcomes: &[Outcome]) -> impl Iterator<Item = (&Race, &Contestant)> {
    let races = outcomes.iter().map(|outcome| &outcome.race);
    races.flat_map(|race| race.contestants.iter().map(move |one| (race, one)))
}

/// One row for each that a race compares us with.
fn rows(outcome: &Outcome) -> Vec<[String; 8]> {
    let race = &outcome.race;
    let figure = |at: usize| match &outcome.results[at] {
        Ok(standing) => race.measure.show(standing.figure.median),
        Err(_) => "failed".to_owned(),
    };
    let others = race.contestants.iter().enumerate().skip(1);
    others
        .map(|(at, other)| {
            let [ratio, spread, verdict] = match (&outcome.results[0], &outcome.results[at]) {
                (Err(failure), _) => [String::new(), String::new(), format!("ours {failure}")],
                (_, Err(failure)) => [String::new(), String::new(), failure.to_string()],
                (Ok(_), Ok(standing)) => compared(race.measure, other.bound, *standing),
            };
            [
                race.part.to_owned(),
                race.setting.to_owned(),
                figure(0),
                other.name.to_owned(),
                figure(at),
                ratio,
                spread,
                verdict,
            ]
        })
        .collect()
}

fn compared(measure: Measure, bound: Option<Bound>, standing: Standing) -> [String; 3] {
    let Some(ratio) = standing.ratio else {
        return [
            String::new(),
            String::new(),
            "no rounds in common".to_owned(),
        ];
    };
    let ahead = if measure.is_ahead(ratio.median) {
        "ahead"
    } else {
        "behind"
    };
    let verdict = match bound {
        None => ahead.to_owned(),
        Some(bound) if bound.is_met(ratio.median) => format!("{ahead}, {} met", bound.show()),
        Some(bound) => format!("{ahead}, {} MISSED", bound.show()),
    };
    let spread = format!("{:.2}-{:.2}", ratio.least, ratio.greatest);
    [format!("{:.2}", ratio.median), spread, verdict]
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

impl Bound {
    fn show(self) -> String {
        match self {
            Self::AtMost(bound) => format!("<= {bound}"),
            Self::AtLeast(bound) => format!(">= {bound}"),
        }
    }
}

impl Measure {
    fn show(self, figure: f64) -> String {
        match self {
            Self::Time if figure < 1e-3 => format!("{:.1} us", figure * 1e6),
            Self::Time => format!("{:.2} ms", figure * 1e3),
            Self::Rate if figure < 1e6 => format!("{:.0} k/s", figure / 1e3),
            Self::Rate => format!("{:.2} M/s", figure / 1e6),
            Self::Memory => format!("{:.2} KiB", figure / 1024.0),
            Self::Count => format!("{figure:.2}"),
            Self::Bandwidth => format!("{:.0} MB/s", figure / 1e6),
        }
    }
}
