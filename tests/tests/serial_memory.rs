//! What a child can make the parent hold: never more than the limits allow.
//!
//! Serial: it measures the memory of the whole process.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use futures::StreamExt as _;
use procession_manager::{
    Cmd, FollowFrom, FrameError, Framing, LogHook, LogRoute, LogStream, Logging, LogsQuery,
    Messaging, Overflow, Readiness, ReceiveMessageError, WaitReadyError,
};
use procession_tests::logs::{ends, follow, query, rest, sh, texts};
use procession_tests::{Checked, Within as _, alone, checked, fixture, procfs, programs};

const MEBIBYTE: u64 = 1 << 20;

/// By how much the memory has grown at its peak while the body ran, in bytes.
async fn growth(body: impl AsyncFnOnce()) -> u64 {
    procfs::reset_peak_memory();
    let before = procfs::memory();
    body().await;
    procfs::peak_memory().saturating_sub(before)
}

#[test]
fn a_200_megabyte_line_is_one_error_item() {
    let _alone = alone();
    for messaging in [
        Messaging::standard_io(),
        Messaging::standard_io().message_limit(100_000),
    ] {
        checked(async |test| {
            let limit = if messaging == Messaging::standard_io() {
                16 << 20
            } else {
                100_000
            };
            let grown = growth(async || {
                let child = Cmd::new(fixture!("long_line")).arg("200000000");
                let child = test.spawn(child.messaging(messaging)).await;
                let stream = child.subscribe_message_stream().await.unwrap();
                let items: Vec<_> = stream.collect().within("the end of the stream").await;
                assert_eq!(items.len(), 3, "{items:?}");
                assert_eq!(items[0].as_ref().unwrap(), "before");
                assert_eq!(
                    items[1],
                    Err(ReceiveMessageError::MessageTooLarge { limit })
                );
                assert_eq!(items[2].as_ref().unwrap(), "after");
            })
            .await;
            let allowed = 2 * u64::try_from(limit).unwrap() + 8 * MEBIBYTE;
            assert!(grown < allowed, "grown by {} MiB", grown / MEBIBYTE);
        });
    }
}

#[test]
fn a_length_of_4_gib_is_believed_by_nobody() {
    let _alone = alone();
    for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
        checked(async |test| {
            let grown = growth(async || {
                let child = Cmd::new(fixture!("raw_frames"))
                    .args([
                        "hex:00000014 10 70726f63657373696f6e 0100 00000000 00000001",
                        "hex:ffffffff 00",
                        "zeros:100000000",
                        "exit",
                    ])
                    .messaging(messaging.framing(Framing::Frames).output_only());
                let child = test.spawn(child).await;
                let stream = child.subscribe_message_stream().await.unwrap();
                let items: Vec<_> = stream.collect().within("the end of the stream").await;
                let [Err(ReceiveMessageError::FramingLost(error))] = &items[..] else {
                    panic!("unexpected: {items:?}");
                };
                assert!(
                    matches!(
                        error,
                        FrameError::TooLarge {
                            len: 0xffff_ffff,
                            limit: 0x100_0000
                        }
                    ),
                    "{error:?}",
                );
                child.wait().within("the exit").await.unwrap();
            })
            .await;
            assert!(grown < 8 * MEBIBYTE, "grown by {} MiB", grown / MEBIBYTE);
        });
    }
}

/// A length within the limit of which nothing comes costs nothing either.
#[test]
fn a_large_frame_that_never_comes() {
    let _alone = alone();
    checked(async |test| {
        let grown = growth(async || {
            let mut streams = Vec::new();
            for _ in 0..20 {
                let child = Cmd::new(fixture!("raw_frames")).args([
                    "hex:00000014 10 70726f63657373696f6e 0100 00000000 00000001",
                    "hex:00000002 00 6f6b",
                    "hex:01000000 00",
                ]);
                let child = child.messaging(Messaging::standard_io().framing(Framing::Frames));
                let child = test.spawn(child).await;
                let mut stream = child.subscribe_message_stream().await.unwrap();
                assert_eq!(
                    stream.next().within("the message").await.unwrap().unwrap(),
                    "ok"
                );
                streams.push((child, stream));
            }
        })
        .await;
        assert!(
            grown < 20 * MEBIBYTE,
            "grown by {} MiB for 20 children",
            grown / MEBIBYTE
        );
    });
}

/// Buffers are bounded in bytes, whatever the messages: 400 MB go past a subscription that reads none.
#[test]
fn a_subscription_that_does_not_read_costs_its_buffer() {
    let _alone = alone();
    for overflow in [Overflow::DropOldest, Overflow::Block] {
        checked(async |test| {
            let grown = growth(async || {
                let messaging = Messaging::standard_io().output_only().overflow(overflow);
                let program =
                    "import sys\nfor n in range(4000): sys.stdout.write('x' * 99999 + '\\n')";
                let child = Cmd::new(programs::python3()).args(["-c", program]);
                let child = test.spawn(child.messaging(messaging)).await;
                let stream = child.subscribe_message_stream().await.unwrap();
                match overflow {
                    Overflow::DropOldest => drop(child.wait().within("the exit").await.unwrap()),
                    _ => another_comes_and_goes(test).await,
                }
                drop(stream);
            })
            .await;
            assert!(
                grown < 24 * MEBIBYTE,
                "{overflow:?}: grown by {} MiB",
                grown / MEBIBYTE
            );
        });
    }
}

async fn another_comes_and_goes(test: &Checked) {
    let other = test
        .spawn(Cmd::new(programs::sh()).args(["-c", "exec sleep 1"]))
        .await;
    other.wait().within("the exit").await.unwrap();
}

