//! The steps that the root of a tree takes between its fork and its program.
//!
//! The root takes the body from the tree's socket, and the steps of the body in their order. The
//! first step that fails is told through a pipe that is close-on-exec, so that the end of the pipe
//! without a word says that the program runs. A step that may wait (for a file system that does not
//! answer, for a FIFO) holds up nobody else, and can be killed by the keeper.
//!
//! **Descriptors.** All that this process has is close-on-exec but 0 to 2, which are `/dev/null`:
//! the shim has closed what it inherited, and what it makes or receives is close-on-exec from the
//! beginning. So the program has exactly the targets of [`Step::Descriptor`].

use crate::sys::{self, Errno, MAX_DESCRIPTORS, Poll};
use crate::wire::{BodyHead, MAX_INLINE, Step, Steps, Strings, code};

/// The strings of a program by their addresses, each list with a 0 behind it.
struct Program {
    memory: &'static [u8],
    arguments: (usize, usize),
    environment: (usize, usize),
}

impl Program {
    /// Looks the strings up in a body whose steps can all be read.
    fn new(body: &[u8]) -> sys::Result<Self> {
        let (arguments, environment) = strings(body);
        let counts = (arguments.iter().count() + 1, environment.iter().count() + 1);
        let memory = sys::allocate((counts.0 + counts.1) * size_of::<usize>())?;
        let mut room = memory.chunks_exact_mut(size_of::<usize>());
        for list in [arguments, environment] {
            for string in list.iter() {
                let Some(room) = room.next() else { return Err(Errno::INVAL) };
                room.copy_from_slice(&(string.as_ptr() as usize).to_ne_bytes());
            }
            // The memory is zero, which is the end of a list.
            room.next();
        }
        Ok(Self { memory, arguments: (0, counts.0), environment: (counts.0, counts.1) })
    }

    fn list(&self, (first, count): (usize, usize)) -> &[usize] {
        // SAFETY: the memory is whole pages, aligned for numbers; every bit pattern is a number.
        let (_, numbers, _) = unsafe { self.memory.align_to::<usize>() };
        numbers.get(first..first + count).unwrap_or(&[])
    }
}

fn strings(body: &[u8]) -> (Strings<'_>, Strings<'_>) {
    let (mut arguments, mut environment) = (Strings(&[]), Strings(&[]));
    for step in Steps::new(body) {
        match step {
            Ok(Step::Arguments(list)) => arguments = list,
            Ok(Step::Environment(list)) => environment = list,
            _ => {}
        }
    }
    (arguments, environment)
}

/// The length of a failure in the pipe, in bytes: code, place and error number.
pub(crate) const FAILURE_LENGTH: usize = 8;

pub(crate) fn read_failure(bytes: &[u8]) -> Option<(u16, u16, i32)> {
    let bytes: &[u8; FAILURE_LENGTH] = bytes.try_into().ok()?;
    let [a, b, c, d, e, f, g, h] = *bytes;
    Some((u16::from_le_bytes([a, b]), u16::from_le_bytes([c, d]), i32::from_le_bytes([e, f, g, h])))
}

/// The step that failed: its code, its place, and why.
type Failed = (u16, u16, Errno);

/// Takes the steps and becomes the program; on failure tells why through `tell` and ends.
pub(crate) fn run(socket: i32, tell: i32) -> ! {
    let mut setup = SetUp { fds: [-1; MAX_DESCRIPTORS], tell, is_user: false };
    let (code, place, Errno(errno)) = setup.run(socket);
    let mut failure = [0; FAILURE_LENGTH];
    failure[..2].copy_from_slice(&code.to_le_bytes());
    failure[2..4].copy_from_slice(&place.to_le_bytes());
    failure[4..].copy_from_slice(&errno.to_le_bytes());
    let _ = sys::write(setup.tell, &failure);
    sys::exit(127)
}

struct SetUp {
    fds: [i32; MAX_DESCRIPTORS],
    tell: i32,
    /// The process has become its user.
    is_user: bool,
}

impl SetUp {
    /// Comes back with the step that failed.
    fn run(&mut self, socket: i32) -> Failed {
        let body = match self.take_body(socket) {
            Ok(body) => body,
            Err(failed) => return failed,
        };
        // Whoever steals a descriptor of this process must not get one to speak to the host with.
        sys::close(socket);
        if let Some(Err(wrong)) = Steps::new(body).find(Result::is_err) {
            return (wrong.code, wrong.place, Errno::INVAL);
        }
        let program = match Program::new(body) {
            Ok(program) => program,
            Err(error) => return (code::STRINGS, 0, error),
        };
        if let Err(error) = self.make_way(body) {
            return (code::DESCRIPTORS, 0, error);
        }
        for (place, step) in Steps::new(body).flatten().enumerate() {
            if let Err(error) = self.take(&step, &program) {
                return (step.code(), place as u16, error);
            }
        }
        (code::NO_PROGRAM, 0, Errno::INVAL)
    }

