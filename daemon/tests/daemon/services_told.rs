//! What services take part in besides requests (LD-6): revocations, the lock, the end of the
//! daemon; and settings of their own in its file.

use std::{
    future::pending,
    path::Path,
    sync::{Arc, Mutex},
};

use bowline_daemon::{
    config::{Home, ProxyUrl, Section, Sections, Settings, Written, load},
    daemon::Daemon,
    ledger::{Ledger, Table, Tx},
    service::{Methods, Process, RevokedDevice, Service},
    setup::Services,
};
use bowline_protocol::{DeviceId, Reason, error::RpcError, methods::Empty};
use bowline_testkit::eventually;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::support::{TestDaemon, client::paired, local::Local};

const ENDED: Table<bool> = Table::new("jobs.ended");
const JOBS: Section<JobSettings> = Section::new("jobs").resolved(JobSettings::resolve);

/// `[jobs]` in the daemon's file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct JobSettings {
    most: u32,
    names: Vec<String>,
}

impl Default for JobSettings {
    fn default() -> Self {
        let names = vec!["job".to_owned()];
        Self { most: 4, names }
    }
}

impl JobSettings {
    fn resolve(self, settings: &Settings) -> Result<Self, String> {
        match self.most > settings.limits.max_in_flight {
            true => Err("`most` is above `limits.max_in_flight`".to_owned()),
            false => Ok(self),
        }
    }
}

/// What a service was told, in order.
#[derive(Clone, Default)]
struct Told(Arc<Mutex<Vec<String>>>);

impl Told {
    fn note(&self, what: impl Into<String>) {
        self.0.lock().unwrap().push(what.into());
    }

    fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

/// Works for devices, and stops when it is told to.
struct Jobs {
    told: Told,
    ledger: Ledger,
    settings: JobSettings,
}

impl Service for Jobs {
    fn methods(methods: &mut Methods<Self>) {
        methods.now("jobs.settings", |jobs: &Self, _: Empty| {
            Ok(jobs.settings.clone())
        });
    }

    fn keep_work_of(&self, tx: &mut Tx<'_>, device: &DeviceId) -> Result<(), RpcError> {
        self.told.note("kept");
        ENDED.put(tx, device.as_str(), &false)
    }

    async fn end_work_of(self: Arc<Self>, device: RevokedDevice) -> Result<u64, RpcError> {
        assert_eq!(device.device_id, DeviceId::of_public_key(&device.key));
        let devices = self.ledger.devices().await?;
        let is_out = devices
            .iter()
            .all(|one| one.device_id != device.device_id || one.revoked);
        self.told.note(format!("ended once revoked: {is_out}"));
        Ok(3)
    }

    async fn lock_changed(self: Arc<Self>, is_locked: bool) {
        struct Dropped(Told);

        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.note("dropped");
            }
        }

        self.told.note(format!("locked {is_locked}"));
        if is_locked {
            let _dropped = Dropped(self.told.clone());
            pending::<()>().await;
        }
    }

    async fn shutdown(self: Arc<Self>) {
        let stored = self.ledger.write(|tx| ENDED.put(tx, "all", &true)).await;
        self.told.note(format!("shut down {}", stored.is_ok()));
    }
}

/// Panics whatever it is told.
struct Clumsy;

impl Service for Clumsy {
    fn methods(_: &mut Methods<Self>) {}

    fn keep_work_of(&self, _: &mut Tx<'_>, _: &DeviceId) -> Result<(), RpcError> {
        panic!("keep");
    }

    // Without `async`: it panics before there is a future.
    fn end_work_of(
        self: Arc<Self>,
        _: RevokedDevice,
    ) -> impl Future<Output = Result<u64, RpcError>> + Send {
        if Arc::strong_count(&self) > 0 {
            panic!("revoked");
        }
        async { Ok(0) }
    }

    async fn lock_changed(self: Arc<Self>, _: bool) {
        panic!("lock");
    }

