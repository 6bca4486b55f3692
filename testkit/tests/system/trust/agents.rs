//! TR-6: nothing is offered to devices that the owner did not ask for, and agents start only where
//! their provider allows it.

use std::{fs, os::unix::fs::symlink, path::Path};

use serde_json::{Value, json};

use crate::cases::rig::{Rig, SHELL, output};

/// Starts the daemon with these settings.
fn configure(rig: &mut Rig, toml: &str) {
    let file = rig.work().join("daemon.toml");
    fs::write(&file, toml).unwrap();
    rig.up(&["--config", file.to_str().unwrap()]);
}

fn create(rig: &Rig, provider: &str, cwd: &Path) -> Value {
    let params = json!({"intentId": "new", "provider": provider, "cwd": cwd});
    rig.rpc("agents.create", params)
}

/// The text of an error with this reason.
fn refused(answer: &Value, reason: &str) -> String {
    assert_eq!(answer["error"]["data"]["reason"], reason, "{answer}");
    answer["error"]["message"].as_str().unwrap().to_owned()
}

fn errors(items: &[Value]) -> String {
    let errors = items.iter().filter(|item| item["kind"] == "error");
    errors.filter_map(|item| item["text"].as_str()).collect()
}

#[test]
fn tr_6_the_shell_is_not_offered_beside_configured_providers() {
    let mut rig = Rig::new();
    rig.up(&[]);
    let agent = rig.agent("shell", "echo first");
    assert_eq!(output(&rig.turns(&agent, 1)), "first\n");
    assert_eq!(rig.stop(), 0);
    let cat = "[[provider]]\nname = \"cat\"\nkind = \"command\"\ncommand = [\"cat\"]\nprompt = \"stdin\"\n";
    configure(&mut rig, cat);
    let listed = rig.rpc("providers.list", json!({}));
    let names = listed["result"]["providers"].as_array().unwrap().iter();
    let names: Vec<_> = names.map(|provider| &provider["name"]).collect();
    assert_eq!(names, ["cat"]);
    let said = refused(&create(&rig, "shell", &rig.work()), "not_found");
    assert!(said.contains("`shell`") && said.contains("`cat`"), "{said}");
    // An agent from before gets no shell either.
    let marker = rig.work().join("ran");
    let prompt = format!("touch {}", marker.display());
    let params = json!({"intentId": "new", "agentId": agent, "text": prompt});
    rig.rpc("agents.send", params);
    let items = rig.turns(&agent, 2);
    assert!(errors(&items).contains("`cat`"), "{items:?}");
    assert!(!marker.exists());
    assert_eq!(rig.stop(), 0);
    configure(&mut rig, &[cat, SHELL].concat());
    let agent = rig.agent("shell", "echo asked for");
    assert_eq!(output(&rig.turns(&agent, 1)), "asked for\n");
}

#[test]
fn tr_6_an_agent_starts_only_in_the_roots_of_its_provider() {
    let mut rig = Rig::new();
    let work = rig.work();
    let at = |name: &str| work.join(name);
    for folder in ["root/in", "root/moves", "out"] {
        fs::create_dir_all(at(folder)).unwrap();
    }
    symlink(at("out"), at("root/leads-out")).unwrap();
    symlink(at("root/in"), at("leads-in")).unwrap();
    let (root, out, moves) = (at("root"), at("out"), at("root/moves"));
    let inside = ["root", "root/in", "leads-in", "root/in/../in"].map(at);
    let outside = [
        "out",
        "root/..",
        "root/leads-out",
        "root/in/../../out",
        "out/none",
    ]
    .map(at);
    let toml = format!(
        "{SHELL}roots = [\"{}\"]\n{}",
        root.display(),
        SHELL.replace("\"shell\"", "\"free\"")
    );
    configure(&mut rig, &toml);
    for folder in &inside {
        let created = create(&rig, "shell", folder);
        let agent = created["result"]["agent"]["id"].as_str();
        let agent = agent.unwrap_or_else(|| panic!("{created}"));
        let params = json!({"intentId": "new", "agentId": agent, "text": "pwd -P"});
        rig.rpc("agents.send", params);
        let said = output(&rig.turns(agent, 1));
        assert_eq!(Path::new(said.trim()), folder.canonicalize().unwrap());
    }
    for folder in outside {
        let said = refused(&create(&rig, "shell", &folder), "forbidden");
        assert!(said.contains(root.to_str().unwrap()), "{said}");
        if folder.is_dir() {
            assert!(create(&rig, "free", &folder)["result"].is_object());
        }
    }
    let missing = create(&rig, "shell", &root.join("none"));
    assert_eq!(missing["error"]["code"], -32602, "{missing}");

    // The folder becomes a link after the agent was created: each turn looks again.
    let created = create(&rig, "shell", &moves);
    let agent = created["result"]["agent"]["id"].as_str().unwrap();
    let prompt = json!({"intentId": "new", "agentId": agent, "text": "touch ran"});
    rig.rpc("agents.send", prompt.clone());
    rig.turns(agent, 1);
    assert!(moves.join("ran").exists());
    fs::remove_dir_all(&moves).unwrap();
    symlink(&out, &moves).unwrap();
    rig.rpc("agents.send", prompt);
    let items = rig.turns(agent, 2);
    let said = errors(&items);
    assert!(
        said.contains("outside") && said.contains(root.to_str().unwrap()),
        "{items:?}"
    );
    assert!(!out.join("ran").exists(), "nothing ran there");
}

#[test]
fn tr_6_roots_that_cannot_be_meant_stop_the_start() {
    let rig = Rig::new();
    let file = rig.work().join("daemon.toml");
    for (roots, says) in [
        ("[]", "empty list"),
        ("[\"src\"]", "`src`"),
        ("[\"~nobody/src\"]", "`~nobody/src`"),
    ] {
        fs::write(&file, format!("{SHELL}roots = {roots}\n")).unwrap();
        let config = file.to_str().unwrap();
        for command in [
            &["config", "check"][..],
            &["run", "--listen", "127.0.0.1:0"],
        ] {
            let ended = rig.bd(&[command, &["--config", config]].concat());
            assert_eq!(ended.code, 2, "{ended:?}");
            assert!(ended.stderr.contains(says), "{ended:?}");
        }
    }
    fs::write(&file, format!("{SHELL}roots = [\"~/src\", \"/srv\"]\n")).unwrap();
    let good = rig.bd(&["config", "check", "--config", file.to_str().unwrap()]);
    assert_eq!(good.code, 0, "{good:?}");
    assert!(good.stdout.contains("~/src"), "as written: {good:?}");
}
