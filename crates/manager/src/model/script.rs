//! A script given as text: [`Script`], and how each language is run.

use procession_wire::Escaped;

use super::command::{Cmd, Environment, Leftovers, Logging, Messaging, Output, Resource, Stdin};
use super::options::{Options, option_verbs};
use super::quote::Quoted;
use super::runnable::Runnable;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Write as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Stands for the path of the script's file in the arguments of a [`ScriptRunConfig`].
pub const SCRIPT_FILE_PATH_PLACEHOLDER: &str = "@FILE_PATH";

/// A script to run, given as text, in one of eight languages or any other.
///
/// When it is spawned, the text is written to a file in the process's run directory, readable by this
/// user alone, and the language's interpreter is started with that file. The interpreter is looked for
/// in the `PATH` that the child will have. Everything else is as for a [`Cmd`], with the same builder
/// verbs.
///
/// ```
/// use procession_manager::model::command::Messaging;
/// use procession_manager::model::script::{Script, ScriptingLanguage};
///
/// let echo = Script::new(
///     ScriptingLanguage::Bash,
///     r#"while read -r line; do echo "$1: $line"; done"#,
/// )
/// .arg("heard")
/// .messaging(Messaging::standard_io());
/// assert_eq!(echo.arguments(), ["heard"]);
/// ```
#[derive(Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(from = "super::data::ScriptData", into = "super::data::ScriptData")
)]
#[must_use]
pub struct Script {
    pub(super) language: ScriptingLanguage,
    pub(super) content: String,
    pub(super) options: Options,
}

impl Script {
    /// A script in `language` with the text `content`, without arguments.
    pub fn new(language: ScriptingLanguage, content: impl Into<String>) -> Self {
        Self {
            language,
            content: content.into(),
            options: Options::default(),
        }
    }

    option_verbs!();

    /// The language it is in.
    pub fn language(&self) -> &ScriptingLanguage {
        &self.language
    }

    /// Its text.
    pub fn content(&self) -> &str {
        &self.content
    }

    /// A `Debug` form with everything in it: its text, its arguments and the values of variables,
    /// which its own `Debug` form hides.
    pub fn reveal(&self) -> impl fmt::Debug + '_ {
        fmt::from_fn(|f| self.debug(f, true))
    }

    fn debug(&self, f: &mut fmt::Formatter<'_>, reveal: bool) -> fmt::Result {
        let mut out = f.debug_struct("Script");
        out.field("language", &self.language);
        if reveal {
            out.field("content", &self.content);
        } else {
            let len = self.content.len();
            out.field("content", &format_args!("({len} bytes hidden)"));
        }
        self.options.debug(&mut out, reveal);
        out.finish()
    }
}

/// Writes the script's file, `script.<extension>`, into the run directory, over one that is there.
impl Runnable for Script {
    fn bootstrap_cmd(&self, process_dir: &Path) -> Result<Cmd, String> {
        let config = self.language.run_config();
        let path = process_dir.join(config.file_name()?);
        write_private(&path, &self.content).map_err(|error| {
            format!(
                "cannot write the script to {}: {error}",
                Escaped::new(&path)
            )
        })?;

        let mut options = self.options.clone();
        let args = config.args.iter().map(|arg| insert_path(arg, &path));
        options.args.splice(..0, args);
        Ok(Cmd {
            program: config.program,
            options,
        })
    }
}

/// Hides what often holds secrets: the text, arguments and the values of variables.
/// [`reveal`](Script::reveal) shows them.
impl fmt::Debug for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.debug(f, false)
    }
}

fn write_private(path: &Path, content: &str) -> std::io::Result<()> {
    // Not written over: it could be a link that a process has put there.
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    crate::run_dir::create_new(path)?.write_all(content.as_bytes())
}

/// The language of a [`Script`], which says how it is run.
///
/// | language | run as | file |
/// |---|---|---|
/// | `Bash` | `bash FILE ARGS…` | `script.sh` |
/// | `Python` | `python3 FILE ARGS…` | `script.py` |
/// | `Php` | `php -f FILE -- ARGS…` | `script.php` |
/// | `JavaScript` | `node FILE ARGS…` | `script.js` |
/// | `Perl` | `perl FILE ARGS…` | `script.pl` |
/// | `Lua` | `lua FILE ARGS…` | `script.lua` |
/// | `Ruby` | `ruby FILE ARGS…` | `script.rb` |
/// | `Groovy` | `groovy FILE ARGS…` | `script.groovy` |
///
/// ```
/// use procession_manager::model::script::{ScriptRunConfig, ScriptingLanguage};
///
/// let config = ScriptingLanguage::Python.run_config();
/// assert_eq!(config, ScriptRunConfig::new("python3", ["@FILE_PATH"], "py"));
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum ScriptingLanguage {
    /// GNU bash.
    Bash,
    /// Python 3.
    Python,
    /// PHP. The `--` keeps PHP from taking the script's arguments for its own.
    Php,
    /// JavaScript, run by Node.js.
    #[cfg_attr(feature = "serde", serde(rename = "javascript"))]
    JavaScript,
    /// Perl.
    Perl,
    /// Lua.
    Lua,
    /// Ruby.
    Ruby,
    /// Groovy.
    Groovy,
    /// Any other language, or one of these run in another way.
    Other(ScriptRunConfig),
}

