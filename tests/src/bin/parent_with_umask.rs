//! A parent with a umask of its own: `parent_with_umask WORKING_DIRECTORY UMASK` starts a child with
//! everything that has a name, prints `mode kind` of all that was made, in octal, and ends the child.

use std::env;
use std::error::Error;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use procession_manager::{
    FollowFrom, LogStream, Logging, Messaging, ProcessManager, Script, ScriptingLanguage, Stdin,
    TryMessageStreamExt as _,
};
use procession_tests::{become_nobody, fixture_main};
use rustix::fs::Mode;

fn main() -> ExitCode {
    fixture_main(|| {
        let usage = "usage: … DIRECTORY UMASK";
        let directory: PathBuf = env::args_os().nth(1).ok_or(usage)?.into();
        let umask = u32::from_str_radix(&env::args().nth(2).ok_or(usage)?, 8)?;
        // Root could open what nobody else can.
        become_nobody()?;
        let runtime = tokio::runtime::Runtime::new()?;
        rustix::process::umask(Mode::from_raw_mode(umask));
        runtime.block_on(parent(&directory))
    })
}

async fn parent(directory: &Path) -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::spawn(directory)?;
    let text = r#"echo out; echo err >&2; read -r line < "$INPUT_PIPE"; echo "$line" > "$OUTPUT_PIPE"; exec sleep 1000"#;
    let child = Script::new(ScriptingLanguage::Bash, text)
        .messaging(Messaging::named_pipes())
        .logging(Logging::stdout_and_stderr())
        .stdin(Stdin::Bytes("input".into()));
    let child = manager.spawn_with_handle(child).await?;
    let mut messages = child.subscribe_message_stream().await?.into_string_stream();
    child.send_message("hello").await?;
    let heard = futures::StreamExt::next(&mut messages).await;
    if !matches!(&heard, Some(Ok(text)) if text == "hello") {
        return Err(format!("the child cannot use its pipes: {heard:?}").into());
    }
    for stream in [LogStream::Stdout, LogStream::Stderr] {
        let mut lines = child.follow_logs(stream, FollowFrom::Beginning).await?;
        futures::StreamExt::next(&mut lines)
            .await
            .ok_or("no line")??;
    }
    print_modes(directory)?;
    child.kill().await?;
    manager.shutdown().await?;
    Ok(())
}

fn print_modes(directory: &Path) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let (metadata, kind) = (entry.metadata()?, entry.file_type()?);
        let mode = metadata.permissions().mode() & 0o7777;
        let name = match () {
            () if kind.is_dir() => "directory",
            () if kind.is_fifo() => "pipe",
            () => "file",
        };
        writeln!(io::stdout(), "{mode:o} {name}")?;
        if kind.is_dir() {
            print_modes(&entry.path())?;
        }
    }
    Ok(())
}
