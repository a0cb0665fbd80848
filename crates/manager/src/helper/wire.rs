//! The protocol between the host and its helper: bytes, and nothing else.
//!
//! ```text
//!  host ── Request ──────────► shim         a datagram, with the keeper's end of the tree's socket
//!  host ── Body, Command ──► keeper ── Event ──► host         the tree's socket, one for each tree
//! ```
//!
//! This file is part of two programs: of the library, which writes requests and reads events, and
//! of the helper, which has no memory to allocate from. It therefore borrows what it reads and
//! writes into what it is given. All numbers are little-endian.
//!
//! **A body** is the first datagram on a tree's socket, sent before the request, and is read by the
//! root alone: descriptors that are with it never come into the shim or the keeper, which could
//! hang when they close one of a file system that does not answer. It is a [`BodyHead`] and a list
//! of [`Step`]s, in the datagram or, where they are longer than [`MAX_INLINE`], in a sealed memory
//! file that is the first descriptor. The root takes the steps in their order between its fork and
//! its program. Each is a head of eight bytes (code: 2, argument: 2, length: 4) and a payload. A
//! step that cannot be read fails the spawn with `EINVAL` and its place in the list, before
//! anything is done.
//!
//! **Versions.** Library and helper are built together and never apart, but a helper that was put
//! at a named path may be older: all heads begin with [`VERSION`], and either side refuses another
//! one.

/// Raised by every change of what either side sends.
pub(crate) const VERSION: u32 = 1;

/// A body up to this length is in the datagram itself. The limit of a datagram is the socket's send
/// buffer, 212,992 bytes by default with the kernel's own share, `socket(7)`.
pub(crate) const MAX_INLINE: usize = 96 * 1024;

/// The longest body: the kernel takes at most 6 MiB of arguments and environment, `execve(2)`, so a
/// longer one could not be used.
pub(crate) const MAX_BODY: usize = 16 << 20;

/// Whether numbers can be read from the front of some bytes.
fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = bytes.split_first_chunk::<N>()?;
    *bytes = rest;
    Some(*head)
}

fn take_u16(bytes: &mut &[u8]) -> Option<u16> {
    take(bytes).map(u16::from_le_bytes)
}

fn take_u32(bytes: &mut &[u8]) -> Option<u32> {
    take(bytes).map(u32::from_le_bytes)
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    take(bytes).map(i32::from_le_bytes)
}

fn take_u64(bytes: &mut &[u8]) -> Option<u64> {
    take(bytes).map(u64::from_le_bytes)
}

/// A datagram to the shim. One descriptor is with each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Request {
    /// The first of all: a pidfd of the host is with it, where the kernel has such.
    Host,
    /// Start a tree: the keeper's end of its socket is with it. `leads_group` says that its root
    /// begins a process group or a session.
    Tree { leads_group: bool },
}

impl Request {
    pub(crate) const LENGTH: usize = 12;

    pub(crate) fn write(self) -> [u8; Self::LENGTH] {
        let (kind, argument): (u32, u32) = match self {
            Self::Host => (1, 0),
            Self::Tree { leads_group } => (2, u32::from(leads_group)),
        };
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&VERSION.to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..].copy_from_slice(&argument.to_le_bytes());
        bytes
    }

    /// `None` for another version, an unknown kind, or another length.
    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let version = take_u32(&mut bytes)?;
        let kind = take_u32(&mut bytes)?;
        let argument = take_u32(&mut bytes)?;
        if version != VERSION || !bytes.is_empty() {
            return None;
        }
        match (kind, argument) {
            (1, 0) => Some(Self::Host),
            (2, 0) => Some(Self::Tree { leads_group: false }),
            (2, 1) => Some(Self::Tree { leads_group: true }),
            _ => None,
        }
    }
}

/// The front of the first datagram on a tree's socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct BodyHead {
    /// The steps are in the first descriptor, and otherwise behind this head.
    pub(crate) is_in_file: bool,
    /// The length of the steps.
    pub(crate) length: u32,
}

impl BodyHead {
    pub(crate) const LENGTH: usize = 12;