    async fn shutdown(self: Arc<Self>) {
        panic!("shutdown");
    }

    fn has_started(&self, _: &Process<'_>) -> Option<&'static str> {
        panic!("started");
    }
}

fn jobs(services: Services, told: &Told) -> Services {
    let told = told.clone();
    services.starting(async |setup| {
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(Jobs {
            settings: JobSettings::clone(&*setup.settings.section(&JOBS)?),
            ledger: setup.ledger,
            told,
        })
    })
}

async fn revoke(daemon: &TestDaemon, keep_turns: bool) -> Value {
    let (install, _client) = paired(daemon).await;
    let device = json!({"deviceId": install.device_id(), "keepTurns": keep_turns});
    let mut local = Local::connect(daemon).await;
    local.call("devices.revoke", device).await
}

#[tokio::test]
async fn ld_6_a_service_ends_the_work_of_a_revoked_device_and_says_how_much() {
    let told = Told::default();
    let daemon = TestDaemon::of(jobs(Services::none(), &told), |_| {}).await;
    assert_eq!(revoke(&daemon, false).await["result"]["turnsEnded"], 3);
    assert_eq!(revoke(&daemon, true).await["result"]["turnsEnded"], 0);
    assert_eq!(told.all(), ["ended once revoked: true", "kept"]);
}

#[tokio::test]
async fn ld_6_what_is_kept_is_kept_in_the_transaction_that_revokes_or_not_at_all() {
    let told = Told::default();
    let daemon = TestDaemon::of(jobs(Services::none(), &told), |_| {}).await;
    let (install, _client) = paired(&daemon).await;
    let id = install.device_id();
    let device = json!({"deviceId": id, "keepTurns": true});
    let mut local = Local::connect(&daemon).await;
    local.call("devices.revoke", device.clone()).await;
    assert_eq!(kept(&daemon, &id).await, Some(false));

    let daemon = daemon
        .again(jobs(Services::none(), &told).with(Clumsy))
        .await;
    let (install, mut client) = paired(&daemon).await;
    let id = install.device_id();
    let device = json!({"deviceId": id, "keepTurns": true});
    let mut local = Local::connect(&daemon).await;
    let answer = local.call("devices.revoke", device).await;
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(
        said.starts_with("the device is revoked, but what it asked for could not be kept"),
        "{said}"
    );
    assert_eq!(kept(&daemon, &id).await, None, "undone with the other");
    let ended = told.all().last().cloned();
    assert_eq!(ended.as_deref(), Some("ended once revoked: true"));
    let dismissed = client.dismissed().await;
    assert_eq!(dismissed.0.as_deref(), Some("device_revoked"));
    let devices = daemon.devices().await;
    assert!(devices.contains(&(id, true)), "{devices:?}");
    let audit = local.call("audit.list", json!({})).await;
    let entries = audit["result"]["entries"].as_array().unwrap().iter();
    let revoked = entries.filter(|entry| entry["event"] == "device_revoked");
    let kept: Vec<_> = revoked.map(|entry| &entry["detail"]["keptTurns"]).collect();
    assert_eq!(kept, [true, false]);
}

/// What the service has stored of a device.
async fn kept(daemon: &TestDaemon, id: &DeviceId) -> Option<bool> {
    let key = id.as_str().to_owned();
    let ledger = daemon.daemon.ledger();
    let read = ledger.read(move |reader| ENDED.get(reader, &key)).await;
    read.unwrap()
}

/// Ends its work when it is let.
struct Slow {
    told: Told,
    go: Arc<Notify>,
}

impl Service for Slow {
    fn methods(_: &mut Methods<Self>) {}

