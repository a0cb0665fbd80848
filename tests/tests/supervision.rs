//! Processes that are kept up, with real children: what stays over their runs, and what goes with each.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt as _;
use procession_manager::{
    Backoff, Cmd, Event, EventStream, ExitCause, Framing, HealthCheck, HealthRule, LogStream,
    Logging, LogsQuery, Messaging, PermanentEnd, ProcessHandle, ProcessManager, ProcessState,
    ReceiveMessageError, RestartIntensity, RestartPolicy, Runnable, Signal, Supervision,
    TryMessageStreamExt as _,
};
use procession_tests::{
    Within as _, checked, checked_for, eventually, fixture, procfs, programs, workers,
};
use tokio::sync::mpsc;

const MOMENT: Duration = Duration::from_millis(1);
const SOON: Duration = Duration::from_secs(20);

/// Restarted whatever happens, and at once.
fn always() -> Supervision {
    Supervision::new(RestartPolicy::Always)
        .backoff(Backoff::new(MOMENT, MOMENT))
        .intensity(RestartIntensity::new(10_000, MOMENT))
}

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::bash()).args(["-c", script])
}

async fn run_of(child: &ProcessHandle) -> u64 {
    child.get_process_info().await.unwrap().run()
}

/// Resolves with the report of the next run that ends.
async fn exited(events: &mut EventStream) -> (ExitCause, Option<i32>) {
    loop {
        if let Event::Exited { report, .. } = events.next().within("an exit").await.unwrap() {
            return (report.cause(), report.code());
        }
    }
}

#[test]
fn killed_at_random_five_hundred_times_it_is_up_again_each_time() {
    checked_for(Duration::from_mins(4), async |test| {
        let mut dice = 1_u64;
        let worker = Cmd::new(fixture!("worker"))
            .messaging(Messaging::named_pipes().framing(Framing::Frames))
            .logging(Logging::stdout_and_stderr())
            .supervised(always().keep_runs(2));
        let child = test.spawn(worker).await;
        let by_id = test.manager().process(child.id()).await.unwrap();
        let mut messages = child.subscribe_message_stream().await.unwrap();
        let mut runs = 0;
        while runs < 500 {
            // A prime modulus and a primitive root: every wait from 0 to 4 ms, in no order.
            dice = dice * 48_271 % 2_147_483_647;
            let wait = Duration::from_micros(dice % 4000);
            // Not to wait for anything: this is the moment at which it is killed.
            tokio::time::sleep(wait).await;
            let _ = child.signal(Signal::KILL).await;
            let now = loop {
                match messages.next().within("the next run").await.unwrap() {
                    Err(ReceiveMessageError::NewRun(run)) => break run,
                    // What it was killed in the middle of.
                    Ok(_) | Err(ReceiveMessageError::FramingLost(_)) => {}
                    Err(error) => panic!("{error}"),
                }
            };
            assert!(now > runs, "{now} after {runs}");
            runs = now;
            if runs % 50 == 0 {
                let reply = async {
                    loop {
                        if let Ok(reply) = by_id.request("echo it works").await {
                            return reply;
                        }
                    }
                };
                assert_eq!(reply.within("a reply").await, "it works");
            }
        }
        assert_eq!(child.past_runs().unwrap().len(), 2);
        assert!(
            test.run_directories().len() <= 4,
            "{:?}",
            test.run_directories()
        );
        let report = child.stop().within("the end").await.unwrap();
        assert_eq!(report.cause(), ExitCause::Stopped);
        while messages
            .next()
            .within("the end of the stream")
            .await
            .is_some()
        {}
    });
}

#[test]
fn no_run_writes_into_the_log_of_another() {
    checked(async |test| {
        let script =
            "echo first of $$; echo err of $$ >&2; read -r code; echo last of $$; exit $code";
        let cmd = sh(script)
            .messaging(Messaging::standard_io().input_only())
            .logging(Logging::stdout_and_stderr())
            .supervised(always().keep_runs(10));
        let child = test.spawn(cmd).await;
        let mut events = child.events();
        let mut pids = Vec::new();
        for run in 0..8_u8 {
            eventually("its first line", SOON, async || {
                let info = child.get_process_info().await.unwrap();
                let lines = child
                    .get_logs_stdout(LogsQuery::fetch_all())
                    .await
                    .unwrap_or_default();
                (info.run() == u64::from(run) && lines.len() == 1).then_some(())
            })
            .await;
            pids.push(child.get_process_info().await.unwrap().pid().unwrap());
            child.send_message(run.to_string()).await.unwrap();
            assert_eq!(
                exited(&mut events).await,
                (ExitCause::ByItself, Some(run.into()))
            );
        }
        child.stop().within("the end").await.unwrap();
        for (run, pid) in (0..).zip(pids) {
            let of = async |stream| {
                let page = child
                    .query_run_logs(run, stream, LogsQuery::fetch_all())
                    .await
                    .unwrap();
                page.lines()
                    .iter()
                    .map(|line| line.text().into_owned())
                    .collect::<Vec<_>>()
            };
            let lines = [format!("first of {pid}"), format!("last of {pid}")];
            assert_eq!(of(LogStream::Stdout).await, lines);
            assert_eq!(of(LogStream::Stderr).await, [format!("err of {pid}")]);
        }
        child
            .query_run_logs(77, LogStream::Stdout, LogsQuery::fetch_all())
            .await
            .unwrap_err();
    });
}

