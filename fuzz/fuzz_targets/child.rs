//! A whole hostile child in front of a real manager: any bytes are its output, in any pieces, while
//! the manager sends, asks, answers and subscribes.
//!
//! The properties that hold whatever the child does: nothing panics; each request of ours ends, and
//! each of the child's has at most one end; messages come as a reader that is right would cut them;
//! and the process comes to its end.
#![no_main]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use libfuzzer_sys::fuzz_target;
use procession_manager::model::Overflow;
use procession_manager::test_util::{ChildSide, ScriptedChild};
use procession_manager::{
    Cmd, Framing, Liveness, Messaging, ProcessManager, ProcessManagerHandle, ReceiveMessageError,
    RequestOptions,
};
use procession_wire::credit::{MESSAGE_LANE, REQUEST_LANE};
use procession_wire::{Features, Frame, FrameDecoder, Hello, LineDecoder};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

/// How long anything may take that has to come, on the clock of the runtime, which stands still
/// while there is something to do.
const BOUND: Duration = Duration::from_secs(600);
/// How long a child waits for what the manager says between two pieces.
const MOMENT: Duration = Duration::from_micros(50);

struct World {
    runtime: Runtime,
    manager: ProcessManagerHandle,
}

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let mut builder = Builder::new_current_thread();
        let runtime = builder.enable_all().start_paused(true).build();
        let runtime = runtime.expect("a runtime");
        let manager = runtime.block_on(async {
            let builder = ProcessManager::builder().retain_exited(1);
            builder.spawn().expect("a manager")
        });
        World { runtime, manager }
    })
}

/// The behaviour that a byte of the input turns on.
struct Plan {
    framing: Framing,
    /// Hello and credit come first, as from a child that is well.
    greets: bool,
    /// Takes in what the manager says.
    reads: bool,
    /// Ends by itself, and does not wait to be asked.
    exits: bool,
    drops_oldest: bool,
    /// The manager's requests are for items.
    items: bool,
    handler_fails: bool,
    /// Closes its output before it ends.
    closes: bool,
    limit: usize,
    piece: usize,
}

impl Plan {
    fn new(mode: u8, limit: u8, piece: u8) -> Self {
        let on = |bit: u8| mode & (1 << bit) != 0;
        Self {
            framing: if on(0) {
                Framing::Lines
            } else {
                Framing::Frames
            },
            greets: on(1),
            reads: on(2),
            exits: on(3),
            drops_oldest: on(4),
            items: on(5),
            handler_fails: on(6),
            closes: on(7),
            limit: usize::from(limit).max(1),
            piece: usize::from(piece),
        }
    }

    fn messaging(&self) -> Messaging {
        let messaging = Messaging::named_pipes()
            .framing(self.framing)
            .message_limit(self.limit)
            .buffer(4)
            .buffer_bytes(1024);
        let messaging = if self.framing == Framing::Frames {
            let messaging = messaging.liveness(Liveness::every(Duration::from_secs(1)));
            messaging.skip_before_hello(8)
        } else {
            messaging
        };
        if self.drops_oldest {
            messaging.overflow(Overflow::DropOldest)
        } else {
            messaging
        }
    }
}

/// The ends that the child's requests had, by their ids.
type Ends = Arc<Mutex<HashMap<u64, usize>>>;

// Which of the above; the message limit; the length of a piece, and 0 for all at once; the output.
fuzz_target!(|input: &[u8]| {
    let [mode, limit, piece, output @ ..] = input else {
        return;
    };
    let plan = Arc::new(Plan::new(*mode, *limit, *piece));
    let world = world();
    let mut all = if plan.greets {
        greeting()
    } else {
        BytesMut::new()
    };
    all.extend_from_slice(output);
    let output = all.freeze();
    world.runtime.block_on(meet(&world.manager, plan, output));
});

/// The first frames of a child that is well.
fn greeting() -> BytesMut {
    let mut all = BytesMut::new();
    let credit = |lane| Frame::Credit { lane, bytes: 4096 };
    let hello = Frame::Hello(Hello::new(Features::CREDIT, 0));
    for frame in [hello, credit(MESSAGE_LANE), credit(REQUEST_LANE)] {
        frame.encode(usize::MAX, &mut all).expect("it is short");
    }
    all
}

async fn meet(manager: &ProcessManagerHandle, plan: Arc<Plan>, output: Bytes) {
    let (subscribed, written) = (Arc::<Notify>::default(), Arc::<Notify>::default());
    let ends = Ends::default();
    let fails = plan.handler_fails;
    let cmd = Cmd::new("hostile").messaging(plan.messaging());
    let cmd = if plan.framing == Framing::Frames {
        cmd.serve(move |request| async move {
            if fails {
                return Err("no".into());
            }
            request.item("part").await?;
            Ok(request.message().clone())
        })
    } else {
        cmd
    };
    let child = {
        let script = Script {
            plan: Arc::clone(&plan),
            output: output.clone(),
            ends: Arc::clone(&ends),
            subscribed: Arc::clone(&subscribed),
            written: Arc::clone(&written),
        };
        let play = move |side| play(side, script.clone());
        ScriptedChild::new(cmd, play).without_hello()
    };
    let child = manager.spawn_with_handle(child).await.expect("it starts");
    let mut messages = child.subscribe_message_stream().await.expect("a stream");
    subscribed.notify_one();
    let received = async {
        let mut received = Vec::new();
        while let Some(message) = messages.next().await {
            received.push(message);
        }
        received
    };
    let asked = async {
        let options = RequestOptions::new().deadline(Duration::from_secs(5));
        if plan.items {
            if let Ok(mut items) = child.request_items("q", options).await {
                while items.next().await.is_some() {}
            }
        } else {
            let _ = child.request_with("q", options).await;
        }
    };
    let ended = async {
        let both = futures::future::join(asked, child.request("p"));
        let (_, plain) = timeout(BOUND, both).await.expect("each request ends");
        drop(plain);
        // It never comes from one that is not read any more.
        let _ = timeout(BOUND, written.notified()).await;
        let report = timeout(BOUND, child.stop_with(Duration::from_secs(1)));
        report.await.expect("the process ends").expect("known");
    };
    // Without credit it waits as long as the child lives.
    let sent = child.send_message("m");
    let all = futures::future::join3(received, sent, ended);
    let (received, _, ()) = timeout(3 * BOUND, all).await.expect("all of it ends");
    let statistics = child
        .get_process_info()
        .await
        .ok()
        .and_then(|info| info.statistics());
    if let Some(statistics) = statistics {
        assert_eq!(statistics.requests_waiting, 0, "{statistics:?}");
        assert_eq!(statistics.requests_answering, 0, "{statistics:?}");
    }
    child.remove().await.expect("it is forgotten");
    judge(&plan, &output, &received, &ends);
}

