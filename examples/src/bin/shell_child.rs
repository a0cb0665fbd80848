//! Children in shell script, with no library: `cargo run --bin shell_child`.
//!
//! A line that the script reads is a message from us; a line that it prints is a message to us.
#![expect(clippy::print_stdout, reason = "an example talks on the terminal")]

use std::error::Error;

use futures::TryStreamExt;
use procession_manager::{
    Escaped, Logging, LogsQuery, Messaging, ProcessManager, SCRIPT_FILE_PATH_PLACEHOLDER, Script,
    ScriptRunConfig, ScriptingLanguage, TryMessageStreamExt,
};

/// Messages on standard input and output; standard error is free for the log.
const CALCULATOR: &str = r#"
while read -r line; do
    echo "asked for $line" >&2
    echo "$line = $((line))"
done
"#;

/// Messages on named pipes, whose paths the environment tells.
const GREETER: &str = r#"
read -r name < "$INPUT_PIPE"
echo "Hello, $name." > "$OUTPUT_PIPE"
"#;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let manager = ProcessManager::in_temp()?;

    // Bash, with the content of the script given as text.
    let script = Script::new(ScriptingLanguage::Bash, CALCULATOR)
        .messaging(Messaging::standard_io())
        .logging(Logging::stderr());
    let calculator = manager.spawn_with_handle(script).await?;
    let mut answers = calculator
        .subscribe_message_stream()
        .await?
        .into_string_stream();
    for sum in ["6 * 7", "2 ** 10", "100 / 8"] {
        calculator.send_message(sum).await?;
        let answer = answers.try_next().await?.ok_or("bash ended early")?;
        println!("bash says: {answer}");
    }
    calculator.close_input().await?; // `read` fails, the loop ends
    println!("bash {}", calculator.wait().await?);
    for line in calculator.get_logs_stderr(LogsQuery::fetch_all()).await? {
        println!("bash logged: {}", Escaped::new(&line));
    }

    // Any other interpreter: what runs it, with which arguments, and the file's extension.
    let sh = ScriptRunConfig::new("sh", [SCRIPT_FILE_PATH_PLACEHOLDER], "sh");
    let script =
        Script::new(ScriptingLanguage::Other(sh), GREETER).messaging(Messaging::named_pipes());
    let greeter = manager.spawn_with_handle(script).await?;
    greeter.send_message("world").await?;
    let mut greetings = greeter
        .subscribe_message_stream()
        .await?
        .into_string_stream();
    while let Some(greeting) = greetings.try_next().await? {
        println!("sh says: {greeting}");
    }
    println!("sh {}", greeter.wait().await?);

    manager.shutdown().await?;
    Ok(())
}
