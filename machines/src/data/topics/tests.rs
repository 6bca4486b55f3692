//! Tests of topics. The explorer covers every short history with a daemon.

use bowline_protocol::{RpcReason, live::Scope};

use super::*;
use crate::data::load::LOAD_DEADLINE;

const NOW: MonotonicTime = MonotonicTime::from_millis(1_000);
const NAME: &str = "voxel.saved";

pub(super) fn event(key: &str, body: &str) -> Arc<TopicEvent> {
    Arc::new(TopicEvent {
        name: NAME.to_owned(),
        key: key.to_owned(),
        body: serde_json::from_str(body).unwrap(),
        intent_id: None,
    })
}

fn target(under: &str) -> LiveTarget {
    let params = format!(r#"{{"under":"{under}"}}"#);
    LiveTarget {
        name: NAME.to_owned(),
        params: Some(serde_json::from_str(&params).unwrap()),
    }
}

fn scope(text: &str) -> Scope {
    Scope::try_from(text.to_owned()).unwrap()
}

fn page(of: &str, seq: u64, resumed: bool) -> TablePage {
    TablePage {
        scope: scope(of),
        rows: Vec::new(),
        more: false,
        seq,
        resumed,
        follow: Some(1),
    }
}

fn at(seq: u64) -> Option<Held> {
    let follow = Some(1);
    Some(Held { seq, follow })
}

fn closed(name: String, scope: Scope, follow: Option<u64>) -> Effect {
    Effect::Close(Close {
        name,
        scope,
        follow,
    })
}

#[derive(Default)]
struct Host(Topics);

impl Host {
    fn attached() -> Self {
        let mut host = Self::default();
        host.0.attached(NOW, SessionState::New);
        host
    }

    fn open(&mut self, under: &str) -> OpenId {
        self.0.open(NOW, target(under)).unwrap().0
    }

    /// A topic that is followed since event 5.
    fn following() -> (Self, OpenId) {
        let mut host = Self::attached();
        let id = host.open("a");
        host.answer(id, Ok(page("a/*", 5, false)));
        assert_eq!(host.told(id), ["Following"]);
        (host, id)
    }

    fn effects(&mut self) -> Vec<Effect> {
        std::iter::from_fn(|| self.0.poll_effect()).collect()
    }

    /// With which number each open on its way would continue.
    fn asked(&mut self) -> Vec<Option<Held>> {
        let effects = self.effects().into_iter();
        let opens = effects.map(|effect| match effect {
            Effect::Open { held, .. } => held,
            Effect::Close(_) => panic!("nothing is closed"),
        });
        opens.collect()
    }

    fn answer(&mut self, id: OpenId, result: Result<TablePage, LoadError>) {
        self.effects();
        let load = self.0.open.get(id).unwrap().running().unwrap();
        self.0.opened(NOW, id, load, result);
    }

    /// An event whose body is its number.
    fn event(&mut self, seq: u64, key: &str) {
        self.0.event(NOW, seq, event(key, &seq.to_string()));
    }

    /// What the readers of a topic are told: bodies, `*` where some may be missing, and states.
    fn told(&mut self, id: OpenId) -> Vec<String> {
        let mut told = Vec::new();
        let mut last = None;
        while let Some((of, batch)) = self.0.poll_batch() {
            assert_eq!(of, id);
            told.extend(batch.missed.then(|| "*".to_owned()));
            let bodies = batch.events.iter().map(|event| event.body.get().to_owned());
            told.extend(bodies);
            last = Some(format!("{:?}", batch.status.state));
        }
        told.extend(last);
        told
    }

    fn lose(&mut self) {
        self.0.disconnected(NOW, Reason::ConnectionLost);
    }

    fn resume(&mut self) {
        self.0.attached(NOW, SessionState::Resumed);
    }
}

#[test]
fn ld_10_events_before_the_answer_are_told_if_the_session_followed_by_then() {
    let mut host = Host::attached();
    let id = host.open("a");
    assert_eq!(host.asked(), [None]);
    for (seq, key) in [(4, "a/1"), (6, "a/1"), (7, "b/1"), (8, "a/2")] {
        host.event(seq, key);
    }
    assert_eq!(host.told(id), [""; 0]);
    host.answer(id, Ok(page("a/*", 5, false)));
    assert_eq!(host.told(id), ["6", "8", "Following"]);
    host.event(9, "b/1");
    host.event(10, "a/1");
    host.0.event(
        NOW,
        11,
        Arc::new(TopicEvent {
            name: "voxel.closed".to_owned(),
            ..(*event("a/1", "11")).clone()
        }),
    );
    assert_eq!(host.told(id), ["10", "Following"]);
}

#[test]
fn ld_10_what_an_attach_means_for_the_events() {
    // The answer at the next attach, and what is told of events 6 and 7, which come before it, and
    // of 9, which comes after it.
    let resumed = SessionState::Resumed;
    let reset = SessionState::Reset;
    for (session, held, answer, expected) in [
        (
            resumed,
            at(5),
            page("a/*", 8, true),
            "6 7 Following 9 Following",
        ),
        (
            resumed,
            at(5),
            page("a/*", 5, true),
            "6 7 Following 9 Following",
        ),
        // What came before the follow began again may lack something.
        (
            resumed,
            at(5),
            page("a/*", 6, false),
            "* 7 Following 9 Following",
        ),
        (
            resumed,
            at(5),
            page("a/*", 8, false),
            "* Following 9 Following",
        ),
        (resumed, at(5), page("a/*", 9, false), "* Following"),
        // The service gave another scope: of the former one nothing is told any more.
        (resumed, at(5), page("b/*", 5, true), "* Following"),
        (
            reset,
            None,
            page("a/*", 6, false),
            "* 7 Following 9 Following",
        ),
        // An answer cannot continue what was not to be continued.
        (
            reset,
            None,
            page("a/*", 6, true),
            "* 7 Following 9 Following",
        ),
    ] {
        let (mut host, id) = Host::following();
        host.lose();
        assert_eq!(host.told(id), ["Interrupted"]);
        host.0.attached(NOW, session);
        assert_eq!(host.asked(), [held]);
        host.event(6, "a/1");
        host.event(7, "a/1");
        assert_eq!(host.told(id), ["Interrupted"], "the error is over");
        host.answer(id, Ok(answer.clone()));
        let mut told = host.told(id);
        host.event(9, "a/1");
        told.extend(host.told(id));
        assert_eq!(told.join(" "), expected, "{session:?} {answer:?}");
        assert_eq!(host.0.refused(), 0);
    }
}

#[test]
fn ld_10_what_is_held_is_of_the_follow_that_answered_last() {
    let (mut host, id) = Host::following();
    for (follow, resumed) in [(2, false), (2, true), (3, false)] {
        host.resume();
        let answer = TablePage {
            follow: Some(follow),
            ..page("a/*", 5, resumed)
        };
        host.answer(id, Ok(answer));
        host.resume();
        let held = Held {
            seq: 5,
            follow: Some(follow),
        };
        assert_eq!(host.asked(), [Some(held)]);
    }
}

#[test]
fn ld_10_an_answer_of_an_earlier_attach_changes_nothing() {
    let mut host = Host::attached();
    let id = host.open("a");
    let [Effect::Open { load: first, .. }] = host.effects()[..] else {
        panic!("one request");
    };
    host.resume();
    host.0.opened(NOW, id, first, Ok(page("a/*", 5, false)));
    host.event(6, "a/1");
    assert_eq!((host.told(id), host.0.stale()), (Vec::new(), 1));
    host.answer(id, Ok(page("a/*", 7, false)));
    host.0.opened(NOW, id, first, Err(LoadError::TimedOut));
    assert_eq!(host.told(id), ["Following"]);
    host.event(8, "a/1");
    assert_eq!((host.told(id).len(), host.0.stale()), (2, 2));
}

#[test]
fn ld_10_a_switch_of_path_is_not_told_unless_it_fails() {
    let (mut host, id) = Host::following();
    host.resume();
    assert_eq!(host.asked(), [at(5)]);
    host.event(6, "a/1");
    assert_eq!(host.told(id), [""; 0]);
    host.answer(id, Ok(page("a/*", 6, true)));
    assert_eq!(host.told(id), ["6", "Following"]);
    host.resume();
    assert_eq!(host.asked(), [at(6)]);
    host.answer(id, Err(LoadError::Rejected(RpcReason::Overloaded)));
    assert_eq!(host.told(id), ["Interrupted"]);
    host.event(7, "a/1");
    let due = host.0.poll_timeout().unwrap();
    host.0.handle_timeout(due);
    assert_eq!(host.asked(), [at(6)]);
    host.answer(id, Ok(page("a/*", 7, true)));
    assert_eq!(host.told(id), ["7", "Following"]);
}

#[test]
fn ld_10_a_refusal_is_told_with_its_reason_and_a_new_reader_asks_again() {
    let mut host = Host::attached();
    let id = host.open("a");
    for (error, state) in [
        (
            LoadError::Rejected(RpcReason::Overloaded),
            TopicState::Failed,
        ),
        (LoadError::TimedOut, TopicState::Failed),
        (
            LoadError::Rejected(RpcReason::NotGranted),
            TopicState::Refused,
        ),
    ] {
        if error == LoadError::TimedOut {
            let due = host.0.poll_timeout().unwrap();
            assert!(due > NOW + LOAD_DEADLINE);
            host.0.handle_timeout(due);
        } else {
            host.answer(id, Err(error));
        }
        let status = TopicStatus {
            state,
            error: Some(error),
        };
        let batch = host
            .0
            .poll_batch()
            .map(|(_, batch)| (batch.missed, batch.status));
        assert_eq!(batch, Some((false, status)));
        if let Some(due) = host.0.poll_timeout() {
            host.0.handle_timeout(due);
            assert_eq!(host.told(id), ["Opening"]);
        }
    }
    assert_eq!(host.0.poll_timeout(), None, "not tried again");
    host.effects();
    let (same, status) = host.0.open(NOW, target("a")).unwrap();
    assert_eq!((same, status), (id, TopicStatus::of(TopicState::Opening)));
    assert_eq!(host.asked(), [None]);
}

#[test]
fn ld_10_a_follow_that_cannot_be_continued_is_begun_again() {
    let (mut host, id) = Host::following();
    host.lose();
    host.resume();
    host.event(6, "a/1");
    let refused = LoadError::Rejected(RpcReason::Unsupported);
    host.answer(id, Err(refused));
    assert_eq!(host.asked(), [None]);
    host.event(7, "a/1");
    host.answer(id, Ok(page("a/*", 7, false)));
    assert_eq!(host.told(id), ["*", "Following"]);
    host.event(8, "a/1");
    assert_eq!(host.told(id), ["8", "Following"]);
    // Refused without that, too.
    host.resume();
    host.answer(id, Err(refused));
    host.answer(id, Err(refused));
    host.event(9, "a/1");
    assert_eq!(host.told(id), ["Refused"]);
    host.resume();
    host.answer(id, Ok(page("a/*", 9, false)));
    assert_eq!(host.told(id), ["*", "Following"]);
}

#[test]
fn ld_10_events_that_wait_for_an_answer_are_bounded_and_their_loss_is_marked() {
    let config = TopicsConfig {
        backlog: BacklogConfig {
            events: 2,
            ..BacklogConfig::default()
        },
        ..TopicsConfig::default()
    };
    let numbers = [
        (5, "* 8 9 Following"),
        (7, "8 9 Following"),
        (8, "9 Following"),
    ];
    for (seq, expected) in numbers {
        let mut host = Host(Topics::new(config));
        host.0.attached(NOW, SessionState::New);
        let id = host.open("a");
        (6..=9).for_each(|seq| host.event(seq, "a/1"));
        host.answer(id, Ok(page("a/*", seq, false)));
        assert_eq!(host.told(id).join(" "), expected);
    }
    let mut host = Host(Topics::new(config));
    host.0.attached(NOW, SessionState::New);
    let id = host.open("a");
    host.answer(id, Ok(page("a/*", 5, false)));
    host.told(id);
    host.resume();
    (6..=9).for_each(|seq| host.event(seq, "a/1"));
    host.answer(id, Ok(page("a/*", 9, true)));
    assert_eq!(host.told(id).join(" "), "* 8 9 Following");
}

#[test]
fn ld_10_readers_of_one_target_share_a_follow_that_the_last_one_ends() {
    let (mut host, id) = Host::following();
    let (same, status) = host.0.open(NOW, target("a")).unwrap();
    assert_eq!((same, status.state), (id, TopicState::Following));
    assert_eq!(host.effects(), []);
    host.0.left(id);
    host.event(6, "a/1");
    assert_eq!(host.told(id), [""; 0], "nobody reads it");
    // A reader that comes before the sweep finds it as it was.
    assert_eq!(host.open("a"), id);
    host.0.sweep();
    assert_eq!(host.effects(), []);
    // The service has one scope for both.
    let other = host.open("A");
    host.0.left(id);
    host.0.sweep();
    host.answer(other, Ok(page("a/*", 6, false)));
    host.0.sweep();
    assert_eq!(host.effects(), [], "it is followed for the other");
    host.0.left(other);
    host.0.sweep();
    let (name, scope) = (NAME.to_owned(), scope("a/*"));
    assert_eq!(host.effects(), [closed(name, scope, Some(1))]);
    assert_ne!(host.open("a"), id, "an id is not used twice");
}

#[test]
fn ld_10_a_scope_that_the_service_replaces_is_closed() {
    let (mut host, id) = Host::following();
    host.resume();
    host.answer(id, Ok(page("b/*", 6, false)));
    host.0.sweep();
    let (name, scope) = (NAME.to_owned(), scope("a/*"));
    assert_eq!(host.effects(), [closed(name, scope, Some(1))]);
}

#[test]
fn ld_10_a_topic_opened_without_a_connection_says_so_and_opens_at_the_attach() {
    let mut host = Host::attached();
    host.lose();
    let (id, status) = host.0.open(NOW, target("a")).unwrap();
    let lost = LoadError::Lost(Reason::ConnectionLost);
    assert_eq!(
        (status.state, status.error),
        (TopicState::Failed, Some(lost))
    );
    assert_eq!(host.effects(), []);
    host.resume();
    assert_eq!(
        (host.asked(), host.told(id)),
        (vec![None], vec!["Opening".to_owned()])
    );
    let mut idle = Host::default();
    assert_eq!(
        idle.0.open(NOW, target("a")).unwrap().1,
        TopicStatus::default()
    );
    idle.0.unreachable(NOW, Reason::Unreachable);
    assert_eq!(
        idle.0.open(NOW, target("a")).unwrap().1.state,
        TopicState::Failed
    );
}

#[test]
fn topics_are_bounded_in_number() {
    let mut host = Host::attached();
    host.0.open.most = 2;
    let (first, second) = (host.open("a"), host.open("b"));
    let refused = host.0.open(NOW, target("c"));
    assert_eq!(refused, Err(TooMany { most: 2 }));
    assert_eq!(host.open("a"), first);
    host.0.left(second);
    host.answer(first, Ok(page("a/*", 5, false)));
    host.answer(second, Ok(page("b/*", 5, false)));
    host.open("c");
    assert_eq!(host.0.open.len(), 2, "what nobody reads makes room");
}

#[test]
fn ob_1_each_change_of_a_follow_is_recorded() {
    let (mut host, _) = Host::following();
    host.lose();
    let records = std::iter::from_fn(|| host.0.poll_transition());
    let records: Vec<_> = records.map(|one| (one.machine, one.to)).collect();
    let expected = ["opening", "following", "failed"];
    assert_eq!(records, expected.map(|to| ("topic_sync", to)));
}
