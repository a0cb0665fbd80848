//! Input that is read as text: the environment of a child, its tag, and notifications. None of it
//! panics, and a text that was read and is written again reads the same.
#![no_main]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt as _;

use libfuzzer_sys::fuzz_target;
use procession_manager::test_util::read_notification;
use procession_wire::{ChildEnvironment, TreeTag};

// Lines. `NAME=value` is a variable, as in an environment; all of it together is a notification,
// too.
fuzz_target!(|input: &[u8]| {
    let lines = || input.split(|byte| *byte == b'\n');
    let told = read_notification(input);
    assert!(told <= 3, "one text, one time, one sign of a fault");

    let value = |name: &str| -> Option<OsString> {
        lines().find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            Some(OsStr::from_bytes(value).to_owned())
        })
    };
    match ChildEnvironment::read(value) {
        Ok(environment) => {
            let written = environment.write();
            let again = ChildEnvironment::read(|name| {
                let pair = written.iter().find(|(variable, _)| *variable == name);
                pair.map(|(_, value)| value.clone())
            });
            assert_eq!(again.as_ref(), Ok(&environment));
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }

    let inherited = value("PROCESSION_TREE");
    let tag = TreeTag::append(inherited.as_deref(), "manager", "process", 7);
    assert!(tag.as_bytes().ends_with(b"manager/process.7:"));
});
