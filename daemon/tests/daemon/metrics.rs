//! SV-5: what the daemon counts of itself, as `GET /metrics` shows it (docs/metrics.md).

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use bowline_testkit::eventually;
use serde_json::json;
use uuid::Uuid;

use crate::support::{
    TestDaemon,
    client::{Attempt, paired, raw_http},
    local::Local,
};

/// A page, read as strictly as the format is written: samples by name and labels.
struct Page {
    samples: BTreeMap<String, f64>,
    kinds: BTreeMap<String, String>,
}

impl Page {
    async fn get(daemon: &TestDaemon) -> Self {
        let address = daemon.daemon.metrics().expect("it is configured");
        let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        let answer = raw_http(address, request).await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let kind = "content-type: text/plain; version=0.0.4; charset=utf-8";
        assert!(head.to_lowercase().contains(kind), "{head}");
        Self::parse(body)
    }

    fn parse(body: &str) -> Self {
        let (mut samples, mut kinds) = (BTreeMap::new(), BTreeMap::new());
        assert!(body.ends_with('\n'));
        let mut current = String::new();
        for line in body.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                current = help.split_once(' ').unwrap().0.to_owned();
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert_eq!(name, current, "HELP and TYPE go together");
                let once = kinds.insert(name.to_owned(), kind.to_owned());
                assert_eq!(once, None, "{name} is described once");
            } else {
                let (name, value) = line.rsplit_once(' ').unwrap();
                let bare = name.split('{').next().unwrap();
                let suffixes = ["_bucket", "_sum", "_count"];
                let base = suffixes.iter().find_map(|s| bare.strip_suffix(s));
                assert!(
                    bare == current || (base == Some(&*current) && kinds[&current] == "histogram"),
                    "{line} under {current}"
                );
                assert!(bare.starts_with("bowline_"), "{line}");
                let once = samples.insert(name.to_owned(), value.parse::<f64>().unwrap());
                assert_eq!(once, None, "{name} is there once");
            }
        }
        Self { samples, kinds }
    }

    fn of(&self, name: &str) -> f64 {
        self.samples.get(name).copied().unwrap_or_default()
    }

    fn requests(&self, method: &str, outcome: &str) -> f64 {
        let labels = format!("method=\"{method}\",outcome=\"{outcome}\"");
        self.of(&format!("bowline_requests_total{{{labels}}}"))
    }
}

async fn daemon() -> TestDaemon {
    TestDaemon::with(|settings| settings.metrics = Some("127.0.0.1:0".parse().unwrap())).await
}

