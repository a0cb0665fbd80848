//! Trees in cgroups of their own: nothing escapes, everything is counted, and no cgroup is left.
//!
//! They need a cgroup v2 directory that this user can make cgroups in and move processes to, and say
//! so where there is none. Serial: each makes a directory there, and looks whether it is empty again.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::fs;
use std::io;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, ExitCause, Messaging, ProcessHandle, ProcessManager, ProcessManagerHandle, Resource,
};
use procession_tests::{Within as _, alone, checked, eventually, fixture, procfs, say};

const SOON: Duration = Duration::from_secs(5);
const NOBODY: u32 = 65_534;
/// Leaves a process without an environment, in a session of its own and with process 1 as its parent;
/// prints its number when all others are gone.
const ESCAPE: &str = "escaped=$(env -i setsid sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!'); echo $escaped";

/// A cgroup for one test, removed with it.
struct Delegated(PathBuf);

impl Delegated {
    fn make() -> io::Result<Self> {
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let mount = mounts
            .lines()
            .filter_map(|line| line.split_once(" - "))
            .find(|(_, kind)| kind.starts_with("cgroup2 "))
            .and_then(|(mount, _)| mount.split(' ').nth(4))
            .ok_or_else(|| io::Error::other("no cgroup v2 file system is mounted"))?;
        let groups = fs::read_to_string("/proc/self/cgroup")?;
        let own = groups.lines().find_map(|line| line.strip_prefix("0::/"));
        let path = Path::new(mount)
            .join(own.unwrap_or_default())
            .join(format!("procession-test-{}", std::process::id()));
        fs::create_dir(&path)?;
        let made = Self(path);
        if !made.0.join("cgroup.kill").exists() {
            return Err(io::Error::other("no cgroup.kill: Linux before 5.14"));
        }
        Ok(made)
    }

    fn groups(&self) -> Vec<PathBuf> {
        directories(&self.0)
    }
}

impl Drop for Delegated {
    fn drop(&mut self) {
        drop(fs::remove_dir(&self.0));
    }
}

fn directories(path: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(path).unwrap().map(|entry| entry.unwrap());
    entries
        .filter(|entry| entry.file_type().unwrap().is_dir())
        .map(|entry| entry.path())
        .collect()
}

/// The one in it.
fn only(path: &Path) -> PathBuf {
    let found = directories(path);
    let [one] = &found[..] else {
        panic!("one cgroup is expected in {}: {found:?}", path.display())
    };
    one.clone()
}

/// Runs a test with a cgroup directory; it must be empty afterwards.
fn delegated(test: impl AsyncFnOnce(&Path, &Path, &Delegated)) {
    let _alone = alone();
    let delegated = match Delegated::make() {
        Ok(delegated) => delegated,
        Err(error) => {
            say(&format!("NOT RUN without a cgroup v2 directory: {error}"));
            return;
        }
    };
    checked(async |checked| {
        let work = checked.scratch().join("work");
        fs::create_dir(&work).unwrap();
        test(&work, checked.scratch(), &delegated).await;
        assert_eq!(delegated.groups(), Vec::<PathBuf>::new());
    });
}

fn manager(work: &Path, delegated: &Delegated) -> ProcessManagerHandle {
    let builder = ProcessManager::builder().working_directory(work);
    builder.cgroup(&delegated.0).spawn().unwrap()
}

async fn shut_down(manager: ProcessManagerHandle) {
    manager.shutdown().within("the shutdown").await.unwrap();
}

fn sh(script: &str) -> Cmd {
    Cmd::new("sh").args(["-c", script])
}

/// A child with something that escapes from it, and the number of that.
async fn with_escaped(manager: &ProcessManagerHandle, then: &str) -> (ProcessHandle, u32) {
    let child = sh(&format!("{ESCAPE}; {then}")).messaging(Messaging::standard_io());
    let child = manager.spawn_with_handle(child).within("the start").await;
    let child = child.unwrap();
    let mut stream = child.subscribe_message_stream().await.unwrap();
    let number = stream.next().within("a number").await.unwrap().unwrap();
    let number = String::from_utf8_lossy(&number.into_bytes())
        .trim()
        .parse()
        .unwrap();
    assert!(procfs::is_alive(number));
    // A shell exports its directory all the same.
    let environment = fs::read_to_string(format!("/proc/{number}/environ")).unwrap();
    assert!(!environment.contains("PROCESSION"), "{environment}");
    (child, number)
}

