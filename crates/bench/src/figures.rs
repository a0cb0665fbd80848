//! What a run came to, as plain data: what the terminal shows, `bench.json` holds and the document
//! tells are the same rows.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{
    Failure,
    args::Scale,
    machine::Machine,
    runner::{Bound, Measure, NotHere, Outcome, Standing},
};

/// The name of the file in the target directory.
const FILE: &str = "bench.json";
/// What cargo puts into every target directory.
const TARGET_MARK: &str = "CACHEDIR.TAG";

/// All figures of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    /// The day of the run, in UTC.
    pub(crate) date: String,
    pub(crate) scale: Scale,
    /// What the whole run took.
    pub(crate) seconds: f64,
    pub(crate) rows: Vec<Row>,
}

/// We beside one other, in one race. Figures are in the unit that the row names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Row {
    pub(crate) part: String,
    pub(crate) setting: String,
    pub(crate) measure: Measure,
    pub(crate) unit: String,
    /// What ours is called.
    pub(crate) us: String,
    /// The median of our rounds.
    pub(crate) ours: Option<f64>,
    pub(crate) against: String,
    /// The median of their rounds.
    pub(crate) theirs: Option<f64>,
    /// The median over the rounds of ours / theirs.
    pub(crate) ratio: Option<f64>,
    /// The least of these ratios.
    pub(crate) least: Option<f64>,
    /// The greatest of these ratios.
    pub(crate) greatest: Option<f64>,
    /// How many rounds were compared.
    pub(crate) rounds: usize,
    /// What the ratio has to be; `None` where it is only reported.
    pub(crate) bound: Option<Bound>,
    /// Whether it is so; `None` where there is no bound or no ratio.
    pub(crate) met: Option<bool>,
    /// Whether the bound was missed by more than twice, in every try that there was.
    pub(crate) grossly_missed: bool,
    /// Something that a reader of the figures has to know.
    pub(crate) note: Option<String>,
    /// Why there is no ratio though there should be one.
    pub(crate) failed: Option<String>,
    /// Why there can be no ratio on this machine.
    pub(crate) not_run: Option<String>,
}

/// How many rows are how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    pub(crate) met: usize,
    pub(crate) missed: usize,
    pub(crate) grossly_missed: usize,
    pub(crate) failed: usize,
    pub(crate) not_run: usize,
}

impl Figures {
    /// What has just been measured here.
    pub(crate) fn of(outcomes: &[Outcome], scale: Scale, took: Duration) -> Self {
        Self {
            machine: Machine::this(),
            date: today(),
            scale,
            seconds: took.as_secs_f64(),
            rows: outcomes.iter().flat_map(rows).collect(),
        }
    }

    /// Those of an earlier run.
    pub(crate) fn read(path: &Path) -> Result<Self, Failure> {
        let told = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
        let text = fs::read_to_string(path).map_err(|error| told(&error))?;
        Ok(serde_json::from_str(&text).map_err(|error| told(&error))?)
    }

    /// Writes them to the target directory, and says where that is.
    pub(crate) fn write(&self) -> Result<PathBuf, Failure> {
        let path = target_directory(&std::env::current_exe()?)?.join(FILE);
        fs::write(&path, serde_json::to_string_pretty(self)? + "\n")?;
        Ok(path)
    }

    pub(crate) fn counts(&self) -> Counts {
        let count = |is: fn(&Row) -> bool| self.rows.iter().filter(|row| is(row)).count();
        Counts {
            met: count(|row| row.met == Some(true)),
            missed: count(|row| row.met == Some(false)),
            grossly_missed: count(|row| row.grossly_missed),
            failed: count(|row| row.failed.is_some()),
            not_run: count(|row| row.not_run.is_some()),
        }
    }

    /// A run fails when a sample did, and a quick one also when a bound was missed by more than
    /// twice: it is there to notice that, and is too short to tell more.
    pub(crate) fn verdict(&self) -> ExitCode {
        let counts = self.counts();
        let gross = self.scale == Scale::Quick && counts.grossly_missed > 0;
        if counts.failed > 0 || gross {
            return ExitCode::FAILURE;
        }
        ExitCode::SUCCESS
    }
}

/// One row for each that a race compares us with; one for us where there is nobody.
fn rows(outcome: &Outcome) -> Vec<Row> {
    let count = outcome.race.contestants.len();
    let first = usize::from(count > 1);
    (first..count).map(|at| row(outcome, at)).collect()
}

