//! Facts about processes as `/proc` tells them (proc(5)).

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// One line of `/proc/<pid>/stat`, as far as the tests need it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The process.
    pub pid: u32,
    /// Its parent.
    pub parent: u32,
    /// Its process group.
    pub group: u32,
    /// Its session.
    pub session: u32,
    /// `R`, `S`, `Z` and so on.
    pub state: char,
    /// When it started, in clock ticks since boot: tells two users of one pid apart.
    pub started: u64,
}

impl Stat {
    /// Of this process, unless it is gone.
    pub fn of(pid: u32) -> Option<Self> {
        let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name in parentheses may hold anything, spaces and parentheses included.
        let (_, rest) = text.rsplit_once(") ")?;
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        Some(Self {
            pid,
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            group: fields.get(2)?.parse().ok()?,
            session: fields.get(3)?.parse().ok()?,
            started: fields.get(19)?.parse().ok()?,
        })
    }
}

/// Whether the process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    Stat::of(pid).is_some_and(|stat| !matches!(stat.state, 'Z' | 'X'))
}

/// The pids of all processes.
pub fn pids() -> Vec<u32> {
    let Ok(entries) = fs::read_dir("/proc") else {
        return Vec::new();
    };
    entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect()
}

/// The children of this process, zombies included, but for the guards of living managers.
pub fn children() -> Vec<Stat> {
    let own = std::process::id();
    pids()
        .into_iter()
        .filter_map(Stat::of)
        .filter(|stat| stat.parent == own && !is_guard(stat.pid))
        .collect()
}

/// The guards of the managers of this process.
pub fn guards() -> Vec<Stat> {
    let own = std::process::id();
    pids()
        .into_iter()
        .filter(|pid| is_guard(*pid))
        .filter_map(Stat::of)
        .filter(|stat| stat.parent == own)
        .collect()
}

/// Whether this is the guard of a manager, by its command line; a zombie has none.
pub fn is_guard(pid: u32) -> bool {
    command_line(pid).contains(" procession-guard ")
}

/// The children of this process that nobody has reaped.
pub fn zombies() -> Vec<Stat> {
    children()
        .into_iter()
        .filter(|stat| stat.state == 'Z')
        .collect()
}

/// The processes whose environment holds `text` somewhere.
pub fn with_in_environment(text: &OsStr) -> Vec<u32> {
    let needle = text.as_bytes();
    pids()
        .into_iter()
        .filter(|pid| {
            // Unreadable ones are not ours, or gone.
            fs::read(format!("/proc/{pid}/environ"))
                .is_ok_and(|bytes| bytes.windows(needle.len()).any(|window| window == needle))
        })
        .collect()
}

/// The command line of a process, for messages.
pub fn command_line(pid: u32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ")
}

/// What each descriptor of this process points to.
pub fn descriptors() -> Vec<(u32, PathBuf)> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let mut found: Vec<(u32, PathBuf)> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| {
            let number = entry.file_name().to_str()?.parse().ok()?;
            Some((number, fs::read_link(entry.path()).ok()?))
        })
        // The one that this listing itself opened.
        .filter(|(_, target)| !is_fd_listing(target))
        .collect();
    found.sort();
    found
}

fn is_fd_listing(target: &Path) -> bool {
    target.starts_with("/proc") && target.ends_with("fd")
}

/// The processor time that the threads alive now have used.
pub fn cpu_time() -> Duration {
    let Ok(entries) = fs::read_dir("/proc/self/task") else {
        return Duration::ZERO;
    };
    let nanoseconds = entries
        .filter_map(Result::ok)
        .filter_map(|entry| fs::read_to_string(entry.path().join("schedstat")).ok())
        .filter_map(|text| text.split_ascii_whitespace().next()?.parse::<u64>().ok())
        .sum();
    Duration::from_nanos(nanoseconds)
}

/// The most memory that this process had resident at any time since [`reset_peak_memory`], in bytes.
pub fn peak_memory() -> u64 {
    status_field("VmHWM:")
}

/// The memory that this process has resident, in bytes.
pub fn memory() -> u64 {
    status_field("VmRSS:")
}

/// Starts the count of [`peak_memory`] anew.
pub fn reset_peak_memory() {
    fs::write("/proc/self/clear_refs", "5").expect("the peak of the memory can be reset");
}

fn status_field(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(name))
        .expect("the field is there");
    let kibibytes: u64 = line
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .expect("a number of kB");
    kibibytes * 1024
}

/// The descriptors of this process that a child inherits unless something is done about it.
pub fn inheritable() -> Vec<u32> {
    descriptors()
        .into_iter()
        .map(|(number, _)| number)
        .filter(|number| !is_close_on_exec(*number))
        .collect()
}

fn is_close_on_exec(number: u32) -> bool {
    const O_CLOEXEC: u32 = 0o2_000_000;
    let info = fs::read_to_string(format!("/proc/self/fdinfo/{number}")).unwrap_or_default();
    let flags = info.lines().find_map(|line| line.strip_prefix("flags:"));
    flags
        .and_then(|text| u32::from_str_radix(text.trim(), 8).ok())
        .is_none_or(|flags| flags & O_CLOEXEC != 0)
}
