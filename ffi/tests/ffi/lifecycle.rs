//! A runtime from its creation to its end: what calls say then, and why subscriptions end.

use std::sync::Arc;

use bowline_ffi::{
    Advice, BowlineError, BowlineRuntime, CallbackError, DirectoryListener, DirectoryUpdate,
    EndReason, Intent, Path, PlatformEvent, Probe, ScreenListener, ScreenTarget, ScreenUpdate,
};

use crate::common::{Heard, awaited, config, ended, listener, server_id, until, with_host};

struct Ignore;

impl DirectoryListener for Ignore {
    fn on_directory(&self, _: DirectoryUpdate) -> Result<(), CallbackError> {
        Ok(())
    }
}

impl ScreenListener for Ignore {
    fn on_screen(&self, _: ScreenUpdate) -> Result<(), CallbackError> {
        Ok(())
    }
}

const INTENT: &str = "018f0000-0000-7000-8000-000000000000";

fn cancel(agent_id: &str) -> Intent {
    Intent::Cancel {
        agent_id: agent_id.to_owned(),
    }
}

fn agent(agent_id: &str) -> ScreenTarget {
    ScreenTarget::Agent {
        agent_id: agent_id.to_owned(),
    }
}

/// Every call about one host that answers at once, by its name.
fn calls(runtime: &BowlineRuntime, host: &str) -> Vec<(&'static str, Result<(), BowlineError>)> {
    let host = || host.to_owned();
    let sent = runtime.send(host(), cancel("agt_1"));
    let result = runtime.intent_result(host(), INTENT.to_owned());
    let screen = runtime.subscribe_screen(host(), agent("agt_1"), Box::new(Ignore));
    vec![
        ("send", sent.map(drop)),
        ("load_older", runtime.load_older(host(), "agt_1".to_owned())),
        ("load_newer", runtime.load_newer(host(), "agt_1".to_owned())),
        (
            "jump_to_newest",
            runtime.jump_to_newest(host(), "agt_1".to_owned()),
        ),
        ("reload", runtime.reload(host(), "agt_1".to_owned())),
        ("dismiss", runtime.dismiss(host(), INTENT.to_owned())),
        ("select_path", runtime.select_path(host(), None)),
        ("intent_result", result.map(drop)),
        ("subscribe_screen", screen.map(drop)),
        (
            "providers",
            awaited("providers", runtime.providers(host())).0.map(drop),
        ),
    ]
}

#[test]
fn inv_9_identities_that_are_missing_are_typed_errors() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = BowlineRuntime::new(config(folder.path())).unwrap();
    let error = runtime.send(String::new(), cancel("a")).unwrap_err();
    assert!(
        matches!(error, BowlineError::InvalidIdentity { .. }),
        "{error}"
    );
    let error = runtime.send(server_id(), cancel("")).unwrap_err();
    assert!(
        matches!(error, BowlineError::InvalidIdentity { .. }),
        "{error}"
    );
    drop(runtime);
    std::fs::write(folder.path().join("profile.json"), "{}").unwrap();
    let error = BowlineRuntime::new(config(folder.path())).err().unwrap();
    assert!(
        matches!(error, BowlineError::CorruptStorage { .. }),
        "{error}"
    );
}

#[test]
fn every_call_about_a_host_that_is_not_known_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = BowlineRuntime::new(config(folder.path())).unwrap();
    for (call, answer) in calls(&runtime, &server_id()) {
        let error = answer.expect_err(call);
        assert!(
            matches!(error, BowlineError::UnknownHost { .. }),
            "{call}: {error}"
        );
        assert_eq!(error.advice(), Advice::PairAgain, "{call}");
    }
}

#[test]
fn a_path_that_the_host_does_not_have_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let probe = Probe {
        path: Path::Relay,
        address: "192.0.2.1:1".to_owned(),
        rtt_ms: None,
        error: None,
    };
    let error = runtime.select_path(server_id(), Some(probe)).unwrap_err();
    assert!(matches!(error, BowlineError::UnknownHost { .. }), "{error}");
    let none = runtime.intent_result(server_id(), INTENT.to_owned());
    assert_eq!(none.unwrap(), None, "nothing was sent");
}

#[test]
fn a_shutdown_ends_subscriptions_and_later_calls_say_closed() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let heard = Arc::new(Heard::default());
    let subscriptions = [
        runtime.subscribe_hosts(listener(&heard)).unwrap(),
        runtime.subscribe_directory(Box::new(Ignore)).unwrap(),
        runtime
            .subscribe_screen(server_id(), agent("agt_1"), Box::new(Ignore))
            .unwrap(),
    ];
    until("the first snapshot", || heard.calls() > 0);
    awaited("shutdown", runtime.shutdown()).0.unwrap();
    for subscription in &subscriptions {
        assert_eq!(ended(subscription), EndReason::RuntimeClosed);
    }
    let mut answers = calls(&runtime, &server_id());
    answers.push(("refresh", runtime.refresh()));
    answers.push((
        "platform_event",
        runtime.platform_event(PlatformEvent::Foreground),
    ));
    let hosts = runtime.subscribe_hosts(listener(&heard));
    answers.push(("subscribe_hosts", hosts.map(drop)));
    let directory = runtime.subscribe_directory(Box::new(Ignore));
    answers.push(("subscribe_directory", directory.map(drop)));
    answers.push(("resume", awaited("resume", runtime.resume()).0));
    let forgotten = awaited("forget_host", runtime.forget_host(server_id())).0;
    answers.push(("forget_host", forgotten.map(drop)));
    for (call, answer) in answers {
        let error = answer.expect_err(call);
        assert!(
            matches!(error, BowlineError::Closed { .. }),
            "{call}: {error}"
        );
        assert_eq!(error.advice(), Advice::Nothing, "{call}");
    }
    awaited("a second shutdown", runtime.shutdown()).0.unwrap();
}

#[test]
fn a_runtime_that_is_let_go_ends_its_subscriptions() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let hosts = runtime.subscribe_hosts(listener(&Arc::default())).unwrap();
    let screen = runtime
        .subscribe_screen(server_id(), agent("agt_1"), Box::new(Ignore))
        .unwrap();
    drop(runtime);
    assert_eq!(ended(&hosts), EndReason::RuntimeClosed);
    assert_eq!(ended(&screen), EndReason::RuntimeClosed);
}