    pub(crate) fn write(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&VERSION.to_le_bytes());
        bytes[4..8].copy_from_slice(&u32::from(self.is_in_file).to_le_bytes());
        bytes[8..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    /// The head and what follows it; `None` for another version, an unknown place, or a length that
    /// is not that of what follows or is over [`MAX_BODY`].
    pub(crate) fn read(mut bytes: &[u8]) -> Option<(Self, &[u8])> {
        let version = take_u32(&mut bytes)?;
        let place = take_u32(&mut bytes)?;
        let length = take_u32(&mut bytes)?;
        let follows = bytes.len() == if place == 0 { length as usize } else { 0 };
        if version != VERSION || place > 1 || !follows || length as usize > MAX_BODY {
            return None;
        }
        Some((
            Self {
                is_in_file: place == 1,
                length,
            },
            bytes,
        ))
    }
}

/// One thing that a child does between its fork and its program.
///
/// A descriptor is named by its index among those of the body, not counting the memory file.
/// Strings end with a NUL byte, which is part of the payload.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step<'a> {
    /// Begin a session, and with it a process group: `setsid(2)`.
    Session,
    /// Begin a process group in the session of the helper: `setpgid(2)`.
    Group,
    /// Be `target` this descriptor. Targets are 0, 1, 2 and then one more each.
    Descriptor {
        index: u16,
        target: u32,
    },
    /// Own the descriptor that is `target` by now: `fchown(2)`.
    Own {
        target: u32,
        user: u32,
        group: u32,
    },
    /// Have this niceness: `setpriority(2)`.
    Nice(i32),
    Umask(u32),
    /// Soft and hard limit of a resource of `setrlimit(2)`.
    Limit {
        resource: u16,
        soft: u64,
        hard: u64,
    },
    /// Write to `/proc/self/oom_score_adj`, `proc_pid_oom_score_adj(5)`. Comes before
    /// [`Self::UserId`].
    OomScore(i32),
    /// Enter the cgroup whose `cgroup.procs` this descriptor is.
    Cgroup {
        index: u16,
    },
    /// Have these supplementary groups, four bytes each in this machine's order.
    Groups(&'a [u8]),
    /// Be this group: real, effective and saved.
    GroupId(u32),
    /// Be this user: real, effective and saved, and without capabilities unless it is root. Comes
    /// after whatever needs any.
    UserId(u32),
    /// Enter the directory of this descriptor.
    EnterDescriptor {
        index: u16,
    },
    /// Enter the directory of this path.
    Enter(&'a [u8]),
    /// Have the terminal of `target` as that of the session.
    Terminal {
        target: u32,
    },
    NoNewPrivileges,
    /// Enter the Landlock domain of the rule set of this descriptor.
    Landlock {
        index: u16,
    },
    /// Have a seccomp filter: instructions of eight bytes each.
    Seccomp(&'a [u8]),
    /// The arguments of the program, its name first. Does nothing by itself.
    Arguments(Strings<'a>),
    /// The variables of the program. Does nothing by itself.
    Environment(Strings<'a>),
    /// Become the program of this path.
    Execute(&'a [u8]),
    /// Become the program of this descriptor.
    ExecuteDescriptor {
        index: u16,
    },
}

impl Step<'_> {
    /// The number of this step, as it is in the bytes and in [`Event::Failed`].
    pub(crate) fn code(&self) -> u16 {
        match self {
            Self::Session => code::SESSION,
            Self::Group => code::GROUP,
            Self::Descriptor { .. } => code::DESCRIPTOR,
            Self::Own { .. } => code::OWN,
            Self::Nice(_) => code::NICE,
            Self::Umask(_) => code::UMASK,
            Self::Limit { .. } => code::LIMIT,
            Self::OomScore(_) => code::OOM_SCORE,
            Self::Cgroup { .. } => code::CGROUP,
            Self::Groups(_) => code::GROUPS,
            Self::GroupId(_) => code::GROUP_ID,
            Self::UserId(_) => code::USER_ID,
            Self::EnterDescriptor { .. } => code::ENTER_DESCRIPTOR,
            Self::Enter(_) => code::ENTER,
            Self::Terminal { .. } => code::TERMINAL,
            Self::NoNewPrivileges => code::NO_NEW_PRIVILEGES,
            Self::Landlock { .. } => code::LANDLOCK,
            Self::Seccomp(_) => code::SECCOMP,
            Self::Arguments(_) => code::ARGUMENTS,
            Self::Environment(_) => code::ENVIRONMENT,
            Self::Execute(_) => code::EXECUTE,
            Self::ExecuteDescriptor { .. } => code::EXECUTE_DESCRIPTOR,
        }
    }

    /// Gives the bytes of this step to `put`, in parts. At most [`MAX_BODY`] bytes fit in a body.
    pub(crate) fn write(&self, put: &mut impl FnMut(&[u8])) {
        let argument = match *self {
            Self::Descriptor { index, .. }
            | Self::Cgroup { index }
            | Self::EnterDescriptor { index }
            | Self::Landlock { index }
            | Self::ExecuteDescriptor { index } => index,
            Self::Limit { resource, .. } => resource,
            _ => 0,
        };
        let mut numbers = [0; 16];
        let payload: &[u8] = match *self {
            Self::Descriptor { target: number, .. }
            | Self::Terminal { target: number }
            | Self::Umask(number)
            | Self::GroupId(number)
            | Self::UserId(number) => fill(&mut numbers, &[&number.to_le_bytes()]),
            Self::Nice(number) | Self::OomScore(number) => {
                fill(&mut numbers, &[&number.to_le_bytes()])
            }
            Self::Own {
                target,
                user,
                group,
            } => fill(
                &mut numbers,
                &[
                    &target.to_le_bytes(),
                    &user.to_le_bytes(),
                    &group.to_le_bytes(),
                ],
            ),
            Self::Limit { soft, hard, .. } => {
                fill(&mut numbers, &[&soft.to_le_bytes(), &hard.to_le_bytes()])
            }
            Self::Groups(bytes)
            | Self::Seccomp(bytes)
            | Self::Enter(bytes)
            | Self::Execute(bytes)
            | Self::Arguments(Strings(bytes))
            | Self::Environment(Strings(bytes)) => bytes,
            Self::Session
            | Self::Group
            | Self::Cgroup { .. }
            | Self::EnterDescriptor { .. }
            | Self::NoNewPrivileges
            | Self::Landlock { .. }
            | Self::ExecuteDescriptor { .. } => &[],
        };
        put(&self.code().to_le_bytes());
        put(&argument.to_le_bytes());
        put(&(payload.len() as u32).to_le_bytes());
        put(payload);
    }
}

/// The parts one behind the other, at the front of `room`.
fn fill<'a>(room: &'a mut [u8; 16], parts: &[&[u8]]) -> &'a [u8] {
    let mut end = 0;
    for part in parts {
        if let Some(room) = room.get_mut(end..end + part.len()) {
            room.copy_from_slice(part);
            end += part.len();
        }
    }
    room.get(..end).unwrap_or(&[])
}

/// Strings one behind the other, each with its NUL byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Strings<'a>(pub(crate) &'a [u8]);

impl<'a> Strings<'a> {
    /// Each string with its NUL byte.
    pub(crate) fn iter(self) -> impl Iterator<Item = &'a [u8]> {
        self.0.split_inclusive(|byte| *byte == 0)
    }
}

/// The numbers of the steps, as they are in the bytes and in [`Event::Failed`].
pub(crate) mod code {
    pub(crate) const SESSION: u16 = 1;
    pub(crate) const GROUP: u16 = 2;
    pub(crate) const DESCRIPTOR: u16 = 3;
    pub(crate) const OWN: u16 = 4;
    pub(crate) const NICE: u16 = 5;
    pub(crate) const UMASK: u16 = 6;
    pub(crate) const LIMIT: u16 = 7;
    pub(crate) const OOM_SCORE: u16 = 8;
    pub(crate) const CGROUP: u16 = 9;
    pub(crate) const GROUPS: u16 = 10;
    pub(crate) const GROUP_ID: u16 = 11;
    pub(crate) const USER_ID: u16 = 12;
    pub(crate) const ENTER_DESCRIPTOR: u16 = 13;
    pub(crate) const ENTER: u16 = 14;
    pub(crate) const TERMINAL: u16 = 15;
    pub(crate) const NO_NEW_PRIVILEGES: u16 = 16;
    pub(crate) const LANDLOCK: u16 = 17;
    pub(crate) const SECCOMP: u16 = 18;
    pub(crate) const ARGUMENTS: u16 = 19;
    pub(crate) const ENVIRONMENT: u16 = 20;
    pub(crate) const EXECUTE: u16 = 21;
    pub(crate) const EXECUTE_DESCRIPTOR: u16 = 22;

    /// Failures of the helper itself, before the first step.
    pub(crate) const REQUEST: u16 = 0x100;
    pub(crate) const KEEPER: u16 = 0x101;
    pub(crate) const FORK: u16 = 0x102;
    pub(crate) const DESCRIPTORS: u16 = 0x103;
    /// A list without a step that becomes a program.
    pub(crate) const NO_PROGRAM: u16 = 0x104;
    /// The program's arguments and environment have no room.
    pub(crate) const STRINGS: u16 = 0x105;
}

/// A step that cannot be read, and its place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Malformed {
    pub(crate) code: u16,
    pub(crate) place: u16,
}

/// The steps of a body, in their order. After one that cannot be read there is none.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Steps<'a> {
    rest: &'a [u8],
    place: u16,
}

