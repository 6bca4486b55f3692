//! Following a service's topic: events once and in order, states, and losses that are said (LD-10).

use bowline_protocol::{
    Reason, RpcReason, SessionEvent,
    error::RpcError,
    live::{OpenLive, Scope, TablePage, TopicEvent},
    methods::name,
};
use bowline_runtime::{
    HostState, LiveError, ScreenError, TopicBatch, TopicState, TopicSubscription,
    machines::data::load::LoadError,
};
use bowline_testkit::eventually;
use serde_json::{Value, json};
use tokio::time::timeout;

use crate::rig::{LONG, Rig, direct, is_ready, server_id};

const NAME: &str = "test.said";

/// The one topic of the test daemon, `test.said`, and the session's follow of it. Only one scope:
/// all keys.
#[derive(Default)]
pub(crate) struct Topic {
    /// The session follows since this event.
    pub(crate) followed_since: Option<u64>,
    /// Number of the follow.
    follow: u64,
}

impl Topic {
    pub(crate) fn open(&mut self, params: &Value, seq: u64) -> Result<Value, RpcError> {
        let asked: OpenLive = serde_json::from_value(params.clone()).unwrap();
        if asked.name != NAME {
            return Err(RpcError::new(RpcReason::NotFound, "no such topic"));
        }
        if self.followed_since.is_none() {
            self.follow += 1;
        }
        let since = *self.followed_since.get_or_insert(seq);
        let is_same = asked.follow == Some(self.follow);
        let page: TablePage = TablePage {
            scope: Scope::all(),
            rows: Vec::new(),
            more: false,
            seq,
            resumed: is_same && asked.seq.is_some_and(|held| since <= held),
            follow: Some(self.follow),
        };
        Ok(serde_json::to_value(page).unwrap())
    }
}

/// An event whose body is a number.
fn said(number: u32) -> SessionEvent {
    SessionEvent::TopicEvent(Box::new(TopicEvent {
        name: NAME.to_owned(),
        key: "k".to_owned(),
        body: serde_json::from_value(json!(number)).unwrap(),
        intent_id: None,
    }))
}

struct Reader {
    topic: TopicSubscription,
    state: TopicState,
    /// The numbers, with `None` where some may be missing.
    told: Vec<Option<u32>>,
}

impl Reader {
    fn of(rig: &Rig) -> Self {
        let topic = rig
            .runtime
            .subscribe_topic(&server_id(), NAME, &json!({}))
            .unwrap();
        Self {
            topic,
            state: TopicState::Opening,
            told: Vec::new(),
        }
    }

    async fn next(&mut self) -> TopicBatch {
        let batch = timeout(LONG, self.topic.next()).await;
        let batch = batch.expect("a batch in time").unwrap();
        self.told.extend(batch.missed.then_some(None));
        let bodies = batch.events.iter().map(|event| event.body.get());
        self.told
            .extend(bodies.map(|body| Some(body.parse().unwrap())));
        self.state = batch.status.state;
        batch
    }

    async fn until(&mut self, state: TopicState) -> TopicBatch {
        loop {
            let batch = self.next().await;
            if self.state == state {
                return batch;
            }
        }
    }

    /// Waits for this number, and gives what was told since the last call.
    async fn up_to(&mut self, number: u32) -> Vec<Option<u32>> {
        while self.told.last() != Some(&Some(number)) {
            self.next().await;
        }
        std::mem::take(&mut self.told)
    }
}

fn numbers(range: std::ops::RangeInclusive<u32>) -> Vec<Option<u32>> {
    range.map(Some).collect()
}

#[tokio::test(start_paused = true)]
async fn ld_10_events_come_once_and_in_order_over_cuts_and_switches_of_path() {
    let rig = Rig::online(&["a:1", "b:2"]).await;
    let mut reader = Reader::of(&rig);
    reader.until(TopicState::Following).await;
    (1..=3).for_each(|n| rig.daemon.happens(said(n)));
    assert_eq!(reader.up_to(3).await, numbers(1..=3));

    let active = rig.until("online", is_ready).await.address.clone().unwrap();
    let other = if active == "a:1" { "b:2" } else { "a:1" };
    rig.runtime.select_path(&server_id(), Some(direct(other)));
    rig.daemon.happens(said(4));
    rig.until("switched", |host| {
        host.state == HostState::Online && host.address.as_deref() == Some(other)
    })
    .await;
    rig.daemon.happens(said(5));
    assert_eq!(reader.up_to(5).await, numbers(4..=5));
    assert_eq!(reader.state, TopicState::Following, "a switch is not told");

    for n in [6, 8, 10] {
        for address in ["a:1", "b:2"] {
            rig.daemon.cut(address, Reason::ConnectionLost);
        }
        rig.daemon.happens(said(n));
        assert_eq!(reader.up_to(n).await, numbers(n..=n));
        rig.daemon.happens(said(n + 1));
        assert_eq!(reader.up_to(n + 1).await, numbers(n + 1..=n + 1));
    }
    assert_eq!(rig.counters().reset, 1, "the session resumed");
}

