//! Whether a child that did not live long can have started anything, told without a look at all
//! processes.
//!
//! The kernel gives out process numbers in order, threads' among them, and tells the last one: the fifth
//! field of `/proc/loadavg` (`proc_loadavg(5)`, `idr_alloc_cyclic` in the kernel's `kernel/pid.c`). When
//! each number since the child's own went to another child of this program, none is left for anything that
//! it could have started.
//!
//! ```text
//!   numbers  ──► 4711        4712        4713          the last one is 4713
//!                the child   ours        ours          so the child has started nothing
//! ```
//!
//! Numbers begin anew at the end of their range. So this is believed only of a child that lived for less
//! than half of the time in which all processors together could use the range up. Everything else gives no
//! answer, and costs a scan. Who may choose the numbers of processes (`CAP_CHECKPOINT_RESTORE`) can get past this,
//! and is found by the hunt for all of the manager's processes at its end.

use std::collections::VecDeque;
use std::fs::File;
use std::io::Read;
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use rustix::fs::{PROC_SUPER_MAGIC, fstatfs};
use rustix::process::Pid;

/// A new process takes a processor this long at least.
const LEAST_FORK: Duration = Duration::from_micros(10);
/// As many of our children are remembered.
const REMEMBERED: usize = 1024;

/// The last children that this program has started, in the order in which that was told.
static STARTED: Mutex<Started> = Mutex::new(Started(VecDeque::new()));

#[derive(Debug)]
struct Started(VecDeque<(i32, Instant)>);

/// Takes note of a child of ours, which has just been started.
pub(crate) fn started(pid: Pid) {
    let mut known = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
    known.add(pid.as_raw_pid(), Instant::now());
}

/// Whether a child of ours, which has exited, surely has started nothing. `since` is from before it was
/// started.
pub(crate) fn childless(pid: Pid, since: Instant) -> bool {
    since.elapsed() < believed()
        && last_number().is_some_and(|last| {
            let known = STARTED.lock().unwrap_or_else(PoisonError::into_inner);
            known.has_all(pid.as_raw_pid(), last, since)
        })
}

impl Started {
    fn add(&mut self, pid: i32, now: Instant) {
        if self.0.len() == REMEMBERED {
            self.0.pop_front();
        }
        self.0.push_back((pid, now));
    }

    /// Whether all numbers after `pid` up to `last` are those of children that were started after `since`.
    fn has_all(&self, pid: i32, last: i32, since: Instant) -> bool {
        let Ok(given) = usize::try_from(i64::from(last) - i64::from(pid)) else {
            return false;
        };
        let recent = self.0.iter().rev().take_while(|(_, at)| *at >= since);
        let ours = recent.filter(|(number, _)| (pid + 1..=last).contains(number));
        given <= REMEMBERED && ours.count() == given
    }
}

/// For how long numbers surely do not begin anew.
fn believed() -> Duration {
    static BELIEVED: OnceLock<Duration> = OnceLock::new();
    *BELIEVED.get_or_init(|| {
        let range = std::fs::read_to_string("/proc/sys/kernel/pid_max").unwrap_or_default();
        // All of the machine, also where this program may use few of them: numbers are for all.
        let possible = std::fs::read_to_string("/sys/devices/system/cpu/possible");
        let processors = possible.map_or(u32::MAX, |list| processors(&list));
        range_lasts(range.trim().parse().unwrap_or(0), processors) / 2
    })
}

/// How many processors a list of the kernel has room for, such as `0-7`: one more than its last.
fn processors(list: &str) -> u32 {
    let last = list.trim().rsplit([',', '-']).next();
    let last = last.and_then(|number| number.parse::<u32>().ok());
    last.map_or(u32::MAX, |last| last.saturating_add(1))
}

/// How long so many processors need to use so many numbers up.
fn range_lasts(range: u32, processors: u32) -> Duration {
    LEAST_FORK * range / processors.max(1)
}

/// The number that was given out last.
fn last_number() -> Option<i32> {
    let mut file = File::open("/proc/loadavg").ok()?;
    // Not the kernel's own in some containers, where it is told late.
    if fstatfs(&file).ok()?.f_type != PROC_SUPER_MAGIC {
        return None;
    }
    let mut line = [0; 128];
    let length = file.read(&mut line).ok()?;
    last_field(&line[..length])
}

fn last_field(line: &[u8]) -> Option<i32> {
    let text = str::from_utf8(line).ok()?;
    text.split_ascii_whitespace().nth(4)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_numbers_that_are_all_ours_say_that_nothing_was_started() {
        let mut known = Started(VecDeque::new());
        let before = Instant::now();
        for pid in [10, 12, 11, 13] {
            known.add(pid, Instant::now());
        }
        assert!(known.has_all(13, 13, before));
        assert!(known.has_all(10, 13, before));
        assert!(!known.has_all(10, 14, before), "one that is not ours");
        assert!(!known.has_all(9, 8, before), "they have begun anew");
        assert!(!known.has_all(10, 13, Instant::now()), "ours from before");
        assert!(!known.has_all(-5, i32::MAX, before));
    }

    #[test]
    fn no_more_is_remembered_than_fits() {
        let mut known = Started(VecDeque::new());
        let before = Instant::now();
        let most = i32::try_from(REMEMBERED).expect("small");
        (1..=most + 1).for_each(|pid| known.add(pid, Instant::now()));
        assert_eq!(known.0.len(), REMEMBERED);
        assert!(known.has_all(1, most + 1, before));
        assert!(
            !known.has_all(0, most + 1, before),
            "the first is forgotten"
        );
    }

    #[test]
    fn reads_the_line_of_the_kernel() {
        assert_eq!(last_field(b"3.63 2.19 1.82 6/136 30900\n"), Some(30900));
        assert_eq!(last_field(b"3.63 2.19 1.82 6/136\n"), None);
        assert_eq!(range_lasts(32_768, 2), Duration::from_micros(163_840));
        assert_eq!(range_lasts(0, 0), Duration::ZERO);
        assert_eq!(["0\n", "0-7\n", "0-3,8-11\n"].map(processors), [1, 8, 12]);
        assert_eq!(processors(""), u32::MAX);
        assert!(last_number().is_some_and(|number| number > 0));
    }

    /// Other tests start processes as well, so that only one way is sure.
    #[test]
    fn a_child_that_has_started_something_is_not_childless() {
        for _ in 0..20 {
            let since = Instant::now();
            let mut child = std::process::Command::new("/bin/sh")
                .args(["-c", "/bin/true & wait"])
                .spawn()
                .expect("sh starts");
            let pid = Pid::from_child(&child);
            started(pid);
            child.wait().expect("reaped");
            assert!(!childless(pid, since));
        }
    }
}
