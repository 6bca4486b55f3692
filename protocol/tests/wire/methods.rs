//! Parameters and results of every method.

use bowline_protocol::{
    ProviderInfo,
    live::{After, CloseLive, LiveKind, LogPage, OpenLive, PageLive, Scope, TablePage},
    methods::{
        Ack, AgentCreated, AgentIntent, AgentRef, AgentsPage, CreateAgent, Empty, History,
        HistoryPage, ListAgents, Pong, PromptSent, Providers, Respond, SendPrompt, SystemInfo,
    },
};
use proptest::{collection::vec, option, prelude::*};
use serde::{Serialize, de::DeserializeOwned};

use crate::{arbitrary, fixture::Golden, samples};

#[test]
fn golden_methods() {
    let mut golden = Golden::new("methods.json");
    golden.value("system.ping params", &Empty {});
    golden.value(
        "system.ping result",
        &Pong {
            server_time: samples::AT,
        },
    );
    golden.value(
        "system.info result",
        &SystemInfo {
            server_id: samples::server(),
            name: "workshop".into(),
            version: "0.1.0".into(),
            uptime_ms: 12_345,
            capabilities: vec!["later".into()],
        },
    );
    golden.value(
        "providers.list result",
        &Providers {
            providers: vec![ProviderInfo {
                name: "shell".into(),
                kind: "command".into(),
                title: "Shell".into(),
            }],
        },
    );
    agents(&mut golden);
    timelines(&mut golden);
    live(&mut golden);
    golden.value("session.ack params", &Ack { seq: u64::MAX });
    golden.check();
}

fn agents(golden: &mut Golden) {
    golden.value("agents.list params", &ListAgents::default());
    golden.value(
        "agents.list params, a further page",
        &ListAgents {
            cursor: Some("c1".into()),
            limit: Some(50),
            newest_first: true,
        },
    );
    golden.value(
        "agents.list result",
        &AgentsPage {
            agents: vec![samples::agent(), samples::agent_wanting_attention()],
            next_cursor: Some("c2".into()),
            total: 3,
            seq: 17,
        },
    );
    golden.value(
        "agents.list result, the last page",
        &AgentsPage {
            agents: Vec::new(),
            next_cursor: None,
            total: 0,
            seq: 0,
        },
    );
    golden.value(
        "agents.create params",
        &CreateAgent {
            intent_id: samples::intent(),
            provider: "shell".into(),
            cwd: "/home/me".into(),
            title: Some("t".into()),
            prompt: Some("ls\n".into()),
        },
    );
    golden.value(
        "agents.create params, the fewest",
        &CreateAgent {
            intent_id: samples::intent(),
            provider: "shell".into(),
            cwd: "/".into(),
            title: None,
            prompt: None,
        },
    );
    golden.value(
        "agents.create result",
        &AgentCreated {
            agent: samples::agent(),
        },
    );
    golden.value(
        "agents.cancel and agents.archive params",
        &AgentIntent {
            intent_id: samples::intent(),
            agent_id: samples::agent_id(),
        },
    );
    golden.value("agents.cancel and agents.archive result", &Empty {});
    golden.value(
        "agents.respond params",
        &Respond {
            intent_id: samples::intent(),
            agent_id: samples::agent_id(),
            permission_id: samples::permission_id(),
            option_id: "allow".into(),
        },
    );
}

fn timelines(golden: &mut Golden) {
    golden.value(
        "agents.send params",
        &SendPrompt {
            intent_id: samples::intent(),
            agent_id: samples::agent_id(),
            text: "go on".into(),
        },
    );
    golden.value(
        "agents.send result",
        &PromptSent {
            item_id: samples::item_id(),
        },
    );
    let newest = History {
        agent_id: samples::agent_id(),
        before: None,
        after: None,
        limit: None,
    };
    golden.value("agents.history params", &newest);
    golden.value(
        "agents.history params, a page",
        &History {
            before: Some(40),
            after: Some(7),
            limit: Some(10),
            ..newest
        },
    );
    golden.value(
        "agents.history result",
        &HistoryPage {
            items: vec![
                samples::user_item(),
                samples::output_item(),
                samples::turn_end_item(),
            ],
            has_more: true,
            seq: 17,
        },
    );
    golden.value(
        "agents.subscribe and agents.unsubscribe params",
        &AgentRef {
            agent_id: samples::agent_id(),
        },
    );
}

