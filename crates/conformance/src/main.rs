//! The program `conformance`: see the library for what it is and how to read what it prints.

#![forbid(unsafe_code)]

use std::{
    env,
    ffi::OsString,
    io::{self, Write as _},
    process::ExitCode,
    time::Duration,
};

use procession_conformance::{Conformance, Transport, Verdict};

const USAGE: &str = "\
usage: conformance [OPTIONS] [--] COMMAND [ARGUMENTS]

Checks whether COMMAND is a child that speaks frames and keeps to the contract.

  --only NAME              only the check of this name
  --transport stdio|pipes|both
  --timeout SECONDS        how long one check may take (10)
  --list                   print the names of the checks
";

fn main() -> ExitCode {
    let mut arguments = env::args_os().skip(1);
    let run = match conformance(&mut arguments) {
        Ok(Some(run)) => run,
        Ok(None) => {
            for name in Conformance::names() {
                say(name);
            }
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            let _ = writeln!(io::stderr(), "{why}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    let outcomes = run.run(|outcome| say(&outcome.to_string()));
    let count = |wanted: fn(&Verdict) -> bool| {
        let verdicts = outcomes.iter().map(|outcome| &outcome.verdict);
        verdicts.filter(|verdict| wanted(verdict)).count()
    };
    let failed = count(|verdict| matches!(verdict, Verdict::Failed(_)));
    say(&format!(
        "{} ok, {failed} failed, {} skipped",
        count(|verdict| matches!(verdict, Verdict::Ok)),
        count(|verdict| matches!(verdict, Verdict::Skipped(_))),
    ));
    ExitCode::from(u8::from(failed > 0))
}

/// What to run; `None` if only the names are wanted.
fn conformance(
    arguments: &mut impl Iterator<Item = OsString>,
) -> Result<Option<Conformance>, String> {
    let mut only = None;
    let mut transports = vec![Transport::Stdio, Transport::Pipes];
    let mut timeout = procession_conformance::DEFAULT_TIMEOUT;
    let mut command = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || {
            let value = arguments.next().and_then(|value| value.into_string().ok());
            value.ok_or_else(|| format!("{} needs a value", argument.display()))
        };
        match argument.to_str() {
            Some("--list") => return Ok(None),
            Some("--only") => {
                let name = value()?;
                if !Conformance::names().contains(&name.as_str()) {
                    return Err(format!("there is no check {name:?}: see --list"));
                }
                only = Some(name);
            }
            Some("--transport") => {
                transports = match value()?.as_str() {
                    "stdio" => vec![Transport::Stdio],
                    "pipes" => vec![Transport::Pipes],
                    "both" => transports,
                    other => return Err(format!("there is no transport {other:?}")),
                };
            }
            Some("--timeout") => {
                let seconds = value()?;
                let number = seconds
                    .parse()
                    .ok()
                    .filter(|seconds| (1..=3600).contains(seconds));
                let number = number.ok_or_else(|| format!("--timeout is {seconds:?}"))?;
                timeout = Duration::from_secs(number);
            }
            Some("--") => {
                command.extend(arguments);
                break;
            }
            Some(option) if option.starts_with('-') => {
                return Err(format!("there is no option {option}"));
            }
            _ => {
                command.push(argument);
                command.extend(arguments);
                break;
            }
        }
    }
    if command.is_empty() {
        return Err("there is no command to check".into());
    }
    let mut conformance = Conformance::new(command);
    conformance.transports(transports).timeout(timeout);
    if let Some(only) = only {
        conformance.only(only);
    }
    Ok(Some(conformance))
}

/// Prints a line; whoever reads may have gone.
fn say(line: &str) {
    let _ = writeln!(io::stdout(), "{line}");
}