impl<'a> Steps<'a> {
    pub(crate) fn new(body: &'a [u8]) -> Self {
        Self {
            rest: body,
            place: 0,
        }
    }

    fn read(&mut self) -> Result<Step<'a>, Malformed> {
        let place = self.place;
        let malformed = |code| Malformed { code, place };
        let mut rest = self.rest;
        let head = (
            take_u16(&mut rest),
            take_u16(&mut rest),
            take_u32(&mut rest),
        );
        let (Some(code), Some(argument), Some(length)) = head else {
            return Err(malformed(code::REQUEST));
        };
        let Some((payload, rest)) = rest.split_at_checked(length as usize) else {
            return Err(malformed(code));
        };
        let step = read_step(code, argument, payload).ok_or(malformed(code))?;
        self.rest = rest;
        self.place = place.saturating_add(1);
        Ok(step)
    }
}

impl<'a> Iterator for Steps<'a> {
    type Item = Result<Step<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let step = self.read();
        if step.is_err() {
            self.rest = &[];
        }
        Some(step)
    }
}

/// Exactly the payload that the code has, or nothing.
fn read_step(code: u16, argument: u16, payload: &[u8]) -> Option<Step<'_>> {
    let index = argument;
    let mut rest = payload;
    let bytes = &mut rest;
    let step = match code {
        code::SESSION => Step::Session,
        code::GROUP => Step::Group,
        code::DESCRIPTOR => Step::Descriptor {
            index,
            target: take_u32(bytes)?,
        },
        code::OWN => Step::Own {
            target: take_u32(bytes)?,
            user: take_u32(bytes)?,
            group: take_u32(bytes)?,
        },
        code::NICE => Step::Nice(take_i32(bytes)?),
        code::UMASK => Step::Umask(take_u32(bytes)?),
        code::LIMIT => Step::Limit {
            resource: argument,
            soft: take_u64(bytes)?,
            hard: take_u64(bytes)?,
        },
        code::OOM_SCORE => Step::OomScore(take_i32(bytes)?),
        code::CGROUP => Step::Cgroup { index },
        code::GROUPS => {
            return payload
                .len()
                .is_multiple_of(4)
                .then_some(Step::Groups(payload));
        }
        code::GROUP_ID => Step::GroupId(take_u32(bytes)?),
        code::USER_ID => Step::UserId(take_u32(bytes)?),
        code::ENTER_DESCRIPTOR => Step::EnterDescriptor { index },
        code::ENTER => return string(payload).map(Step::Enter),
        code::TERMINAL => Step::Terminal {
            target: take_u32(bytes)?,
        },
        code::NO_NEW_PRIVILEGES => Step::NoNewPrivileges,
        code::LANDLOCK => Step::Landlock { index },
        code::SECCOMP => {
            return payload
                .len()
                .is_multiple_of(8)
                .then_some(Step::Seccomp(payload));
        }
        code::ARGUMENTS => return strings(payload).map(Step::Arguments),
        code::ENVIRONMENT => return strings(payload).map(Step::Environment),
        code::EXECUTE => return string(payload).map(Step::Execute),
        code::EXECUTE_DESCRIPTOR => Step::ExecuteDescriptor { index },
        _ => return None,
    };
    rest.is_empty().then_some(step)
}

