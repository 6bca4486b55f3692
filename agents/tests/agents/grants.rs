//! What a device may do with agents (TR-4), as devices see it on the wire.

use bowline_protocol::Role;
use serde_json::json;

#[cfg(unix)]
use crate::prompted::Prompted;
use crate::{
    prompted::{agent, daemon},
    support::{
        client::paired,
        grants::{intent, paired_with, reason},
        local::Local,
    },
};

#[tokio::test]
async fn tr_4_each_role_may_do_what_it_is_for_and_nothing_above() {
    let daemon = daemon().await;
    let mut local = Local::connect(&daemon).await;
    let dir = tempfile::tempdir().unwrap();
    let (_, mut owner) = paired(&daemon).await;
    assert_eq!(owner.welcome.grant.as_ref().unwrap().role, Role::Owner);
    let agent = agent(&mut owner, dir.path()).await;
    for (role, may) in [
        ("viewer", [true, false, false]),
        ("operator", [true, true, false]),
        ("owner", [true, true, true]),
    ] {
        let (_, _, mut client) = paired_with(&mut local, json!({"grant": {"role": role}})).await;
        assert_eq!(client.welcome.grant.as_ref().unwrap().role.as_str(), role);
        let listed = client.call("agents.list", json!({})).await;
        let followed = client
            .call("agents.subscribe", json!({"agentId": agent}))
            .await;
        assert_eq!(reason(&followed), "none");
        let sent = json!({"agentId": agent, "text": "true"});
        let sent = intent(&mut client, "agents.send", sent).await;
        let created = json!({"provider": "shell", "cwd": dir.path()});
        let created = intent(&mut client, "agents.create", created).await;
        let answers = [listed, sent, created];
        assert_eq!(
            answers.each_ref().map(|answer| reason(answer) == "none"),
            may,
            "{role}: {answers:?}"
        );
        let refused = answers.iter().filter(|answer| reason(answer) != "none");
        for answer in refused {
            assert_eq!(reason(answer), "not_granted");
            let said = answer["error"]["message"].as_str().unwrap();
            assert!(
                said.contains(role) && said.contains("devices set"),
                "{said}"
            );
        }
        // What belongs to the machine's owner is no device's.
        let listed = client.call("devices.list", json!({})).await;
        assert_eq!(reason(&listed), "forbidden");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn tr_4_a_grant_limits_providers_and_folders_wherever_links_lead() {
    let daemon = daemon().await;
    let mut local = Local::connect(&daemon).await;
    let dir = tempfile::tempdir().unwrap();
    let dir = std::fs::canonicalize(dir.path()).unwrap();
    let (src, other) = (dir.join("src"), dir.join("other"));
    for folder in [&src, &other] {
        std::fs::create_dir_all(folder).unwrap();
    }
    std::os::unix::fs::symlink(&other, src.join("link")).unwrap();
    let (_, mut owner) = paired(&daemon).await;
    let outside = agent(&mut owner, &other).await;

    let grant = json!({"grant": {"role": "owner", "roots": [src]}});
    let (_, _, mut client) = paired_with(&mut local, grant).await;
    for cwd in [other.clone(), src.join("link"), src.join("../other")] {
        let params = json!({"provider": "shell", "cwd": cwd});
        let refused = intent(&mut client, "agents.create", params).await;
        assert_eq!(reason(&refused), "not_granted", "{cwd:?}");
        let said = refused["error"]["message"].as_str().unwrap();
        assert!(said.contains(src.to_str().unwrap()), "{said}");
    }
    let send = |agent: &serde_json::Value| json!({"agentId": agent, "text": "true"});
    for method in ["agents.send", "agents.cancel", "agents.archive"] {
        let mut params = json!({"agentId": outside});
        if method == "agents.send" {
            params = send(&outside);
        }
        let refused = intent(&mut client, method, params).await;
        assert_eq!(reason(&refused), "not_granted", "{method}");
    }
    let own = agent(&mut client, &src).await;
    let sent = intent(&mut client, "agents.send", send(&own)).await;
    assert_eq!(reason(&sent), "none", "{sent}");

    let grant = json!({"grant": {"role": "owner", "providers": ["claude"]}});
    let (_, _, mut client) = paired_with(&mut local, grant).await;
    let params = json!({"provider": "shell", "cwd": src});
    let refused = intent(&mut client, "agents.create", params).await;
    assert_eq!(reason(&refused), "not_granted");
    let refused = intent(&mut client, "agents.send", send(&own)).await;
    assert_eq!(reason(&refused), "not_granted");
}

#[cfg(unix)]
#[tokio::test]
async fn tr_4_a_waiting_turn_of_a_device_that_may_no_longer_prompt_does_not_begin() {
    let daemon = daemon().await;
    let mut it = Prompted::start(&daemon, [Prompted::UNTIL_GO, "touch second"]).await;
    let set = json!({"deviceId": it.install.device_id(), "grant": {"role": "viewer"}});
    it.local.call("devices.set", set).await;
    it.go();
    assert_eq!(it.ends(2).await, ["completed", "cancelled"]);
    assert!(!it.did("second"));
}
