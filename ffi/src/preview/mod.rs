//! Artificial hosts, tables, logs and an artificial agent for previews of views and tests of
//! bindings: no network and no storage; delivery to listeners is the real one.

mod live;
mod screen;

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bowline_runtime::{
    DirectoryState, DirectoryView, HostSnapshot, HostState, IntentsView, ItemList, LogView,
    ScreenSnapshot, Snapshot, TableView, TimelineView,
    machines::Path,
    protocol::{Grant, ItemId, ItemKind, ServerId, TimelineItem},
};
use tokio::{sync::watch, task::yield_now, time::sleep};

use crate::{
    dispatcher::on_dispatcher,
    engine::engine,
    error::BowlineError,
    listeners::{HostsListener, TimelineListener},
    sinks::{follow_hosts, follow_values, timeline_slot},
    subscription::Subscription,
};

pub use live::PreviewRow;
pub use screen::PreviewScreen;

/// Updates published between two checks of the pace.
const STEP: u32 = 100;

/// Hosts, tables, logs and an agent that a preview or a test controls.
#[derive(uniffi::Object)]
pub struct PreviewData {
    hosts: watch::Sender<Arc<Snapshot>>,
    timeline: watch::Sender<Arc<TimelineView>>,
    screen: watch::Sender<Arc<ScreenSnapshot>>,
    /// Also serialises updates: held while the next value is computed from the current one.
    lists: Mutex<Lists>,
}

/// What has a name or a state besides what is published.
#[derive(Default)]
struct Lists {
    tables: live::Shown<TableView>,
    logs: live::Shown<LogView>,
    moment: PreviewScreen,
}

#[uniffi::export]
impl PreviewData {
    /// Creates that number of hosts, all online, and a timeline of that number of items.
    #[uniffi::constructor]
    pub fn new(hosts: u32, items: u32) -> Arc<Self> {
        let hosts = (0..hosts).map(|n| Arc::new(made_up_host(n))).collect();
        let snapshot = Snapshot {
            rev: 1,
            hosts,
            pairings: Vec::new(),
        };
        let items: ItemList = (0..u64::from(items)).map(made_up_item).collect();
        let view = TimelineView {
            rev: 1,
            items,
            loaded: true,
            ..TimelineView::default()
        };
        let view = Arc::new(view);
        let screen = screen::made_up(PreviewScreen::Ready, Arc::clone(&view), 1);
        Arc::new(Self {
            hosts: watch::channel(Arc::new(snapshot)).0,
            timeline: watch::channel(view).0,
            screen: watch::channel(Arc::new(screen)).0,
            lists: Mutex::default(),
        })
    }

    /// Renames the first host: one change.
    pub fn rename_host(&self, name: String) {
        self.change(|_| {
            let now = Arc::clone(&self.hosts.borrow());
            let rev = now.rev + 1;
            let mut hosts = now.hosts.clone();
            if let Some(first) = hosts.first_mut() {
                let host = first.as_ref().clone();
                *first = Arc::new(HostSnapshot { rev, name, ..host });
            }
            self.hosts.send_replace(Arc::new(Snapshot {
                rev,
                hosts,
                pairings: Vec::new(),
            }));
        });
    }

    /// Adds an item to the timeline.
    pub fn append(&self, text: String) {
        self.change_timeline(|items| {
            let mut item = (*made_up_item(items.end_index())).clone();
            item.text = text;
            items.push(Arc::new(item));
        });
    }

    /// Adds text to the newest item of the timeline.
    pub fn grow(&self, text: String) {
        self.change_timeline(|items| {
            if let Some(last) = items.last() {
                let mut item = (**last).clone();
                item.text.push_str(&text);
                items.set(Arc::new(item));
            }
        });
    }

    /// Renames the first host `updates` times, at most `per_second` times a second; 0 means no
    /// limit. The last name is the number of updates. Returns the elapsed milliseconds.
    pub async fn burst(
        self: Arc<Self>,
        updates: u32,
        per_second: u32,
    ) -> Result<f64, BowlineError> {
        let published = on_dispatcher(engine()?, async move {
            let began = Instant::now();
            for n in 1..=updates {
                self.rename_host(n.to_string());
                if n % STEP == 0 {
                    if per_second == 0 {
                        // Even the shortest sleep takes a millisecond, which would dominate the
                        // time.
                        yield_now().await;
                    } else {
                        let due = began + Duration::from_secs(1) * n / per_second;
                        sleep(due.saturating_duration_since(Instant::now())).await;
                    }
                }
            }
            began.elapsed()
        });
        let took = published.await?;
        Ok(took.as_secs_f64() * 1_000.0)
    }

    /// Same contract as the method of the runtime.
    pub fn subscribe_hosts(
        &self,
        listener: Box<dyn HostsListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        follow_hosts(self.hosts.subscribe(), listener)
    }

    /// Same contract as the method of the runtime.
    pub fn subscribe_timeline(
        &self,
        listener: Box<dyn TimelineListener>,
    ) -> Result<Arc<Subscription>, BowlineError> {
        follow_values(timeline_slot(listener)?, self.timeline.subscribe())
    }
}

impl PreviewData {
    /// Changes something while no other change is computed.
    fn change<T>(&self, change: impl FnOnce(&mut Lists) -> T) -> T {
        change(&mut self.lists.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn change_timeline(&self, change: impl FnOnce(&mut ItemList)) {
        self.change(|lists| {
            let mut view = self.timeline.borrow().as_ref().clone();
            view.rev += 1;
            change(&mut view.items);
            self.timeline.send_replace(Arc::new(view));
            self.publish_screen(lists.moment);
        });
    }
}

fn made_up_host(n: u32) -> HostSnapshot {
    HostSnapshot {
        rev: 1,
        server_id: ServerId::of_public_key(&n.to_be_bytes()),
        name: format!("host {n}"),
        state: HostState::Online,
        path: Some(Path::Direct),
        address: Some(format!("192.0.2.{}:4717", n % 256)),
        grant: Some(Arc::new(Grant::OWNER)),
        last_paired: None,
        generation: 1,
        last_error: None,
        storage: None,
        rtt_ms: Some(1.0),
        probes: Vec::new(),
        directory: DirectoryView {
            state: DirectoryState::Ready,
            ..DirectoryView::default()
        },
        intents: IntentsView::default(),
    }
}

fn made_up_item(index: u64) -> Arc<TimelineItem> {
    let id = ItemId::from_uuid(uuid::Uuid::from_u64_pair(0, index));
    let mut item = TimelineItem::new(id, index, ItemKind::Message, 0);
    item.text = format!("item {index}");
    Arc::new(item)
}
