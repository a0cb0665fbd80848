//! A child's limits: a shell that sets them and then becomes the program.
//!
//! ```text
//!  /bin/sh -c 'command ulimit … || exit 126; …; exec "$0" "$@"' PROGRAM ARGUMENTS…
//! ```
//!
//! Limits belong to a process, not to a thread, so whoever starts the child cannot have them for it,
//! and setting them from outside (`prlimit(2)`) comes too late for its first instruction. `exec` keeps
//! the process number. The shell cannot report an error to the spawn, so what can fail is looked at
//! before.
//!
//! Units are those of POSIX: 512-byte blocks for files and core dumps, also in bash, which runs in its
//! POSIX mode under the name `sh`; 1024 bytes for memory. dash knows `-p` for the number of processes
//! where bash knows `-u` (and refuses to change what it calls `-p`).

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use procession_wire::Escaped;
use rustix::process::{Resource as Kernel, getrlimit};
use rustix::thread::{CapabilitySet, capabilities};

use super::super::program::executable;
use super::super::spawn_error::because;
use crate::model::{Limits, Resource};

pub(super) const SHELL: &str = "/bin/sh";

/// From here on a limit is none: the shells count in 64 bits without looking.
const UNLIMITED: u64 = 1 << 63;
/// From here on a limit of the processor time is none. The kernel counts it in nanoseconds and
/// without looking (`update_rlimit_cpu`), so that a program with 600 years would be killed at once.
const UNLIMITED_SECONDS: u64 = u64::MAX / 1_000_000_000;
/// `BINPRM_BUF_SIZE`: how much of a file the kernel looks at to see what it is.
const HEADER: u64 = 256;

/// What the shell runs, if the child may set these limits and the shell can start the program.
pub(super) fn script(limits: &Limits, program: &Path, user: Option<u32>) -> io::Result<String> {
    let may_raise = user.is_none_or(|user| user == 0)
        && capabilities(None).is_ok_and(|own| own.effective.contains(CapabilitySet::SYS_RESOURCE));
    check_program(program)?;
    let hard = |resource| {
        if may_raise {
            highest(resource)
        } else {
            getrlimit(kernel(resource)).maximum
        }
    };
    write_script(limits, hard)
}

/// The most that anybody can set (`None`: anything), `proc_sys_fs(5)`.
fn highest(resource: Resource) -> Option<u64> {
    if resource != Resource::OpenFiles {
        return None;
    }
    let text = std::fs::read_to_string("/proc/sys/fs/nr_open").ok()?;
    text.trim().parse().ok()
}

fn write_script(limits: &Limits, hard: impl Fn(Resource) -> Option<u64>) -> io::Result<String> {
    let mut script = String::new();
    let mut limits: Vec<_> = limits.iter().collect();
    // The shell needs some of both for itself: dash takes a descriptor from 10 on for a redirection.
    limits.sort_by_key(|(resource, _)| match resource {
        Resource::OpenFiles => 2,
        Resource::AddressSpace => 1,
        _ => 0,
    });
    for (&resource, &limit) in limits {
        let unit = unit(resource);
        let amount = limit.div_ceil(unit);
        let value = (limit < unlimited(resource)).then(|| amount.saturating_mul(unit));
        let fits = |value: Option<u64>| match (value, hard(resource)) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(value), Some(hard)) => value <= hard,
        };
        if !fits(value) {
            let hard = hard(resource).unwrap_or(u64::MAX);
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "cannot limit it to {limit} of {} ({resource:?}): the hard limit is {hard}, and it may not raise it: {}",
                    resource.name(),
                    io::Error::from_raw_os_error(libc::EPERM)
                ),
            ));
        }
        let amount = match value {
            Some(_) => amount.to_string(),
            None => "unlimited".to_owned(),
        };
        let line = match resource {
            // At the hard limit the kernel sends SIGKILL, which does not say why.
            Resource::CpuSeconds if value.is_some_and(|value| fits(Some(value + 1))) => {
                let hard = limit + 1;
                format!("command ulimit -t {hard} && command ulimit -S -t {limit} || exit 126")
            }
            Resource::CpuSeconds => format!("command ulimit -t {amount} || exit 126"),
            Resource::AddressSpace => format!("command ulimit -v {amount} || exit 126"),
            Resource::OpenFiles => format!("command ulimit -n {amount} || exit 126"),
            Resource::Processes => format!(
                "command ulimit -p {amount} 2>/dev/null || command ulimit -u {amount} || exit 126"
            ),
            Resource::CoreSize => format!("command ulimit -c {amount} || exit 126"),
            Resource::FileSize => format!("command ulimit -f {amount} || exit 126"),
        };
        let _ = writeln!(script, "{line}");
    }
    script.push_str(r#"exec "$0" "$@""#);
    Ok(script)
}

fn unit(resource: Resource) -> u64 {
    match resource {
        Resource::AddressSpace => 1024,
        Resource::CoreSize | Resource::FileSize => 512,
        _ => 1,
    }
}

fn unlimited(resource: Resource) -> u64 {
    match resource {
        Resource::CpuSeconds => UNLIMITED_SECONDS,
        _ => UNLIMITED,
    }
}

fn kernel(resource: Resource) -> Kernel {
    match resource {
        Resource::CpuSeconds => Kernel::Cpu,
        Resource::AddressSpace => Kernel::As,
        Resource::OpenFiles => Kernel::Nofile,
        Resource::Processes => Kernel::Nproc,
        Resource::CoreSize => Kernel::Core,
        Resource::FileSize => Kernel::Fsize,
    }
}

