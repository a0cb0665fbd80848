//! The command line.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::machine::Cores;

/// How the benchmark introduces itself when it is misunderstood.
const USAGE: &str =
    "usage: procession-bench [--only NAME] [--quick] [--list] [--report] [--from FILE]

  --only NAME   only the races that have NAME in their name
  --quick       less work in fewer rounds; fails where a bound is missed by more than twice
  --list        say what there is, run nothing
  --report      write docs/performance.md and its plots anew, from a full run
  --from FILE   take the figures from this bench.json, run nothing";

/// What was asked for.
#[derive(Debug, Default)]
pub(crate) struct Args {
    /// Only the races that have this in their name.
    pub(crate) only: Option<String>,
    /// Say what there is, run nothing.
    pub(crate) list: bool,
    /// Write the document anew.
    pub(crate) report: bool,
    /// Take the figures from this file, run nothing.
    pub(crate) from: Option<PathBuf>,
    /// How much to run.
    pub(crate) scale: Scale,
}

/// How many rounds, and how much work in each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Scale {
    /// Enough for figures to trust.
    #[default]
    Full,
    /// Enough to notice a gross loss.
    Quick,
}

impl Scale {
    /// Rounds in a race that has `full` of them in a full run.
    pub(crate) fn rounds(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => full.min(3),
        }
    }

    /// Whether a race of round trips on these cores is run: a quick run has those alone that are judged.
    pub(crate) fn wants(self, cores: Cores) -> bool {
        self == Self::Full || cores == Cores::One
    }

    /// Rounds in a race of which one round takes long: a single one in a quick run.
    pub(crate) fn heavy(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => 1,
        }
    }

    /// The share of the full work that a round does: `full` operations, at least 10.
    pub(crate) fn work(self, full: usize) -> usize {
        match self {
            Self::Full => full,
            Self::Quick => (full / 5).max(10),
        }
    }
}

/// Reads the command line, or says what is wrong with it.
pub(crate) fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Args, String> {
    let mut args = Args::default();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--only" => {
                let name = arguments.next().ok_or("--only needs a name")?;
                args.only = Some(name);
            }
            "--quick" => args.scale = Scale::Quick,
            "--list" => args.list = true,
            "--report" => args.report = true,
            "--from" => {
                let file = arguments.next().ok_or("--from needs a file")?;
                args.from = Some(file.into());
            }
            other => return Err(format!("unknown argument {other}\n{USAGE}")),
        }
    }
    let partial = args.only.is_some() || args.scale == Scale::Quick;
    match (&args.from, partial) {
        (Some(_), true) => Err("--from runs nothing: --only and --quick say what to run".into()),
        (None, true) if args.report => Err("--report needs a full run of everything".into()),
        _ => Ok(args),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Result<Args, String> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn reads_what_it_offers_and_refuses_the_rest() {
        let args = words("--quick --only bulk").unwrap();
        assert_eq!(args.scale, Scale::Quick);
        assert_eq!(args.only.as_deref(), Some("bulk"));
        let args = words("--report --from a/bench.json").unwrap();
        assert!(args.report);
        assert_eq!(args.from, Some("a/bench.json".into()));
        assert!(words("--only").unwrap_err().contains("name"));
        assert!(words("--fast").unwrap_err().contains("--fast"));
    }

    #[test]
    fn a_report_is_of_a_full_run() {
        assert!(words("--report").is_ok());
        assert!(words("--report --quick").is_err());
        assert!(words("--report --only bulk").is_err());
        assert!(words("--quick --from bench.json").is_err());
    }
}