#[tokio::test(start_paused = true)]
async fn ld_10_a_reset_is_a_mark_and_the_new_numbering_counts() {
    let rig = Rig::online(&["a:1"]).await;
    let mut reader = Reader::of(&rig);
    reader.until(TopicState::Following).await;
    rig.daemon.happens(said(1));
    assert_eq!(reader.up_to(1).await, numbers(1..=1));
    rig.daemon.state().forget_session();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.daemon.happens(said(2));
    reader.until(TopicState::Interrupted).await;
    let batch = reader.until(TopicState::Following).await;
    assert!(batch.missed, "{batch:?}");
    rig.daemon.happens(said(3));
    assert_eq!(reader.up_to(3).await, [None, Some(3)]);
    // The follow is lost, and the session is not: the daemon started again.
    rig.daemon.state().topic.followed_since = None;
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    rig.daemon.happens(said(4));
    assert!(reader.until(TopicState::Following).await.missed);
    rig.daemon.happens(said(5));
    assert_eq!(reader.up_to(5).await, [None, Some(5)]);
}

#[tokio::test(start_paused = true)]
async fn ld_10_a_slow_reader_gets_batches_and_is_told_what_it_missed() {
    let rig = Rig::online(&["a:1"]).await;
    let mut slow = Reader::of(&rig);
    let mut reader = Reader::of(&rig);
    slow.until(TopicState::Following).await;
    reader.until(TopicState::Following).await;
    for n in 1..=5_000 {
        rig.daemon.happens(said(n));
        if n % 100 == 0 {
            assert_eq!(reader.up_to(n).await, numbers(n - 99..=n));
        }
    }
    let mut batches = 0;
    while slow.told.last() != Some(&Some(5_000)) {
        let batch = slow.next().await;
        assert!(batch.events.len() <= 256);
        assert_eq!(batch.missed, batches == 0);
        batches += 1;
    }
    assert_eq!(slow.told.remove(0), None);
    assert_eq!(slow.told, numbers(905..=5_000));
}

#[tokio::test(start_paused = true)]
async fn ld_10_a_refusal_is_typed_and_a_new_subscription_asks_again() {
    let rig = Rig::online(&["a:1"]).await;
    let error = RpcError::new(RpcReason::NotGranted, "for owners");
    rig.daemon.state().errors.insert(name::LIVE_OPEN, error);
    let mut reader = Reader::of(&rig);
    let batch = reader.until(TopicState::Refused).await;
    let refused = LoadError::Rejected(RpcReason::NotGranted);
    assert_eq!(batch.status.error, Some(refused));
    rig.daemon.state().errors.clear();
    let mut other = Reader::of(&rig);
    other.until(TopicState::Following).await;
    reader.until(TopicState::Following).await;
    assert_eq!((reader.told, other.told), (Vec::new(), Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn ld_10_subscribers_share_a_follow_that_ends_after_the_last_of_them() {
    let rig = Rig::online(&["a:1"]).await;
    let (mut one, mut other) = (Reader::of(&rig), Reader::of(&rig));
    one.until(TopicState::Following).await;
    other.until(TopicState::Following).await;
    assert_eq!(rig.daemon.requests(name::LIVE_OPEN), 1);
    drop(one);
    rig.daemon.happens(said(1));
    assert_eq!(other.up_to(1).await, numbers(1..=1));
    assert_eq!(rig.daemon.requests(name::LIVE_CLOSE), 0);
    drop(other);
    eventually("closed", async || {
        rig.daemon.requests(name::LIVE_CLOSE) == 1
    })
    .await;
    Reader::of(&rig).until(TopicState::Following).await;
    assert_eq!(rig.daemon.requests(name::LIVE_OPEN), 2);
}

#[tokio::test(start_paused = true)]
async fn ld_10_what_cannot_be_followed_is_refused_before_anything_is_sent() {
    let rig = Rig::online(&["a:1"]).await;
    let subscribe =
        |name: &str, params: Value| rig.runtime.subscribe_topic(&server_id(), name, &params);
    let invalid = subscribe("No Name", json!({})).map(drop);
    assert!(matches!(invalid, Err(LiveError::Invalid(_))));
    let invalid = subscribe(NAME, json!({"of": "x".repeat(5_000)})).map(drop);
    assert!(matches!(invalid, Err(LiveError::Invalid(_))));
    let topics: Vec<_> = (0..64).map(|n| subscribe(NAME, json!({"of": n}))).collect();
    let mut over = subscribe(NAME, json!({})).unwrap();
    let ended = timeout(LONG, over.next()).await.unwrap();
    assert_eq!(ended, Err(LiveError::Host(ScreenError::TooMany(64))));
    let mut last = topics.into_iter().next_back().unwrap().unwrap();
    rig.runtime.close().await;
    let ended = async {
        loop {
            if let Err(error) = last.next().await {
                return error;
            }
        }
    };
    let ended = timeout(LONG, ended).await.unwrap();
    assert_eq!(ended, LiveError::Host(ScreenError::Gone));
    let closed = subscribe(NAME, json!({})).map(drop);
    assert_eq!(closed, Err(LiveError::Host(ScreenError::Closed)));
}
