//! A place where whole parent programs are started, and end as no shutdown would have them end.
//!
//! The checks of [`checked`](crate::checked) are for a manager of the test itself. Here the manager is in
//! another program, and what belongs to it is known by its directory: it is in the environment of each
//! child (`PROCESS_DATA_DIR`) and among the arguments of the parent and its guard. Whatever is still
//! there when a scene ends, as after a test that failed, is killed.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::bound::{ci_factor, eventually_blocking};
use crate::{procfs, programs, say};

/// How long a program may take until it says something, or has ended.
const PATIENCE: Duration = Duration::from_secs(20);

/// The directories of one test, and whatever runs in them.
#[derive(Debug)]
pub struct Scene {
    path: PathBuf,
    _root: TempDir,
}

impl Scene {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "it makes a directory")]
    pub fn new() -> Self {
        let root = tempfile::tempdir().expect("a temporary directory");
        let path = root.path().canonicalize().expect("its real path");
        Self { path, _root: root }
    }

    /// A new one with a directory, and a parent in it with `count` children, as by
    /// [`start_parent`](Self::start_parent), that returns when it is told to.
    ///
    /// # Panics
    /// When they do not all come.
    pub fn with_parent(program: &str, count: usize) -> (Self, PathBuf, Program) {
        let scene = Self::new();
        let directory = scene.directory("work");
        let parent = scene.start_parent(program, &directory, ("returns", count), None);
        (scene, directory, parent)
    }

    /// A variable that makes a program one of this scene, where it is started by other means than
    /// [`start`](Self::start).
    pub fn variable(&self) -> (&'static str, &Path) {
        ("SCENE", &self.path)
    }

    /// A new directory, by its name.
    pub fn directory(&self, name: &str) -> PathBuf {
        let path = self.path.join(name);
        fs::create_dir(&path).expect("a new directory");
        path
    }

    /// Starts a program with pipes for its standard input and output.
    pub fn start(&self, command: &mut Command) -> Program {
        let command = command.envs([self.variable()]);
        // Programs that are to panic say so in one line.
        Program::start(command.env("RUST_BACKTRACE", "0"))
    }

    /// Starts the fixture `parent_of_many`, found at `program`, with `count` children of three processes
    /// each, and where `inner` is a directory, with another parent in it that has ten. All of them are
    /// there then.
    ///
    /// # Panics
    /// When they do not all come.
    pub fn start_parent(
        &self,
        program: &str,
        directory: &Path,
        (ending, count): (&str, usize),
        inner: Option<&Path>,
    ) -> Program {
        let before = self.population();
        let mut command = Command::new(program);
        command.arg(directory).args([ending, &count.to_string()]);
        let parent = self.start(command.args(inner));
        assert_eq!(parent.line(), "ready");
        let (inner_families, managers) = if inner.is_some() { (10, 2) } else { (0, 1) };
        let families = count + inner_families;
        // Each manager is a process, and so is its guard.
        let expected = (before.0 + 3 * families + 2 * managers, before.1 + families);
        eventually_blocking("all to be there", PATIENCE, || {
            let there = self.population();
            if there == expected {
                return Ok(());
            }
            Err(format!("there are {there:?} of {expected:?}"))
        });
        parent
    }

    /// How many processes there are, and how many of them lead a session of their own.
    fn population(&self) -> (usize, usize) {
        let there = self.processes();
        let stats = there.iter().filter_map(|pid| procfs::Stat::of(*pid));
        let leaders = stats.filter(|stat| stat.session == stat.pid).count();
        (there.len(), leaders)
    }

    /// The processes of this scene that are alive: all that were started in it, theirs, and the
    /// guards.
    pub fn processes(&self) -> Vec<u32> {
        processes_of(&self.path)
    }

    /// The guards over managers in this scene.
    pub fn guards(&self) -> Vec<u32> {
        let guard = |pid: &u32| procfs::command_line(*pid).contains(" procession-guard ");
        self.processes().into_iter().filter(guard).collect()
    }

    /// Waits until nothing but `others` is alive, and no manager's directory is left in `directories`.
    /// How long that took is printed, for whoever looks at the output of a test.
    ///
    /// # Panics
    /// When it takes longer than `bound` (more under CI).
    #[track_caller]
    pub fn await_silence(&self, others: &[u32], directories: &[&Path], bound: Duration) {
        let begun = Instant::now();
        eventually_blocking("nothing to be left", bound, || {
            // Looked at first, since it costs the least: looking must not hold up what is awaited.
            for directory in directories {
                let left = managers_in(directory);
                if !left.is_empty() {
                    return Err(format!("still there: {left:?}"));
                }
            }
            let mut left = self.processes();
            left.retain(|pid| !others.contains(pid));
            if left.is_empty() {
                return Ok(());
            }
            let some = left.iter().take(5).map(|pid| procfs::command_line(*pid));
            Err(format!(
                "{} processes, {:?}",
                left.len(),
                some.collect::<Vec<_>>()
            ))
        });
        say(&format!("silence after {:?}", begun.elapsed()));
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // What is being forked meanwhile is found the next time.
        for _ in 0..100 {
            let left = processes_of(&self.path);
            if left.is_empty() {
                return;
            }
            left.into_iter().for_each(kill);
        }
    }
}