#[tokio::test]
async fn sv_5_requests_are_counted_by_method_and_outcome() {
    let daemon = TestDaemon::with(|settings| {
        settings.metrics = Some("127.0.0.1:0".parse().unwrap());
        settings.limits.request_timeout = Some(Duration::from_millis(500));
        settings.limits.max_in_flight = 2;
        settings.limits.max_message_bytes = 10_000;
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    let mut local = Local::connect(&daemon).await;
    for _ in 0..3 {
        local.call("test.echo", json!({})).await;
        client.call("test.echo", json!({})).await;
    }
    client.call("test.big", json!({"bytes": 20_000})).await;
    client.call("test.big", json!({"bytes": "many"})).await;
    client
        .call(
            "test.refuse",
            json!({"intentId": Uuid::now_v7().to_string()}),
        )
        .await;
    client.call("daemon.status", json!({})).await;
    for method in ["test.nothing", "test.\u{1}", "x"] {
        client.call(method, json!({})).await;
    }
    local.write("nonsense\n").await;
    local.line().await;
    local
        .write("[1,{\"jsonrpc\":\"2.0\",\"id\":1,\"method\":\"system.ping\"}]\n")
        .await;
    local.line().await;
    let slow = [
        client.ask("test.never", json!({})).await,
        client.ask("test.never", json!({})).await,
    ];
    client.call("test.never", json!({})).await;
    for id in slow {
        client.answer(id).await;
    }
    client.ask("test.never", json!({})).await;
    eventually("it has begun", async || {
        daemon.connections().iter().any(|row| row.pending > 0)
    })
    .await;
    drop(client);
    daemon.quiet().await;

    let page = Page::get(&daemon).await;
    for (method, outcome, count) in [
        ("test.echo", "ok", 6.0),
        ("test.big", "response_too_large", 1.0),
        ("test.big", "invalid_params", 1.0),
        ("test.refuse", "not_found", 1.0),
        ("daemon.status", "forbidden", 1.0),
        ("system.ping", "ok", 2.0),
        ("test.never", "timeout", 2.0),
        ("test.never", "overloaded", 1.0),
        ("test.never", "abandoned", 1.0),
        ("other", "method_not_found", 3.0),
        ("other", "parse_error", 1.0),
        ("other", "invalid_request", 1.0),
    ] {
        assert_eq!(page.requests(method, outcome), count, "{method} {outcome}");
    }
    let series = page
        .samples
        .keys()
        .filter(|name| name.contains("requests_total"));
    assert_eq!(series.count(), 12, "and nothing else");
    let timed = |what: &str| page.of(&format!("bowline_request_duration_seconds_{what}"));
    assert_eq!(timed("count{method=\"test.never\"}"), 2.0);
    assert!(timed("sum{method=\"test.never\"}") >= 1.0);
    assert_eq!(timed("bucket{method=\"test.never\",le=\"0.25\"}"), 0.0);
    assert_eq!(timed("bucket{method=\"test.never\",le=\"+Inf\"}"), 2.0);
    assert_eq!(timed("count{method=\"test.echo\"}"), 6.0);
}

#[tokio::test]
async fn sv_5_connections_sessions_and_bytes_are_shown() {
    let daemon = daemon().await;
    let (install, client) = paired(&daemon).await;
    let (_, other) = paired(&daemon).await;
    let _local = Local::connect(&daemon).await;
    drop(other);
    daemon.quiet_but(1).await;
    Attempt::new(&daemon, &crate::support::Install::new())
        .refused()
        .await;
    daemon.quiet_but(1).await;
    let page = Page::get(&daemon).await;
    let connections = |kind: &str, state: &str| {
        page.of(&format!(
            "bowline_connections{{kind=\"{kind}\",state=\"{state}\"}}"
        ))
    };
    assert_eq!(connections("session", "idle"), 1.0);
    assert_eq!(connections("local", "active"), 1.0);
    assert_eq!(page.of("bowline_sessions{state=\"attached\"}"), 1.0);
    assert_eq!(page.of("bowline_sessions{state=\"detached\"}"), 1.0);
    let opened = |path: &str| {
        page.of(&format!(
            "bowline_connections_opened_total{{path=\"{path}\"}}"
        ))
    };
    assert_eq!(
        (opened("direct"), opened("local")),
        (5.0, 1.0),
        "two of them paired"
    );
    let closed = |reason: &str| {
        page.of(&format!(
            "bowline_connections_closed_total{{reason=\"{reason}\"}}"
        ))
    };
    assert_eq!(closed("connection_lost"), 3.0, "two of them paired");
    assert_eq!(closed("device_unknown"), 1.0);
    let bytes = |what: &str| page.of(&format!("bowline_{what}_bytes_total{{path=\"direct\"}}"));
    let before = (bytes("received"), bytes("sent"));
    assert!(before.0 > 500.0 && before.1 > 500.0, "{before:?}");
    drop(client);
    daemon.quiet().await;
    let page = Page::get(&daemon).await;
    assert!(
        page.of("bowline_received_bytes_total{path=\"direct\"}") >= before.0,
        "a counter never goes back"
    );
    assert_eq!(page.kinds["bowline_received_bytes_total"], "counter");
    drop(install);
}

#[tokio::test]
async fn sv_5_the_ledger_is_shown() {
    let daemon = TestDaemon::with(|settings| {
        settings.metrics = Some("127.0.0.1:0".parse().unwrap());
        settings.limits.replay_events = 4;
    })
    .await;
    let (_, mut client) = paired(&daemon).await;
    for n in 0..10 {
        client.call("test.emit", json!({"bytes": 10})).await;
        assert_eq!(client.event().await["seq"], n + 1);
    }
    let id = Uuid::now_v7().to_string();
    let mut keep = json!({"intentId": id, "text": "one"});
    for _ in 0..3 {
        client.call("test.keep", keep.clone()).await;
    }
    keep["text"] = json!("other");
    client.call("test.keep", keep).await;
    let page = Page::get(&daemon).await;
    let intents =
        |outcome: &str| page.of(&format!("bowline_intents_total{{outcome=\"{outcome}\"}}"));
    assert_eq!(
        (intents("run"), intents("repeated"), intents("conflict")),
        (1.0, 2.0, 1.0)
    );
    assert_eq!(page.of("bowline_events_total"), 11.0);
    assert_eq!(
        page.of("bowline_replay_evicted_total"),
        7.0,
        "none was acknowledged"
    );
    let commits = page.of("bowline_commits_total");
    assert!(commits >= 12.0);
    assert_eq!(page.of("bowline_commit_jobs_count"), commits);
    assert_eq!(page.of("bowline_commit_jobs_bucket{le=\"+Inf\"}"), commits);
    assert!(page.of("bowline_commit_jobs_sum") >= commits);
    assert!(page.of("bowline_commit_duration_seconds_sum") > 0.0);
    assert_eq!(page.of("bowline_attaches_total"), 1.0);
    assert_eq!(
        page.of(&format!(
            "bowline_build_info{{version=\"{}\"}}",
            env!("CARGO_PKG_VERSION")
        )),
        1.0
    );
}

#[tokio::test]
async fn histograms_add_up_and_nothing_a_client_says_becomes_a_label() {
    let daemon = daemon().await;
    let (install, mut client) = paired(&daemon).await;
    let before: BTreeSet<_> = Page::get(&daemon).await.samples.into_keys().collect();
    for n in 0..200 {
        client.call(&format!("flood.method_{n}"), json!({})).await;
    }
    let page = Page::get(&daemon).await;
    let after: BTreeSet<_> = page.samples.keys().cloned().collect();
    let new: Vec<_> = after.difference(&before).collect();
    assert_eq!(
        new,
        ["bowline_requests_total{method=\"other\",outcome=\"method_not_found\"}"]
    );
    let device = install.device_id();
    let secrets = [
        install.session.external().as_str().to_owned(),
        device.as_str().to_owned(),
    ];
    for sample in &after {
        assert!(
            !secrets.iter().any(|secret| sample.contains(secret)),
            "{sample}"
        );
    }
    let mut last: BTreeMap<String, f64> = BTreeMap::new();
    for (name, kind) in &page.kinds {
        if kind != "histogram" {
            continue;
        }
        let buckets = page
            .samples
            .iter()
            .filter(|(sample, _)| sample.starts_with(&format!("{name}_bucket")));
        for (sample, value) in buckets {
            let series = sample.split("le=\"").next().unwrap().to_owned();
            let top = last.entry(series).or_default();
            *top = top.max(*value);
        }
        for (series, top) in &last {
            let count = series
                .replace("_bucket", "_count")
                .trim_end_matches(['{', ','])
                .to_owned();
            let count = if count.contains('{') {
                format!("{count}}}")
            } else {
                count
            };
            assert_eq!(page.of(&count), *top, "{series}");
        }
    }
    assert!(last.len() > 5);
}

#[tokio::test]
async fn metrics_are_off_unless_configured_and_are_all_the_endpoint_has() {
    let off = TestDaemon::start().await;
    assert_eq!(off.daemon.metrics(), None);
    let daemon = daemon().await;
    let address = daemon.daemon.metrics().unwrap();
    let ask = |line: &'static str| async move {
        let request = format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        raw_http(address, request.as_bytes()).await
    };
    assert!(ask("GET /").await.starts_with("HTTP/1.1 404"));
    assert!(ask("GET /v1/session").await.starts_with("HTTP/1.1 404"));
    assert!(ask("POST /metrics").await.starts_with("HTTP/1.1 405"));
    let head = ask("HEAD /metrics").await;
    assert!(
        head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"),
        "{head}"
    );
    let noise = raw_http(address, b"\x16\x03\x01 not http at all\r\n\r\n").await;
    assert!(noise.starts_with("HTTP/1.1 400"), "{noise}");
    // A session listener has no metrics.
    let said = raw_http(
        daemon.address(),
        b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n",
    );
    assert!(said.await.starts_with("HTTP/1.1 404"));
}
