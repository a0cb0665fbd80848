//! Many: what live children cost their parent that do nothing.
//!
//! All figures are of one parent, started for them, whose children have named pipes, no logs and no
//! subscriber. Its memory is counted as the kernel does, by pages that are its own.

use std::{process::Stdio, sync::Arc, time::Duration};

use tokio::{process::Command, sync::OnceCell};

use crate::{
    Failure,
    args::Scale,
    child::{self, many::Figures},
    machine::{self, Cores},
    peers::{Ours, Peer},
    runner::{Bound, Contestant, Measure, Race, Sample, limit, work},
};

/// The sample that is started first pays for all of them: 5,000 starts, the silence and 5,000 ends.
const LIMIT: Duration = Duration::from_mins(2);
const MEMORY: u64 = 5 * 1024;
const DESCRIPTORS: u64 = 3;
/// Of CPU time, in so many seconds of silence.
const CPU: (Duration, usize) = (Duration::from_millis(20), 10);
/// Of memory a child with all children to memory a child with a tenth of them. Tables that double
/// while they grow, and pages of which a part is used, make some difference; what grows faster than
/// the children makes far more.
const GROWTH: f64 = 1.1;

/// So many children, and so many seconds of silence; what came of it is kept for all races.
#[derive(Clone)]
struct Crowd {
    children: usize,
    silence: usize,
    figures: Arc<OnceCell<Result<Figures, String>>>,
}

pub(super) fn races(scale: Scale) -> Vec<Race> {
    let (children, silence) = match scale {
        Scale::Full => (5_000, CPU.1),
        Scale::Quick => (500, 1),
    };
    let crowd = Crowd {
        children,
        silence,
        figures: Arc::default(),
    };
    let memory = || {
        let sample = move |figures: Figures| Sample::held(children, figures.all);
        crowd.contestant(Ours::NAME, None, sample)
    };
    let tenth = crowd.contestant(
        "a tenth of them",
        Some(Bound::AtMost(GROWTH)),
        move |figures| Sample::held(children / 10, figures.tenth),
    );
    let descriptors = crowd.contestant(Ours::NAME, None, move |figures| {
        Sample::held(children, figures.descriptors)
    });
    let cpu = crowd.contestant(Ours::NAME, None, move |figures| {
        Sample::took(silence, Duration::from_micros(figures.cpu))
    });
    let memory_limit = limit("limit of 5 KiB", Sample::held(1, MEMORY));
    let descriptor_limit = limit("limit of 3", Sample::held(1, DESCRIPTORS));
    let cpu_limit = limit("limit of 20 ms in 10 s", Sample::took(CPU.1, CPU.0));
    let of = |full, quick| match scale {
        Scale::Full => full,
        Scale::Quick => quick,
    };
    let titles = [
        of("memory each, of 5,000", "memory each, of 500"),
        of("memory each, 5,000 to 500", "memory each, 500 to 50"),
        of("descriptors each, of 5,000", "descriptors each, of 500"),
        of(
            "CPU time a second, 10 s silent",
            "CPU time a second, 1 s silent",
        ),
    ];
    vec![
        race(titles[0], Measure::Memory, [memory(), memory_limit]),
        race(titles[1], Measure::Memory, [memory(), tenth]),
        race(titles[2], Measure::Count, [descriptors, descriptor_limit]),
        race(titles[3], Measure::Time, [cpu, cpu_limit]),
    ]
}

fn race(setting: &'static str, measure: Measure, contestants: [Contestant; 2]) -> Race {
    Race {
        part: "many",
        // One sample takes long, and there is little chance in it.
        rounds: 1,
        limit: LIMIT,
        setting,
        measure,
        cores: Cores::All,
        contestants: contestants.into(),
    }
}

impl Crowd {
    fn contestant(
        &self,
        name: &'static str,
        bound: Option<Bound>,
        sample: impl Fn(Figures) -> Sample + Copy + Send + 'static,
    ) -> Contestant {
        let crowd = self.clone();
        Contestant {
            name,
            bound,
            note: None,
            work: work(move || {
                let crowd = crowd.clone();
                async move { crowd.figures().await.map(sample) }
            }),
        }
    }

    async fn figures(&self) -> Result<Figures, Failure> {
        // Also said here, where it is not a child that says so.
        machine::allow_open_files(super::open_files(self.children))?;
        let run = || async { self.run().await.map_err(|failure| failure.to_string()) };
        let figures = self.figures.get_or_init(run).await.clone()?;
        Ok(figures)
    }

    async fn run(&self) -> Result<Figures, Failure> {
        let silence = Duration::from_secs(self.silence as u64);
        let (program, arguments) = child::parent_of_many(self.children, silence)?;
        let mut child = Command::new(program)
            .args(arguments)
            // Held until it has ended: the children end with it.
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let input = child.stdin.take();
        let output = child.wait_with_output().await?;
        drop(input);
        if !output.status.success() {
            return Err("the parent of many ended badly".into());
        }
        Figures::from_line(&String::from_utf8(output.stdout)?)
    }
}
