//! A parent with 4 GiB in memory starts children as fast as a small one.
//!
//! Serial: it compares times. The parents are helpers, and take turns.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::io::{BufRead as _, BufReader, Lines, Write as _};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use procession_tests::{alone, ci_factor, fixture};

const ROUNDS: usize = 15;
const LARGE: u64 = 4096;
const MEBIBYTE: u64 = 1 << 20;

struct Parent {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
    starts: Vec<u64>,
    peak: u64,
}

impl Parent {
    fn start(directory: &Path, mebibytes: u64) -> Self {
        std::fs::create_dir(directory).unwrap();
        let mut process = Command::new(fixture!("parent_of_size"))
            .arg(directory)
            .arg(mebibytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = process.stdin.take().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut parent = Self {
            process,
            input,
            output,
            starts: Vec::new(),
            peak: 0,
        };
        // The first round makes its threads.
        parent.round();
        parent.starts.clear();
        parent
    }

    fn round(&mut self) {
        writeln!(self.input).unwrap();
        let line = self.output.next().expect("the helper is there").unwrap();
        let mut numbers: Vec<u64> = line.split(' ').map(|n| n.parse().unwrap()).collect();
        self.peak = self.peak.max(numbers.pop().unwrap());
        self.starts.append(&mut numbers);
    }

    fn resident(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.process.id());
        let statm = std::fs::read_to_string(path).unwrap();
        let pages: u64 = statm.split(' ').nth(1).unwrap().parse().unwrap();
        pages * 4096
    }

    /// Of the starts since the last time.
    fn median(&mut self) -> Duration {
        let mut starts = std::mem::take(&mut self.starts);
        starts.sort_unstable();
        Duration::from_nanos(starts[starts.len() / 2])
    }

    fn end(mut self) {
        drop(self.input);
        assert!(self.process.wait().unwrap().success());
    }
}

#[test]
fn a_parent_with_much_in_memory_starts_children_as_fast() {
    let _alone = alone();
    let directory = tempfile::tempdir().unwrap();
    let mut small = Parent::start(&directory.path().join("small"), 0);
    let mut large = Parent::start(&directory.path().join("large"), LARGE);
    assert!(large.resident() > LARGE * MEBIBYTE);
    // A fork would take a hundred times as long, each time; a busy machine does not miss it three times.
    let missed: Vec<_> = std::iter::repeat_with(|| {
        for _ in 0..ROUNDS {
            small.round();
            large.round();
        }
        (small.median(), large.median())
    })
    .take(3)
    .take_while(|(of_small, of_large)| {
        of_large.as_secs_f64() >= of_small.as_secs_f64() * 1.2 * f64::from(ci_factor())
    })
    .collect();
    assert!(
        missed.len() < 3,
        "medians of starts in the small parent and in the large one: {missed:?}"
    );
    // What the kernel says of a child starts with what its parent had: that is not told.
    let peak = large.peak / MEBIBYTE;
    assert!(peak < 256, "true is said to have used {peak} MiB");
    small.end();
    large.end();
}
