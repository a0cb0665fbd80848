//! Sends many messages and ends. `source numbered N` sends the numbers from 0 to N-1 as text;
//! `source random N SEED [no-newlines]` sends the first N payloads of that seed. With the variable
//! `WAIT_FIRST` set, it first waits for one message.

use std::env;
use std::error::Error;
use std::process::ExitCode;

use procession_child::{Message, Parent};
use procession_tests::fixture_main;
use procession_tests::payload::Payloads;

fn main() -> ExitCode {
    fixture_main(|| {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let parent = procession_child::connect()?;
        if env::var_os("WAIT_FIRST").is_some() {
            parent
                .receive()?
                .ok_or("the input ended before the first message")?;
        }
        match arguments[..] {
            ["numbered", count] => {
                let count: u64 = count.parse()?;
                send_all(
                    &parent,
                    (0..count).map(|number| number.to_string().into_bytes()),
                )
            }
            ["random", count, seed] => random(&parent, count, seed, true),
            ["random", count, seed, "no-newlines"] => random(&parent, count, seed, false),
            _ => Err("usage: source numbered N | source random N SEED [no-newlines]".into()),
        }
    })
}

fn random(parent: &Parent, count: &str, seed: &str, newlines: bool) -> Result<(), Box<dyn Error>> {
    send_all(
        parent,
        Payloads::new(seed.parse()?, newlines).take(count.parse()?),
    )
}

fn send_all(
    parent: &Parent,
    payloads: impl Iterator<Item = Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    for payload in payloads {
        parent.feed(Message::from(payload))?;
    }
    parent.flush()?;
    Ok(())
}