fn row(outcome: &Outcome, at: usize) -> Row {
    let race = &outcome.race;
    let one = &race.contestants[at];
    let [ours, theirs] = [0, at].map(|at| outcome.results[at].as_ref());
    let figure = |result: Result<&Standing, _>| result.ok().map(|it: &Standing| it.figure.median);
    let ratio = ours.and(theirs).ok().and_then(|it| it.ratio);
    let rounds = |result: Result<&Standing, _>| result.map_or(0, |it: &Standing| it.rounds);
    let (failed, not_run) = trouble(at, ours.err(), theirs.err());
    let bound = one.bound;
    Row {
        part: race.part.to_owned(),
        setting: race.setting.to_owned(),
        measure: race.measure,
        unit: race.measure.unit().to_owned(),
        us: race.contestants[0].name.to_owned(),
        ours: figure(ours),
        against: one.name.to_owned(),
        theirs: figure(theirs),
        ratio: ratio.map(|it| it.median),
        least: ratio.map(|it| it.least),
        greatest: ratio.map(|it| it.greatest),
        rounds: rounds(ours).min(rounds(theirs)),
        bound,
        met: bound
            .zip(ratio)
            .map(|(bound, ratio)| bound.is_met(ratio.median)),
        grossly_missed: outcome.gross[at],
        note: one.note.map(str::to_owned),
        failed,
        not_run,
    }
}

/// Why there is no ratio: a failure, or else something that is not here.
fn trouble(
    at: usize,
    ours: Option<&Failure>,
    theirs: Option<&Failure>,
) -> (Option<String>, Option<String>) {
    let theirs = theirs.filter(|_| at > 0);
    let is_missing = |failure: &Failure| failure.downcast_ref::<NotHere>().is_some();
    let ours = ours.map(|failure| (is_missing(failure), format!("ours: {failure}")));
    let theirs = theirs.map(|failure| (is_missing(failure), failure.to_string()));
    let all = || ours.iter().chain(&theirs);
    let find = |missing| all().find(|(is, _)| *is == missing);
    match (find(false), find(true)) {
        (Some((_, failed)), _) => (Some(failed.clone()), None),
        (None, missing) => (None, missing.map(|(_, text)| text.clone())),
    }
}

/// The nearest directory above the program that cargo has marked as its target directory.
fn target_directory(program: &Path) -> io::Result<PathBuf> {
    let above = || program.ancestors().skip(1);
    let marked = above().find(|directory| directory.join(TARGET_MARK).exists());
    // A program that was taken elsewhere has its figures beside it.
    marked
        .or_else(|| above().next())
        .map(Path::to_path_buf)
        .ok_or_else(|| io::Error::other("the program is in no directory"))
}

fn today() -> String {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    let [year, month, day] = date(now.map_or(0, |now| now.as_secs() / 86_400));
    format!("{year}-{month:02}-{day:02}")
}