#[test]
fn nothing_of_a_run_is_left_when_the_next_begins() {
    checked(async |test| {
        let script =
            "bash -c 'trap \"\" TERM; sleep 1000; true' & echo $! $PROCESSION_TREE; read -r x";
        let cmd = sh(script)
            .messaging(Messaging::standard_io())
            .supervised(always());
        let child = test.spawn(cmd).await;
        let messages = child.subscribe_message_stream().await.unwrap();
        let mut messages = messages.into_string_stream();
        let mut before = None;
        for run in 0..10 {
            let line = loop {
                if let Ok(line) = messages.next().within("its grandchild").await.unwrap() {
                    break line;
                }
            };
            let (pid, tag) = line.split_once(' ').unwrap();
            assert!(tag.ends_with(&format!("/{}.{run}:", child.id())), "{tag}");
            if let Some(before) = before.replace(pid.parse::<u32>().unwrap()) {
                assert!(
                    !procfs::is_alive(before),
                    "the grandchild of the run before"
                );
            }
            child.send_message("go").await.unwrap();
        }
        child.kill().within("the end").await.unwrap();
    });
}

#[test]
fn a_crash_loop_is_given_up_and_its_logs_can_be_read() {
    checked(async |test| {
        let rules = Supervision::default()
            .backoff(Backoff::new(MOMENT, MOMENT))
            .intensity(RestartIntensity::new(3, Duration::from_mins(1)));
        let cmd = sh("echo it does not work >&2; exit 7");
        let child = test
            .spawn(cmd.logging(Logging::stderr()).supervised(rules))
            .await;
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(7), ExitCause::RestartLimit)
        );
        let info = child.get_process_info().await.unwrap();
        assert!(matches!(
            info.permanent_end(),
            Some(PermanentEnd::TooManyRestarts { restarts: 3, .. })
        ));
        assert_eq!((info.run(), info.state()), (3, ProcessState::Finished));
        let lines = child.get_logs_stderr(LogsQuery::fetch_all()).await.unwrap();
        assert_eq!(lines, ["it does not work"]);
        for run in 0..4 {
            let page = child
                .query_run_logs(run, LogStream::Stderr, LogsQuery::fetch_all())
                .await
                .unwrap();
            assert_eq!(page.lines().len(), 1, "run {run}");
        }
        child.remove().await.unwrap();
        assert!(test.run_directories().is_empty());
    });
}

#[test]
fn what_was_sent_while_it_was_down_is_there_when_it_is_up() {
    for worker in workers!() {
        for messaging in [Messaging::named_pipes(), Messaging::standard_io()] {
            checked(async |test| {
                let slow = Backoff::new(Duration::from_millis(300), Duration::from_millis(300));
                let cmd = worker
                    .cmd(messaging)
                    .supervised(always().backoff(slow).seed(3));
                let child = test.spawn(cmd).await;
                let mut messages = child.subscribe_message_stream().await.unwrap();
                let mut events = child.events();
                child.send_message("before").await.unwrap();
                assert_eq!(
                    messages.next().within("an echo").await.unwrap().unwrap(),
                    "before"
                );
                child.signal(Signal::KILL).await.unwrap();
                exited(&mut events).await;
                let sends: Vec<_> = (0..10)
                    .map(|number| {
                        let child = child.clone();
                        async move { child.send_message(number.to_string()).await.unwrap() }
                    })
                    .collect();
                futures::future::join_all(sends)
                    .within("the next run")
                    .await;
                let next = messages.next().within("the next run").await.unwrap();
                assert_eq!(next, Err(ReceiveMessageError::NewRun(1)));
                for number in 0..10 {
                    let echo = messages.next().within("an echo").await.unwrap().unwrap();
                    assert_eq!(echo, number.to_string().as_str());
                }
                child.stop().within("the end").await.unwrap();
            });
        }
    }
}

#[test]
fn what_answers_its_requests_answers_the_next_run_too() {
    checked(async |test| {
        let worker = workers!().next().unwrap();
        let child = test
            .spawn(worker.cmd(Messaging::named_pipes()).supervised(always()))
            .await;
        child
            .serve(procession_manager::RequestHandler::new(
                |request| async move {
                    Ok(format!("parent says {}", request.message().as_str()?).into())
                },
            ))
            .unwrap();
        let mut messages = child.subscribe_message_stream().await.unwrap();
        for run in 1..4 {
            assert_eq!(
                child.request("ask x").within("a reply").await.unwrap(),
                "parent says x"
            );
            assert!(child.restart().await.unwrap());
            let next = messages.next().within("the next run").await.unwrap();
            assert_eq!(next, Err(ReceiveMessageError::NewRun(run)));
        }
        child.stop().within("the end").await.unwrap();
    });
}