    /// The steps, and the descriptors that they name.
    fn take_body(&mut self, socket: i32) -> Result<&'static [u8], Failed> {
        let failed = |code| move |error| (code, 0, error);
        let wrong = failed(code::REQUEST);
        let buffer = sys::allocate(BodyHead::LENGTH + MAX_INLINE).map_err(failed(code::STRINGS))?;
        let received = sys::receive(socket, buffer).map_err(wrong)?;
        if received.is_cut {
            return Err(failed(code::DESCRIPTORS)(Errno::MFILE));
        }
        let buffer: &'static [u8] = buffer;
        let bytes = buffer.get(..received.length).unwrap_or(&[]);
        let (head, steps) = BodyHead::read(bytes).ok_or(Errno::INVAL).map_err(wrong)?;
        let mut fds = received.fds[..received.fd_count].iter();
        let steps = if head.is_in_file {
            let file = *fds.next().ok_or(Errno::INVAL).map_err(wrong)?;
            steps_of_file(file, head.length as usize).map_err(wrong)?
        } else {
            steps
        };
        for (room, fd) in self.fds.iter_mut().zip(fds) {
            *room = *fd;
        }
        Ok(steps)
    }

    /// Moves descriptors that are where a target will be.
    fn make_way(&mut self, body: &[u8]) -> sys::Result<()> {
        let mut free = 3;
        for step in Steps::new(body) {
            if let Ok(Step::Descriptor { target, .. }) = step {
                let target = i32::try_from(target).map_err(|_| Errno::INVAL)?;
                free = free.max(target.checked_add(1).ok_or(Errno::INVAL)?);
            }
        }
        for fd in self.fds.iter_mut().chain([&mut self.tell]) {
            if (0..free).contains(fd) {
                *fd = sys::duplicate_from(*fd, free)?;
            }
        }
        Ok(())
    }

    fn fd(&self, index: u16) -> sys::Result<i32> {
        self.fds.get(usize::from(index)).copied().filter(|fd| *fd >= 0).ok_or(Errno::INVAL)
    }

    fn take(&mut self, step: &Step<'_>, program: &Program) -> sys::Result<()> {
        match *step {
            Step::Session => sys::new_session(),
            Step::Group => sys::new_group(),
            Step::Descriptor { index, target } => {
                sys::duplicate_to(self.fd(index)?, target as i32)
            }
            Step::Own { target, user, group } => sys::set_owner(target as i32, user, group),
            Step::Nice(nice) => sys::set_nice(nice),
            Step::Umask(umask) => {
                sys::set_umask(umask);
                Ok(())
            }
            Step::Limit { resource, soft, hard } => {
                sys::set_limit(u32::from(resource), soft, hard)
            }
            // It has to be open to others for a moment, which its user could use.
            Step::OomScore(_) if self.is_user => Err(Errno::INVAL),
            Step::OomScore(score) => set_oom_score(score),
            Step::Cgroup { index } => sys::write(self.fd(index)?, b"0").map(drop),
            Step::Groups(groups) => sys::set_groups(groups),
            Step::GroupId(group) => sys::set_group(group),
            Step::UserId(user) => {
                self.is_user = true;
                sys::set_user(user)
            }
            Step::EnterDescriptor { index } => sys::enter(self.fd(index)?),
            Step::Enter(path) => sys::enter_path(path),
            Step::Terminal { target } => sys::take_terminal(target as i32),
            Step::NoNewPrivileges => sys::set_no_new_privileges(),
            Step::Landlock { index } => sys::restrict_self(self.fd(index)?),
            Step::Seccomp(filter) => {
                // The filter may refuse both later.
                sys::die_with_parent();
                sys::block_signals(0);
                sys::filter_calls(filter)
            }
            Step::Arguments(_) | Step::Environment(_) => Ok(()),
            Step::Execute(path) => Err(execute(Some(path), -1, program)),
            Step::ExecuteDescriptor { index } => Err(execute(None, self.fd(index)?, program)),
        }
    }
}

fn steps_of_file(file: i32, length: usize) -> sys::Result<&'static [u8]> {
    if length == 0 || !sys::is_sealed(file) || sys::length(file)? != length {
        return Err(Errno::INVAL);
    }
    sys::map(file, length)
}

/// Becomes the program; comes back with why it cannot.
fn execute(path: Option<&[u8]>, fd: i32, program: &Program) -> Errno {
    // A program that was just written may still be open for writing somewhere for a moment: half a
    // second in all.
    const TRIES: u32 = 10;
    let arguments = program.list(program.arguments);
    let environment = program.list(program.environment);
    // The shim would do it as well, unless it is gone at the same time.
    sys::die_with_parent();
    sys::block_signals(0);
    let mut tries = 0;
    loop {
        let error = match path {
            // SAFETY: a step's path ends with a NUL byte, and so does each string of the body; the
            // lists end with a 0.
            Some(path) => unsafe { sys::execute(path, arguments, environment) },
            // SAFETY: as above.
            None => unsafe { sys::execute_fd(fd, arguments, environment) },
        };
        if error != Errno::TXTBSY || tries == TRIES {
            return error;
        }
        tries += 1;
        let _ = sys::poll(&mut [Poll::new(-1, 0)], Some(1 << tries.min(6)));
    }
}

/// The file can be written only by a process that others may look into, `proc(5)`.
fn set_oom_score(score: i32) -> sys::Result<()> {
    let mut text = [0; 12];
    let mut at = text.len();
    let mut rest = score.unsigned_abs();
    while let Some(room) = at.checked_sub(1).and_then(|before| text.get_mut(before)) {
        *room = b'0' + (rest % 10) as u8;
        at -= 1;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if score < 0
        && let Some(room) = at.checked_sub(1).and_then(|before| text.get_mut(before))
    {
        *room = b'-';
        at -= 1;
    }
    sys::set_dumpable(true);
    let flags = sys::O_WRONLY | sys::O_CLOEXEC;
    let result = sys::open(sys::AT_FDCWD, b"/proc/self/oom_score_adj\0", flags).and_then(|file| {
        let result = sys::write(file, text.get(at..).unwrap_or(&[]));
        sys::close(file);
        result
    });
    sys::set_dumpable(false);
    result.map(drop)
}
