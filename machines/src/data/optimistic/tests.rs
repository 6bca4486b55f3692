//! Tests of content displayed in advance: each path of a message and a creation, and every order of
//! a few of them.

use bowline_protocol::{AgentId, IntentId, ItemId, RpcReason, error::RpcError};

use super::*;
use crate::client::intents::{Made, Outcome};

fn intent(n: u8) -> IntentId {
    format!("00000000-0000-7000-8000-0000000000{n:02x}")
        .parse()
        .unwrap()
}

fn agent(n: u8) -> AgentId {
    format!("agt_{n}").parse().unwrap()
}

fn item(n: u8) -> ItemId {
    format!("itm_{n}").parse().unwrap()
}

fn refused() -> IntentFailure {
    IntentFailure::Refused(RpcError::new(RpcReason::Forbidden, "no"))
}

fn message(n: u8) -> Input {
    message_of(intent(n), i64::from(n))
}

fn message_of(intent_id: IntentId, at: i64) -> Input {
    Input::Queued(Queued::Message {
        agent_id: agent(1),
        message: PendingMessage {
            intent_id,
            text: format!("text {at}"),
            at,
            delivered: false,
        },
    })
}

fn creation(n: u8, prompt: Option<&str>) -> Input {
    creation_of(intent(n), i64::from(n), prompt)
}

fn creation_of(intent_id: IntentId, at: i64, prompt: Option<&str>) -> Input {
    Input::Queued(Queued::Agent(PendingAgent {
        intent_id,
        provider: "shell".into(),
        cwd: "/home/me/project".into(),
        title: None,
        prompt: prompt.map(str::to_owned),
        at,
    }))
}

fn concluded(n: u8, conclusion: Conclusion) -> Input {
    Input::Concluded {
        intent_id: intent(n),
        conclusion,
    }
}

fn shown(n: u8) -> Input {
    Input::ItemShown {
        agent_id: agent(1),
        intent_id: intent(n),
    }
}

fn after(inputs: impl IntoIterator<Item = Input>) -> Optimistic {
    let mut optimistic = Optimistic::new();
    inputs
        .into_iter()
        .for_each(|input| optimistic.handle(input));
    optimistic
}

fn pending(optimistic: &Optimistic) -> Vec<(IntentId, bool)> {
    let pending = optimistic.pending(&agent(1));
    pending
        .iter()
        .map(|one| (one.intent_id, one.delivered))
        .collect()
}

#[test]
fn ux_3_a_message_stays_until_its_item_is_shown_however_the_news_come() {
    let done = || {
        concluded(
            1,
            Conclusion::Done {
                item: Some(item(1)),
            },
        )
    };
    let mut optimistic = after([message(1), message(2)]);
    assert_eq!(
        pending(&optimistic),
        [(intent(1), false), (intent(2), false)]
    );
    optimistic.handle(done());
    assert_eq!(
        pending(&optimistic),
        [(intent(1), true), (intent(2), false)]
    );
    assert_eq!(optimistic.became(&agent(1), &item(1)), Some(intent(1)));
    optimistic.handle(shown(1));
    assert_eq!(pending(&optimistic), [(intent(2), false)]);
    // The item before the outcome, and the outcome twice.
    optimistic.handle(shown(2));
    optimistic.handle(concluded(2, Conclusion::Done { item: None }));
    optimistic.handle(done());
    assert_eq!(pending(&optimistic), []);
    assert!(!optimistic.has_pending(&agent(1)) && optimistic.delivered().is_empty());
}

#[test]
fn ux_3_a_refused_message_is_rolled_back_with_its_error_until_dismissed() {
    let failed = concluded(1, Conclusion::Failed(refused()));
    let mut optimistic = after([message(1), message(2), failed]);
    assert_eq!(pending(&optimistic), [(intent(2), false)]);
    let rolled_back = optimistic.failed(&agent(1));
    assert_eq!(rolled_back.len(), 1);
    assert_eq!(
        (rolled_back[0].text.as_str(), &rolled_back[0].error),
        ("text 1", &refused())
    );
    while optimistic.poll_changed().is_some() {}
    optimistic.handle(Input::Dismiss {
        intent_id: intent(1),
    });
    assert!(optimistic.failed(&agent(1)).is_empty());
    assert_eq!(optimistic.poll_changed(), Some(agent(1)));
}

