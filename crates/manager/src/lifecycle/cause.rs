//! Why a process has ended.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use super::{ExitCause, Lifecycle, ResourceUsage};

impl Lifecycle {
    /// A process that was to be killed, but ended in another way than by our SIGKILL, did so by
    /// itself: the exit and the kill passed each other.
    pub(super) fn cause_of(
        &self,
        status: Option<ExitStatus>,
        usage: Option<ResourceUsage>,
        oom: bool,
    ) -> ExitCause {
        const SIGKILL: i32 = 9;
        const SIGXCPU: i32 = 24;
        const SIGXFSZ: i32 = 25;
        let signal = status.and_then(|status| status.signal());
        match (self.cause, status) {
            (Some(_), Some(_)) if signal != Some(SIGKILL) && !self.asked => ExitCause::ByItself,
            (Some(cause), _) => cause,
            (None, _) => {
                let spent = usage.map(|usage| usage.user_time + usage.system_time);
                // What got over the loss of a part of it was not ended by that.
                let out_of_memory = oom && !status.is_some_and(|status| status.success());
                let over = match signal {
                    _ if out_of_memory => true,
                    Some(SIGXCPU) => self.plan.cpu_limit.is_some(),
                    // What goes on after SIGXCPU is ended by SIGKILL at the hard limit.
                    Some(SIGKILL) => self
                        .plan
                        .cpu_limit
                        .is_some_and(|limit| spent >= Some(limit)),
                    Some(SIGXFSZ) => self.plan.file_limit,
                    _ => false,
                };
                if over {
                    ExitCause::LimitExceeded
                } else {
                    ExitCause::ByItself
                }
            }
        }
    }
}