/// The instructions of the child.
#[derive(Clone)]
struct Script {
    plan: Arc<Plan>,
    output: Bytes,
    ends: Ends,
    /// When it may begin.
    subscribed: Arc<Notify>,
    /// All of the output is.
    written: Arc<Notify>,
}

/// The child: writes its output, piece by piece.
async fn play(mut side: ChildSide, script: Script) -> i32 {
    let Script {
        plan,
        output,
        ends,
        subscribed,
        written,
    } = script;
    subscribed.notified().await;
    let mut heard = Heard {
        frames: FrameDecoder::new(plan.limit),
        buffer: BytesMut::new(),
    };
    let reads = plan.reads && plan.framing == Framing::Frames;
    let piece = if plan.piece == 0 {
        output.len()
    } else {
        plan.piece
    };
    for piece in output.chunks(piece.max(1)) {
        side.write(piece).await;
        if reads {
            heard.hear(&mut side, &ends).await;
        } else {
            tokio::task::yield_now().await;
        }
    }
    written.notify_one();
    if plan.closes {
        side.close_output();
    }
    if reads {
        heard.hear(&mut side, &ends).await;
    }
    if !plan.exits {
        // Longer than the manager waits.
        sleep(BOUND).await;
    }
    i32::from(plan.piece as u8)
}

/// The frames that the manager has sent.
struct Heard {
    frames: FrameDecoder,
    buffer: BytesMut,
}

impl Heard {
    /// Takes in what there is, until there is nothing for a moment.
    async fn hear(&mut self, side: &mut ChildSide, ends: &Ends) {
        while let Ok(bytes) = timeout(MOMENT, side.read()).await {
            if bytes.is_empty() {
                return;
            }
            self.buffer.extend_from_slice(&bytes);
            while let Some(frame) = self
                .frames
                .decode(&mut self.buffer)
                .expect("it keeps to the protocol")
            {
                if let Frame::Reply { id, .. } | Frame::Failure { id, .. } = frame {
                    *ends.lock().expect("no panic").entry(id).or_default() += 1;
                }
            }
        }
    }
}

/// Compares with what a decoder makes of all of the output at once. The manager may stop before its
/// end.
fn judge(
    plan: &Plan,
    output: &[u8],
    received: &[Result<procession_manager::Message, ReceiveMessageError>],
    ends: &Ends,
) {
    let (expected, requests) = expected(plan, output);
    let mut expected = expected.iter();
    for (index, item) in received.iter().enumerate() {
        match item {
            Ok(message) => {
                // What is stopped may have written a part of a line.
                let is_part = index + 1 == received.len() && plan.framing == Framing::Lines;
                let known = expected.next().is_some_and(|one| {
                    let read = message.as_bytes();
                    *read == one[..] || is_part && one.starts_with(read)
                });
                assert!(known, "{message:?} was not written, or not here");
            }
            Err(ReceiveMessageError::LostMessages(count)) => {
                assert!(plan.drops_oldest);
                let count = usize::try_from(*count).expect("few");
                assert!(
                    expected.nth(count - 1).is_some(),
                    "{count} were not written"
                );
            }
            Err(_) => {}
        }
    }
    for (id, count) in ends.lock().expect("no panic").iter() {
        let asked = requests.get(id).copied().unwrap_or(0);
        assert!(*count <= asked, "{count} ends for {asked} requests {id}");
    }
}

/// The messages in an output, and how many requests of each id.
fn expected(plan: &Plan, output: &[u8]) -> (Vec<Bytes>, HashMap<u64, usize>) {
    let (mut messages, mut requests) = (Vec::new(), HashMap::new());
    let mut buffer = BytesMut::with_capacity(output.len());
    if plan.framing == Framing::Lines {
        buffer.extend_from_slice(output);
        let mut lines = LineDecoder::new(plan.limit);
        while let Some(line) = lines.decode(&mut buffer) {
            messages.extend(line.ok());
        }
        messages.extend(lines.finish(&mut buffer));
        return (messages, requests);
    }
    buffer.extend_from_slice(output);
    let mut frames = FrameDecoder::new(plan.limit).expecting_hello(8);
    while let Ok(Some(frame)) = frames.decode(&mut buffer) {
        match frame {
            Frame::Message(payload) => messages.push(payload),
            Frame::Request { id, .. } => *requests.entry(id).or_default() += 1,
            Frame::Bye { .. } => break,
            _ => {}
        }
    }
    (messages, requests)
}
