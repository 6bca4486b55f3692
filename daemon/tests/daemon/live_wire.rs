//! Live tables on the wire: refusals, grants, the local socket, and a client written from the page
//! of the protocol alone that is cut off again and again.

use bowline_daemon::setup::Services;
use bowline_protocol::{Reason, SessionState, handshake::SessionWelcome};
use serde_json::{Value, json};

use crate::support::{
    Install, TestDaemon,
    client::{Attempt, Client, paired},
    grants::{intent, paired_with, reason},
    live::{Board, Shown},
    local::Local,
};

async fn board() -> TestDaemon {
    TestDaemon::of(Services::none().with(Board), |_| {}).await
}

fn of(name: &str, params: Value) -> Value {
    json!({"kind": "table", "name": name, "params": params})
}

async fn put(client: &mut Client, rows: Value) {
    let put = intent(client, "board.put", json!({"rows": rows})).await;
    assert_eq!(reason(&put), "none", "{put}");
}

#[tokio::test]
async fn ld_2_what_cannot_be_followed_is_refused_with_the_reason() {
    let daemon = board().await;
    let (_, mut client) = paired(&daemon).await;
    for (asked, code, says) in [
        (
            of("board.nothing", json!({})),
            -32001,
            "no table `board.nothing`",
        ),
        (of("board.put", json!({})), -32001, "no table"),
        (
            of("board.rows", json!({"over": 1})),
            -32602,
            "unknown field `over`",
        ),
        (of("board.rows", json!([1, 2, 3])), -32602, "`params`"),
        (of("board.rows", json!({"under": ""})), -32602, "empty name"),
        (of("board.rows", json!({"row": "x*"})), -32602, "asterisk"),
        (
            of("board.rows", json!({"row": "x".repeat(513)})),
            -32602,
            "512 bytes",
        ),
        (
            of("board.rows", json!({"row": "x".repeat(4_096)})),
            -32602,
            "at most 4096",
        ),
        (
            of("board.own", json!({"under": "panic"})),
            -32603,
            "panicked",
        ),
        (
            of("board.own", json!({"under": "x"})),
            -32008,
            "only rows of one's own",
        ),
        (
            json!({"kind": "table", "name": "board.rows", "seq": 1_000}),
            -32602,
            "`seq` is 1000",
        ),
        (
            json!({"kind": "log", "name": "board.rows"}),
            -32001,
            "no log `board.rows`",
        ),
        (
            json!({"kind": "blob", "name": "board.rows"}),
            -32602,
            "unknown variant `blob`",
        ),
        (
            json!({"kind": "table", "name": "board.rows", "keys": []}),
            -32602,
            "unknown field",
        ),
    ] {
        let answer = client.call("live.open", asked.clone()).await;
        assert_eq!(answer["error"]["code"], code, "{asked}: {answer}");
        let said = answer["error"]["message"].as_str().unwrap();
        assert!(said.contains(says), "{asked}: {said}");
    }
    // Nothing of it is followed, and the daemon goes on.
    let opened = client.call("live.open", of("board.own", json!({}))).await;
    let scope = opened["result"]["scope"].as_str().unwrap();
    assert!(
        scope.starts_with("dev_") && scope.ends_with("/*"),
        "{scope}"
    );
    put(&mut client, json!({"a": 1})).await;
    assert_eq!(client.next_kept_event(), None);
}

#[tokio::test]
async fn ld_2_tr_4_a_table_has_a_role_and_a_changed_grant_ends_following() {
    let daemon = board().await;
    let mut local = Local::connect(&daemon).await;
    let (_, mut writer) = paired(&daemon).await;
    let operator = json!({"grant": {"role": "operator"}});
    let (install, attempt, mut client) = paired_with(&mut local, operator).await;
    for name in ["board.rows", "board.own"] {
        let opened = client.call("live.open", of(name, json!({}))).await;
        assert_eq!(reason(&opened), "none", "{opened}");
    }
    put(&mut writer, json!({"a": 1})).await;
    assert_eq!(client.event().await["event"]["upserts"][0]["key"], "a");
    let session = client.welcome.session.clone().unwrap();

    let viewer = json!({"deviceId": install.device_id(), "grant": {"role": "viewer"}});
    let set = local.call("devices.set", viewer).await;
    assert_eq!(reason(&set), "none", "{set}");
    client.dismissed().await;
    put(&mut writer, json!({"a": 2})).await;
    let mut client = attempt.paired().resume(&session, 1).connect().await;
    put(&mut writer, json!({"a": 3})).await;
    let again = json!({"kind": "table", "name": "board.rows", "seq": 1});
    let opened = client.call("live.open", again).await;
    assert_eq!(opened["result"]["rows"], json!([{"key": "a", "value": 3}]));
    assert_eq!(client.next_kept_event(), None, "nothing was followed");
    let refused = client.call("live.open", of("board.own", json!({}))).await;
    assert_eq!(reason(&refused), "not_granted");
    let refused = client.call("live.page", of("board.own", json!({}))).await;
    assert_eq!(reason(&refused), "not_granted");

    local
        .call("devices.revoke", json!({"deviceId": install.device_id()}))
        .await;
    client.dismissed().await;
    let before = daemon.daemon.ledger().counters().events_serialised;
    put(&mut writer, json!({"a": 4})).await;
    assert_eq!(daemon.daemon.ledger().counters().events_serialised, before);
}

