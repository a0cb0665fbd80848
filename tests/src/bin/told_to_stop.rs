//! A child that says what it is told: `told_to_stop tells` sends `here`, then `stop` for the stop frame,
//! `end` for the end of its input and `SIGTERM` for that, and goes on until it is killed.
//!
//! `told_to_stop computes` sends `computing`, computes for half a second without looking at anything,
//! and ends with status 7 when its messages end.

use std::error::Error;
use std::process::{ExitCode, exit};
use std::time::{Duration, Instant};

use procession_child::{Parent, connect};
use procession_tests::fixture_main;
use tokio::signal::unix::{SignalKind, signal};

const COMPUTING: Duration = Duration::from_millis(500);

fn main() -> ExitCode {
    fixture_main(|| match std::env::args().nth(1).as_deref() {
        Some("tells") => tells(),
        Some("computes") => computes(),
        _ => Err("usage: told_to_stop tells|computes".into()),
    })
}

fn tells() -> Result<(), Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut terminations = signal(SignalKind::terminate())?;
        let parent: &'static Parent = Box::leak(Box::new(connect()?));
        parent.on_stop(|| drop(parent.send("stop")));
        std::thread::spawn(|| {
            parent.messages().for_each(drop);
            if !parent.is_stopping() {
                drop(parent.send("end"));
            }
        });
        parent.send("here")?;
        while terminations.recv().await.is_some() {
            parent.send("SIGTERM")?;
        }
        Ok(())
    })
}

fn computes() -> Result<(), Box<dyn Error>> {
    let parent = connect()?;
    parent.send("computing")?;
    let start = Instant::now();
    let mut number = 1_u64;
    while start.elapsed() < COMPUTING {
        number = std::hint::black_box(number.wrapping_mul(6_364_136_223_846_793_005) | 1);
    }
    for message in parent.messages() {
        message?;
    }
    parent.finish(7)?;
    exit(7)
}
