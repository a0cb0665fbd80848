//! Children in Python, with no library: `cargo run --bin python_child`.
//!
//! The first speaks lines (`children/lines_echo.py`, three lines of code); the second speaks frames
//! (`children/frames_echo.py`), which carry any bytes, newlines included, over either transport.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::error::Error;

use futures::TryStreamExt;
use procession_manager::{Cmd, Framing, Messaging, ProcessManager, SpawnProcessError};

const LINES_ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/lines_echo.py");
const FRAMES_ECHO: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/children/frames_echo.py");

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::in_temp()?;

    let lines = Cmd::new("python3")
        .arg(LINES_ECHO)
        .messaging(Messaging::standard_io());
    let lines = match manager.spawn_with_handle(lines).await {
        Err(error @ SpawnProcessError::CannotSpawnProcess { .. }) => {
            println!("no Python here: {error}");
            return Ok(());
        }
        spawned => spawned?,
    };
    let mut echoes = lines.subscribe_message_stream().await?;
    for text in ["one line", "", "Grüße, 世界"] {
        lines.send_message(text).await?;
        let echo = echoes.try_next().await?.ok_or("Python ended early")?;
        println!("over lines: {}", echo.as_str()?);
    }
    lines.close_input().await?;
    println!("it {}", lines.wait().await?);

    for (name, messaging) in [
        ("standard streams", Messaging::standard_io()),
        ("named pipes", Messaging::named_pipes()),
    ] {
        let frames = Cmd::new("python3")
            .arg(FRAMES_ECHO)
            .messaging(messaging.framing(Framing::Frames));
        let frames = manager.spawn_with_handle(frames).await?;
        let mut echoes = frames.subscribe_message_stream().await?;
        let long = vec![b'\n'; 300_000];
        for payload in [&b"two\nlines"[..], b"\x00\xff\xfe any bytes", &long] {
            frames.send_message(payload).await?;
            let echo = echoes.try_next().await?.ok_or("Python ended early")?;
            assert_eq!(echo.as_bytes(), payload);
            println!(
                "over frames on {name}: {} bytes come back the same",
                echo.len()
            );
        }
        frames.close_input().await?;
        println!("it {}", frames.wait().await?);
    }

    manager.shutdown().await?;
    Ok(())
}
