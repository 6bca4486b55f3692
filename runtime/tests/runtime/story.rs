//! One user's session recorded as screen content: `story.txt` beside this file is compared line by
//! line. `BOWLINE_UPDATE_SNAPSHOTS=1 cargo test -p bowline-runtime story` rewrites it for review of
//! the diff.

use std::{fmt::Write as _, path::Path, time::Duration};

use bowline_machines::data::screen::Toast;
use bowline_protocol::{ItemKind, Reason, RpcReason, error::RpcError, methods::name};
use bowline_runtime::{Intent, ScreenSnapshot, ScreenSubscription};
use bowline_testkit::eventually;

use crate::{
    rig::{Rig, agent, agent_id, direct, is_ready, item, server_id},
    screens::{is_calm, open, send, tell_prompt, until},
};

/// The recorded text.
#[derive(Default)]
struct Story {
    text: String,
    last: String,
}

impl Story {
    fn step(&mut self, what: &str) {
        let _ = writeln!(self.text, "\n{what}");
        self.last.clear();
    }

    /// Records every screen until one matches.
    async fn until(
        &mut self,
        screen: &mut ScreenSubscription,
        what: &str,
        is: impl Fn(&ScreenSnapshot) -> bool,
    ) {
        loop {
            let shown = until(screen, what, |shown| line(shown) != self.last).await;
            self.last = line(&shown);
            let _ = writeln!(self.text, "  {}", self.last);
            if is(&shown) {
                return;
            }
        }
    }
}

/// The visible content in one line.
fn line(shown: &ScreenSnapshot) -> String {
    let screen = &shown.screen;
    let mut line = String::new();
    if screen.overlay {
        line.push_str("[overlay] ");
    }
    match screen.toast {
        Some(Toast::Refreshing) => line.push_str("[refreshing] "),
        Some(Toast::Reconnecting) => line.push_str("[reconnecting] "),
        None => {}
    }
    if let Some(error) = screen.error_indicator {
        let _ = write!(line, "[error: {error:?}] ");
    }
    if screen.placeholder {
        line.push_str("\"start chatting\" ");
    }
    let timeline = &shown.timeline;
    for item in timeline.items.iter() {
        let _ = write!(line, "{} · ", item.text);
    }
    for message in timeline.pending.iter() {
        let mark = if message.delivered {
            "delivered"
        } else {
            "sending"
        };
        let _ = write!(line, "{} ({mark}) · ", message.text);
    }
    for message in timeline.failed.iter() {
        let _ = write!(line, "{} (failed) · ", message.text);
    }
    line.push_str(if screen.composer_enabled {
        "[composer]"
    } else {
        "[no composer]"
    });
    line
}

fn has(shown: &ScreenSnapshot, items: usize, pending: usize) -> bool {
    is_calm(shown) && shown.timeline.items.len() == items && shown.timeline.pending.len() == pending
}