/// One string: its only NUL byte is its last one, and something is before it.
fn string(payload: &[u8]) -> Option<&[u8]> {
    let end = payload.iter().position(|byte| *byte == 0)?;
    (end > 0 && end + 1 == payload.len()).then_some(payload)
}

fn strings(payload: &[u8]) -> Option<Strings<'_>> {
    payload
        .last()
        .is_none_or(|byte| *byte == 0)
        .then_some(Strings(payload))
}

/// To a keeper, of its tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Command {
    /// Comes back with the answer.
    pub(crate) number: u32,
    pub(crate) kind: CommandKind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CommandKind {
    /// Send a signal to the root.
    SignalRoot(i32),
    /// Send a signal to the process group of the root, or to the root where it has none of its own.
    SignalGroup(i32),
    /// Send a signal to the root's group, and to every other process of the tree that can be found.
    SignalTree(i32),
    /// Kill until nothing is left. Is answered at once; [`Event::Gone`] says when it is done.
    Kill,
    /// Say what there is: answered by [`Event::Left`].
    List,
}

impl Command {
    pub(crate) const LENGTH: usize = 16;

    pub(crate) fn write(self) -> [u8; Self::LENGTH] {
        let (kind, signal): (u32, i32) = match self.kind {
            CommandKind::SignalRoot(signal) => (1, signal),
            CommandKind::SignalGroup(signal) => (2, signal),
            CommandKind::SignalTree(signal) => (3, signal),
            CommandKind::Kill => (4, 0),
            CommandKind::List => (5, 0),
        };
        let mut bytes = [0; Self::LENGTH];
        bytes[..4].copy_from_slice(&VERSION.to_le_bytes());
        bytes[4..8].copy_from_slice(&kind.to_le_bytes());
        bytes[8..12].copy_from_slice(&self.number.to_le_bytes());
        bytes[12..].copy_from_slice(&signal.to_le_bytes());
        bytes
    }

