//! Requests both ways, with children in several languages: what comes back, what is cancelled, and what
//! becomes of a request whose child ends.
#![expect(clippy::unwrap_used, reason = "helpers of tests panic as tests do")]

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use procession_manager::{
    Cmd, ExitCause, Framing, Logging, Message, Messaging, ProcessHandle, RequestError,
    RequestHandler, RequestOptions, Statistics, WriteMessageError,
};
use procession_tests::{Within as _, checked, eventually, programs, workers};

const SOON: Duration = Duration::from_secs(20);

async fn ask(child: &ProcessHandle, what: impl Into<Message>) -> Result<Message, RequestError> {
    child.request(what).within("the reply").await
}

async fn statistics(child: &ProcessHandle) -> Statistics {
    child
        .get_process_info()
        .await
        .unwrap()
        .statistics()
        .unwrap()
}

#[test]
fn what_a_worker_replies() {
    for worker in workers!() {
        for messaging in [Messaging::standard_io(), Messaging::named_pipes()] {
            checked(async |test| {
                let child = test.spawn(worker.cmd(messaging)).await;
                assert_eq!(child.wait_ready().within("ready").await.unwrap(), "at work");
                for payload in ["", "a", "with\nnewline"] {
                    let reply = ask(&child, format!("echo {payload}")).await.unwrap();
                    assert_eq!(reply, payload, "{}", worker.name);
                }
                let large = "x".repeat(3_000_000);
                assert_eq!(
                    ask(&child, format!("echo {large}")).await.unwrap(),
                    large.as_str()
                );
                match ask(&child, "fail for this").await.unwrap_err() {
                    RequestError::Failed(text) => assert_eq!(text, "for this"),
                    other => panic!("{other}"),
                }
                for (verb, word) in [("panic", ""), ("dance", "dance")] {
                    match ask(&child, verb).await.unwrap_err() {
                        RequestError::Failed(text) => assert!(text.contains(word), "{text}"),
                        other => panic!("{other}"),
                    }
                }
                let by_id = test
                    .manager()
                    .request(child.id(), "echo by id")
                    .await
                    .unwrap();
                assert_eq!(by_id, "by id");
                let seen = statistics(&child).await;
                assert_eq!(
                    (seen.requests_asked, seen.replies, seen.failures),
                    (8, 5, 3)
                );
                assert_eq!(seen.requests_waiting, 0);
                let report = child.stop().within("the stop").await.unwrap();
                assert!(report.success(), "{}: {report}", worker.name);
                assert_eq!(report.cause(), ExitCause::Stopped);
            });
        }
    }
}

#[test]
fn answers_in_parts() {
    for worker in workers!() {
        checked(async |test| {
            let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
            let options = RequestOptions::new;
            // More than may be on their way at once.
            let items = child.request_items("items 20000", options()).await.unwrap();
            let mut items = items.enumerate();
            while let Some((number, item)) = items.next().within("an item").await {
                assert_eq!(item.unwrap(), number.to_string().as_str());
                if number == 19_999 {
                    break;
                }
            }
            let items = items.into_inner();
            assert_eq!(items.reply().within("the reply").await.unwrap(), "done");
            // A slow reader of one answer slows nothing else.
            let slow = child
                .request_items("items 100000", options())
                .await
                .unwrap();
            assert_eq!(ask(&child, "echo beside it").await.unwrap(), "beside it");
            drop(slow);
            eventually("the cancel", SOON, async || {
                (statistics(&child).await.requests_waiting == 0).then_some(())
            })
            .await;
            // Of a plain request they are thrown away.
            assert_eq!(ask(&child, "items 20000").await.unwrap(), "done");
            let failing = child.request_items("fail so", options()).await.unwrap();
            let error = failing.try_collect::<Vec<_>>().within("the failure").await;
            assert!(matches!(error, Err(RequestError::Failed(text)) if text == "so"));
        });
    }
}

