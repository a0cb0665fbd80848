//! Compiles the helper (`src/helper`) to a small static program, which the library then holds as
//! bytes.
//!
//! The script takes nothing but the compiler of this build: the linker that comes with it
//! (`rust-lld`) where there is one, and otherwise the C compiler or linker that the build links
//! with. Where the helper cannot be compiled, the build goes on with a warning and a library that
//! has none: managers then need the path of a helper.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The architectures for which `src/helper/sys.rs` knows the numbers and registers of system calls.
const ARCHITECTURES: [&str; 2] = ["x86_64", "aarch64"];

fn main() {
    println!("cargo::rerun-if-changed=src/helper");
    println!("cargo::rerun-if-env-changed=DOCS_RS");
    let variable = |name| env::var(name).unwrap_or_default();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("helper");
    let os = variable("CARGO_CFG_TARGET_OS");
    let architecture = variable("CARGO_CFG_TARGET_ARCH");
    let has_64_bits = variable("CARGO_CFG_TARGET_POINTER_WIDTH") == "64";
    let is_known = os == "linux" && has_64_bits && ARCHITECTURES.contains(&architecture.as_str());
    let problem = if env::var_os("DOCS_RS").is_some() {
        None
    } else if is_known {
        compile(&out).err()
    } else {
        Some(format!("there is none for {architecture}-{os}"))
    };
    if let Some(problem) = &problem {
        println!("cargo::warning=procession-manager is built without its helper: {problem}");
    }
    if problem.is_some() || env::var_os("DOCS_RS").is_some() {
        fs::write(&out, "").expect("OUT_DIR can be written");
    }
}

/// Compiles it with the first linker that can, or says in a line why none could.
fn compile(out: &Path) -> Result<(), String> {
    let own_linker = ["-Clinker=rust-lld", "-Clinker-flavor=ld.lld"];
    let own = compile_with(out, &own_linker.map(OsString::from), "");
    let Err(first) = own else { return Ok(()) };
    let second = compile_with(out, &linker_of_build(), "-Wl,");
    second.map_err(|second| format!("rust-lld: {first}; linker of this build: {second}"))
}

/// Returns the settings of the build that choose its linker, as flags, and none of its other flags.
fn linker_of_build() -> Vec<OsString> {
    let mut arguments = Vec::new();
    if let Some(linker) = env::var_os("RUSTC_LINKER") {
        let mut argument = OsString::from("-Clinker=");
        argument.push(linker);
        arguments.push(argument);
    }
    let flags = env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let mut flags = flags.split('\x1f').peekable();
    while let Some(flag) = flags.next() {
        let option = match flag {
            "-C" | "--codegen" => flags.next(),
            _ => flag
                .strip_prefix("-C")
                .or_else(|| flag.strip_prefix("--codegen=")),
        };
        if let Some(option) = option
            && (option.starts_with("linker=") || option.starts_with("linker-flavor="))
        {
            arguments.push(format!("-C{option}").into());
        }
    }
    arguments
}

/// `prefix` is what the linker's driver wants before an option that is for the linker.
fn compile_with(out: &Path, linker: &[OsString], prefix: &str) -> Result<(), String> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(rustc);
    command
        .args([
            "--edition=2024",
            "--crate-type=bin",
            "--crate-name=procession_helper",
        ])
        .arg("--target")
        .arg(env::var_os("TARGET").unwrap_or_default())
        .arg("src/helper/main.rs")
        .arg("-o")
        .arg(out)
        .args([
            "-Copt-level=s",
            "-Cpanic=abort",
            "-Ccodegen-units=1",
            "-Cstrip=symbols",
        ])
        .args([
            "-Crelocation-model=static",
            "-Cdebuginfo=0",
            "-Cforce-unwind-tables=no",
        ])
        .args(linker);
    if prefix.is_empty() {
        command.arg("-Clink-arg=-static");
    } else {
        command.args([
            "-Clink-arg=-nostartfiles",
            "-Clink-arg=-nostdlib",
            "-Clink-arg=-static",
        ]);
    }
    for option in ["--build-id=none", "--no-eh-frame-hdr"] {
        command.arg(format!("-Clink-arg={prefix}{option}"));
    }
    let output = command.output().map_err(|error| error.to_string())?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr);
    let line = words
        .lines()
        .find(|line| line.starts_with("error"))
        .unwrap_or("no word of why");
    Err(line.to_owned())
}