impl ScriptingLanguage {
    /// How a script in this language is run.
    pub fn run_config(&self) -> ScriptRunConfig {
        const FILE: &str = SCRIPT_FILE_PATH_PLACEHOLDER;
        let (program, args, extension): (_, &[&str], _) = match self {
            Self::Bash => ("bash", &[FILE], "sh"),
            Self::Python => ("python3", &[FILE], "py"),
            Self::Php => ("php", &["-f", FILE, "--"], "php"),
            Self::JavaScript => ("node", &[FILE], "js"),
            Self::Perl => ("perl", &[FILE], "pl"),
            Self::Lua => ("lua", &[FILE], "lua"),
            Self::Ruby => ("ruby", &[FILE], "rb"),
            Self::Groovy => ("groovy", &[FILE], "groovy"),
            Self::Other(config) => return config.clone(),
        };
        ScriptRunConfig::new(program, args, extension)
    }
}

/// How scripts of a language are run: the interpreter, its arguments, and the extension of the
/// script's file.
///
/// Every [`SCRIPT_FILE_PATH_PLACEHOLDER`] in the arguments, alone or inside one, becomes the path of the
/// script's file. The script's own arguments come after these and are left as they are.
///
/// ```
/// use procession_manager::model::script::{
///     SCRIPT_FILE_PATH_PLACEHOLDER, Script, ScriptRunConfig, ScriptingLanguage,
/// };
///
/// let awk = ScriptRunConfig::new("awk", ["-f", SCRIPT_FILE_PATH_PLACEHOLDER], "awk");
/// let count = Script::new(ScriptingLanguage::Other(awk), "END { print NR }").arg("/etc/passwd");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(deny_unknown_fields)
)]
pub struct ScriptRunConfig {
    #[cfg_attr(feature = "serde", serde(with = "super::data::text"))]
    program: OsString,
    #[cfg_attr(feature = "serde", serde(with = "super::data::texts"))]
    args: Vec<OsString>,
    #[cfg_attr(feature = "serde", serde(with = "super::data::text", default))]
    extension: OsString,
}

impl ScriptRunConfig {
    /// Runs scripts by `program` with `args`, from a file named `script.<extension>`, or `script` if
    /// `extension` is empty. A spawn refuses an extension with a slash in it.
    pub fn new<A: Into<OsString>>(
        program: impl Into<OsString>,
        args: impl IntoIterator<Item = A>,
        extension: impl Into<OsString>,
    ) -> Self {
        Self {
            program: program.into(),
            args: args.into_iter().map(Into::into).collect(),
            extension: extension.into(),
        }
    }

    fn file_name(&self) -> Result<OsString, String> {
        let mut name = OsString::from("script");
        if self.extension.is_empty() {
            return Ok(name);
        }
        let bytes = self.extension.as_bytes();
        if bytes.contains(&b'/') || bytes.contains(&0) {
            return Err(format!(
                "{} cannot be the extension of a script's file: it must not hold `/` or a NUL byte",
                Quoted(&self.extension)
            ));
        }
        name.push(".");
        name.push(&self.extension);
        Ok(name)
    }
}

impl From<ScriptingLanguage> for ScriptRunConfig {
    fn from(language: ScriptingLanguage) -> Self {
        language.run_config()
    }
}

/// `arg` with the path in place of every placeholder. By bytes, because a path need not be UTF-8.
fn insert_path(arg: &OsStr, path: &Path) -> OsString {
    let placeholder = SCRIPT_FILE_PATH_PLACEHOLDER.as_bytes();
    let mut rest = arg.as_bytes();
    let mut out = Vec::with_capacity(rest.len() + path.as_os_str().len());
    while let Some((&first, tail)) = rest.split_first() {
        if let Some(after) = rest.strip_prefix(placeholder) {
            out.extend_from_slice(path.as_os_str().as_bytes());
            rest = after;
        } else {
            out.push(first);
            rest = tail;
        }
    }
    OsString::from_vec(out)
}

#[cfg(test)]
mod tests;