/// Points its environment to 2 GiB of memory that it never touches (`PR_SET_MM_MAP(2const)` needs
/// no rights), as nobody where it may.
const HAS_A_LARGE_ENVIRON: &str = r#"
import ctypes, os, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = libc.sbrk.restype = ctypes.c_void_p
if os.getuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
size = 2 << 30
PRIVATE_ANONYMOUS_NORESERVE = 0x4022
at = libc.mmap(None, ctypes.c_size_t(size), 3, PRIVATE_ANONYMOUS_NORESERVE, -1, ctypes.c_long(0))
fields = [None, None] + open("/proc/self/stat").read().rsplit(")", 1)[1].split()
field = lambda number: int(fields[number - 1])
PR_SET_MM, PR_SET_MM_MAP = 35, 14
map = struct.pack("12QIi", field(26), field(27), field(45), field(46), field(47), libc.sbrk(0),
                  field(28), field(48), field(49), at, at + size, 0, 0, -1)
assert libc.prctl(PR_SET_MM, PR_SET_MM_MAP, map, len(map), 0) == 0, os.strerror(ctypes.get_errno())
print("done", flush=True)
sys.stdin.read()
"#;

#[test]
fn an_environment_of_2_gib_is_read_by_nobody() {
    let _alone = alone();
    checked(async |test| {
        let liar = Cmd::new(programs::python3())
            .args(["-c", HAS_A_LARGE_ENVIRON])
            .messaging(Messaging::standard_io());
        let liar = test.spawn(liar).await;
        let mut lines = liar.subscribe_message_stream().await.unwrap();
        let line = lines.next().within("its environment").await.unwrap();
        assert_eq!(line.unwrap(), "done");
        let grown = growth(async || {
            let other = test.spawn(Cmd::new("sleep").arg("1000")).await;
            other.kill().within("the kill").await.unwrap();
            liar.kill().within("the kill").await.unwrap();
        })
        .await;
        assert!(grown < 8 * MEBIBYTE, "grown by {} MiB", grown / MEBIBYTE);
    });
}

/// A line is as long as its child makes it: of a gibibyte, which is a hole on the file route and
/// costs the child nothing, no more than the limit on lines becomes memory, whoever reads it.
#[test]
fn a_line_of_a_gibibyte_costs_its_limit() {
    let _alone = alone();
    let written = "head -c 300000000 /dev/zero | tr '\\0' x; printf '\\nlast'";
    let hole = "truncate -s 1G /proc/self/fd/1; printf '\\nlast'";
    for (route, script) in [
        (LogRoute::Pipe, written),
        (LogRoute::File, written),
        (LogRoute::File, hole),
    ] {
        checked(async |test| {
            let grown = growth(async || {
                let hook = LogHook::new(|_, line| async move {
                    assert!(line.bytes().len() <= 1 << 20);
                });
                let logging = Logging::stdout().unlimited().route(route);
                let child = test.spawn(sh(script, logging).log_hook(hook)).await;
                let follower = follow(&child, FollowFrom::Beginning).await;
                ends(&child).await;
                let is_cut = |text: &str| text.ends_with(" bytes cut]");
                for found in [
                    rest(follower).await,
                    query(&child, LogsQuery::fetch_all()).await.into_lines(),
                    query(&child, LogsQuery::last(2)).await.into_lines(),
                    query(&child, LogsQuery::last(2).containing(""))
                        .await
                        .into_lines(),
                ] {
                    assert_eq!(found.len(), 2);
                    assert!(is_cut(&found[0].text()) && found[0].is_ended());
                    assert_eq!(found[1].text(), "last");
                }
                let last = query(&child, LogsQuery::with_offset(1)).await;
                assert_eq!(texts(last.lines()), ["last"]);
                let none = LogsQuery::fetch_all().containing("not there");
                assert!(query(&child, none).await.lines().is_empty());
                child.remove().within("the removal").await.unwrap();
            })
            .await;
            assert!(
                grown < 24 * MEBIBYTE,
                "{route:?}: grown by {} MiB",
                grown / MEBIBYTE
            );
        });
    }
}

/// Why a process did not become ready is said by the end of its log, which is not counted for that.
#[test]
fn last_words_of_a_gibibyte_cost_nothing() {
    let _alone = alone();
    for route in [LogRoute::Pipe, LogRoute::File] {
        checked(async |test| {
            let grown = growth(async || {
                let long = match route {
                    LogRoute::File => "truncate -s 2T /proc/self/fd/2",
                    _ => "head -c 100000000 /dev/zero | tr '\\0' x >&2",
                };
                let script = format!("{long}; printf '\\nwhy\\n' >&2; exit 3");
                let logging = Logging::stderr().unlimited().route(route);
                let never = Readiness::LogLine {
                    stream: LogStream::Stderr,
                    containing: "never".to_owned(),
                };
                let child = test.spawn(sh(&script, logging).ready_when(never)).await;
                let stderr = match child.wait_ready().within("the exit").await {
                    Err(WaitReadyError::ProcessExited { stderr, .. }) => stderr,
                    other => panic!("unexpected: {other:?}"),
                };
                let words = stderr.lines();
                assert_eq!(words.last().map(String::as_str), Some("why"), "{words:?}");
                assert!(words[0].ends_with('…'), "{words:?}");
            })
            .await;
            assert!(grown < 24 * MEBIBYTE, "grown by {} MiB", grown / MEBIBYTE);
        });
    }
}