    pub(crate) fn read(mut bytes: &[u8]) -> Option<Self> {
        let version = take_u32(&mut bytes)?;
        let kind = take_u32(&mut bytes)?;
        let number = take_u32(&mut bytes)?;
        let signal = take_i32(&mut bytes)?;
        let kind = match kind {
            1 => CommandKind::SignalRoot(signal),
            2 => CommandKind::SignalGroup(signal),
            3 => CommandKind::SignalTree(signal),
            4 if signal == 0 => CommandKind::Kill,
            5 if signal == 0 => CommandKind::List,
            _ => return None,
        };
        (version == VERSION && bytes.is_empty()).then_some(Self { number, kind })
    }
}

/// How many processes [`Event::Left`] names at most.
pub(crate) const MAX_NAMED: usize = 8;

/// From a keeper, of its tree; and the first of all from the shim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The shim is there. Where it could not open `/dev/null`, the standard streams of a child that
    /// has no others would be closed pipes.
    Ready { pid: i32, has_null: bool },
    /// The root runs its program, or was killed before it could say that a step has failed: its
    /// exit follows then.
    Started { pid: i32, keeper: i32 },
    /// The root could not become its program: the step that failed, by its code and its place in
    /// the list. Nothing is left, and no other event follows.
    Failed { code: u16, place: u16, errno: i32 },
    /// The root has ended, as `waitid(2)` tells it.
    Exited(Exit),
    /// Nothing of the tree is left. `killed` counts what was killed beside the root, but for what a
    /// process namespace of the tree's own has reaped itself.
    Gone { killed: u32 },
    /// The answer to a command: how many processes got the signal, or why none did.
    Answer { number: u32, count: u32, errno: i32 },
    /// The answer to [`CommandKind::List`].
    Left(Left),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Exit {
    /// `CLD_EXITED` (1), `CLD_KILLED` (2) or `CLD_DUMPED` (3).
    pub(crate) code: i32,
    /// The exit status, or the signal.
    pub(crate) status: i32,
    pub(crate) user_micros: u64,
    pub(crate) system_micros: u64,
    pub(crate) max_rss_kib: u64,
}