/// Year, month and day of a day since 1970, in the Gregorian calendar.
fn date(mut days: u64) -> [u64; 3] {
    let mut year = 1970;
    let is_leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    while days >= 365 + u64::from(is_leap(year)) {
        days -= 365 + u64::from(is_leap(year));
        year += 1;
    }
    let february = 28 + u64::from(is_leap(year));
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    [year, month, days + 1]
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::{
        machine::Cores,
        runner::{Contestant, Race, Sample, work},
        stats::Summary,
    };

    fn standing(figure: f64, ratio: f64) -> Standing {
        let summary = |median| Summary {
            median,
            least: median / 2.0,
            greatest: median * 2.0,
        };
        Standing {
            figure: summary(figure),
            ratio: Some(summary(ratio)),
            rounds: 7,
        }
    }

    fn contestant(name: &'static str, bound: Option<Bound>) -> Contestant {
        Contestant {
            name,
            bound,
            note: None,
            work: work(|| std::future::ready(Ok(Sample::held(1, 1)))),
        }
    }

    fn outcome(results: Vec<Result<Standing, Failure>>) -> Outcome {
        let names = ["procession", "raw", "node"];
        let bounds = [None, Some(Bound::AtMost(1.15)), None];
        let contestants = names.into_iter().zip(bounds).take(results.len());
        let race = Race {
            part: "round trip",
            rounds: 7,
            limit: Duration::from_secs(1),
            setting: "64 B",
            measure: Measure::Time,
            cores: Cores::One,
            contestants: contestants
                .map(|(name, bound)| contestant(name, bound))
                .collect(),
        };
        Outcome {
            race,
            gross: vec![false; results.len()],
            results,
        }
    }

    /// Figures of rows that came to nothing, and of one that was met.
    pub(crate) fn made_up() -> Figures {
        let outcome = outcome(vec![
            Ok(standing(2e-6, 1.0)),
            Ok(standing(2e-6, 1.0)),
            Err(NotHere("node is not here".to_owned()).into()),
        ]);
        Figures::of(&[outcome], Scale::Full, Duration::from_secs(3))
    }

    #[test]
    fn a_row_in_json_has_the_shape_that_others_read() {
        let json = serde_json::to_value(made_up()).unwrap();
        assert!(json["machine"]["processor"].is_string());
        assert_eq!(json["scale"], "full");
        let expected = serde_json::json!({
            "part": "round trip", "setting": "64 B", "measure": "time", "unit": "s",
            "us": "procession", "ours": 2e-6, "against": "raw", "theirs": 2e-6,
            "ratio": 1.0, "least": 0.5, "greatest": 2.0, "rounds": 7,
            "bound": {"at_most": 1.15}, "met": true, "grossly_missed": false,
            "note": null, "failed": null, "not_run": null,
        });
        assert_eq!(json["rows"][0], expected);
        assert_eq!(json["rows"][1]["not_run"], "node is not here");
        assert_eq!(json["rows"][1]["failed"], serde_json::Value::Null);
    }

    #[test]
    fn what_was_written_can_be_read() {
        let figures = made_up();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(FILE);
        fs::write(&path, serde_json::to_string(&figures).unwrap()).unwrap();
        assert_eq!(Figures::read(&path).unwrap(), figures);
        fs::write(&path, "{}").unwrap();
        let error = Figures::read(&path).unwrap_err().to_string();
        assert!(error.contains(FILE) && error.contains("machine"), "{error}");
    }

    #[test]
    fn a_failure_counts_and_an_absent_interpreter_does_not() {
        let mut figures = made_up();
        let success = format!("{:?}", ExitCode::SUCCESS);
        assert_eq!(figures.counts().not_run, 1);
        assert_eq!(format!("{:?}", figures.verdict()), success);
        figures.rows[0].failed = Some("it broke".to_owned());
        assert_ne!(format!("{:?}", figures.verdict()), success);
    }

    #[test]
    fn only_a_quick_run_fails_by_a_gross_miss() {
        let mut figures = made_up();
        figures.rows[0].grossly_missed = true;
        let success = format!("{:?}", ExitCode::SUCCESS);
        assert_eq!(format!("{:?}", figures.verdict()), success);
        figures.scale = Scale::Quick;
        assert_ne!(format!("{:?}", figures.verdict()), success);
    }

    #[test]
    fn a_failure_goes_before_what_is_not_here() {
        let missing = || Err(NotHere("node is not here".to_owned()).into());
        let rows = rows(&outcome(vec![missing(), Err("it broke".into()), missing()]));
        assert_eq!(rows[0].failed.as_deref(), Some("it broke"));
        assert_eq!(rows[0].not_run, None);
        assert_eq!(rows[1].failed, None);
        assert_eq!(rows[1].not_run.as_deref(), Some("ours: node is not here"));
    }

    #[test]
    fn a_race_with_nobody_else_has_a_row() {
        let all = rows(&outcome(vec![Err("it broke".into())]));
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].failed.as_deref(), Some("ours: it broke"));
    }

    #[test]
    fn figures_go_to_the_target_directory() {
        let directory = tempfile::tempdir().unwrap();
        let (target, program) = (directory.path(), directory.path().join("x/release/bench"));
        fs::create_dir_all(program.parent().unwrap()).unwrap();
        assert_eq!(
            target_directory(&program).unwrap(),
            program.parent().unwrap()
        );
        fs::write(target.join(TARGET_MARK), "").unwrap();
        assert_eq!(target_directory(&program).unwrap(), target);
    }

    #[test]
    fn dates() {
        for (days, expected) in [
            (0, [1970, 1, 1]),
            (11_016, [2000, 2, 29]),
            (19_782, [2024, 2, 29]),
            (19_783, [2024, 3, 1]),
            (20_818, [2026, 12, 31]),
            (20_819, [2027, 1, 1]),
        ] {
            assert_eq!(date(days), expected, "{days}");
        }
    }
}