#[test]
fn what_erases_its_environment_and_its_parents_dies_with_the_tree_and_is_counted() {
    delegated(async |work, _, delegated| {
        let manager = manager(work, delegated);
        let (child, escaped) = with_escaped(&manager, "exec sleep 1000").await;
        let groups = only(&delegated.0);
        assert_eq!(
            only(&groups).file_name().unwrap(),
            &*child.id().to_string(),
            "a cgroup for each process"
        );
        let report = child.kill().within("the kill").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Killed);
        assert_eq!(report.hunted(), Some(1));
        assert!(!procfs::is_alive(escaped));
        // Its last owner may just be letting it go.
        eventually("its cgroup to be gone", SOON, async || {
            directories(&groups).is_empty().then_some(())
        })
        .await;
        shut_down(manager).await;
    });
}

#[test]
fn what_is_left_by_an_exit_dies_and_is_counted() {
    delegated(async |work, _, delegated| {
        let manager = manager(work, delegated);
        let (child, escaped) = with_escaped(&manager, "read -r line; exit 3").await;
        child.send_message("go").await.unwrap();
        let report = child.wait().within("the exit").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(3), ExitCause::ByItself)
        );
        let report = child.stop().within("the hunt").await.unwrap();
        assert_eq!(report.hunted(), Some(1));
        assert!(!procfs::is_alive(escaped));
        shut_down(manager).await;
    });
}

#[test]
fn a_shutdown_takes_what_has_escaped() {
    delegated(async |work, _, delegated| {
        let manager = manager(work, delegated);
        let (child, escaped) = with_escaped(&manager, "exec sleep 1000").await;
        // The cgroups in a cgroup too.
        let inner = only(&only(&delegated.0)).join("inner");
        fs::create_dir(&inner).unwrap();
        fs::write(inner.join("cgroup.procs"), escaped.to_string()).unwrap();
        shut_down(manager).await;
        assert!(!procfs::is_alive(escaped));
        drop(child);
    });
}

#[test]
fn a_child_is_in_its_cgroup_from_the_start_and_has_nothing_of_ours() {
    delegated(async |work, _, delegated| {
        let manager = manager(work, delegated);
        let script = "cat /proc/self/cgroup; ls -l /proc/$$/fd | grep -c cgroup; ulimit -n";
        let as_nobody = sh(script).user(NOBODY).group(NOBODY);
        let mut children = vec![sh(script), sh(script).limit(Resource::OpenFiles, 64)];
        if rustix::process::geteuid().is_root() {
            children.push(as_nobody);
        } else {
            say("NOT RUN as another user without root's rights");
        }
        for (index, child) in children.into_iter().enumerate() {
            let output = manager.run(child).within("the run").await.unwrap();
            let text = String::from_utf8_lossy(output.stdout()).into_owned();
            let name = only(&delegated.0);
            let name = name.file_name().unwrap().to_str().unwrap();
            assert!(text.contains(&format!("/{name}/")), "{index}: {text}");
            assert!(text.contains("\n0\n"), "{index}: {text}");
            assert_eq!(index == 1, text.ends_with("\n64\n"), "{index}: {text}");
        }
        shut_down(manager).await;
    });
}

#[test]
fn what_cannot_be_moved_is_not_run() {
    delegated(async |work, scratch, delegated| {
        let manager = manager(work, delegated);
        // Cgroups in a threaded one take no processes.
        let group = only(&delegated.0);
        fs::write(group.join("cgroup.type"), "threaded").unwrap();
        let ran = scratch.join("ran");
        let child = sh("touch \"$1\"").arg("sh").arg(&ran);
        let error = manager.spawn(child).within("the refusal").await;
        let error = error.unwrap_err();
        let text = format!("{error}: {}", sources(&error));
        assert!(text.contains("cannot move it to the cgroup"), "{text}");
        assert!(!ran.exists());
        assert!(directories(&group).is_empty());
        shut_down(manager).await;
    });
}

