//! The children of one process, without a scan.
//!
//! The kernel gives the children of a process that ends another parent. So what is to be found by
//! its parent is noted before that is killed, by `/proc/<pid>/task/<tid>/children`
//! (`proc_tid_children(5)`), which waits for nobody.

use std::fs::{self, File};
use std::io::Read as _;

use rustix::process::Pid;

use super::scan::Identity;

/// Children are started by a few threads, mostly by one.
const THREADS: usize = 64;
/// Altogether: the look is one of the task's, and takes some 15 µs for each.
const MOST: usize = 1024;
/// Of each thread; enough for 500 numbers.
const BYTES: u64 = 4096;
/// A `stat` is far shorter.
const STAT: u64 = 2048;

/// The children of a process, as far as they can be seen: none where the kernel does not tell
/// (`CONFIG_PROC_CHILDREN`), or no descriptor is free.
pub(crate) fn children(parent: Pid) -> Vec<Identity> {
    let Ok(threads) = fs::read_dir(format!("/proc/{parent}/task")) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    for thread in threads.flatten().take(THREADS) {
        let room = MOST.saturating_sub(found.len());
        let Some(text) = read(&format!("{}/children", thread.path().display()), BYTES) else {
            continue;
        };
        // The last number may be cut, and then names no child.
        let numbers = text.split_ascii_whitespace().take(room);
        found.extend(numbers.filter_map(|number| {
            let pid = Pid::from_raw(number.parse().ok()?)?;
            Some((pid, start_of(pid, parent)?))
        }));
    }
    found
}

/// When a child of `parent` was started.
fn start_of(pid: Pid, parent: Pid) -> Option<u64> {
    let text = read(&format!("/proc/{pid}/stat"), STAT)?;
    // The second field is the name of the program, which may hold anything.
    let mut fields = text[text.rfind(')')? + 1..].split_ascii_whitespace();
    let found = fields.nth(1)?.parse::<i32>().ok()?;
    let start = fields.nth(17)?.parse().ok()?;
    (found == parent.as_raw_pid()).then_some(start)
}

fn read(path: &str, limit: u64) -> Option<String> {
    let mut text = Vec::new();
    let file = File::open(path).ok()?;
    file.take(limit).read_to_end(&mut text).ok()?;
    Some(String::from_utf8_lossy(&text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::containment::testing::{Started, snapshot};

    #[test]
    fn children_are_those_that_a_scan_shows_and_no_others() {
        let script = "sh -c 'echo $$; exec sleep 1000 >&-' & exec sleep 1000 >&-";
        let mut parent = Started::script(script, &[]);
        let child = parent.pid_line();
        let found = children(parent.pid);
        if found.is_empty() {
            // A kernel that does not tell.
            return;
        }
        assert_eq!(found.len(), 1);
        assert!(snapshot().identities().any(|seen| seen == found[0]));
        assert_eq!(found[0].0, child);
        crate::containment::testing::end(child);
    }
}