/// Children of the keeper that live: all of them counted, some of them named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Left {
    pub(crate) number: u32,
    pub(crate) count: u32,
    /// The number of a process and what the last signal to it came to: 0, or `EPERM`. Zeros where
    /// there are fewer.
    pub(crate) named: [(i32, i32); MAX_NAMED],
}

impl Event {
    pub(crate) const LENGTH: usize = 16 + 8 * MAX_NAMED;

    pub(crate) fn write(self) -> [u8; Self::LENGTH] {
        let mut bytes = [0; Self::LENGTH];
        let mut at = 4;
        bytes[..4].copy_from_slice(&VERSION.to_le_bytes());
        let mut put = |part: &[u8]| {
            if let Some(room) = bytes.get_mut(at..at + part.len()) {
                room.copy_from_slice(part);
                at += part.len();
            }
        };
        match self {
            Self::Ready { pid, has_null } => {
                put(&1_u32.to_le_bytes());
                put(&pid.to_le_bytes());
                put(&u32::from(has_null).to_le_bytes());
            }
            Self::Started { pid, keeper } => {
                put(&2_u32.to_le_bytes());
                put(&pid.to_le_bytes());
                put(&keeper.to_le_bytes());
            }
            Self::Failed { code, place, errno } => {
                put(&3_u32.to_le_bytes());
                put(&code.to_le_bytes());
                put(&place.to_le_bytes());
                put(&errno.to_le_bytes());
            }
            Self::Exited(exit) => {
                put(&4_u32.to_le_bytes());
                put(&exit.code.to_le_bytes());
                put(&exit.status.to_le_bytes());
                put(&exit.user_micros.to_le_bytes());
                put(&exit.system_micros.to_le_bytes());
                put(&exit.max_rss_kib.to_le_bytes());
            }
            Self::Gone { killed } => {
                put(&5_u32.to_le_bytes());
                put(&killed.to_le_bytes());
            }
            Self::Answer {
                number,
                count,
                errno,
            } => {
                put(&6_u32.to_le_bytes());
                put(&number.to_le_bytes());
                put(&count.to_le_bytes());
                put(&errno.to_le_bytes());
            }
            Self::Left(left) => {
                put(&7_u32.to_le_bytes());
                put(&left.number.to_le_bytes());
                put(&left.count.to_le_bytes());
                for (pid, errno) in left.named {
                    put(&pid.to_le_bytes());
                    put(&errno.to_le_bytes());
                }
            }
        }
        bytes
    }

    /// `None` for another version, an unknown kind, or another length.
    pub(crate) fn read(bytes: &[u8]) -> Option<Self> {
        let mut bytes: &[u8] = bytes
            .first_chunk::<{ Self::LENGTH }>()
            .filter(|all| all.len() == bytes.len())?;
        let bytes = &mut bytes;
        if take_u32(bytes)? != VERSION {
            return None;
        }
        Some(match take_u32(bytes)? {
            1 => Self::Ready {
                pid: take_i32(bytes)?,
                has_null: take_u32(bytes)? != 0,
            },
            2 => Self::Started {
                pid: take_i32(bytes)?,
                keeper: take_i32(bytes)?,
            },
            3 => Self::Failed {
                code: take_u16(bytes)?,
                place: take_u16(bytes)?,
                errno: take_i32(bytes)?,
            },
            4 => Self::Exited(Exit {
                code: take_i32(bytes)?,
                status: take_i32(bytes)?,
                user_micros: take_u64(bytes)?,
                system_micros: take_u64(bytes)?,
                max_rss_kib: take_u64(bytes)?,
            }),
            5 => Self::Gone {
                killed: take_u32(bytes)?,
            },
            6 => Self::Answer {
                number: take_u32(bytes)?,
                count: take_u32(bytes)?,
                errno: take_i32(bytes)?,
            },
            7 => {
                let (number, count) = (take_u32(bytes)?, take_u32(bytes)?);
                let mut named = [(0, 0); MAX_NAMED];
                for one in &mut named {
                    *one = (take_i32(bytes)?, take_i32(bytes)?);
                }
                Self::Left(Left {
                    number,
                    count,
                    named,
                })
            }
            _ => return None,
        })
    }
}
