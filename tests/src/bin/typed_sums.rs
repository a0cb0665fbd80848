//! Answers each list of numbers with its sum, typed: `typed_sums json`, `typed_sums message-pack`,
//! `typed_sums message-pack-hex`, `typed_sums message-pack-base64`.

use std::env;
use std::process::ExitCode;

use procession_child::{Encoding, MessageFormat};
use procession_tests::fixture_main;

fn main() -> ExitCode {
    fixture_main(|| {
        let format = match env::args().nth(1).as_deref() {
            Some("json") => MessageFormat::Json,
            Some("message-pack") => MessageFormat::MessagePack(Encoding::Raw),
            Some("message-pack-hex") => MessageFormat::MessagePack(Encoding::Hex),
            Some("message-pack-base64") => MessageFormat::MessagePack(Encoding::Base64),
            _ => return Err("usage: typed_sums FORMAT".into()),
        };
        let parent = procession_child::connect()?;
        while let Some(numbers) = parent.receive_as::<Vec<i64>>(&format)? {
            parent.send_as(&numbers.iter().sum::<i64>(), &format)?;
        }
        Ok(())
    })
}