/// Replies to the questions of a child.
fn answers() -> RequestHandler {
    RequestHandler::new(|request| async move {
        match request.message().as_str()? {
            "three" => {
                for part in ["a", "b", "c"] {
                    request.item(part).await?;
                }
                Ok("end".into())
            }
            "no" => Err("not today".into()),
            "never" => std::future::pending().await,
            other => Ok(other.to_uppercase().into()),
        }
    })
}

#[test]
fn the_child_asks() {
    for worker in workers!() {
        checked(async |test| {
            let child = test.spawn(worker.cmd(Messaging::named_pipes())).await;
            let unanswered = ask(&child, "ask loud").await.unwrap_err();
            assert!(
                unanswered.to_string().contains("answers no requests"),
                "{unanswered}"
            );
            child.serve(answers()).unwrap();
            assert_eq!(ask(&child, "ask loud").await.unwrap(), "LOUD");
            assert_eq!(ask(&child, "collect three").await.unwrap(), "a\nb\nc");
            match ask(&child, "ask no").await.unwrap_err() {
                RequestError::Failed(text) => assert!(text.contains("not today"), "{text}"),
                other => panic!("{other}"),
            }
            assert_eq!(ask(&child, "forget never").await.unwrap(), "forgotten");
            eventually("the cancel", SOON, async || {
                (statistics(&child).await.requests_answering == 0).then_some(())
            })
            .await;
            let seen = statistics(&child).await;
            assert_eq!((seen.requests_answered, seen.requests_failed), (2, 3));
        });
    }
}

#[test]
fn what_is_dropped_is_cancelled_and_what_is_late_too() {
    for worker in workers!() {
        checked(async |test| {
            let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
            let deadline = Duration::from_millis(50);
            let late = child.request_with("wait", RequestOptions::new().deadline(deadline));
            match late.within("the deadline").await.unwrap_err() {
                RequestError::TimedOut { deadline: told } => assert_eq!(told, deadline),
                other => panic!("{other}"),
            }
            let mut waiting = Box::pin(child.request("wait"));
            assert!(futures::poll!(&mut waiting).is_pending());
            assert_eq!(ask(&child, "echo after").await.unwrap(), "after");
            drop(waiting);
            assert_eq!(statistics(&child).await.requests_waiting, 0);
            // What was cancelled has ended there: else the stop would wait for it.
            let report = child.stop().within("the stop").await.unwrap();
            assert!(report.success() && report.signal().is_none(), "{report}");
        });
    }
}

/// What the child is busy with when it is asked to stop, it finishes.
#[test]
fn a_stop_lets_a_request_finish() {
    for worker in workers!() {
        checked(async |test| {
            let child = test.spawn(worker.cmd(Messaging::standard_io())).await;
            let mut held = Box::pin(child.request("hold"));
            assert!(futures::poll!(&mut held).is_pending());
            assert_eq!(
                ask(&child, "echo it is there").await.unwrap(),
                "it is there"
            );
            let (reply, report) = tokio::join!(held, child.stop().within("the stop"));
            assert_eq!(reply.unwrap(), "stopped", "{}", worker.name);
            let report = report.unwrap();
            assert_eq!(
                (report.code(), report.signal()),
                (Some(0), None),
                "{report}"
            );
            assert_eq!(report.cause(), ExitCause::Stopped);
        });
    }
}

const HELLO: &str = r"printf '\0\0\0\024\020procession\001\0\0\0\0\001\0\0\0\001'
    printf '\0\0\0\014\006\377\377\377\377\377\377\377\377\0\020\0\0'";

fn sh(script: &str) -> Cmd {
    Cmd::new(programs::bash())
        .args(["-c", script])
        .messaging(Messaging::standard_io().framing(Framing::Frames))
        .logging(Logging::stderr())
}

