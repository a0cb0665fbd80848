//! What a command and a script have in common: everything but what is run.
//!
//! `Options` holds it and `option_verbs!` gives both types the same builder verbs and accessors over
//! it, so that no verb can exist on one of them only.

use super::command::{Environment, Leftovers, Logging, Messaging, Output, Stdin};
use super::identity::{Identity, Limits};
use super::startup::{Readiness, StartDeadline};
use crate::handle::HealthCheck;
use crate::logs::LogHook;
use crate::messaging::answering::RequestHandler;
use crate::supervision::Supervision;
use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) args: Vec<OsString>,
    pub(super) environment: Environment,
    pub(super) current_dir: Option<PathBuf>,
    pub(super) messaging: Option<Messaging>,
    pub(super) logging: Option<Logging>,
    pub(super) log_hook: Option<LogHook>,
    pub(super) handler: Option<RequestHandler>,
    pub(super) readiness: Option<Readiness>,
    pub(super) start_deadline: StartDeadline,
    pub(super) supervision: Option<Supervision>,
    pub(super) health_check: Option<HealthCheck>,
    pub(super) timeout: Option<Duration>,
    pub(super) leftovers: Leftovers,
    pub(super) stdin: Stdin,
    pub(super) stdout: Output,
    pub(super) stderr: Output,
    pub(super) identity: Identity,
    pub(super) limits: Limits,
}

impl Options {
    /// Adds the fields that differ from their defaults. What often holds secrets is shown only to
    /// `reveal`: arguments, and the values of variables.
    pub(super) fn debug(&self, out: &mut fmt::DebugStruct<'_, '_>, reveal: bool) {
        match self.args.len() {
            0 => {}
            _ if reveal => {
                out.field("args", &self.args);
            }
            count => {
                out.field("args", &format_args!("({count} hidden)"));
            }
        }
        if !self.environment.is_unchanged() {
            let show = |f: &mut fmt::Formatter<'_>| self.environment.debug(f, reveal);
            out.field("env", &fmt::from_fn(show));
        }
        if let Some(current_dir) = &self.current_dir {
            out.field("current_dir", current_dir);
        }
        if let Some(messaging) = &self.messaging {
            out.field("messaging", messaging);
        }
        if let Some(logging) = &self.logging {
            out.field("logging", &format_args!("{logging}"));
        }
        if let Some(log_hook) = &self.log_hook {
            out.field("log_hook", log_hook);
        }
        if let Some(handler) = &self.handler {
            out.field("serve", handler);
        }
        if let Some(readiness) = &self.readiness {
            out.field("ready_when", readiness);
        }
        if self.start_deadline != StartDeadline::default() {
            out.field("start_deadline", &self.start_deadline.0);
        }
        if let Some(supervision) = &self.supervision {
            out.field("supervised", &format_args!("{supervision}"));
        }
        if let Some(health_check) = &self.health_check {
            out.field("health_check", health_check);
        }
        if let Some(timeout) = &self.timeout {
            out.field("timeout", timeout);
        }
        if self.leftovers != Leftovers::default() {
            out.field("leftovers", &self.leftovers);
        }
        if self.stdin != Stdin::Null {
            out.field("stdin", &self.stdin);
        }
        for (name, output) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            if *output != Output::Null {
                out.field(name, output);
            }
        }
        self.identity.debug(out);
        if !self.limits.is_empty() {
            out.field("limits", &self.limits);
        }
    }
}