#[test]
fn ux_3_an_agent_is_confirmed_by_its_row_or_its_answer_and_its_prompt_goes_on_as_a_message() {
    let row = || Input::Row {
        intent_id: intent(1),
        agent_id: agent(1),
    };
    let answer = || concluded(1, Conclusion::Created(agent(1)));
    for news in [[row(), answer()], [answer(), row()]] {
        let mut optimistic = after([creation(1, Some("begin"))]);
        assert!(matches!(
            optimistic.creation(intent(1)),
            Some(CreationStatus::Pending(_))
        ));
        for input in news {
            optimistic.handle(input);
            let standing = optimistic.creation(intent(1));
            assert_eq!(standing, Some(CreationStatus::Confirmed(agent(1))));
            assert_eq!(pending(&optimistic).len(), 1, "the prompt, once");
            assert_eq!(optimistic.creating().len(), 1, "until the row is there");
        }
        assert!(optimistic.is_created_here(&agent(1)));
        assert_eq!(optimistic.awaited_rows(), [agent(1)]);
        optimistic.handle(Input::RowShown { agent_id: agent(1) });
        assert!(optimistic.creating().is_empty());
        optimistic.handle(shown(1));
        assert_eq!(pending(&optimistic), []);
    }
}

#[test]
fn ux_3_a_refused_agent_leaves_nothing_but_the_error() {
    let failed = concluded(1, Conclusion::Failed(IntentFailure::Expired));
    let mut optimistic = after([creation(1, Some("begin")), failed]);
    assert!(optimistic.creating().is_empty() && !optimistic.has_pending(&agent(1)));
    let Some(CreationStatus::Failed(failed)) = optimistic.creation(intent(1)) else {
        panic!("rolled back");
    };
    assert_eq!(failed.error, IntentFailure::Expired);
    optimistic.handle(Input::Dismiss {
        intent_id: intent(1),
    });
    assert_eq!(optimistic.creation(intent(1)), None);
    // An entry dropped with its host leaves nothing behind.
    let optimistic = after(
        [creation(2, None), message(3)]
            .into_iter()
            .chain([2, 3].map(|n| concluded(n, Conclusion::Dropped))),
    );
    assert_eq!(
        (optimistic.creation(intent(2)), pending(&optimistic)),
        (None, vec![])
    );
}

fn settled(n: u8) -> Input {
    Input::Settled {
        agent_id: agent(1),
        intent_id: intent(n),
    }
}

#[test]
fn what_was_delivered_and_is_in_no_window_is_settled() {
    let done = concluded(1, Conclusion::Done { item: None });
    let mut optimistic = after([message(1), message(2), done]);
    assert_eq!(optimistic.delivered(), [agent(1)]);
    assert_eq!(optimistic.delivered_to(&agent(1)), [intent(1)]);
    for n in [2, 1] {
        optimistic.handle(settled(n));
    }
    assert_eq!(
        pending(&optimistic),
        [(intent(2), false)],
        "what is on its way stays"
    );
    assert!(optimistic.delivered().is_empty());
}

#[test]
fn what_is_over_is_remembered_within_bounds() {
    let mut optimistic = Optimistic::new();
    let id = |n: u32| -> IntentId { format!("00000000-0000-7000-8000-{n:012x}").parse().unwrap() };
    for n in 0..1_000 {
        optimistic.handle(if n % 2 == 0 {
            creation_of(id(n), 0, None)
        } else {
            message_of(id(n), 0)
        });
        optimistic.handle(Input::Concluded {
            intent_id: id(n),
            conclusion: Conclusion::Failed(refused()),
        });
        optimistic.handle(creation_of(id(n + 10_000), 0, None));
        optimistic.handle(Input::Concluded {
            intent_id: id(n + 10_000),
            conclusion: Conclusion::Created(agent(2)),
        });
        optimistic.handle(Input::RowShown { agent_id: agent(2) });
    }
    assert_eq!(optimistic.failed(&agent(1)).len(), MAX_FAILED);
    assert_eq!(optimistic.failed_creations().len(), MAX_FAILED);
    assert_eq!(optimistic.confirmed.len(), MAX_CONFIRMED);
    assert!(optimistic.creations.is_empty() && optimistic.recipients.is_empty());
}

