//! Starting a guard: its script, and the process.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};

use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, kill_process, pidfd_open, waitpid};
use uuid::Uuid;

/// For any POSIX shell with the usual `grep -z`: GNU's, busybox's.
///
/// `printf` and `kill` are part of the shell: the list of all processes may be longer than the
/// arguments of a program can be, and `xargs` cuts it. What `grep` printed counts, and not its
/// status, which tells of every file that was gone. An environment is as large as its process
/// likes, so that `grep` has 256 MiB and 2 s of processor time; where that is not enough for all,
/// which is told by words with a colon, it looks at one by one with a second for each. The rounds
/// have a limit, since what hangs in the kernel stays there.
///
/// `rm` would go on into what is mounted in the manager's directory: then all of it is left to the
/// next manager, as is what `rm` fails at. So the marker goes last. GNU's `rm` is iterative and
/// takes any depth; that of busybox fails where a path gets too long.
const SCRIPT: &str = r#"
trap '' HUP INT TERM QUIT TSTP
exec 3<&- 4<&- 5<&- 6<&- 7<&- 8<&- 9<&-
PATH=/usr/bin:/bin:/usr/sbin:/sbin:/usr/local/bin
LC_ALL=C
export PATH LC_ALL
manager=$1
cgroup=$2
shift 2
pattern="^PROCESSION_TREE=\(.*:\)*$manager/"
while IFS= read -r line; do
    if [ "$line" = dismiss ]; then exit 0; fi
done
quiet=0
rounds=0
while [ "$quiet" -lt 2 ] && [ "$rounds" -lt 200 ]; do
    rounds=$((rounds + 1))
    populated=
    if [ -n "$cgroup" ] && [ -f "$cgroup/cgroup.kill" ]; then
        echo 1 >"$cgroup/cgroup.kill"
        populated=$(grep '^populated 1' "$cgroup/cgroup.events")
    fi
    found=$(printf '%s\n' /proc/[0-9]*/environ |
        (ulimit -v 262144; ulimit -t 2; xargs grep -lzs -e "$pattern") 2>&1)
    case $found in *:*)
        found=$(for file in /proc/[0-9]*/environ; do
            (ulimit -v 262144; ulimit -t 1; exec grep -lzs -e "$pattern" "$file")
        done 2>/dev/null);;
    esac
    if [ -z "$found$populated" ]; then quiet=$((quiet + 1)); else quiet=0; fi
    for file in $found; do
        pid=${file#/proc/}
        kill -9 "${pid%/environ}"
    done
    if [ "$quiet" -lt 2 ]; then sleep 0.05 2>/dev/null || sleep 1; fi
done
if [ -n "$cgroup" ]; then find "$cgroup" -depth -type d -exec rmdir {} \;; fi
if grep -q "^[^ ]* [^ ]* [^ ]* [^ ]* [^ ]*/$manager/" /proc/self/mountinfo; then exit 1; fi
last=.procession-$(printf %s "$manager" | tr -d -).new
remove() {
    if [ ! -e "$1" ]; then return 0; fi
    find "$1" -mindepth 1 -maxdepth 1 ! -name .procession -exec rm -rf -- {} + || return 1
    mv -- "$1" "${1%/*}/$last" && rm -rf -- "${1%/*}/$last"
}
for directory; do
    remove "$directory" || { chmod -R u+rwx "$directory"; sleep 1; remove "$directory"; }
done
"#;

/// `/bin/sh -c SCRIPT procession-guard <manager> <cgroup or nothing> <directory>...`
pub(super) fn start(
    manager: Uuid,
    group: Option<&Path>,
    dirs: &[&Path],
) -> io::Result<(Pid, OwnedFd, ChildStdin)> {
    let starting = crate::starts::starting();
    let mut child = Command::new("/bin/sh")
        .args(["-c", SCRIPT])
        .arg("procession-guard")
        .arg(manager.to_string())
        .arg(group.unwrap_or(Path::new("")))
        .args(dirs)
        .env_clear()
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    drop(starting);
    let pid = Pid::from_raw(child.id().cast_signed()).ok_or(io::ErrorKind::InvalidData)?;
    let stdin = child.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
    match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(pidfd) => Ok((pid, pidfd, stdin)),
        Err(error) => {
            // It is ours and was not reaped, so its number is its own. Its input is still open.
            let _ = kill_process(pid, Signal::KILL);
            while let Err(Errno::INTR) = waitpid(Some(pid), WaitOptions::empty()) {}
            Err(error.into())
        }
    }
}
