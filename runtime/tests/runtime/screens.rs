//! An agent's screen in every state of its host (UX-1 … UX-4): how the tests drive one, and what
//! every snapshot obeys.

mod agents;
mod connection;
mod messages;
mod reading;

use crate::rig::{LONG, Rig, agent, agent_id, is_ready, item, server_id};
use bowline_machines::{
    data::optimistic::IntentFailure,
    data::screen::{Connectivity, Creation, ErrorIndicator, Toast},
};
use bowline_protocol::{
    IntentId, ItemKind, Reason, RpcReason, SessionEvent, TimelineItem, error::RpcError,
    methods::name,
};
use bowline_runtime::{
    Beyond, Intent, Receipt, ScreenError, ScreenSnapshot, ScreenSubscription, ScreenTarget,
};
use bowline_testkit::eventually;
use std::{sync::Arc, time::Duration};
use tokio::time::{sleep, timeout};

pub(crate) fn open(rig: &Rig) -> ScreenSubscription {
    rig.runtime.agent_screen(&server_id(), agent_id(1)).unwrap()
}

/// Waits until the screen matches; every snapshot on the way must obey the rules.
pub(crate) async fn until(
    screen: &mut ScreenSubscription,
    what: &str,
    is: impl Fn(&ScreenSnapshot) -> bool,
) -> Arc<ScreenSnapshot> {
    let waiting = async {
        if let Some(now) = screen.current()
            && is(&now)
        {
            return now;
        }
        loop {
            let shown = screen.next().await.unwrap();
            obeys(&shown);
            if is(&shown) {
                return shown;
            }
        }
    };
    match timeout(LONG, waiting).await {
        Ok(shown) => shown,
        Err(_) => panic!("{what}: {:#?}", screen.current()),
    }
}

/// Rules for every snapshot, independent of history.
fn obeys(shown: &ScreenSnapshot) {
    let (screen, timeline) = (&shown.screen, &shown.timeline);
    assert!(!screen.overlay || (screen.toast.is_none() && !screen.placeholder));
    assert!(!screen.placeholder || !timeline.has_rows(), "{shown:#?}");
    assert!(!screen.overlay || !timeline.loaded, "{shown:#?}");
    let ours = timeline
        .items
        .iter()
        .filter(|item| item.kind == ItemKind::User);
    let ours: Vec<_> = ours.filter_map(|item| item.intent_id).collect();
    for message in timeline.pending.iter() {
        assert!(
            !ours.contains(&message.intent_id),
            "shown twice: {shown:#?}"
        );
    }
}

pub(crate) fn is_calm(shown: &ScreenSnapshot) -> bool {
    let screen = &shown.screen;
    !screen.overlay && screen.toast.is_none() && screen.error_indicator.is_none()
}

fn happens(rig: &Rig, index: u64, kind: ItemKind, text: &str) {
    tell(rig, item(index, kind, text));
}

fn tell(rig: &Rig, item: TimelineItem) {
    rig.daemon.happens(SessionEvent::TimelineAppended {
        agent_id: agent_id(1),
        item,
    });
}

/// The item that the daemon makes of a prompt.
pub(crate) fn tell_prompt(rig: &Rig, index: u64, text: &str, intent_id: IntentId) {
    let mut item = item(index, ItemKind::User, text);
    item.intent_id = Some(intent_id);
    tell(rig, item);
}

pub(crate) fn send(rig: &Rig, text: &str) -> Receipt {
    let intent = Intent::SendPrompt {
        agent_id: agent_id(1),
        text: text.into(),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}

fn texts(shown: &ScreenSnapshot) -> Vec<String> {
    let items = shown.timeline.items.iter().map(|item| item.text.clone());
    let pending = shown.timeline.pending.iter();
    items
        .chain(pending.map(|one| format!("({})", one.text)))
        .collect()
}

fn create(rig: &Rig) -> Receipt {
    let intent = Intent::CreateAgent {
        provider: "shell".into(),
        cwd: "/".into(),
        title: None,
        prompt: Some("begin".into()),
    };
    rig.runtime.send(&server_id(), intent).unwrap()
}
