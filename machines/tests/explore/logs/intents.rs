//! Intents that are expected to add items to the log, and what becomes of them (LD-3).

use bowline_machines::data::{
    logs::{LogEvent, Logs},
    optimistic::IntentFailure,
    patches::{Conclusion, Input, Patch, PatchChange},
    tables::TableState,
};
use bowline_protocol::{IntentId, RpcReason, SessionState, error::RpcError};

use super::{EXPECTED, Item, KEY, NAME, NOW, Node, Step, config, target};

/// What an intent does to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It adds the item.
    Expected,
    /// The same, told without the item.
    Large,
    /// Nothing.
    Other,
}

#[derive(Clone, Debug, Default)]
pub(super) struct Intent {
    pub(super) is_sent: bool,
    /// The item that it has added, if it was done.
    pub(super) done: Option<Option<u64>>,
    pub(super) is_refused: bool,
    /// Whether the client has the answer.
    pub(super) is_answered: bool,
    /// Whether an event with the item has told this process of it.
    pub(super) is_told: bool,
    pub(super) is_dismissed: bool,
}

/// An answer to an intent on its way.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    pub(super) intent: usize,
    /// The event and its epoch; none for a refusal.
    pub(super) seq: Option<(u32, u64)>,
}

pub(super) fn intent_id(intent: usize) -> IntentId {
    IntentId::from_uuid(uuid::Uuid::from_u128(intent as u128 + 1))
}

impl Node {
    pub(super) fn is_waiting(&self, intent: usize) -> bool {
        self.answers.iter().any(|answer| answer.intent == intent)
    }

    pub(super) fn begin_epoch(&mut self) {
        self.is_opened = false;
        self.followed = None;
        self.events.clear();
        (self.epoch, self.seq) = (self.epoch + 1, 0);
    }

    /// Notes which intents the client has been told of. An event before the first page counts only
    /// if that page is of the same numbering, which a test of the machine has.
    pub(super) fn note_told(&mut self, event: Option<&LogEvent>) {
        if matches!(self.view.state, TableState::Loading | TableState::Failed) {
            return;
        }
        if let Some(LogEvent::Appended(event)) = event {
            assert_eq!(event.key, KEY);
            for (number, one) in self.intents.iter_mut().enumerate() {
                one.is_told |= event.intent_id == Some(intent_id(number)) && !event.stale;
            }
        }
    }

    fn queue(&mut self, intent: usize) {
        let item = Item::new(EXPECTED + u32::try_from(intent).unwrap());
        let patch = Patch {
            table: NAME.to_owned(),
            params: None,
            key: String::new(),
            change: PatchChange::Append(item.json()),
        };
        let queued = Input::Queued {
            intent_id: intent_id(intent),
            at: i64::try_from(intent).unwrap(),
            patches: vec![patch],
        };
        self.logs.patch(NOW, queued);
    }

    fn conclude(&mut self, intent: usize, conclusion: Conclusion) {
        self.intents[intent].is_answered = true;
        let intent_id = intent_id(intent);
        let concluded = Input::Concluded {
            intent_id,
            conclusion,
        };
        self.logs.patch(NOW, concluded);
    }
}

fn refused() -> Conclusion {
    let error = RpcError::new(RpcReason::Forbidden, "no");
    Conclusion::Failed(IntentFailure::Refused(error))
}

pub(super) fn take(node: &mut Node, step: &Step) {
    match *step {
        Step::Send(intent) => {
            node.intents[intent].is_sent = true;
            node.queue(intent);
        }
        Step::Do(intent, doing) => {
            let index = node.next;
            match doing {
                Doing::Expected => node.append(false, Some(intent)),
                Doing::Large => node.append(true, Some(intent)),
                Doing::Other => {
                    node.seq += 1;
                    node.events.push_back((node.seq, None));
                }
            }
            node.intents[intent].done = Some((doing != Doing::Other).then_some(index));
            let seq = Some((node.epoch, node.seq));
            node.answers.push_back(Answer { intent, seq });
        }
        Step::Reject(intent) => {
            node.intents[intent].is_refused = true;
            node.answers.push_back(Answer { intent, seq: None });
        }
        Step::Repeat(intent) => {
            let seq = Some((node.epoch, node.seq));
            node.answers.push_back(Answer { intent, seq });
        }
        Step::Receive => {
            if let Some(Answer { intent, seq }) = node.answers.pop_front() {
                let conclusion = match seq {
                    Some((epoch, seq)) if epoch == node.epoch => Conclusion::Done { seq },
                    Some(_) => Conclusion::Done { seq: 0 },
                    None => refused(),
                };
                node.conclude(intent, conclusion);
            }
        }
        Step::Dismiss(intent) => {
            node.intents[intent].is_dismissed = true;
            let intent_id = intent_id(intent);
            node.logs.patch(NOW, Input::Dismissed { intent_id });
        }
        Step::Reopen => {
            node.logs.left(node.id);
            node.logs.sweep();
            node.id = node.logs.open(NOW, target()).unwrap().0;
        }
        Step::Restart => {
            node.lose();
            node.begin_epoch();
            node.logs = Logs::new(config(node.max_rows));
            node.rev = 0;
            node.asked.clear();
            node.shown.clear();
            for intent in 0..node.intents.len() {
                let one = &mut node.intents[intent];
                one.is_told = false;
                if one.is_sent && !one.is_answered {
                    node.queue(intent);
                } else if one.is_refused && !one.is_dismissed {
                    node.queue(intent);
                    node.conclude(intent, refused());
                }
            }
            node.id = node.logs.open(NOW, target()).unwrap().0;
            node.attach_anew();
        }
        _ => {}
    }
}

impl Node {
    fn attach_anew(&mut self) {
        self.is_attached = true;
        self.logs.attached(NOW, SessionState::Reset);
    }
}