/// The builder verbs and accessors of a type that has `options: Options`.
macro_rules! option_verbs {
    () => {
        /// Adds one argument. It reaches the program as it is: no shell splits it or expands it.
        pub fn arg(mut self, arg: impl Into<OsString>) -> Self {
            self.options.args.push(arg.into());
            self
        }

        /// Adds several arguments.
        pub fn args<A: Into<OsString>>(mut self, args: impl IntoIterator<Item = A>) -> Self {
            self.options.args.extend(args.into_iter().map(Into::into));
            self
        }

        /// Sets a variable of the child's environment, over one that it would inherit.
        ///
        /// The variables in which Procession tells a child about its pipes and its directory
        /// (`PROCESS_DATA_DIR`, `INPUT_PIPE` and so on) cannot be set: the spawn refuses them.
        pub fn env(mut self, name: impl Into<OsString>, value: impl Into<OsString>) -> Self {
            self.options.environment.set(name.into(), value.into());
            self
        }

        /// Sets several variables of the child's environment.
        pub fn envs<N: Into<OsString>, V: Into<OsString>>(
            mut self,
            variables: impl IntoIterator<Item = (N, V)>,
        ) -> Self {
            for (name, value) in variables {
                self.options.environment.set(name.into(), value.into());
            }
            self
        }

        /// Removes a variable from the child's environment, set here or inherited.
        pub fn env_remove(mut self, name: impl Into<OsString>) -> Self {
            self.options.environment.remove(name.into());
            self
        }

        /// Removes everything from the child's environment, set before this call or inherited. What
        /// is set after it stays.
        pub fn env_clear(mut self) -> Self {
            self.options.environment.clear();
            self
        }

        /// The directory that the child starts in. The default is the parent's own.
        pub fn current_dir(mut self, dir: impl Into<PathBuf>) -> Self {
            self.options.current_dir = Some(dir.into());
            self
        }

        /// Turns messages on: how they travel, and how many may wait.
        pub fn messaging(mut self, messaging: Messaging) -> Self {
            self.options.messaging = Some(messaging);
            self
        }

        /// Turns logging on: which output streams are kept.
        pub fn logging(mut self, logging: Logging) -> Self {
            self.options.logging = Some(logging);
            self
        }

        /// What is called with each line of its logs, besides what the
        /// [manager](crate::ProcessManagerBuilder::log_hook) calls. It is no part of the command as data.
        pub fn log_hook(mut self, hook: crate::logs::LogHook) -> Self {
            self.options.log_hook = Some(hook);
            self
        }

        /// Answers the requests of the child: what the handler returns is the reply, its error or panic is
        /// that request's failure. Without this each of the child's requests fails. It is no part of the
        /// command as data.
        ///
        /// ```
        /// use procession_manager::{Cmd, Framing, Messaging};
        ///
        /// let worker = Cmd::new("worker")
        ///     .messaging(Messaging::named_pipes().framing(Framing::Frames))
        ///     .serve(|request| async move {
        ///         let name = request.message().as_str()?;
        ///         Ok(std::env::var(name)?.into())
        ///     });
        /// ```
        pub fn serve<F, Fut>(mut self, handler: F) -> Self
        where
            F: Fn(crate::Request) -> Fut + Send + Sync + 'static,
            Fut: Future<Output = Result<crate::Message, crate::HandlerError>> + Send + 'static,
        {
            self.options.handler = Some(crate::RequestHandler::new(handler));
            self
        }

        /// What shows that it is ready, for [`wait_ready`](crate::ProcessHandle::wait_ready) and the event
        /// [`Ready`](crate::Event::Ready). It then has to become ready within its
        /// [start deadline](Self::start_deadline).
        ///
        /// Without this, a child over frames is ready with its `ready` frame, which may come at any time
        /// or never, and any other as soon as it runs.
        pub fn ready_when(mut self, readiness: crate::Readiness) -> Self {
            self.options.readiness = Some(readiness);
            self
        }

        /// How long it may take until it is [ready](Self::ready_when), or, where nothing was said
        /// of that, until a child over frames says hello: 10 s by default. Then it is stopped with
        /// the manager's grace, and the cause in its report is
        /// [`StartFailed`](crate::ExitCause::StartFailed). At least 1 ms.
        pub fn start_deadline(mut self, deadline: Duration) -> Self {
            self.options.start_deadline = crate::model::StartDeadline(Some(deadline));
            self
        }

        /// It may take as long as it likes to start.
        pub fn no_start_deadline(mut self) -> Self {
            self.options.start_deadline = crate::model::StartDeadline(None);
            self
        }

        /// Keeps it up: when it ends it is started again, as these rules say. Its id, its handles and its
        /// subscriptions stay; see [`Supervision`](crate::Supervision).
        ///
        /// ```
        /// use procession_manager::{Cmd, RestartPolicy, Supervision};
        ///
        /// let service = Cmd::new("service").supervised(Supervision::new(RestartPolicy::Always));
        /// ```
        pub fn supervised(mut self, supervision: crate::Supervision) -> Self {
            self.options.supervision = Some(supervision);
            self
        }

        /// Asks every now and then whether a [supervised](Self::supervised) process is well, and restarts it when it
        /// is not, as its [rule](crate::HealthRule) says. It is no part of the command as data.
        pub fn health_check(mut self, check: crate::HealthCheck) -> Self {
            self.options.health_check = Some(check);
            self
        }

        /// How long it may run, counted from its start. Then it is stopped with the manager's
        /// grace, as by [`stop`](crate::ProcessManagerHandle::stop), and the cause in its report is
        /// [`TimedOut`](crate::ExitCause::TimedOut). Without this it may run for ever. At least 1
        /// ms.
        pub fn timeout(mut self, timeout: Duration) -> Self {
            self.options.timeout = Some(timeout);
            self
        }

        /// What becomes of the processes that it has started and that still run when it exits.
        pub fn leftovers(mut self, leftovers: Leftovers) -> Self {
            self.options.leftovers = leftovers;
            self
        }

        /// What standard input is, where messages do not use it.
        pub fn stdin(mut self, stdin: Stdin) -> Self {
            self.options.stdin = stdin;
            self
        }

        /// What standard output is, where neither messages nor logs use it.
        pub fn stdout(mut self, stdout: Output) -> Self {
            self.options.stdout = stdout;
            self
        }

        /// What standard error is, where logs do not use it.
        pub fn stderr(mut self, stderr: Output) -> Self {
            self.options.stderr = stderr;
            self
        }

        /// The user that the child runs as, by number, from before its first instruction
        /// (`credentials(7)`: real, effective and saved). It has no supplementary groups unless
        /// [`groups`](Self::groups) gives some. Its group stays the parent's unless
        /// [`group`](Self::group) is given too, which it should be.
        ///
        /// The process's directory and what the child opens there are given to this user, and
        /// nobody else can use them. The directories above become passable (0711) as far as
        /// Procession has made them; those above the manager's working directory must be passable
        /// already. Files given with [`stdin`](Self::stdin), [`stdout`](Self::stdout) and
        /// [`stderr`](Self::stderr) are opened by the parent, with its rights.
        ///
        /// The parent needs root's rights for this (`CAP_SETUID`, `CAP_SETGID`, `CAP_CHOWN`,
        /// `CAP_DAC_OVERRIDE` and `CAP_KILL`, `capabilities(7)`). Where it has not, or the user may not
        /// execute the program, the spawn fails with
        /// [`CannotSpawnProcess`](crate::SpawnProcessError::CannotSpawnProcess), which names what was
        /// refused (`EPERM`, `EACCES`). The price is a thread for each spawn, some tenths of a millisecond.
        ///
        /// Until the program starts, that thread of the parent belongs to the user, for well under
        /// a millisecond: a process of the same user that finds its number can signal the parent
        /// (`kill(2)`), but not read its memory (`PR_SET_DUMPABLE(2const)`).
        pub fn user(mut self, user: u32) -> Self {
            self.options.identity.user = Some(user);
            self
        }

        /// The group that the child runs as, by number (`credentials(7)`: real, effective and saved).
        /// Rights, errors and price are those of [`user`](Self::user).
        pub fn group(mut self, group: u32) -> Self {
            self.options.identity.group = Some(group);
            self
        }

        /// The child's supplementary groups, all of them, by number (`setgroups(2)`; at most 65,536).
        /// Without this they are the parent's, or none where a [`user`](Self::user) is given. Rights,
        /// errors and price are those of [`user`](Self::user).
        pub fn groups(mut self, groups: impl IntoIterator<Item = u32>) -> Self {
            self.options.identity.groups = Some(groups.into_iter().collect());
            self
        }

        /// The permissions that files made by the child do *not* get, such as `0o077` (`umask(2)`).
        /// The default is the parent's. A spawn refuses more than `0o777`. The price is a thread for
        /// each spawn, some tenths of a millisecond.
        pub fn umask(mut self, umask: u32) -> Self {
            self.options.identity.umask = Some(umask);
            self
        }

        /// The child's niceness itself, from -20 (most favoured) to 19 (`setpriority(2)`), not what is
        /// added to the parent's, which is the default. A spawn refuses other numbers, and fails with
        /// `EACCES` where it is lower than the parent's and the parent has not `CAP_SYS_NICE`. The
        /// price is a thread for each spawn, some tenths of a millisecond.
        pub fn nice(mut self, nice: i32) -> Self {
            self.options.identity.nice = Some(nice);
            self
        }

        /// Limits the child in `resource`, from before its first instruction: the soft and the hard
        /// limit of `setrlimit(2)`, in the unit that [`Resource`] names. Giving one again replaces it;
        /// 2⁶³ and more is no limit.
        ///
        /// The limits are set by a `/bin/sh` that becomes the program, with the same process number.
        /// That takes one or two milliseconds more, and the program sees some traces of it: its own name
        /// (`argv[0]`) is its absolute path, variables with names that no shell can have are gone, and
        /// the shell's own (`PWD`, with bash also `OLDPWD`, `SHLVL` and `_`) may be there.
        ///
        /// The spawn fails with
        /// [`CannotSpawnProcess`](crate::SpawnProcessError::CannotSpawnProcess) where the child could not
        /// raise a hard limit this far (`EPERM`: without `CAP_SYS_RESOURCE`, which no other
        /// [`user`](Self::user) has), and where the program is neither a binary (ELF) nor a script whose
        /// `#!` line names an interpreter that is there. What goes wrong after that is seen by the exit:
        /// 126 where a limit was refused after all or the program cannot be executed, 127 where it is
        /// gone or has no room, with the shell's words on its stderr.
        pub fn limit(mut self, resource: Resource, limit: u64) -> Self {
            self.options.limits.insert(resource, limit);
            self
        }

        /// The user given with [`user`](Self::user).
        pub fn user_id(&self) -> Option<u32> {
            self.options.identity.user
        }

        /// The group given with [`group`](Self::group).
        pub fn group_id(&self) -> Option<u32> {
            self.options.identity.group
        }

        /// The groups given with [`groups`](Self::groups).
        pub fn supplementary_groups(&self) -> Option<&[u32]> {
            self.options.identity.groups.as_deref()
        }

        /// The mask given with [`umask`](Self::umask).
        pub fn file_mode_mask(&self) -> Option<u32> {
            self.options.identity.umask
        }

        /// The niceness given with [`nice`](Self::nice).
        pub fn niceness(&self) -> Option<i32> {
            self.options.identity.nice
        }

        /// The limits given with [`limit`](Self::limit).
        pub fn limits(&self) -> impl Iterator<Item = (Resource, u64)> + '_ {
            self.options
                .limits
                .iter()
                .map(|(resource, limit)| (*resource, *limit))
        }

        /// The arguments given with [`arg`](Self::arg) and [`args`](Self::args), in order.
        pub fn arguments(&self) -> &[OsString] {
            &self.options.args
        }

        /// The changes to the environment.
        pub fn environment(&self) -> &Environment {
            &self.options.environment
        }

        /// The directory given with [`current_dir`](Self::current_dir).
        pub fn working_directory(&self) -> Option<&Path> {
            self.options.current_dir.as_deref()
        }

        /// The messaging given with [`messaging`](Self::messaging).
        pub fn messaging_options(&self) -> Option<&Messaging> {
            self.options.messaging.as_ref()
        }

        /// The logging given with [`logging`](Self::logging).
        pub fn logging_options(&self) -> Option<Logging> {
            self.options.logging
        }

        /// What was given with [`ready_when`](Self::ready_when).
        pub fn readiness(&self) -> Option<&crate::Readiness> {
            self.options.readiness.as_ref()
        }

        /// How long it may take to start; `None` for as long as it likes.
        pub fn start_time_limit(&self) -> Option<Duration> {
            self.options.start_deadline.0
        }

        /// The rules given with [`supervised`](Self::supervised).
        pub fn supervision(&self) -> Option<&crate::Supervision> {
            self.options.supervision.as_ref()
        }

        /// The time given with [`timeout`](Self::timeout).
        pub fn time_limit(&self) -> Option<Duration> {
            self.options.timeout
        }

        /// What was given with [`leftovers`](Self::leftovers), or its default.
        pub fn leftovers_policy(&self) -> Leftovers {
            self.options.leftovers
        }

        /// What was given with [`stdin`](Self::stdin), or its default.
        pub fn stdin_source(&self) -> &Stdin {
            &self.options.stdin
        }

        /// What was given with [`stdout`](Self::stdout), or its default.
        pub fn stdout_target(&self) -> &Output {
            &self.options.stdout
        }

        /// What was given with [`stderr`](Self::stderr), or its default.
        pub fn stderr_target(&self) -> &Output {
            &self.options.stderr
        }
    };
}

pub(super) use option_verbs;