#[tokio::test]
async fn ld_2_a_probe_follows_nothing_and_a_script_on_the_local_socket_may() {
    let daemon = board().await;
    let (install, mut client) = paired(&daemon).await;
    let mut probe = Attempt::new(&daemon, &install).probe().connect().await;
    let refused = probe.call("live.open", of("board.rows", json!({}))).await;
    assert_eq!(reason(&refused), "forbidden");
    let mut local = Local::connect(&daemon).await;
    let opened = local.call("live.open", of("board.rows", json!({}))).await;
    assert_eq!(opened["result"]["scope"], "*");
    let own = local.call("live.open", of("board.own", json!({}))).await;
    assert_eq!(own["result"]["scope"], "local/*");
    put(&mut client, json!({"a": [1, 2]})).await;
    let event = local.line().await.unwrap();
    assert_eq!(event["method"], "session.event");
    assert_eq!(
        event["params"]["event"]["upserts"][0]["value"],
        json!([1, 2])
    );
}

/// What an app keeps: its identity, its cursor, and the rows that it shows.
struct Follower {
    attempt: Attempt,
    client: Client,
    session: SessionWelcome,
    last_seq: u64,
    shown: Shown,
    /// How often rows were kept over a cut, and how often loaded again.
    kept: (u32, u32),
}

impl Follower {
    async fn start(daemon: &TestDaemon, install: &Install, mut client: Client) -> Self {
        let session = client.welcome.session.clone().unwrap();
        let opened = client
            .call("live.open", of("board.rows", json!({"under": "a"})))
            .await;
        Self {
            attempt: Attempt::new(daemon, install),
            last_seq: session.next_seq - 1,
            session,
            client,
            shown: Shown::opened(&opened["result"]),
            kept: (0, 0),
        }
    }

    fn take(&mut self, event: &Value) {
        let seq = event["seq"].as_u64().unwrap();
        if seq > self.last_seq {
            assert_eq!(seq, self.last_seq + 1, "a gap");
            self.last_seq = seq;
            self.shown.event(seq, &event["event"]);
        }
    }

    /// The connection is lost with whatever was in it, and the app comes back at its cursor.
    async fn cut(&mut self) {
        let attempt = self.attempt.clone().resume(&self.session, self.last_seq);
        self.client = attempt.connect().await;
        let welcome = self.client.welcome.session.clone().unwrap();
        let mut open = of("board.rows", json!({"under": "a"}));
        match welcome.state {
            SessionState::Resumed => open["seq"] = json!(self.last_seq),
            SessionState::New | SessionState::Reset => self.last_seq = welcome.next_seq - 1,
        }
        self.session = welcome;
        let opened = self.client.call("live.open", open).await["result"].take();
        if opened["resumed"] == true {
            self.kept.0 += 1;
        } else {
            self.shown = Shown::opened(&opened);
            self.kept.1 += 1;
        }
    }

    /// Applies what is there up to an event, and fetches what was only named.
    async fn catch_up(&mut self) {
        let mut rows = serde_json::Map::new();
        let seq = loop {
            let mut page = of("board.rows", json!({"under": "a"}));
            page["after"] = rows.keys().next_back().map_or(json!(""), |key| json!(key));
            let page = self.client.call("live.page", page).await["result"].take();
            for row in page["rows"].as_array().unwrap() {
                rows.insert(
                    row["key"].as_str().unwrap().to_owned(),
                    row["value"].clone(),
                );
            }
            if page["more"] == false {
                break page["seq"].as_u64().unwrap();
            }
        };
        while self.last_seq < seq {
            let event = self.client.event().await;
            self.take(&event);
        }
        let keys = std::mem::take(&mut self.shown.stale);
        for key in keys {
            let mut page = of("board.rows", json!({"under": "a"}));
            page["keys"] = json!([key]);
            let page = self.client.call("live.page", page).await;
            self.shown.fetched(&[key].into(), &page["result"]);
        }
        assert!(
            self.shown.rows() == Value::Object(rows),
            "other rows are shown"
        );
    }
}

#[tokio::test]
async fn ld_2_a_client_written_from_the_page_shows_the_rows_of_the_daemon_over_many_cuts() {
    let daemon = board().await;
    let (install, client) = paired(&daemon).await;
    let (_, mut writer) = paired(&daemon).await;
    let mut follower = Follower::start(&daemon, &install, client).await;
    for round in 0..24_u32 {
        for n in 0..6 {
            let key = format!("a/{}", (round * 5 + n * 3) % 11);
            let value = match n % 3 {
                0 => Value::Null,
                1 => json!({"round": round, "n": n}),
                _ if round % 7 == 3 => json!("x".repeat(70_000)),
                _ => json!(round),
            };
            put(&mut writer, json!({key: value, format!("b/{n}"): round})).await;
            if round % 3 == 1 && n == 3 {
                follower.cut().await;
            }
        }
        if round % 4 == 2 {
            follower.cut().await;
        }
        follower.catch_up().await;
    }
    assert_eq!(follower.kept, (14, 0));

    // The same over a loss of the cursor.
    follower.attempt.hello.resume = None;
    let mut session = follower.session.clone();
    session.stamp = None;
    follower.session = session;
    put(&mut writer, json!({"a/1": "unseen"})).await;
    follower.cut().await;
    follower.catch_up().await;
    assert_eq!(follower.kept, (14, 1));
    daemon.stop(Reason::ShuttingDown).await;
}
