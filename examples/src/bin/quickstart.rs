//! Three children on a terminal: `cargo run --bin quickstart`.
//!
//! A Rust worker (this program again, with `worker` as its argument), a shell script and a Python
//! program are started, spoken with, asked for their logs, and brought to their ends.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::{env, error::Error};

use futures::TryStreamExt;
use procession_manager::{
    Cmd, Framing, Logging, LogsQuery, Message, MessageFormat::Json, Messaging, ProcessManager,
    Script, ScriptingLanguage, SpawnProcessError, TryMessageStreamExt,
};
use serde::{Deserialize, Serialize};

const PYTHON_ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/lines_echo.py");

#[derive(Debug, Serialize, Deserialize)]
struct Rectangle {
    width: u32,
    height: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct Area {
    square_metres: u32,
}

fn main() -> Result<(), Box<dyn Error>> {
    match env::args().nth(1).as_deref() {
        Some("worker") => worker(),
        _ => parent(),
    }
}

/// The Rust child. Its messages go over named pipes, so `println!` is an ordinary line of its log.
fn worker() -> Result<(), Box<dyn Error>> {
    let parent = procession_child::connect()?;
    println!("worker: connected");
    while let Some(it) = parent.receive_as::<Rectangle>(&Json)? {
        println!("worker: {} m by {} m", it.width, it.height);
        let square_metres = it.width * it.height;
        parent.send_as(&Area { square_metres }, &Json)?;
    }
    println!("worker: no more rectangles");
    Ok(())
}

#[tokio::main]
async fn parent() -> Result<(), Box<dyn Error>> {
    println!("One parent, three children\n");
    let manager = ProcessManager::in_temp()?;

    // A Rust child: typed JSON in frames on named pipes, its output kept as a log.
    let cmd = Cmd::new(env::current_exe()?)
        .arg("worker")
        .messaging(Messaging::named_pipes().framing(Framing::Frames))
        .logging(Logging::stdout_and_stderr());
    let worker = manager.spawn_with_handle(cmd).await?;
    let pid = worker
        .get_process_info()
        .await?
        .pid()
        .ok_or("it has no pid")?;
    println!("worker   started as {pid}: Rust, JSON in frames on named pipes");
    let mut areas = worker
        .subscribe_message_stream()
        .await?
        .into_deserialized_stream::<Area>(&Json);
    for (width, height) in [(3, 4), (12, 7)] {
        let rectangle = Rectangle { width, height };
        println!("worker   <- {rectangle:?}");
        let message = Message::from_serializable(&rectangle, &Json)?;
        worker.send_message(message).await?;
        let area = areas.try_next().await?.ok_or("the worker ended early")?;
        println!("worker   -> {area:?}");
    }
    worker.close_input().await?;
    let report = worker.wait().await?;
    println!("worker   {report}");
    for line in worker.get_logs_stdout(LogsQuery::fetch_all()).await? {
        println!("worker   logged: {line}");
    }

    // A shell script: a line in, a line out. It would wait for the next line for ever, so we kill it.
    let script = r#"while read -r line; do echo "${line^^}"; done"#;
    let script = Script::new(ScriptingLanguage::Bash, script).messaging(Messaging::standard_io());
    let shell = manager.spawn_with_handle(script).await?;
    let pid = shell
        .get_process_info()
        .await?
        .pid()
        .ok_or("it has no pid")?;
    println!("\nshell    started as {pid}: a bash script, lines on standard input and output");
    let mut answers = shell.subscribe_message_stream().await?.into_string_stream();
    for line in ["good morning", "still there?"] {
        println!("shell    <- {line}");
        shell.send_message(line).await?;
        let answer = answers.try_next().await?.ok_or("the shell ended early")?;
        println!("shell    -> {answer}");
    }
    let report = shell.kill().await?;
    println!("shell    {report}");

    // A Python program without any library, where there is a Python.
    let cmd = Cmd::new("python3")
        .arg(PYTHON_ECHO)
        .messaging(Messaging::standard_io());
    match manager.spawn_with_handle(cmd).await {
        Ok(python) => {
            let pid = python
                .get_process_info()
                .await?
                .pid()
                .ok_or("it has no pid")?;
            println!(
                "\npython   started as {pid}: lines_echo.py, lines on standard input and output"
            );
            let mut echoes = python
                .subscribe_message_stream()
                .await?
                .into_string_stream();
            println!("python   <- Grüße, 世界");
            python.send_message("Grüße, 世界").await?;
            let echo = echoes.try_next().await?.ok_or("Python ended early")?;
            println!("python   -> {echo}");
            python.close_input().await?;
            let report = python.wait().await?;
            println!("python   {report}");
        }
        Err(error @ SpawnProcessError::CannotSpawnProcess { .. }) => {
            println!("\npython   left out: {error}");
        }
        Err(error) => return Err(error.into()),
    }

    manager.shutdown().await?;
    println!("\nAll of them are gone, and so is their directory.");
    Ok(())
}