fn sources(error: &dyn std::error::Error) -> String {
    let all = std::iter::successors(error.source(), |error| error.source());
    all.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

#[test]
fn what_is_no_cgroup_directory_is_refused_by_name() {
    checked(async |test| {
        let path = test.scratch().join("plain");
        fs::create_dir(&path).unwrap();
        let error = ProcessManager::builder().cgroup(&path).spawn().unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "{text}");
        assert!(text.contains("findmnt -t cgroup2"), "{text}");
    });
}

/// A process that has nothing to do with any manager but the cgroup that it is in.
fn stranger(group: &Path) -> Child {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    fs::write(group.join("cgroup.procs"), child.id().to_string()).unwrap();
    child
}

#[test]
fn a_guard_takes_the_cgroups_of_a_killed_parent() {
    delegated(async |work, _, delegated| {
        let mut parent = Command::new(fixture!("parent_until_killed"))
            .args([work.as_os_str(), "standard-io".as_ref()])
            .arg(fixture!("echo"))
            .arg(&delegated.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = parent.stdout.take().unwrap();
        io::BufRead::read_line(&mut io::BufReader::new(output), &mut line).unwrap();
        let pid: u32 = line.trim().parse().unwrap();
        let mut stranger = stranger(&only(&only(&delegated.0)));
        parent.kill().unwrap();
        parent.wait().unwrap();
        // Reaped here, so that it is no zombie for the guard or for us.
        let status = tokio::task::spawn_blocking(move || stranger.wait());
        let status = status.within("the guard").await.unwrap().unwrap();
        assert_eq!(status.signal(), Some(9));
        eventually("the guard to be done", SOON, async || {
            let nothing = delegated.groups().is_empty() && directories(work).is_empty();
            (nothing && !procfs::is_alive(pid)).then_some(())
        })
        .await;
    });
}

#[test]
fn the_next_manager_sweeps_the_cgroups_of_a_dead_one() {
    delegated(async |work, _, delegated| {
        let dead = "6f2b4b36-5d43-4c0f-9a49-0d0a33a1c6f0";
        let (directory, group) = (
            work.join(dead),
            delegated.0.join(format!("procession-{dead}")),
        );
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join(".procession"), format!("{dead}\n")).unwrap();
        let record = format!("{}\n", group.display());
        fs::write(directory.join(".procession-cgroup"), record).unwrap();
        fs::create_dir_all(group.join("process")).unwrap();
        let mut stranger = stranger(&group.join("process"));
        // Without one itself.
        let manager = ProcessManager::spawn(work).unwrap();
        let mut events = manager.events();
        let swept = loop {
            if let Event::Swept(swept) = events.next().within("the sweep").await.unwrap() {
                break swept;
            }
        };
        assert_eq!((swept.killed(), swept.problem()), (1, None));
        assert!(!group.exists() && !directory.exists());
        assert_eq!(stranger.wait().unwrap().signal(), Some(9));
        shut_down(manager).await;
    });
}

#[test]
fn memory_is_that_of_the_cgroup_where_it_is_counted() {
    delegated(async |work, _, delegated| {
        let subtree = delegated.0.join("cgroup.subtree_control");
        if fs::write(subtree, "+memory").is_err() {
            say("NOT RUN: memory figures and oom_kill, without the memory controller");
            return;
        }
        let manager = manager(work, delegated);
        let hog = sh("exec tail -c 200m /dev/zero");
        fs::write(delegated.0.join("memory.max"), "64M").unwrap();
        let child = manager.spawn_with_handle(hog).await.unwrap();
        let report = child.wait().within("the exit").await.unwrap();
        assert_eq!(report.cause(), ExitCause::LimitExceeded);
        let peak = report.usage().unwrap().peak_memory.unwrap();
        assert!((32 << 20..=64 << 20).contains(&peak), "{peak}");
        shut_down(manager).await;
    });
}
