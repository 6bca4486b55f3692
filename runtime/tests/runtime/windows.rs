//! A reader who scrolls through a growing timeline that is longer than a view.

use std::sync::Arc;

use bowline_protocol::{IntentId, ItemKind, Reason, SessionEvent, TimelineItem, methods::name};
use bowline_runtime::{Beyond, ScreenSnapshot, ScreenSubscription, TimelineUpdate, TimelineView};
use bowline_testkit::eventually;
use tokio::time::timeout;

use crate::{
    rig::{LONG, Rig, agent_id, item, server_id},
    screens::{is_calm, open, send, tell_prompt, until},
};

/// Maximum rows of a view: its limit and the slack before rows are dropped.
const MOST: usize = 10_000 + 256;

/// An app's list, built only from diffs.
struct Reader {
    screen: ScreenSubscription,
    last: Arc<ScreenSnapshot>,
    rows: Vec<Arc<TimelineItem>>,
}

impl Reader {
    async fn begin(rig: &Rig) -> Self {
        let mut screen = open(rig);
        let last = until(&mut screen, "loaded", is_calm).await;
        let rows = last.timeline.items.iter().cloned().collect();
        Self { screen, last, rows }
    }

    fn view(&self) -> &TimelineView {
        &self.last.timeline
    }

    /// Applies updates until the view matches. Rows are always contiguous and within the limit.
    async fn until(&mut self, what: &str, is: impl Fn(&TimelineView) -> bool) {
        while !is(&self.last.timeline) {
            let seen = self.last.rev;
            let shown = until(&mut self.screen, what, |shown| shown.rev > seen).await;
            assert!(shown.timeline.rev >= self.last.timeline.rev);
            let diff = shown.timeline.diff(Some(&self.last.timeline));
            let items = &diff.items;
            assert!(items.apply(&mut self.rows, |item, more| item.text.push_str(more)));
            assert!(self.rows.len() <= MOST, "{}", self.rows.len());
            assert!(!shown.screen.overlay && shown.screen.toast.is_none());
            self.last = shown;
        }
    }

    /// The rows match the daemon's items.
    fn check(&self, rig: &Rig) {
        let first = usize::try_from(self.view().items.first_index()).unwrap();
        let state = rig.daemon.state();
        let held = state.items[first..].iter().take(self.rows.len());
        assert!(self.rows.iter().map(|row| &**row).eq(held));
        assert!(self.rows.iter().eq(self.view().items.iter()));
    }

    async fn older(&mut self, rig: &Rig) {
        let before = self.view().items.first_index();
        rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
        self.until("older", |view| view.items.first_index() < before)
            .await;
        self.check(rig);
    }

    async fn newer(&mut self, rig: &Rig) {
        let before = self.view().items.end_index();
        rig.runtime.load_newer(&server_id(), &agent_id(1)).unwrap();
        self.until("newer", |view| view.items.end_index() > before)
            .await;
        self.check(rig);
    }
}

fn fill(rig: &Rig, count: u64) {
    let mut state = rig.daemon.state();
    let from = state.items.len() as u64;
    let kind = |index: u64| match index % 50 {
        49 => ItemKind::TurnEnd,
        _ => ItemKind::Output,
    };
    let new = (from..from + count).map(|index| item(index, kind(index), &index.to_string()));
    state.items.extend(new);
}

fn happens(rig: &Rig, text: &str) {
    let index = rig.daemon.state().items.len() as u64;
    rig.daemon.happens(SessionEvent::TimelineAppended {
        agent_id: agent_id(1),
        item: item(index, ItemKind::Output, text),
    });
}

fn grows(rig: &Rig, index: u64, text: &str) {
    rig.daemon.happens(SessionEvent::TimelineDelta {
        agent_id: agent_id(1),
        item_id: item(index, ItemKind::Output, "").id,
        index,
        text: text.into(),
    });
}

#[tokio::test(start_paused = true)]
async fn bx_2_a_reader_scrolls_over_a_timeline_longer_than_any_window_while_it_goes_on() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 12_340);
    let mut reader = Reader::begin(&rig).await;
    while reader.view().older != Beyond::None {
        assert_eq!(reader.view().older, Beyond::More, "never full");
        let first = reader.rows[0].index;
        happens(&rig, "live");
        reader.older(&rig).await;
        // Dropped rows were not near the reader.
        assert!(reader.rows.iter().any(|row| row.index == first));
    }
    assert_eq!(reader.rows[0].index, 0);
    assert_eq!(reader.view().newer, Beyond::More);
    let end = rig.daemon.state().items.len() as u64;
    // At the top, appended items move nothing.
    for _ in 0..1_000 {
        happens(&rig, "live");
    }
    reader.until("told", |view| view.end == end + 1_000).await;
    assert_eq!(
        (reader.rows[0].index, reader.view().newer),
        (0, Beyond::More)
    );
    reader.check(&rig);
    let mut pages = 0;
    while reader.view().newer != Beyond::None {
        happens(&rig, "live");
        reader.newer(&rig).await;
        pages += 1;
    }
    assert!(pages > 1, "{pages}");
    let end = rig.daemon.state().items.len() as u64;
    reader
        .until("the end", |view| view.items.end_index() == end)
        .await;
    // It follows new items again.
    happens(&rig, "after");
    reader
        .until("after", |view| view.items.end_index() == end + 1)
        .await;
    reader.check(&rig);
    assert!(reader.rows.len() <= MOST && reader.view().older == Beyond::More);
}

