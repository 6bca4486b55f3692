//! A runtime from creation to shutdown: errors of calls and reasons of subscriptions.

use std::sync::{Arc, Mutex};

use bowline_ffi::{
    Advice, BowlineError, BowlineRuntime, CallbackError, DirectoryListener, DirectoryUpdate,
    EndReason, Intent, ItemsListener, LogUpdate, OfferHost, Path, PlatformEvent, Probe, Reach,
    ScreenListener, ScreenTarget, ScreenUpdate, TableListener, TableState, TableUpdate,
    TopicListener, TopicState, TopicUpdate,
};
use bowline_runtime::protocol::PublicKey;
use bowline_testkit::blocking::eventually;

use crate::common::{Received, awaited, config, ended, listener, server_id, with_host};

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

impl TableListener for Ignore {
    fn on_table(&self, _: TableUpdate) -> Result<(), CallbackError> {
        Ok(())
    }
}

impl ItemsListener for Ignore {
    fn on_items(&self, _: LogUpdate) -> Result<(), CallbackError> {
        Ok(())
    }
}

impl TopicListener for Ignore {
    fn on_topic(&self, _: TopicUpdate) -> Result<(), CallbackError> {
        Ok(())
    }
}

/// Keeps the last update.
struct LastTable(Arc<Mutex<Option<TableUpdate>>>);

impl TableListener for LastTable {
    fn on_table(&self, update: TableUpdate) -> Result<(), CallbackError> {
        *self.0.lock().unwrap() = Some(update);
        Ok(())
    }
}

/// Keeps the last update.
struct LastLog(Arc<Mutex<Option<LogUpdate>>>);

impl ItemsListener for LastLog {
    fn on_items(&self, update: LogUpdate) -> Result<(), CallbackError> {
        *self.0.lock().unwrap() = Some(update);
        Ok(())
    }
}

/// Keeps all updates.
struct Updates(Arc<Mutex<Vec<TopicUpdate>>>);