fn live(golden: &mut Golden) {
    let (kind, name) = (LiveKind::Table, "voxel.layers".to_owned());
    let fewest = OpenLive {
        kind,
        name: name.clone(),
        params: None,
        after: None,
        before: None,
        limit: None,
        seq: None,
        follow: None,
    };
    golden.value("live.open params, the fewest", &fewest);
    let topic = OpenLive {
        kind: LiveKind::Topic,
        name: "voxel.saved".to_owned(),
        seq: Some(17),
        follow: Some(4_503_599_627_370_497),
        ..fewest.clone()
    };
    golden.value("live.open params, a topic", &topic);
    let log = OpenLive {
        kind: LiveKind::Log,
        name: "voxel.edits".to_owned(),
        before: Some(4_096),
        limit: Some(50),
        ..fewest.clone()
    };
    golden.value("live.open params, a log", &log);
    let params = Some(samples::json(r#"{"project":"castle"}"#));
    golden.value(
        "live.open params",
        &OpenLive {
            params: params.clone(),
            after: Some(After::Key("castle/moat".into())),
            limit: Some(50),
            seq: Some(17),
            follow: Some(4_503_599_627_370_497),
            ..fewest
        },
    );
    let page = TablePage {
        scope: samples::scope(),
        rows: vec![samples::row(), samples::omitted_row()],
        more: true,
        seq: 18,
        resumed: false,
        follow: None,
    };
    golden.value("live.open and live.page result", &page);
    golden.value(
        "live.open result, resumed",
        &TablePage {
            rows: Vec::new(),
            more: false,
            resumed: true,
            follow: Some(4_503_599_627_370_497),
            ..page
        },
    );
    let keys = PageLive {
        kind,
        name: name.clone(),
        params,
        after: None,
        before: None,
        keys: Some(vec!["castle/moat".into(), "castle/walls".into()]),
        indexes: None,
        limit: None,
    };
    golden.value("live.page params, rows by key", &keys);
    golden.value(
        "live.page params, a page",
        &PageLive {
            after: Some(After::Key("castle/walls".into())),
            keys: None,
            limit: Some(50),
            ..keys.clone()
        },
    );
    logs(golden, keys);
    let scope = samples::scope();
    let follow = None;
    let close = CloseLive {
        kind,
        name,
        scope,
        follow,
    };
    golden.value("live.close params", &close);
    let follow = Some(4_503_599_627_370_497);
    golden.value(
        "live.close params, of one follow",
        &CloseLive { follow, ..close },
    );
    golden.value("live.close result", &Empty {});
}

fn logs(golden: &mut Golden, table: PageLive) {
    let log = PageLive {
        kind: LiveKind::Log,
        name: "voxel.edits".to_owned(),
        keys: None,
        ..table
    };
    golden.value(
        "live.page params, items between two",
        &PageLive {
            after: Some(After::Index(4_000)),
            before: Some(4_096),
            ..log.clone()
        },
    );
    golden.value(
        "live.page params, items by index",
        &PageLive {
            indexes: Some(vec![4_095, 4_096]),
            ..log
        },
    );
    let page = LogPage {
        scope: Scope::row("castle").unwrap(),
        items: vec![samples::log_item(), samples::omitted_item()],
        more: true,
        first: 3_000,
        next: 4_097,
        seq: 18,
        resumed: false,
        follow: None,
    };
    golden.value("live.open and live.page result, a log", &page);
    golden.value(
        "live.open result, a resumed log",
        &LogPage {
            items: Vec::new(),
            more: false,
            resumed: true,
            follow: Some(4_503_599_627_370_497),
            ..page
        },
    );
}

fn survives<T>(value: &T) -> Result<(), TestCaseError>
where
    T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let json = serde_json::to_string(value).unwrap();
    prop_assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), value);
    Ok(())
}