#[tokio::test(start_paused = true)]
async fn a_reader_far_up_jumps_to_the_newest_at_once_and_what_he_reads_grows() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 10_300);
    // The running turn has one long item.
    happens(&rig, "begun");
    let mut reader = Reader::begin(&rig).await;
    while reader.view().newer == Beyond::None {
        reader.older(&rig).await;
    }
    let last = reader.rows.last().unwrap().index;
    assert!(last < 10_300 && reader.rows[0].index > 0);
    grows(&rig, 10_300, ", ended");
    let asked = rig.daemon.requests(name::AGENTS_HISTORY);
    rig.runtime
        .jump_to_newest(&server_id(), &agent_id(1))
        .unwrap();
    reader
        .until("the end", |view| view.newer == Beyond::None)
        .await;
    reader.check(&rig);
    assert_eq!(reader.rows.last().unwrap().text, "begun, ended");
    assert_eq!(
        rig.daemon.requests(name::AGENTS_HISTORY),
        asked,
        "it is there"
    );
    assert_eq!(reader.view().older, Beyond::More);
    reader.older(&rig).await;
}

#[tokio::test(start_paused = true)]
async fn ux_3_a_message_from_far_up_leaves_when_it_arrived_at_the_end() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 10_300);
    let mut reader = Reader::begin(&rig).await;
    while reader.view().newer == Beyond::None {
        reader.older(&rig).await;
    }
    let sent: IntentId = send(&rig, "hello").id;
    reader
        .until("pending", |view| view.pending.len() == 1)
        .await;
    tell_prompt(&rig, 10_300, "hello", sent);
    reader
        .until("arrived", |view| view.pending.is_empty())
        .await;
    rig.runtime
        .jump_to_newest(&server_id(), &agent_id(1))
        .unwrap();
    reader
        .until("the end", |view| view.newer == Beyond::None)
        .await;
    assert_eq!(reader.rows.last().unwrap().text, "hello");
}

#[tokio::test(start_paused = true)]
async fn a_reader_far_up_stays_there_through_a_reconnect_and_a_reset() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 10_300);
    let mut reader = Reader::begin(&rig).await;
    while reader.view().newer == Beyond::None {
        reader.older(&rig).await;
    }
    let first = reader.rows[0].index;
    for forgets in [false, true] {
        if forgets {
            rig.daemon.state().forget_session();
            fill(&rig, 350);
        }
        happens(&rig, "meanwhile");
        rig.daemon.cut("a:1", Reason::ServerRestarting);
        let end = rig.daemon.state().items.len() as u64;
        let shown = until(&mut reader.screen, "back", |shown| {
            assert_eq!(shown.timeline.items.first_index(), first);
            is_calm(shown) && shown.timeline.end == end
        });
        assert_eq!(shown.await.timeline.newer, Beyond::More);
    }
    reader.last = reader.screen.current().unwrap();
    while reader.view().newer != Beyond::None {
        reader.newer(&rig).await;
    }
}

#[tokio::test(start_paused = true)]
async fn bx_2_a_follower_is_told_everything_while_a_reader_is_far_up() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 10_300);
    let stream = rig.runtime.timeline(&server_id(), &agent_id(1)).await;
    let mut stream = stream.unwrap().from_index(10_250);
    let mut next = async || {
        let update = timeout(LONG, stream.next()).await.unwrap();
        match update.unwrap().unwrap() {
            TimelineUpdate::Item(item) => item.index,
            other => panic!("{other:?}"),
        }
    };
    for index in 10_250..10_300 {
        assert_eq!(next().await, index);
    }
    let mut reader = Reader::begin(&rig).await;
    while reader.view().newer == Beyond::None {
        reader.older(&rig).await;
    }
    for index in 10_300..10_320 {
        happens(&rig, "live");
        assert_eq!(next().await, index);
    }
}

#[tokio::test(start_paused = true)]
async fn a_wish_for_older_items_outlives_the_load_before_it_and_the_connection() {
    let rig = Rig::online(&["a:1"]).await;
    fill(&rig, 500);
    let mut reader = Reader::begin(&rig).await;
    // Requested during a refresh.
    rig.daemon.state().forget_session();
    rig.daemon.state().mute.insert(name::AGENTS_HISTORY);
    let asked = rig.daemon.requests(name::AGENTS_HISTORY);
    rig.daemon.cut("a:1", Reason::ServerRestarting);
    eventually("asked", async || {
        rig.daemon.requests(name::AGENTS_HISTORY) > asked
    })
    .await;
    rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
    until(&mut reader.screen, "remembered", |shown| {
        shown.timeline.older == Beyond::Loading
    })
    .await;
    // The connection fails during the refresh, and again during the load of the older items.
    rig.daemon.state().mute.clear();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    let shown = until(&mut reader.screen, "older", |shown| {
        shown.timeline.items.first_index() == 300
    });
    assert_eq!(shown.await.timeline.older, Beyond::More);
    rig.daemon.state().mute.insert(name::AGENTS_HISTORY);
    let asked = rig.daemon.requests(name::AGENTS_HISTORY);
    rig.runtime.load_older(&server_id(), &agent_id(1)).unwrap();
    eventually("asked", async || {
        rig.daemon.requests(name::AGENTS_HISTORY) > asked
    })
    .await;
    rig.daemon.state().mute.clear();
    rig.daemon.cut("a:1", Reason::ConnectionLost);
    until(&mut reader.screen, "older", |shown| {
        shown.timeline.items.first_index() == 200
    })
    .await;
}