/// The error names the exit and what the child said last.
#[test]
fn a_request_to_a_child_that_ends_says_how_it_ended() {
    checked(async |test| {
        let script =
            format!("{HELLO}; head -c 30 > /dev/null; seq 1 30 >&2; echo broken >&2; exit 3");
        let child = test.spawn(sh(&script)).await;
        let waiting = (0..10).map(|_| ask(&child, "anything at all"));
        for end in futures::future::join_all(waiting).await {
            let error = end.unwrap_err();
            assert!(error.to_string().ends_with("broken"), "{error}");
            let RequestError::ProcessExited { id, report, stderr } = error else {
                panic!("{error}");
            };
            assert_eq!((id, report.code()), (child.id(), Some(3)));
            let lines: Vec<_> = (22..=30)
                .map(|n| n.to_string())
                .chain(["broken".into()])
                .collect();
            assert_eq!(stderr.lines(), lines);
        }
        match ask(&child, "later").await.unwrap_err() {
            RequestError::ProcessExited { report, .. } => assert_eq!(report.code(), Some(3)),
            other => panic!("{other}"),
        }
    });
}

#[test]
fn a_reply_that_was_written_before_the_end_counts() {
    checked(async |test| {
        let reply = r"printf '\0\0\0\013\002\0\0\0\0\0\0\0\001yes'";
        let script = format!("{HELLO}; head -c 53 > /dev/null; {reply}; kill -KILL $$");
        let child = test.spawn(sh(&script)).await;
        assert_eq!(ask(&child, "is it?").await.unwrap(), "yes");
        let report = child.wait().within("the end").await.unwrap();
        assert_eq!(report.signal(), Some(9));
    });
}

#[test]
fn a_request_to_a_child_that_breaks_the_protocol_or_ends_its_output() {
    checked(async |test| {
        let junk = format!("{HELLO}; echo what is this >&2; echo 'junk junk junk'; sleep 1000");
        let child = test.spawn(sh(&junk)).await;
        match ask(&child, "anything").await.unwrap_err() {
            RequestError::FramingLost { id, .. } => assert_eq!(id, child.id()),
            other => panic!("{other}"),
        }
        let silent = test
            .spawn(sh(&format!("{HELLO}; exec >&-; sleep 1000")))
            .await;
        match ask(&silent, "anything").await.unwrap_err() {
            RequestError::OutputEnded { id, .. } => assert_eq!(id, silent.id()),
            other => panic!("{other}"),
        }
        let lines = test
            .spawn(Cmd::new("cat").messaging(Messaging::standard_io()))
            .await;
        assert!(matches!(
            ask(&lines, "anything").await.unwrap_err(),
            RequestError::NoFrames(id) if id == lines.id()
        ));
        let limited = Messaging::standard_io()
            .message_limit(10)
            .framing(Framing::Frames);
        let child = test.spawn(sh(&junk).messaging(limited)).await;
        assert!(matches!(
            ask(&child, "more than ten").await.unwrap_err(),
            RequestError::TooLarge { len: 13, limit: 10 }
        ));
        child.remove().await.unwrap_err();
        child.kill().within("the kill").await.unwrap();
        child.remove().await.unwrap();
        assert!(matches!(
            ask(&child, "x").await.unwrap_err(),
            RequestError::ProcessNotFound(id) if id == child.id()
        ));
    });
}

/// A subscriber that asks a request for each message never waits for itself.
#[test]
fn a_request_for_each_message() {
    for worker in workers!() {
        checked(async |test| {
            let messaging = Messaging::standard_io().buffer(16);
            let child = test.spawn(worker.cmd(messaging)).await;
            let mut messages = child.subscribe_message_stream().await.unwrap();
            let sender = child.clone();
            let sending = tokio::spawn(async move {
                let mut sink = sender.message_sink().unwrap();
                let mut numbers = stream::iter(0..5000).map(|n: u32| Ok(n.to_string().into()));
                futures::SinkExt::send_all(&mut sink, &mut numbers).await
            });
            for number in 0..5000 {
                let message = messages.next().within("a message").await.unwrap().unwrap();
                assert_eq!(message, number.to_string().as_str());
                let reply = ask(&child, format!("echo {number}")).await.unwrap();
                assert_eq!(reply, message);
            }
            sending.await.unwrap().unwrap();
        });
    }
}

