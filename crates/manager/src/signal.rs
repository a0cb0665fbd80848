//! Signals, as their numbers.

use std::fmt;

/// A signal to a process: see `signal(7)`.
///
/// ```
/// use procession_manager::Signal;
///
/// assert_eq!(Signal::TERM.to_string(), "SIGTERM");
/// assert_eq!(Signal::from_raw(10), Some(Signal::USR1));
/// assert_eq!(Signal::from_raw(0), None);
/// ```
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(rustix::process::Signal);

macro_rules! signals {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        impl Signal {
            $($(#[$doc])* pub const $name: Self = Self(rustix::process::Signal::$name);)*
        }

        impl fmt::Display for Signal {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match *self {
                    $(Self::$name => f.write_str($text),)*
                    _ => write!(f, "signal {}", self.as_raw()),
                }
            }
        }
    };
}

signals! {
    /// The terminal is gone; by custom: read the configuration again.
    HUP = "SIGHUP",
    /// Ctrl-C.
    INT = "SIGINT",
    /// Ctrl-\\: end with a core dump.
    QUIT = "SIGQUIT",
    /// End without any chance to do something about it.
    KILL = "SIGKILL",
    /// Free for the program's use.
    USR1 = "SIGUSR1",
    /// Free for the program's use.
    USR2 = "SIGUSR2",
    /// A timer has run out.
    ALARM = "SIGALRM",
    /// Please end.
    TERM = "SIGTERM",
    /// Go on after a stop.
    CONT = "SIGCONT",
    /// Stop running until SIGCONT.
    STOP = "SIGSTOP",
    /// Ctrl-Z.
    TSTP = "SIGTSTP",
    /// The terminal has another size.
    WINCH = "SIGWINCH",
}

impl Signal {
    /// The signal of this number; none for what is no signal, or is one that the C library keeps to
    /// itself.
    pub fn from_raw(number: i32) -> Option<Self> {
        rustix::process::Signal::from_named_raw(number).map(Self)
    }

    /// Its number on this system.
    pub fn as_raw(self) -> i32 {
        self.0.as_raw()
    }
}

impl std::hash::Hash for Signal {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_raw().hash(state);
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Signal> for rustix::process::Signal {
    fn from(signal: Signal) -> Self {
        signal.0
    }
}