impl TopicListener for Updates {
    fn on_topic(&self, update: TopicUpdate) -> Result<(), CallbackError> {
        self.0.lock().unwrap().push(update);
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

/// Every synchronous call about one host, by its name.
fn calls(runtime: &BowlineRuntime, host: &str) -> Vec<(&'static str, Result<(), BowlineError>)> {
    let host = || host.to_owned();
    let sent = runtime.send(host(), cancel("agt_1"));
    let result = runtime.intent_result(host(), INTENT.to_owned());
    let screen = runtime.subscribe_screen(host(), agent("agt_1"), Box::new(Ignore));
    let (name, params) = (|| "voxel.layers".to_owned(), || "{}".to_owned());
    let table = runtime.subscribe_table(host(), name(), params(), Box::new(Ignore));
    let log = runtime.subscribe_log(host(), name(), params(), Box::new(Ignore));
    let topic = runtime.subscribe_topic(host(), name(), params(), Box::new(Ignore));
    vec![
        ("subscribe_table", table.map(drop)),
        ("subscribe_log", log.map(drop)),
        (
            "load_older_items",
            runtime.load_older_items(host(), name(), params()),
        ),
        ("refresh_log", runtime.refresh_log(host(), name(), params())),
        ("subscribe_topic", topic.map(drop)),
        (
            "load_more_rows",
            runtime.load_more_rows(host(), name(), params()),
        ),
        (
            "refresh_table",
            runtime.refresh_table(host(), name(), params()),
        ),
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
fn tr_14_an_offer_is_inspected_and_contacts_nobody() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = BowlineRuntime::new(config(folder.path())).unwrap();
    let watched = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    watched.set_nonblocking(true).unwrap();
    let here = watched.local_addr().unwrap();
    let server = server_id();
    let key = "A".repeat(43);
    let token = "A".repeat(22);
    let link = format!(
        "bowline://pair?v=1&s={server}&k={key}&t={token}&n=workshop&d={here}&r=wss://relay.example.org"
    );
    let offer = runtime.inspect_offer(link.clone()).unwrap();
    assert_eq!(
        (offer.server_id, offer.name),
        (server, "workshop".to_owned())
    );
    assert_eq!(offer.host, OfferHost::Unknown);
    let addresses: Vec<_> = offer
        .addresses
        .iter()
        .map(|offered| (offered.path, offered.address.clone(), offered.reach))
        .collect();
    assert_eq!(
        addresses,
        [
            (Path::Direct, here.to_string(), Reach::Loopback),
            (
                Path::Relay,
                "wss://relay.example.org".to_owned(),
                Reach::Public
            ),
        ]
    );
    let known = with_host(&folder.path().join("known")).unwrap();
    let name = "nobody".to_owned();
    let forged = known.inspect_offer(link.clone()).unwrap();
    assert_eq!(forged.host, OfferHost::OtherKey { name: name.clone() });
    let again = link.replace(&key, &PublicKey::from_bytes([7; 32]).to_string());
    let again = known.inspect_offer(again).unwrap();
    assert_eq!(again.host, OfferHost::Known { name });
    for wrong in [format!("{link}#x"), link.replace("workshop", "work%1Bshop")] {
        let error = runtime.inspect_offer(wrong).unwrap_err();
        assert!(
            matches!(error, BowlineError::InvalidOffer { .. }),
            "{error}"
        );
    }
    let called = watched.accept().unwrap_err().kind();
    assert_eq!(called, std::io::ErrorKind::WouldBlock, "nobody called");
}

#[cfg(unix)]
#[test]
fn tr_11_a_folder_that_others_may_write_to_is_a_typed_error() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let error = BowlineRuntime::new(config(folder.path())).err().unwrap();
    assert!(
        matches!(error, BowlineError::StorageNotPrivate { .. }),
        "{error}"
    );
    assert!(error.to_string().contains("chmod 700"), "{error}");
    assert_eq!(error.advice(), Advice::CheckStorage);
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

/// What follows nothing: a malformed name, and parameters that are no JSON object.
fn refuses_wrong_targets<T>(follow: impl Fn(&str, &str) -> Result<T, BowlineError>) {
    for (name, params) in [
        ("No Name", "{}"),
        ("voxel.notes", "{"),
        ("voxel.notes", "1"),
    ] {
        let error = follow(name, params).err().unwrap();
        assert!(
            matches!(error, BowlineError::InvalidQuery { .. }),
            "{error}"
        );
    }
}

#[test]
fn ld_2_a_table_of_a_host_that_is_away_says_so_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let last = Arc::new(Mutex::new(None));
    let follow = |name: &str, params: &str| {
        let listener = Box::new(LastTable(Arc::clone(&last)));
        runtime.subscribe_table(server_id(), name.to_owned(), params.to_owned(), listener)
    };
    let table = follow("voxel.layers", r#"{"project":"castle"}"#).unwrap();
    eventually("it failed", || {
        let last = last.lock().unwrap();
        let state = last
            .as_ref()
            .map(|update| (update.state, update.rows.len()));
        state == Some((TableState::Failed, 0))
    });
    assert!(last.lock().unwrap().as_ref().unwrap().error.is_some());
    table.cancel();
    assert_eq!(ended(&table), EndReason::Cancelled);
    refuses_wrong_targets(follow);
}

#[test]
fn ld_2_a_log_of_a_host_that_is_away_says_so_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let last = Arc::new(Mutex::new(None));
    let follow = |name: &str, params: &str| {
        let listener = Box::new(LastLog(Arc::clone(&last)));
        runtime.subscribe_log(server_id(), name.to_owned(), params.to_owned(), listener)
    };
    let log = follow("voxel.notes", r#"{"project":"castle"}"#).unwrap();
    eventually("it failed", || {
        let last = last.lock().unwrap();
        let state = last
            .as_ref()
            .map(|update| (update.state, update.rows.len()));
        state == Some((TableState::Failed, 0))
    });
    assert!(last.lock().unwrap().as_ref().unwrap().error.is_some());
    log.cancel();
    assert_eq!(ended(&log), EndReason::Cancelled);
    refuses_wrong_targets(follow);
}

#[test]
fn ld_10_a_topic_of_a_host_that_is_away_says_so_and_a_wrong_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let updates = Arc::new(Mutex::new(Vec::new()));
    let follow = |name: &str, params: &str| {
        let listener = Box::new(Updates(Arc::clone(&updates)));
        runtime.subscribe_topic(server_id(), name.to_owned(), params.to_owned(), listener)
    };
    let topic = follow("voxel.saved", r#"{"project":"castle"}"#).unwrap();
    eventually("it failed", || {
        let updates = updates.lock().unwrap();
        updates
            .last()
            .is_some_and(|last| last.state == TopicState::Failed)
    });
    for update in updates.lock().unwrap().iter() {
        assert_eq!((update.missed, update.events.len()), (false, 0));
        let has_failed = update.state == TopicState::Failed;
        assert_eq!(update.error.is_some(), has_failed);
    }
    topic.cancel();
    assert_eq!(ended(&topic), EndReason::Cancelled);
    refuses_wrong_targets(follow);
}

#[test]
fn a_shutdown_ends_subscriptions_and_later_calls_say_closed() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = with_host(folder.path()).unwrap();
    let heard = Arc::new(Received::default());
    let subscriptions = [
        runtime.subscribe_hosts(listener(&heard)).unwrap(),
        runtime.subscribe_directory(Box::new(Ignore)).unwrap(),
        runtime
            .subscribe_screen(server_id(), agent("agt_1"), Box::new(Ignore))
            .unwrap(),
        runtime
            .subscribe_table(
                server_id(),
                "voxel.layers".to_owned(),
                "{}".to_owned(),
                Box::new(Ignore),
            )
            .unwrap(),
        runtime
            .subscribe_topic(
                server_id(),
                "voxel.saved".to_owned(),
                "{}".to_owned(),
                Box::new(Ignore),
            )
            .unwrap(),
    ];
    eventually("the first snapshot", || heard.calls() > 0);
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
