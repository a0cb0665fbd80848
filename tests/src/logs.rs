//! What tests of logs have in common: children that write, and what is kept of it.
//!
//! A helper panics as a test does, when what it expects is not so.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use futures::StreamExt as _;
use procession_manager::{
    Cmd, Event, EventStream, FollowFrom, LogFollower, LogLine, LogPage, LogRoute, LogStream,
    Logging, LogsQuery, Messaging, OutputState, ProcessHandle,
};

use crate::bound::{Within as _, eventually};
use crate::{Checked, programs};

/// Both routes.
pub const ROUTES: [LogRoute; 2] = [LogRoute::Pipe, LogRoute::File];
/// The stream that most tests look at.
pub const STDOUT: LogStream = LogStream::Stdout;
/// How long what is to come may take.
pub const SOON: Duration = Duration::from_secs(20);

/// A script of `bash`.
pub fn sh(script: &str, logging: Logging) -> Cmd {
    Cmd::new(programs::bash())
        .args(["-c", script])
        .logging(logging)
}

/// Its script waits with `read` until it is told to go on.
pub fn steered(script: &str, logging: Logging) -> Cmd {
    sh(script, logging).messaging(Messaging::standard_io().input_only())
}

/// Standard output alone, by this route.
pub fn stdout(route: LogRoute) -> Logging {
    Logging::stdout().route(route)
}

/// Tells a [`steered`] child to go on.
pub async fn go_on(child: &ProcessHandle) {
    child
        .send_message("go")
        .within("the sending")
        .await
        .unwrap();
}

/// The answer about standard output.
pub async fn query(child: &ProcessHandle, query: LogsQuery) -> LogPage {
    child
        .query_logs(STDOUT, query)
        .within("the answer")
        .await
        .unwrap()
}

/// All that is kept of standard output.
pub async fn all(child: &ProcessHandle) -> LogPage {
    query(child, LogsQuery::fetch_all()).await
}

/// Waits until so many lines have been written, the last one ended or not.
pub async fn written(child: &ProcessHandle, stream: LogStream, count: u64) -> LogPage {
    eventually(format!("{count} lines"), SOON, async || {
        let page = child
            .query_logs(stream, LogsQuery::fetch_all())
            .await
            .unwrap();
        (page.written() == count).then_some(page)
    })
    .await
}

/// Waits until it has ended, with status 0, and tells how much of its output there is.
pub async fn ends(child: &ProcessHandle) -> OutputState {
    let report = child.wait().within("the end").await.unwrap();
    assert_eq!(report.code(), Some(0), "{report}");
    report.output()
}

/// What lines say.
pub fn texts(lines: &[LogLine]) -> Vec<String> {
    lines.iter().map(|line| line.text().into()).collect()
}

/// Numbers and texts.
pub fn numbered(lines: &[LogLine]) -> Vec<(u64, String)> {
    let pair = |line: &LogLine| (line.number(), line.text().into_owned());
    lines.iter().map(pair).collect()
}

/// A follower of standard output.
pub async fn follow(child: &ProcessHandle, from: FollowFrom) -> LogFollower {
    child.follow_logs(STDOUT, from).await.unwrap()
}

/// The next line.
pub async fn line(follower: &mut LogFollower) -> LogLine {
    let item = follower.next().within("a line").await;
    item.expect("a line, not the end").expect("a line")
}

/// All that is left.
pub async fn rest(follower: LogFollower) -> Vec<LogLine> {
    let items = follower.collect::<Vec<_>>().within("the end of the stream");
    items.await.into_iter().map(Result::unwrap).collect()
}

/// Waits until the clock shows a later time than any line that arrived before now can have, and gives it.
pub async fn later() -> SystemTime {
    let before = SystemTime::now();
    eventually("the clock to go on", SOON, async || {
        let now = SystemTime::now();
        (now > before + Duration::from_millis(20)).then_some(now)
    })
    .await
}

/// What the next event about a fault of a log says.
pub async fn fault(events: &mut EventStream) -> String {
    loop {
        let event = events.next().within("a fault of a log").await;
        if let Event::LogFault { reason, .. } = event.expect("a fault, not the end") {
            return reason;
        }
    }
}

/// The file of a log in the only run directory.
pub fn file_of(test: &Checked, name: &str) -> PathBuf {
    let directories = test.run_directories();
    assert_eq!(directories.len(), 1, "{directories:?}");
    directories[0].join(name)
}