/// What `posix_spawn(3)` would refuse, and a shell would run as its own script or report too late.
/// A program that we cannot read is left to the shell.
fn check_program(program: &Path) -> io::Result<()> {
    let mut header = Vec::new();
    // Whatever has come into its place meanwhile, nothing is waited for.
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NONBLOCK);
    let read = options.open(program);
    let read = read.and_then(|file| file.take(HEADER).read_to_end(&mut header));
    match read {
        Ok(_) if header.starts_with(b"\x7fELF") => Ok(()),
        Ok(_) => match interpreter(&header) {
            Some(path) => executable(path).map_err(|error| {
                because(
                    format_args!("the interpreter that it names, {}", Escaped::new(path)),
                    &error,
                )
            }),
            None => Err(because(
                "it is neither a program nor a script with a `#!` line",
                &io::Error::from_raw_os_error(libc::ENOEXEC),
            )),
        },
        Err(_) => Ok(()),
    }
}

/// The interpreter on a `#!` line, `execve(2)`.
fn interpreter(header: &[u8]) -> Option<&Path> {
    let line = header.strip_prefix(b"#!")?.split(|byte| *byte == b'\n');
    let mut words = line
        .take(1)
        .flat_map(|line| line.split(|byte| matches!(byte, b' ' | b'\t' | 0)));
    let word = words.find(|word| !word.is_empty())?;
    Some(Path::new(std::ffi::OsStr::from_bytes(word)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(limits: &[(Resource, u64)], hard: Option<u64>) -> Result<String, String> {
        let limits = limits.iter().copied().collect();
        write_script(&limits, |_| hard).map_err(|error| error.to_string())
    }

    #[test]
    fn amounts_are_rounded_up_to_the_shells_units() {
        for (resource, limit, expected) in [
            (Resource::AddressSpace, 1025, "-v 2 "),
            (Resource::AddressSpace, 1024, "-v 1 "),
            (Resource::CoreSize, 0, "-c 0 "),
            (Resource::FileSize, 513, "-f 2 "),
            (Resource::OpenFiles, 64, "-n 64 "),
            (Resource::Processes, 7, "-u 7 "),
            (Resource::FileSize, UNLIMITED, "-f unlimited "),
            (Resource::CpuSeconds, u64::MAX, "-t unlimited "),
            (Resource::CpuSeconds, UNLIMITED_SECONDS, "-t unlimited "),
            (
                Resource::CpuSeconds,
                UNLIMITED_SECONDS - 1,
                "-S -t 18446744072 ",
            ),
            (
                Resource::AddressSpace,
                UNLIMITED - 1,
                "-v 9007199254740992 ",
            ),
        ] {
            let script = written(&[(resource, limit)], None).expect("allowed");
            assert!(script.contains(expected), "{script}");
            assert!(script.ends_with("exec \"$0\" \"$@\""), "{script}");
        }
    }

    #[test]
    fn what_the_shell_needs_itself_comes_last() {
        let all = [
            (Resource::OpenFiles, 8),
            (Resource::Processes, 9),
            (Resource::AddressSpace, 1024),
            (Resource::FileSize, 512),
        ];
        let script = written(&all, None).expect("allowed");
        let options: Vec<_> = script
            .lines()
            .filter_map(|line| line.strip_prefix("command ulimit ")?.get(..2))
            .collect();
        assert_eq!(options, ["-p", "-f", "-v", "-n"]);
    }

    #[test]
    fn processor_time_leaves_a_second_between_the_limits_where_it_can() {
        let of = |hard| written(&[(Resource::CpuSeconds, 5)], hard).expect("allowed");
        assert!(of(None).contains("-t 6 && command ulimit -S -t 5 "));
        assert!(of(Some(6)).contains("-t 6 && command ulimit -S -t 5 "));
        assert!(of(Some(5)).contains("ulimit -t 5 "));
    }

    #[test]
    fn what_the_hard_limit_does_not_allow_is_refused_by_name() {
        for limit in [65, u64::MAX] {
            let error = written(&[(Resource::OpenFiles, limit)], Some(64)).expect_err("too many");
            assert!(error.contains("RLIMIT_NOFILE"), "{error}");
            assert!(error.contains("hard limit is 64"), "{error}");
        }
        written(&[(Resource::OpenFiles, 64)], Some(64)).expect("just allowed");
        written(&[(Resource::FileSize, 700)], Some(1000)).expect_err("1024 when rounded up");
    }

    #[test]
    fn programs_that_cannot_run_are_refused_before() {
        let root = tempfile::tempdir().expect("a directory");
        let path = root.path().join("tool");
        for (text, expected) in [
            (&b"#!/bin/sh\n"[..], None),
            (b"#! \t/bin/sh -e\n", None),
            (b"#!/no/such/sh\necho", Some("/no/such/sh")),
            (b"echo hello\n", Some("`#!` line")),
            (b"", Some("`#!` line")),
            (b"#!\n/bin/sh", Some("`#!` line")),
        ] {
            std::fs::write(&path, text).expect("written");
            let result = check_program(&path).map_err(|error| error.to_string());
            match expected {
                None => result.expect("runs"),
                Some(words) => {
                    let error = result.expect_err("cannot run");
                    assert!(error.contains(words), "{error}");
                }
            }
        }
        check_program(Path::new(SHELL)).expect("a binary");
    }
}
