//! Services linked into a daemon: what they may be named, what becomes of their mistakes, how they
//! learn of ends.

use std::{
    future::pending,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bowline_daemon::{
    config::Settings,
    daemon::{Daemon, StartError},
    ledger::{Reader, Table, Tx},
    service::{Access, Cancellation, Methods, Request, Scope, Service},
    setup::Services,
};
use bowline_protocol::{
    Reason,
    error::RpcError,
    methods::{Empty, name},
};
use bowline_testkit::eventually;
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    TestDaemon,
    client::paired,
    live::{Board, ROWS},
    local::Local,
    within,
};

/// What a request has left behind tells when it is over.
type LeftBehind = Arc<Mutex<Option<Cancellation>>>;

/// Methods that go wrong, or leave work behind.
#[derive(Default)]
struct Odd {
    left_behind: LeftBehind,
}

#[derive(Deserialize, JsonSchema)]
struct Number {
    n: u64,
}

impl Service for Odd {
    fn methods(methods: &mut Methods<Self>) {
        methods.now("odd.now", |_, _: Empty| -> Result<Empty, _> {
            panic!("now")
        });
        methods.read(
            "odd.read",
            |_, _: &Reader<'_>, _: Empty| -> Result<Empty, _> { panic!("read") },
        );
        methods.intent(
            "odd.intent",
            |_, _: &mut Tx<'_>, _: Empty| -> Result<Empty, _> { panic!("intent") },
        );
        methods.method(
            "odd.method",
            async |_, _, _: Empty| -> Result<Empty, RpcError> { panic!("method") },
        );
        methods.method("odd.leave", Self::leave);
        methods.now("odd.double", |_, number: Number| Ok(number.n * 2));
        methods
            .now("odd.local", |_, _: Empty| Ok("for the owner"))
            .local_only();
    }
}

impl Odd {
    /// Hands work to somebody else and waits for it for ever.
    async fn leave(self: Arc<Self>, request: Request, _: Empty) -> Result<Empty, RpcError> {
        *self.left_behind.lock().unwrap() = Some(request.cancellation().clone());
        pending().await
    }
}

/// A daemon with the odd service.
async fn odd(tweak: impl FnOnce(&mut Settings)) -> (TestDaemon, LeftBehind) {
    let service = Odd::default();
    let left_behind = Arc::clone(&service.left_behind);
    let services = Services::none().with(service);
    (TestDaemon::of(services, tweak).await, left_behind)
}

#[tokio::test]
async fn a_panic_in_a_service_is_that_requests_failure_and_no_one_elses() {
    let (daemon, _) = odd(|_| {}).await;
    let (_, mut client) = paired(&daemon).await;
    for method in ["odd.now", "odd.read", "odd.intent", "odd.method"] {
        let params = json!({"intentId": uuid::Uuid::now_v7().to_string()});
        let answer = client.call(method, params).await;
        assert_eq!(answer["error"]["code"], -32603, "{method}: {answer}");
        assert!(client.is_served().await, "{method}");
    }
}

#[tokio::test]
async fn parameters_are_typed_and_mistakes_are_said() {
    let (daemon, _) = odd(|_| {}).await;
    let (_, mut client) = paired(&daemon).await;
    assert_eq!(
        client.call("odd.double", json!({"n": 21})).await["result"],
        42
    );
    assert_eq!(client.call("odd.double", json!([21])).await["result"], 42);
    for params in [json!({}), json!({"n": "x"}), json!([])] {
        let answer = client.call("odd.double", params).await;
        assert_eq!(answer["error"]["code"], -32602, "{answer}");
    }
    let answer = client.call("odd.intent", json!({})).await;
    assert_eq!(answer["error"]["code"], -32602);
    assert!(
        answer["error"]["message"]
            .as_str()
            .unwrap()
            .contains("intentId")
    );
}