/// A subscriber that never reads holds up its messages alone.
#[test]
fn nobody_reads_the_messages() {
    for worker in workers!() {
        checked(async |test| {
            let liveness = procession_manager::Liveness::every(Duration::from_millis(20));
            let messaging = Messaging::named_pipes()
                .buffer(4)
                .liveness(liveness.misses(500));
            // Should it end by itself, its last words are in the error.
            let cmd = worker.cmd(messaging).logging(Logging::stderr());
            let child = test.spawn(cmd).await;
            let unread = child.subscribe_message_stream().await.unwrap();
            // Until neither side can take more.
            let payload = "x".repeat(100_000);
            let flood: Vec<_> = (0..8)
                .map(|_| {
                    let (sender, payload) = (child.clone(), payload.clone());
                    tokio::spawn(async move {
                        while sender.send_message(payload.as_str()).await.is_ok() {}
                    })
                })
                .collect();
            eventually("a full channel", SOON, async || {
                let seen = statistics(&child).await;
                (seen.messages_queued >= 4).then_some(())
            })
            .await;
            for number in 0..200 {
                let reply = ask(&child, format!("echo {number}")).await.unwrap();
                assert_eq!(reply, number.to_string().as_str());
            }
            eventually("a pong", SOON, async || {
                child.get_process_info().await.unwrap().latency()
            })
            .await;
            // The stop goes by as well. What cannot be sent keeps the child from ending by itself, so it is
            // told by a signal at half the grace.
            let mut held = Box::pin(child.request("hold"));
            assert!(futures::poll!(&mut held).is_pending());
            assert_eq!(
                ask(&child, "echo it is there").await.unwrap(),
                "it is there"
            );
            let grace = Duration::from_secs(2);
            let (reply, report) = tokio::join!(held, child.stop_with(grace));
            assert_eq!(reply.unwrap(), "stopped", "{}", worker.name);
            assert_eq!(report.unwrap().cause(), ExitCause::Stopped);
            futures::future::try_join_all(flood).await.unwrap();
            drop(unread);
        });
    }
}

/// A request that was sent may have been acted upon, and the error does not deny it.
#[test]
fn a_request_that_was_sent_is_not_said_not_to_have_been() {
    checked(async |test| {
        let script = format!("{HELLO}; cat > /dev/null; exec >&-; sleep 1000");
        let child = test.spawn(sh(&script)).await;
        let mut asking = Box::pin(child.request("?"));
        assert!(futures::poll!(&mut asking).is_pending());
        eventually("the request to be sent", SOON, async || {
            (statistics(&child).await.requests_waiting == 1).then_some(())
        })
        .await;
        child.close_input().await.unwrap();
        let error = asking.within("the end").await.unwrap_err();
        assert!(matches!(error, RequestError::OutputEnded { .. }), "{error}");
        let error = child
            .send_message("more")
            .within("an end")
            .await
            .unwrap_err();
        assert!(
            matches!(error, WriteMessageError::InputClosed(_)),
            "{error}"
        );
    });
}

/// Who waits for the credit of a child that has ended its output is told.
#[test]
fn a_message_that_waits_for_credit_hears_of_the_end_of_the_output() {
    checked(async |test| {
        let child = test
            .spawn(sh(&format!("{HELLO}; exec >&-; sleep 1000")))
            .await;
        let error = child.send_message("x").within("the end").await.unwrap_err();
        assert!(
            matches!(error, WriteMessageError::NoMoreCredit(id) if id == child.id()),
            "{error}"
        );
        let mut sink = child.message_sink().unwrap();
        let sent = futures::SinkExt::send(&mut sink, "x".into())
            .within("the end")
            .await;
        assert!(
            matches!(sent, Err(WriteMessageError::NoMoreCredit(_))),
            "{sent:?}"
        );
    });
}