proptest! {
    #[test]
    fn every_parameter_is_read_back_as_written(
        (intent_id, agent_id, permission_id) in
            (arbitrary::intent_id(), arbitrary::agent_id(), arbitrary::permission_id()),
        (provider, cwd, text) in (arbitrary::text(), arbitrary::text(), arbitrary::text()),
        (title, prompt, cursor) in
            (option::of(arbitrary::text()), option::of(arbitrary::text()), option::of(arbitrary::text())),
        (before, after, limit, seq) in (any::<Option<u64>>(), any::<Option<u64>>(), any::<Option<u32>>(), any::<u64>()),
        (name, key) in (arbitrary::text(), option::of(arbitrary::text())),
    ) {
        survives(&CreateAgent { intent_id, provider, cwd, title, prompt })?;
        survives(&SendPrompt { intent_id, agent_id: agent_id.clone(), text: text.clone() })?;
        survives(&AgentIntent { intent_id, agent_id: agent_id.clone() })?;
        survives(&Respond { intent_id, agent_id: agent_id.clone(), permission_id, option_id: text })?;
        survives(&AgentRef { agent_id: agent_id.clone() })?;
        survives(&History { agent_id, before, after, limit })?;
        survives(&ListAgents { cursor, limit, newest_first: seq % 2 == 0 })?;
        survives(&Ack { seq })?;
        let params = after.map(|n| samples::json(&n.to_string()));
        survives(&OpenLive {
            kind: LiveKind::Table, name: name.clone(), params: params.clone(), after: key.clone().map(After::Key), before: None, limit, seq: before, follow: before,
        })?;
        survives(&PageLive {
            kind: LiveKind::Table, name: name.clone(), params: params.clone(), after: key.clone().map(After::Key), before: None, keys: key.map(|it| vec![it]), indexes: None, limit,
        })?;
        survives(&PageLive {
            kind: LiveKind::Log, name: name.clone(), params, after: after.map(After::Index), before, keys: None, indexes: before.map(|it| vec![it]), limit,
        })?;
        survives(&CloseLive { kind: LiveKind::Table, name, scope: samples::scope(), follow: before })?;
    }

    #[test]
    fn every_result_is_read_back_as_written(
        (agents, items) in (vec(arbitrary::agent(), 0..3), vec(arbitrary::item(), 0..3)),
        (server_id, item_id, text) in (arbitrary::server_id(), arbitrary::item_id(), arbitrary::text()),
        (seq, server_time, has_more) in (any::<u64>(), any::<i64>(), any::<bool>()),
        next_cursor in option::of(arbitrary::text()),
        rows in vec(arbitrary::row(), 0..3),
        log_items in vec(arbitrary::log_item(), 0..3),
    ) {
        survives(&LogPage {
            scope: samples::scope(), items: log_items, more: has_more, first: seq / 2, next: seq, seq, resumed: !has_more, follow: next_cursor.is_some().then_some(seq),
        })?;
        survives(&TablePage { scope: samples::scope(), rows, more: has_more, seq, resumed: !has_more, follow: None })?;
        for agent in &agents {
            survives(&AgentCreated { agent: agent.clone() })?;
        }
        survives(&AgentsPage { agents, next_cursor, total: seq / 2, seq })?;
        survives(&HistoryPage { items, has_more, seq })?;
        survives(&PromptSent { item_id })?;
        survives(&Pong { server_time })?;
        survives(&Providers {
            providers: vec![ProviderInfo { name: text.clone(), kind: text.clone(), title: text.clone() }],
        })?;
        survives(&SystemInfo {
            server_id, name: text.clone(), version: text.clone(), uptime_ms: seq, capabilities: vec![text],
        })?;
    }
}

/// A misspelt or unknown parameter is an error instead of being ignored.
#[test]
fn unknown_parameters_are_errors() {
    fn refused<T: Serialize + DeserializeOwned>(value: &T) {
        let mut json = serde_json::to_value(value).unwrap();
        assert!(serde_json::from_value::<T>(json.clone()).is_ok());
        json["beforre"] = 1.into();
        assert!(serde_json::from_value::<T>(json).is_err());
    }
    let (intent_id, agent_id) = (samples::intent(), samples::agent_id());
    refused(&ListAgents::default());
    refused(&AgentRef {
        agent_id: agent_id.clone(),
    });
    refused(&CloseLive {
        kind: LiveKind::Table,
        name: "voxel.layers".into(),
        scope: samples::scope(),
        follow: None,
    });
    refused(&AgentIntent {
        intent_id,
        agent_id: agent_id.clone(),
    });
    refused(&SendPrompt {
        intent_id,
        agent_id: agent_id.clone(),
        text: String::new(),
    });
    refused(&History {
        agent_id,
        before: None,
        after: None,
        limit: None,
    });
}