    async fn end_work_of(self: Arc<Self>, _: RevokedDevice) -> Result<u64, RpcError> {
        self.go.notified().await;
        self.told.note("ended");
        Ok(1)
    }
}

#[tokio::test]
async fn ld_6_a_service_that_ends_slowly_is_not_dropped_and_the_owner_is_told() {
    let (told, go) = (Told::default(), Arc::new(Notify::new()));
    let slow = Slow {
        told: told.clone(),
        go: Arc::clone(&go),
    };
    let daemon = TestDaemon::of(Services::none().with(slow), |_| {}).await;
    let answer = revoke(&daemon, false).await;
    assert_eq!(answer["error"]["data"]["reason"], "timeout", "{answer}");
    let said = answer["error"]["message"].as_str().unwrap();
    assert!(
        said.contains("revoked") && said.contains("goes on"),
        "{said}"
    );
    assert_eq!(told.all(), [""; 0]);
    go.notify_one();
    eventually("it ends", async || told.all() == ["ended"]).await;
}

#[tokio::test]
async fn ld_6_services_that_have_started_end_if_another_one_does_not_start() {
    let told = Told::default();
    let dir = tempfile::tempdir().unwrap();
    let services = jobs(Services::none(), &told).with(Clumsy);
    let services = services.starting(|_| async { Err::<Slow, _>("no licence") });
    let started = Daemon::start(Settings::for_state_dir(dir.path()), services).await;
    assert!(started.is_err());
    assert_eq!(told.all(), ["shut down true"]);
}

#[tokio::test]
async fn ld_6_a_service_follows_the_lock_and_what_is_outdated_is_dropped() {
    let told = Told::default();
    let services = jobs(Services::none().with(Clumsy), &told);
    let daemon = TestDaemon::of(services, |_| {}).await;
    let mut local = Local::connect(&daemon).await;
    for (method, says) in [
        ("daemon.lock", vec!["locked true"]),
        (
            "daemon.unlock",
            vec!["locked true", "dropped", "locked false"],
        ),
    ] {
        let answer = local.call(method, json!({})).await;
        assert_eq!(answer["result"]["changed"], true, "{answer}");
        eventually("the service is told", async || {
            let all = told.all();
            if all == says { Ok(()) } else { Err(all) }
        })
        .await;
    }
}

#[tokio::test]
async fn ld_6_a_service_ends_before_the_ledger_does() {
    let told = Told::default();
    let services = jobs(Services::none().with(Clumsy), &told);
    let daemon = TestDaemon::of(services, |_| {}).await;
    let daemon = daemon.again(Services::none()).await;
    assert_eq!(told.all(), ["shut down true"]);
    let ledger = daemon.daemon.ledger();
    let ended = ledger.read(|reader| ENDED.get(reader, "all")).await;
    assert_eq!(ended.unwrap(), Some(true));
}

#[tokio::test]
async fn ld_6_a_service_that_panics_when_told_stops_no_other_and_no_daemon() {
    let told = Told::default();
    let services = jobs(Services::none().with(Clumsy), &told);
    let daemon = TestDaemon::of(services, |_| {}).await;
    let (install, mut client) = paired(&daemon).await;
    let mut local = Local::connect(&daemon).await;
    // Whether a service has started this process cannot be told, but it is the daemon's own.
    let device = json!({"deviceId": install.device_id()});
    let revoked = local.call("devices.revoke", device).await;
    assert_eq!(revoked["error"]["code"], -32603, "{revoked}");
    assert_eq!(
        told.all(),
        ["ended once revoked: true"],
        "the other was told"
    );
    let dismissed = client.dismissed().await;
    assert_eq!(dismissed.0.as_deref(), Some("device_revoked"));
    assert!(local.is_served().await);
}

fn of_file(folder: &Path, text: &str, sections: &Sections) -> Result<Settings, String> {
    let file = folder.join("daemon.toml");
    std::fs::write(&file, text).unwrap();
    let written = Written {
        state_dir: Some(folder.to_owned()),
        ..Written::default()
    };
    let loaded = load(Home::of("jobs"), Some(file), written, sections);
    loaded.map_err(|error| error.to_string())
}

/// `[upstream]`, with a secret that is not shown.
#[derive(Default, Serialize, Deserialize)]
struct Upstream {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proxy: Option<ProxyUrl>,
    #[serde(default, skip_serializing)]
    token: String,
}

#[test]
fn ld_6_a_service_gets_secrets_that_the_check_of_the_file_does_not_show() {
    const UPSTREAM: Section<Upstream> = Section::new("upstream");
    const MOST: Section<Option<u32>> = Section::new("most");

    let folder = tempfile::tempdir().unwrap();
    let text =
        "most = 7\n[upstream]\nproxy = \"http://user:S3CRET@proxy:3128\"\ntoken = \"S3CRET\"\n";
    let sections = Sections::default().with(UPSTREAM).with(MOST);
    let settings = of_file(folder.path(), text, &sections).unwrap();
    let upstream = settings.section(&UPSTREAM).unwrap();
    let proxy = upstream.proxy.as_ref().unwrap();
    assert_eq!(proxy.reveal(), "http://user:S3CRET@proxy:3128");
    assert_eq!(upstream.token, "S3CRET");
    let shown = settings.to_toml().unwrap();
    assert!(
        shown.starts_with("most = 7\n") && shown.contains("[upstream]\nproxy"),
        "{shown}"
    );
    for shown in [shown, format!("{settings:?}")] {
        assert!(!shown.contains("S3CRET"), "{shown}");
    }
    assert_eq!(*settings.section(&MOST).unwrap(), Some(7));
    let without = of_file(folder.path(), "", &sections).unwrap();
    assert_eq!(*without.section(&MOST).unwrap(), None);
    // One key, two types: a defect of the program, and no panic.
    const OTHER: Section<u32> = Section::new("most");
    assert!(settings.section(&OTHER).is_err());
}

#[tokio::test]
async fn ld_6_a_service_has_settings_in_the_daemons_file() {
    let folder = tempfile::tempdir().unwrap();
    let sections = Sections::default().with(JOBS);
    let read = |text: &str| of_file(folder.path(), text, &sections);
    let error = |text: &str| read(text).unwrap_err();

    let text = "listen = [\"127.0.0.1:0\"]\n[jobs]\nmost = 7\n";
    let settings = read(text).unwrap();
    let again = read(&settings.to_toml().unwrap()).unwrap();
    let written = again.section(&JOBS).unwrap();
    assert_eq!(
        (written.most, &*written.names),
        (7, &["job".to_owned()][..])
    );
    let missing = read("").unwrap().section(&JOBS).unwrap();
    assert_eq!(*missing, JobSettings::default());

    for (text, says) in [
        (
            "[jobs]\nmost = 7\nnmaes = []\n",
            "daemon.toml:3: unknown field `nmaes`",
        ),
        (
            "\n[jobs]\nmost = \"7\"\n",
            "daemon.toml:3: `most`: invalid type",
        ),
        ("[jbos]\nmost = 7\n", "daemon.toml:1: unknown field `jbos`"),
        (
            "[jobs]\nmost = 257\n",
            "daemon.toml: `jobs`: `most` is above",
        ),
    ] {
        let error = error(text);
        assert!(error.contains(says), "{error}");
    }
    // A section that no service has is an unknown key, as ever.
    let unknown = of_file(folder.path(), text, &Sections::default()).unwrap_err();
    assert!(
        unknown.contains("daemon.toml:2: unknown field `jobs`"),
        "{unknown}"
    );

    let services = jobs(Services::none(), &Told::default());
    let daemon = Daemon::start(settings, services).await.unwrap();
    let mut local = Local::connect_to(daemon.socket()).await;
    let answer = local.call("jobs.settings", json!({})).await;
    assert_eq!(answer["result"], json!({"most": 7, "names": ["job"]}));
    daemon.shutdown(Reason::ShuttingDown).await;

    let mut settings = Settings::for_state_dir(folder.path());
    let too_many = JobSettings {
        most: 1_000,
        ..JobSettings::default()
    };
    assert!(settings.set_section(&JOBS, too_many).is_err());
}