#[tokio::test(start_paused = true)]
async fn ux_1_ux_2_ux_3_ux_4_a_session_of_a_user_is_as_written_down() {
    let mut story = Story::default();
    let mut rig = Rig::online(&["a:1", "b:2"]).await;
    rig.daemon
        .state()
        .items
        .push(item(0, ItemKind::Message, "hello"));
    rig.daemon
        .state()
        .delay
        .insert(name::AGENTS_HISTORY, Duration::from_millis(500));

    story.step("The user opens an agent for the first time.");
    let mut screen = open(&rig);
    story
        .until(&mut screen, "loaded", |shown| has(shown, 1, 0))
        .await;

    story.step("The user sends a prompt, and the daemon takes it.");
    rig.daemon
        .state()
        .delay
        .insert(name::AGENTS_SEND, Duration::from_millis(500));
    let sent = send(&rig, "list files");
    story
        .until(&mut screen, "pending", |shown| has(shown, 1, 1))
        .await;
    tell_prompt(&rig, 1, "list files", sent.id);
    story
        .until(&mut screen, "taken", |shown| has(shown, 2, 0))
        .await;
    sent.outcome().await.unwrap();

    story.step("The user sends another, which the daemon refuses, and dismisses it.");
    let error = RpcError::new(RpcReason::Unsupported, "archived");
    rig.daemon.state().errors.insert(name::AGENTS_SEND, error);
    let refused = send(&rig, "and more");
    story
        .until(&mut screen, "refused", |shown| {
            !shown.timeline.failed.is_empty()
        })
        .await;
    rig.daemon.state().errors.clear();
    rig.runtime.dismiss(&server_id(), refused.id).unwrap();
    story
        .until(&mut screen, "dismissed", |shown| {
            shown.timeline.failed.is_empty()
        })
        .await;

    story.step("The network goes away; the user writes all the same; it comes back.");
    let addresses = ["a:1", "b:2"];
    for address in addresses {
        rig.daemon
            .state()
            .refuse
            .insert(address.into(), Reason::ServerRestarting);
        rig.daemon.cut(address, Reason::ConnectionLost);
    }
    story
        .until(&mut screen, "away", |shown| shown.screen.toast.is_some())
        .await;
    let waiting = send(&rig, "still there?");
    story
        .until(&mut screen, "pending", |shown| {
            !shown.timeline.pending.is_empty()
        })
        .await;
    rig.daemon.state().refuse.clear();
    story.until(&mut screen, "back", is_calm).await;
    tell_prompt(&rig, 2, "still there?", waiting.id);
    story
        .until(&mut screen, "taken", |shown| has(shown, 3, 0))
        .await;

    story.step("The path is switched.");
    let host = rig.until("online", is_ready).await;
    let active = host.address.clone().unwrap();
    let other = if active == "a:1" { "b:2" } else { "a:1" };
    rig.runtime.select_path(&server_id(), Some(direct(other)));
    rig.until("switched", |host| host.address.as_deref() == Some(other))
        .await;
    tell_prompt(&rig, 3, "other path", waiting.id);
    story
        .until(&mut screen, "after", |shown| has(shown, 4, 0))
        .await;

    story.step("The daemon is restarted and has forgotten the session.");
    rig.daemon.state().forget_session();
    rig.daemon
        .state()
        .items
        .push(item(4, ItemKind::Message, "meanwhile"));
    for address in addresses {
        rig.daemon.cut(address, Reason::ServerRestarting);
    }
    story
        .until(&mut screen, "fresh", |shown| has(shown, 5, 0))
        .await;

    story.step("Refreshing fails: the content stays.");
    rig.daemon.state().forget_session();
    let overloaded = RpcError::new(RpcReason::Overloaded, "busy");
    rig.daemon
        .state()
        .errors
        .insert(name::AGENTS_HISTORY, overloaded);
    for address in addresses {
        rig.daemon.cut(address, Reason::ServerRestarting);
    }
    story
        .until(&mut screen, "failed", |shown| {
            shown.screen.error_indicator.is_some()
        })
        .await;
    rig.daemon.state().errors.clear();
    story.until(&mut screen, "fresh", is_calm).await;

    story.step("The user leaves the screen and opens it again.");
    drop(screen);
    eventually("unsubscribed", async || {
        rig.daemon.state().subscribed.is_empty()
    })
    .await;
    let mut screen = open(&rig);
    story.until(&mut screen, "again", is_calm).await;

    story.step("The app is started again with a prompt on its way: a first open.");
    rig.daemon.state().mute.insert(name::AGENTS_SEND);
    send(&rig, "good night");
    story
        .until(&mut screen, "pending", |shown| {
            !shown.timeline.pending.is_empty()
        })
        .await;
    rig.restart().await;
    rig.until("online", is_ready).await;
    let mut screen = open(&rig);
    story.until(&mut screen, "loaded", is_calm).await;

    story.step("The user creates an agent, which is refused.");
    let create = || {
        let intent = Intent::CreateAgent {
            provider: "shell".into(),
            cwd: "/".into(),
            title: None,
            prompt: Some("begin".into()),
        };
        rig.runtime.send(&server_id(), intent).unwrap()
    };
    let delay = (name::AGENTS_CREATE, Duration::from_millis(500));
    rig.daemon.state().delay.extend([delay]);
    let error = RpcError::new(RpcReason::NotFound, "no such provider");
    rig.daemon.state().errors.insert(name::AGENTS_CREATE, error);
    let refused = create();
    let mut made = rig.runtime.agent_screen(&server_id(), refused.id).unwrap();
    story
        .until(&mut made, "refused", |shown| {
            shown.creation_failed.is_some()
        })
        .await;

    story.step("The user creates another, which is there a moment later.");
    rig.daemon.state().errors.clear();
    rig.daemon.state().creates = Some(agent(2));
    let created = create();
    let mut first = item(0, ItemKind::User, "begin");
    first.intent_id = Some(created.id);
    rig.daemon.state().items = vec![first];
    let mut made = rig.runtime.agent_screen(&server_id(), created.id).unwrap();
    story
        .until(&mut made, "there", |shown| {
            shown.agent_id == Some(agent_id(2)) && is_calm(shown) && shown.timeline.loaded
        })
        .await;

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/runtime/story.txt");
    if std::env::var_os("BOWLINE_UPDATE_SNAPSHOTS").is_some() {
        std::fs::write(&path, &story.text).unwrap();
    }
    // Line ends of any checkout are accepted.
    let written = std::fs::read_to_string(&path)
        .unwrap_or_default()
        .replace("\r\n", "\n");
    assert!(
        written == story.text,
        "the session differs from {}; if that is intended, rewrite it with \
         BOWLINE_UPDATE_SNAPSHOTS=1:\n{}",
        path.display(),
        story.text
    );
}
