//! Table `credit`: the steps of one lane, on both of its ends.

use procession_wire::{ReceiveWindow, SendCredit, credit::cost};

use crate::document::{Vector, number};

pub(crate) fn check(vector: &Vector) {
    let mut sender = SendCredit::new();
    let mut receiver: Option<ReceiveWindow> = None;
    for (key, value) in vector.steps() {
        let at = format!("{key}: {value} of {vector}");
        if key == "window" {
            match &mut receiver {
                None => receiver = Some(ReceiveWindow::new(number(value))),
                Some(receiver) => receiver.set_window(number(value)),
            }
            continue;
        }
        let receiver = receiver
            .as_mut()
            .unwrap_or_else(|| panic!("no window before {at}"));
        match key {
            "grant" => {
                let grant = receiver.grant_due();
                sender.grant(grant.unwrap_or(0));
                let expected = (value != "none").then(|| number(value));
                assert_eq!(grant, expected, "{at}");
            }
            "send" | "overrun" => {
                assert_eq!(sender.may_send(), key == "send", "{at}");
                sender.spend(number(value));
                assert_eq!(
                    receiver.received(number(value)).is_ok(),
                    key == "send",
                    "{at}"
                );
            }
            "balance" => assert_eq!(sender.balance(), number::<i64>(value), "{at}"),
            "held" => assert_eq!(receiver.held(), number::<u64>(value), "{at}"),
            "may-send" => {
                assert_eq!(if sender.may_send() { "yes" } else { "no" }, value, "{at}");
            }
            "consume" => receiver.consumed(cost(number(value))),
            _ => panic!("unknown step {at}"),
        }
    }
}