/// Every sequence of a few inputs about two intents, one message and one agent with a prompt.
#[test]
fn ux_3_in_every_order_of_news_nothing_is_shown_twice_or_forgotten() {
    let inputs = [
        message(1),
        creation(2, Some("begin")),
        concluded(
            1,
            Conclusion::Done {
                item: Some(item(1)),
            },
        ),
        concluded(1, Conclusion::Failed(refused())),
        concluded(2, Conclusion::Created(agent(1))),
        concluded(2, Conclusion::Failed(refused())),
        Input::Row {
            intent_id: intent(2),
            agent_id: agent(1),
        },
        Input::RowShown { agent_id: agent(1) },
        shown(1),
        shown(2),
        settled(1),
        Input::Dismiss {
            intent_id: intent(1),
        },
    ];
    let mut level = vec![(Optimistic::new(), [false; 2])];
    let mut visited = 0;
    for _ in 0..5 {
        let mut next = Vec::new();
        for (before, queued) in &level {
            for input in &inputs {
                let (mut state, mut queued) = (before.clone(), *queued);
                let was = pending(before);
                state.handle(input.clone());
                if let Input::Queued(which) = input {
                    queued[usize::from(matches!(which, Queued::Agent(_)))] = true;
                }
                check(&state, queued, &was, input);
                visited += 1;
                next.push((state, queued));
            }
        }
        level = next;
    }
    assert!(visited > 200_000, "{visited}");
}

fn check(state: &Optimistic, queued: [bool; 2], was: &[(IntentId, bool)], input: &Input) {
    let now = pending(state);
    for n in [1, 2] {
        let times = now.iter().filter(|(id, _)| *id == intent(n)).count();
        let failed = state.failed(&agent(1));
        let failed = failed
            .iter()
            .filter(|one| one.intent_id == intent(n))
            .count();
        assert!(times + failed <= 1, "shown twice: {state:?}");
        assert!(
            times + failed == 0 || queued[usize::from(n) - 1],
            "from nowhere: {state:?}"
        );
        assert_eq!(state.awaits(&agent(1), intent(n)), times == 1, "{state:?}");
    }
    // A message is removed only for a reason.
    for (id, delivered) in was {
        let is_there = now.iter().any(|(other, _)| other == id);
        let may_leave = match input {
            Input::ItemShown { intent_id, .. } => intent_id == id,
            Input::Settled { intent_id, .. } => intent_id == id && *delivered,
            Input::Concluded {
                intent_id,
                conclusion,
            } => intent_id == id && matches!(conclusion, Conclusion::Failed(_)),
            _ => false,
        };
        assert!(
            is_there || may_leave,
            "{id} was forgotten by {input:?}: {state:?}"
        );
    }
    // An agent is in exactly one place: pending, confirmed, or failed.
    let standing = state.creation(intent(2));
    let on_its_way = state.creating().len();
    match standing {
        Some(CreationStatus::Pending(_)) => assert_eq!(on_its_way, 1),
        Some(CreationStatus::Confirmed(_)) => assert!(on_its_way <= 1),
        Some(CreationStatus::Failed(_)) | None => assert_eq!(on_its_way, 0),
    }
    for messages in state.messages.values() {
        assert!(
            !messages.pending.is_empty() || !messages.failed.is_empty(),
            "left over"
        );
    }
}

#[test]
fn ux_3_what_an_intent_made_is_shown_as_its_result_says() {
    let done = Outcome::Done {
        result: String::new(),
    };
    let item: ItemId = "itm_1".parse().unwrap();
    let made = Made::Agent(agent(1));
    assert_eq!(Conclusion::new(&done, made), Conclusion::Created(agent(1)));
    let made = Made::Message(Some(item.clone()));
    let expected = Conclusion::Done { item: Some(item) };
    assert_eq!(Conclusion::new(&done, made), expected);
    // An answer that could not be read leaves the row to tell.
    assert_eq!(Conclusion::new(&done, Made::Other), Conclusion::Dropped);
    let failed = Conclusion::Failed(IntentFailure::Expired);
    assert_eq!(Conclusion::new(&Outcome::Expired, Made::Other), failed);
}