#[test]
fn one_that_hangs_is_found_by_its_check() {
    checked(async |test| {
        let worker = workers!().next().unwrap();
        let check = HealthCheck::request(Duration::from_millis(50), "echo x");
        let rules = always().health(HealthRule::new(2, 1));
        let cmd = worker
            .cmd(Messaging::named_pipes())
            .supervised(rules)
            .health_check(check);
        let child = test.spawn(cmd).await;
        let mut events = child.events();
        child.wait_ready().within("ready").await.unwrap();
        let pid = child.get_process_info().await.unwrap().pid();
        child.signal(Signal::STOP).await.unwrap();
        let (cause, _) = exited(&mut events).await;
        assert_eq!(cause, ExitCause::Unhealthy);
        eventually("another run", SOON, async || {
            let now = child.get_process_info().await.unwrap().pid();
            (now.is_some() && now != pid).then_some(())
        })
        .await;
        child.stop().within("the end").await.unwrap();
    });
}

#[test]
fn a_program_that_is_gone_counts_as_a_failed_start() {
    checked(async |test| {
        let program = test.scratch().join("service");
        std::fs::copy(programs::sh(), &program).unwrap();
        let rules = always().intensity(RestartIntensity::new(3, Duration::from_mins(1)));
        let child = test
            .spawn(
                Cmd::new(&program)
                    .args(["-c", "read x"])
                    .messaging(Messaging::standard_io())
                    .supervised(rules),
            )
            .await;
        std::fs::remove_file(&program).unwrap();
        child.send_message("end").await.unwrap();
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(
            (report.code(), report.cause()),
            (Some(0), ExitCause::RestartLimit)
        );
        assert_eq!(run_of(&child).await, 0, "no other has run");
        child.remove().await.unwrap();
    });
}

#[test]
fn a_shutdown_ends_it_while_it_runs_waits_and_starts() {
    checked(async |test| {
        let long = Backoff::new(Duration::from_mins(10), Duration::from_mins(10));
        for _ in 0..4 {
            test.spawn(sh("exit 1").supervised(always().backoff(long)))
                .await;
            test.spawn(sh("exec sleep 1000").supervised(always())).await;
            // Some of these are being started at any time.
            test.spawn(sh("exit 1").supervised(always())).await;
        }
    });
}

/// Exits at first, cannot be started then, and stays at last.
struct StartsTwice(AtomicU64);

impl Runnable for StartsTwice {
    fn bootstrap_cmd(&self, _: &Path) -> Result<Cmd, String> {
        match self.0.fetch_add(1, Ordering::SeqCst) {
            0 => Ok(sh("exit 3").supervised(always())),
            1 => Err("on purpose".to_owned()),
            _ => Ok(sh("exec sleep 1000").supervised(always())),
        }
    }
}

#[test]
fn what_comes_before_the_next_run_is_told_a_report_or_why_there_is_none() {
    checked(async |test| {
        let mut events = test.manager().events();
        test.spawn(StartsTwice(AtomicU64::new(0))).await;
        let mut told = Vec::new();
        while told.len() < 2 {
            let event = events.next().within("a restart").await.unwrap();
            if let Event::Restarting {
                run,
                report,
                failure,
                ..
            } = event
            {
                told.push((run, report.map(|report| report.code()), failure));
            }
        }
        assert_eq!(told[0], (1, Some(Some(3)), None));
        let (run, report, failure) = &told[1];
        assert_eq!((*run, report), (2, &None));
        let failure = failure.as_deref().unwrap();
        assert!(failure.contains("on purpose"), "{failure}");
    });
}

/// Exits at first. Its second start waits until it is let go, and fails then.
struct FailsLater {
    starts: AtomicU64,
    begun: mpsc::Sender<()>,
    gate: Mutex<std::sync::mpsc::Receiver<()>>,
}

impl Runnable for FailsLater {
    fn bootstrap_cmd(&self, _: &Path) -> Result<Cmd, String> {
        if self.starts.fetch_add(1, Ordering::SeqCst) == 0 {
            return Ok(sh("exit 1").supervised(always()));
        }
        self.begun
            .blocking_send(())
            .map_err(|error| error.to_string())?;
        let _ = self.gate.lock().unwrap().recv();
        Err("on purpose".to_owned())
    }
}

#[test]
fn a_shutdown_is_not_lost_on_a_start_that_fails() {
    checked(async |test| {
        let manager = ProcessManager::spawn(test.scratch()).unwrap();
        let (begun, mut has_begun) = mpsc::channel(1);
        let (open, gate) = std::sync::mpsc::channel();
        let what = FailsLater {
            starts: AtomicU64::new(0),
            begun,
            gate: Mutex::new(gate),
        };
        manager.spawn(what).within("its start").await.unwrap();
        has_begun.recv().within("its second start").await.unwrap();
        let down = {
            let manager = manager.clone();
            tokio::spawn(async move { manager.shutdown().await })
        };
        // From when it takes no more, its processes have been told.
        while manager
            .spawn(Cmd::new("true"))
            .within("an answer")
            .await
            .is_ok()
        {}
        open.send(()).unwrap();
        down.within("the end").await.unwrap().unwrap();
    });
}