/// The directories that managers have made in this one.
fn managers_in(directory: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(directory).into_iter().flatten().flatten();
    let paths = entries.map(|entry| entry.path());
    paths.filter(|path| path.is_dir()).collect()
}

fn processes_of(path: &Path) -> Vec<u32> {
    let named = |file: String| {
        let bytes = fs::read(file).unwrap_or_default();
        contains(&bytes, path.as_os_str())
    };
    let mut found = procfs::pids();
    found.retain(|pid| {
        *pid != std::process::id()
            && (named(format!("/proc/{pid}/environ")) || named(format!("/proc/{pid}/cmdline")))
            && procfs::is_alive(*pid)
    });
    found
}

fn contains(bytes: &[u8], text: &OsStr) -> bool {
    let needle = text.as_encoded_bytes();
    bytes.windows(needle.len()).any(|window| window == needle)
}

/// SIGKILLs a process that was just seen.
///
/// # Panics
/// With a number that no process can have.
pub fn kill(pid: u32) {
    let pid = Pid::from_raw(pid.cast_signed()).expect("a pid");
    // It may have gone by itself meanwhile.
    let _ = kill_process(pid, Signal::KILL);
}

/// A program that is told by lines, and answers by lines. It is killed when this is dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    lines: mpsc::Receiver<String>,
}

impl Program {
    fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program starts");
        let output = child.stdout.take().expect("it is piped");
        let (sender, lines) = mpsc::sync_channel(16);
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self { child, lines }
    }

    /// Its pid.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The next line that it prints.
    ///
    /// # Panics
    /// When there is none for 20 seconds (more under CI), or none at all.
    pub fn line(&self) -> String {
        self.lines
            .recv_timeout(PATIENCE * ci_factor())
            .expect("a line of the program")
    }

    /// Tells it a line.
    ///
    /// # Panics
    /// When it has ended.
    pub fn tell(&mut self, line: &str) {
        let input = self.child.stdin.as_mut().expect("it is piped");
        writeln!(input, "{line}").expect("it reads");
    }

    /// SIGKILLs it, and waits for that.
    ///
    /// # Panics
    /// When it cannot be waited for.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is ours");
        self.child.wait().expect("it is ours");
    }

    /// How it ended by itself.
    ///
    /// # Panics
    /// When it does not end within 20 seconds (more under CI).
    pub fn end(&mut self) -> ExitStatus {
        eventually_blocking("the program to end", PATIENCE, || {
            let ended = self.child.try_wait().map_err(|error| error.to_string())?;
            ended.ok_or_else(|| "it runs".to_owned())
        })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Where it has ended before, both say so.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Many processes of nobody's: copies of one shell that wait for the end of a pipe, which comes with the
/// end of this value or of the test.
#[derive(Debug)]
pub struct Crowd {
    shell: Child,
}

impl Crowd {
    /// As many.
    ///
    /// # Panics
    /// When the shell cannot start them all.
    pub fn of(count: usize) -> Self {
        let script = format!(
            "exec 3<&0; i=0; while [ $i -lt {count} ]; do read x <&3 & i=$((i+1)); done; exec 3<&-; echo done; wait"
        );
        let mut shell = Command::new(programs::sh())
            .args(["-c", &script])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("a shell");
        let mut line = String::new();
        let output = shell.stdout.take().expect("it is piped");
        let _ = BufReader::new(output).read_line(&mut line);
        let crowd = Self { shell };
        assert_eq!(line, "done\n", "the shell could start them all");
        crowd
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        let _ = self.shell.wait();
    }
}