#[tokio::test]
async fn work_left_behind_learns_of_the_deadline_and_of_the_connections_end() {
    let (daemon, left) = odd(|settings| {
        settings.limits.request_timeout = Some(Duration::from_millis(200));
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    let answer = client.call("odd.leave", json!({})).await;
    assert_eq!(answer["error"]["data"]["reason"], "timeout");
    let told = left.lock().unwrap().take().unwrap();
    within("the deadline", told.cancelled()).await;

    let (daemon, left) = odd(|_| {}).await;
    let (_, mut client) = paired(&daemon).await;
    client.ask("odd.leave", json!({})).await;
    assert!(client.is_served().await);
    let told = left.lock().unwrap().take().unwrap();
    assert!(!told.is_cancelled());
    drop(client);
    within("the end", told.cancelled()).await;
}

#[tokio::test]
async fn a_local_client_that_is_gone_has_its_requests_cancelled_and_one_that_listens_has_not() {
    let (daemon, left) = odd(|settings| settings.limits.request_timeout = None).await;
    // Killed, say: its socket is closed both ways.
    let mut local = Local::connect(&daemon).await;
    local.ask("odd.leave", json!({})).await;
    eventually("the request runs", async || left.lock().unwrap().is_some()).await;
    let told = left.lock().unwrap().take().unwrap();
    drop(local);
    within("the end", told.cancelled()).await;
    eventually("it is gone", async || daemon.connections().is_empty()).await;

    // Its input has ended, as that of `printf … | nc -N`, and only later is it gone.
    let mut local = Local::connect(&daemon).await;
    local.ask("odd.leave", json!({})).await;
    local.stop_writing().await;
    eventually("the request runs", async || left.lock().unwrap().is_some()).await;
    let told = left.lock().unwrap().take().unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!told.is_cancelled(), "it waits for its answer");
    drop(local);
    within("the sweep", told.cancelled()).await;
}

#[tokio::test]
async fn a_method_for_the_owner_is_not_for_devices() {
    let (daemon, _) = odd(|_| {}).await;
    let (_, mut client) = paired(&daemon).await;
    let answer = client.call("odd.local", json!({})).await;
    assert_eq!(answer["error"]["data"]["reason"], "forbidden");
    let mut local = Local::connect(&daemon).await;
    let answer = local.call("odd.local", json!({})).await;
    assert_eq!(answer["result"], "for the owner");
}

#[tokio::test]
async fn the_daemons_own_methods_are_for_whom_the_protocol_says() {
    let daemon = TestDaemon::start().await;
    let router = daemon.daemon.acceptor().router();
    let access = |wanted: Access| {
        let methods = router.methods().filter(|method| method.access() == wanted);
        let mut names: Vec<_> = methods.map(|method| method.name()).collect();
        names.retain(|name| !name.starts_with("test."));
        names.sort_unstable();
        names
    };
    assert_eq!(access(Access::Probes), [name::SYSTEM_PING], "INV-8");
    assert_eq!(
        access(Access::Local),
        [
            name::CONNECTIONS_LIST,
            name::DAEMON_STATUS,
            name::SESSIONS_LIST,
        ]
    );
    assert_eq!(
        access(Access::Owner),
        [
            name::AUDIT_LIST,
            name::DAEMON_LOCK,
            name::DAEMON_UNLOCK,
            name::DEVICES_LIST,
            name::DEVICES_REVOKE,
            name::DEVICES_SET,
            name::PAIRING_APPROVE,
            name::PAIRING_CANCEL,
            name::PAIRING_CREATE,
            name::PAIRING_LIST,
            name::PAIRING_REFUSE,
            name::PAIRING_WAIT,
        ]
    );
    assert_eq!(access(Access::Sessions).len(), 7, "and ten of agents");
}

/// A service of one method.
macro_rules! named {
    ($name:literal) => {{
        struct Named;
        impl Service for Named {
            fn methods(methods: &mut Methods<Self>) {
                methods.now($name, |_, _: Empty| Ok($name));
            }
        }
        Services::none().with(Named)
    }};
}

/// A service that follows another's table.
struct BoardsRows;

impl Service for BoardsRows {
    fn methods(methods: &mut Methods<Self>) {
        methods.table(&ROWS, |_: Empty| Ok(Scope::all()));
    }
}

/// A service of one live table.
macro_rules! following {
    ($name:literal) => {{
        struct Following;
        impl Service for Following {
            fn methods(methods: &mut Methods<Self>) {
                const TABLE: Table<Value> = Table::new($name);
                methods.table(&TABLE, |_: Empty| Ok(Scope::all()));
            }
        }
        Services::none().with(Following)
    }};
}

async fn start_with(services: Services) -> Result<(Daemon, TempDir), StartError> {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings::for_state_dir(dir.path());
    let daemon = Daemon::start(settings, services).await?;
    Ok((daemon, dir))
}

#[tokio::test]
async fn a_service_must_not_take_names_of_the_protocol_or_of_another() {
    for (services, says) in [
        (
            named!("agents.paint"),
            "`agents.paint` is in a group reserved for Bowline",
        ),
        (
            named!("system.ping"),
            "`system.ping` is in a group reserved for Bowline",
        ),
        (
            named!("rpc.discover"),
            "`rpc.discover` is in a group reserved for Bowline",
        ),
        (named!("paint"), "`paint` is not a method name"),
        (named!("Paint.it"), "`Paint.it` is not a method name"),
        (
            Services::none().with(Odd::default()).with(Odd::default()),
            "two services have the method `odd.now`",
        ),
        (
            following!("agents.rows"),
            "a live table, log or topic cannot be named `agents.rows`",
        ),
        (
            following!("rows"),
            "a live table, log or topic cannot be named `rows`",
        ),
        (
            Services::none().with(Board).with(BoardsRows),
            "two live tables, logs or topics are named `board.rows`",
        ),
    ] {
        let error = start_with(services).await.unwrap_err().to_string();
        assert!(error.starts_with(says), "{error}");
    }
}

#[tokio::test]
async fn a_service_starts_with_the_daemons_state_and_learns_of_its_end() {
    let over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&over);
    let services = Services::none().starting(|setup| async move {
        let sessions = setup.ledger.sessions().await?;
        assert!(sessions.is_empty() && setup.settings.state_dir.exists());
        assert!(setup.server_id.as_str().starts_with("srv_"));
        tokio::spawn(async move {
            setup.shutdown.cancelled().await;
            flag.store(true, Ordering::SeqCst);
        });
        Ok::<_, RpcError>(Odd::default())
    });
    let (daemon, _dir) = start_with(services).await.unwrap();
    assert!(!over.load(Ordering::SeqCst));
    daemon.shutdown(Reason::ShuttingDown).await;
    eventually("the service knows", async || over.load(Ordering::SeqCst)).await;

    let failing = Services::none().starting(|_| async { Err::<Odd, _>("no licence") });
    let error = start_with(failing).await.unwrap_err();
    assert_eq!(error.to_string(), "a service failed to start: no licence");
}

#[tokio::test]
async fn what_a_service_answers_is_bounded_like_everything() {
    let daemon = TestDaemon::with(|settings| settings.limits.max_message_bytes = 10_000).await;
    let mut local = Local::connect(&daemon).await;
    let answer: Value = local.call("test.big", json!({"bytes": 10_000})).await;
    assert_eq!(answer["error"]["data"]["reason"], "response_too_large");
}
