//! A daemon with an author's service, `daemon/examples/voxel.rs`, over the local socket and from a
//! paired device: two scenarios that crashed this project's predecessor, and a thousand more (SV-4,
//! LS-20).

use std::{collections::BTreeSet, path::Path};

use bowline_local::{Client as Local, ClientOptions, Endpoint, NotificationEvent, Notifications};
use bowline_protocol::RpcReason;
use bowline_runtime::{HostState, Intent};
use bowline_testkit::world::{Client, DaemonOptions, DaemonProcess, quick_settings};
use futures_util::future::try_join_all;
use serde_json::{Map, Value, json};
use tempfile::TempDir;
use tokio::time::timeout;
use uuid::Uuid;

use crate::{
    Outcome, log,
    world::{LONG, seed},
};

/// A voxel daemon and one connection to its local socket.
struct Editor {
    daemon: DaemonProcess,
    local: Local,
    notifications: Notifications,
    root: TempDir,
}

impl Editor {
    async fn new() -> Result<Self, Box<dyn std::error::Error>> {
        log::keep();
        let root = tempfile::tempdir()?;
        let mut options = DaemonOptions::new(root.path().join("state"));
        options.program = "examples/voxel";
        let daemon = DaemonProcess::start(options).await?;
        let (local, notifications) = connect(&daemon).await?;
        Ok(Self {
            daemon,
            local,
            notifications,
            root,
        })
    }

    /// Kills it and starts it again.
    async fn kill(&mut self) -> Outcome {
        self.daemon.kill().await?;
        self.daemon.start_again().await?;
        (self.local, self.notifications) = connect(&self.daemon).await?;
        Ok(())
    }

    /// A device that has paired.
    async fn device(&self) -> Result<Client, Box<dyn std::error::Error>> {
        let mut client = Client::open(self.root.path().join("device"), quick_settings(seed()))?;
        client.pair(&self.daemon, &[self.daemon.address()]).await?;
        client.online().await?;
        Ok(client)
    }

    async fn create(&self, name: &str) -> Result<String, Box<dyn std::error::Error>> {
        let made: Value = self.intent("voxel.create_project", plan(name)).await?;
        Ok(text(&made["project"]))
    }

    /// A change through the local socket, under a fresh id.
    async fn intent(
        &self,
        method: &str,
        mut params: Value,
    ) -> Result<Value, bowline_local::CallError> {
        params["intentId"] = json!(Uuid::now_v7().to_string());
        self.local.call(method, &params).await
    }

    async fn layers(&self, project: &str) -> Result<Value, bowline_local::CallError> {
        let params = json!({"project": project});
        let list: Value = self.local.call("voxel.list_layers", &params).await?;
        Ok(list["layers"].clone())
    }
}

async fn connect(
    daemon: &DaemonProcess,
) -> Result<(Local, Notifications), Box<dyn std::error::Error>> {
    let status: Value = daemon.ask("status").await?;
    let endpoint = Endpoint::new(Path::new(status["socket"].as_str().unwrap_or_default()))?;
    Ok(Local::listen(&endpoint, ClientOptions::default()).await?)
}

fn plan(name: &str) -> Value {
    json!({"name": name, "size": [16, 16, 16]})
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// A change by the paired device.
fn custom(method: &str, params: Value) -> Intent {
    let Value::Object(params) = params else {
        panic!("parameters are an object");
    };
    Intent::Custom {
        method: method.to_owned(),
        params,
    }
}

#[tokio::test]
async fn ls_20_several_create_project_on_one_local_connection() -> Outcome {
    let editor = Editor::new().await?;
    let mut projects = BTreeSet::new();
    for n in 0..3 {
        projects.insert(editor.create(&format!("castle {n}")).await?);
    }
    assert_eq!(projects.len(), 3, "each is another one");
    // And many more: sequentially, then as many concurrent ones as the connection allows.
    for n in 0..200 {
        projects.insert(editor.create(&format!("in turn {n}")).await?);
    }
    let at_once = (0..800).map(|n| {
        let editor = &editor;
        async move { editor.create(&format!("at once {n}")).await }
    });
    projects.extend(try_join_all(at_once).await?);
    assert_eq!(projects.len(), 1_003, "every request was answered once");
    let row = &editor.daemon.ask::<Value>("connections").await?["connections"][0];
    assert_eq!(
        (&row["served"], &row["pending"]),
        (&json!(1_003), &json!(0)),
        "by one connection"
    );
    Ok(())
}

#[tokio::test]
async fn ls_20_create_project_then_list_layers_on_one_local_connection() -> Outcome {
    let editor = Editor::new().await?;
    let project = editor.create("castle").await?;
    assert_eq!(editor.layers(&project).await?, json!([]));
    // A thousand interleaved calls of different methods.
    let mixed = (0..250).map(|n| {
        let editor = &editor;
        async move {
            let project = editor.create(&format!("castle {n}")).await?;
            let layer = json!({"project": project, "layer": "walls"});
            editor.intent("voxel.add_layer", layer.clone()).await?;
            let layers = editor.layers(&project).await?;
            editor.intent("voxel.remove_layer", layer).await?;
            assert_eq!(layers, json!([{"name": "walls", "voxels": 0}]));
            Ok::<_, Box<dyn std::error::Error>>(())
        }
    });
    try_join_all(mixed).await?;
    let missing = editor.layers("none").await.expect_err("no such project");
    assert!(missing.to_string().contains("voxel.projects"), "{missing}");
    assert_eq!(editor.layers(&project).await?, json!([]), "and continues");
    Ok(())
}

#[tokio::test]
async fn ls_20_a_paired_device_does_the_same_a_thousand_times() -> Outcome {
    let editor = Editor::new().await?;
    let device = editor.device().await?;
    let mut submitted = Vec::new();
    for n in 0..500 {
        let name = format!("castle {n}");
        submitted.push(device.send(custom("voxel.create_project", plan(&name)))?);
    }
    let mut projects = BTreeSet::new();
    for one in submitted {
        let made = bowline_testkit::world::done(one, LONG).await?;
        projects.insert(text(&made["project"]));
    }
    assert_eq!(projects.len(), 500);
    for project in &projects {
        let params = json!({"project": project});
        let runtime = device.runtime();
        let list: Value = runtime
            .query(&device.server_id()?, "voxel.list_layers", &params)
            .await?;
        assert_eq!(list["layers"], json!([]));
        assert_eq!(editor.layers(project).await?, json!([]), "the owner's view");
    }
    Ok(())
}

#[tokio::test]
async fn bx_1_a_change_of_a_service_happens_once_even_across_kill_9() -> Outcome {
    let mut editor = Editor::new().await?;
    let mut once = plan("castle");
    once["intentId"] = json!(Uuid::now_v7().to_string());
    let made: Value = editor.local.call("voxel.create_project", &once).await?;
    let again: Value = editor.local.call("voxel.create_project", &once).await?;
    assert_eq!(made, again, "the stored outcome");
    let project = text(&made["project"]);
    let layer = json!({"project": project, "layer": "walls", "voxels": [[1, 2, 3, 4]]});
    editor.intent("voxel.add_layer", layer.clone()).await?;
    editor.intent("voxel.set_voxels", layer).await?;

    editor.kill().await?;
    let walls = json!([{"name": "walls", "voxels": 1}]);
    assert_eq!(editor.layers(&project).await?, walls, "durable");
    let again: Value = editor.local.call("voxel.create_project", &once).await?;
    assert_eq!(made, again, "and still once");
    once["name"] = json!("another");
    let error = editor
        .local
        .call::<Value>("voxel.create_project", &once)
        .await;
    match error.expect_err("another request under the same id") {
        bowline_local::CallError::Rpc(error) => {
            assert_eq!(error.reason(), Some(RpcReason::IntentConflict));
        }
        other => panic!("{other}"),
    }
    Ok(())
}

#[tokio::test]
async fn ld_2_changes_of_a_live_table_reach_those_who_follow() -> Outcome {
    let mut editor = Editor::new().await?;
    let device = editor.device().await?;
    let project = editor.create("castle").await?;
    let other = editor.create("cottage").await?;
    let of = json!({"kind": "table", "name": "voxel.projects", "params": {"project": project}});
    let opened: Value = editor.local.call("live.open", &of).await?;
    let mut row = json!({"key": project, "value": {"plan": plan("castle"), "layers": []}});
    assert_eq!(opened["rows"], json!([row]));
    for project in [&other, &project] {
        let layer = json!({"project": project, "layer": "walls"});
        device.run(custom("voxel.add_layer", layer)).await?;
    }
    let heard = timeout(LONG, editor.notifications.next()).await?;
    let Ok(NotificationEvent::Notification(heard)) = heard else {
        panic!("not a notification: {heard:?}");
    };
    row["value"]["layers"] = json!([{"name": "walls", "voxels": 0}]);
    let heard: Value = heard.params()?;
    assert!(heard["event"]["intentId"].is_string());
    assert_eq!(
        (&heard["seq"], &heard["event"]["upserts"]),
        (&json!(1), &json!([row])),
        "of what is followed, and of nothing else"
    );
    let _: Value = device
        .runtime()
        .query(&device.server_id()?, "live.open", &of)
        .await?;
    for n in 0..10 {
        let layer = json!({"project": project, "layer": format!("layer {n}")});
        device.run(custom("voxel.add_layer", layer)).await?;
    }
    let sessions: Value = editor.daemon.ask("sessions").await?;
    assert_eq!(
        sessions["sessions"][0]["nextSeq"], 11,
        "numbered like any event"
    );
    assert_eq!(device.online().await?.state, HostState::Online);
    Ok(())
}

#[tokio::test]
async fn an_exported_project_reads_back() -> Outcome {
    let editor = Editor::new().await?;
    let size = json!([4, 8, 255]);
    let project = json!({"name": "tower", "size": size});
    let made = editor.intent("voxel.create_project", project).await?;
    let project = text(&made["project"]);
    for (layer, voxels) in [
        (
            "stone",
            json!([
                [0, 0, 0, 0b1110_0000],
                [3, 7, 254, 0b0001_1100],
                [1, 1, 1, 9]
            ]),
        ),
        ("paint", json!([[0, 0, 0, 3], [2, 2, 2, 255]])),
        ("gone", json!([[3, 3, 3, 1]])),
    ] {
        let mut params = json!({"project": project, "layer": layer});
        editor.intent("voxel.add_layer", params.clone()).await?;
        params["voxels"] = voxels;
        editor.intent("voxel.set_voxels", params).await?;
    }
    let erase = json!({"project": project, "layer": "stone", "voxels": [[1, 1, 1, 0]]});
    editor.intent("voxel.set_voxels", erase).await?;
    let remove = json!({"project": project, "layer": "gone"});
    editor.intent("voxel.remove_layer", remove).await?;
    for outside in [[4, 0, 0, 1], [0, 8, 0, 1], [0, 0, 255, 1]] {
        let params = json!({"project": project, "layer": "stone", "voxels": [outside]});
        let refused = editor.intent("voxel.set_voxels", params).await;
        assert!(
            refused
                .expect_err("outside")
                .to_string()
                .contains("outside")
        );
    }

    let params = json!({"project": project});
    let exported: Value = editor.local.call("voxel.export", &params).await?;
    assert_eq!(exported["format"], "vox");
    let data = text(&exported["data"]);
    let model = Model::read(&data_encoding::BASE64.decode(data.as_bytes())?);
    assert_eq!(model.size, [4, 8, 255]);
    let voxels: Map<String, Value> = model
        .voxels
        .iter()
        .map(|[x, y, z, colour]| {
            let [r, g, b, a] = model.palette[usize::from(*colour) - 1];
            (
                format!("{x},{y},{z}"),
                json!([r > 200, g > 200, b > 200, a]),
            )
        })
        .collect();
    assert_eq!(
        Value::Object(voxels),
        json!({
            "0,0,0": [false, false, true, 255],
            "2,2,2": [true, true, true, 255],
            "3,7,254": [false, true, false, 255],
        }),
        "the later layer paints over, what was erased and removed is not there"
    );
    let device = editor.device().await?;
    let again: Value = device
        .runtime()
        .query(&device.server_id()?, "voxel.export", &params)
        .await?;
    assert_eq!(again, exported, "a paired device gets the same file");
    Ok(())
}

/// A `.vox` file, parsed strictly by the published description of the format.
#[derive(Default)]
struct Model {
    size: [u32; 3],
    voxels: Vec<[u8; 4]>,
    palette: Vec<[u8; 4]>,
}

impl Model {
    fn read(file: &[u8]) -> Self {
        let (head, rest) = file.split_at(8);
        assert_eq!(&head[..4], b"VOX ");
        assert_eq!(ints(&head[4..]), [150]);
        let (name, content, children, rest) = chunk(rest);
        assert_eq!((name, content.len(), rest.len()), (&b"MAIN"[..], 0, 0));
        let mut model = Self::default();
        let mut left = children;
        while !left.is_empty() {
            let (name, content, children, rest) = chunk(left);
            assert!(children.is_empty());
            match name {
                b"SIZE" => model.size = ints(content).try_into().expect("three sides"),
                b"XYZI" => {
                    model.voxels = content[4..].as_chunks().0.to_vec();
                    assert_eq!(
                        ints(&content[..4]),
                        [u32::try_from(model.voxels.len()).expect("few")]
                    );
                }
                b"RGBA" => model.palette = content.as_chunks().0.to_vec(),
                other => panic!("a chunk {other:?}"),
            }
            left = rest;
        }
        assert_eq!(model.palette.len(), 256);
        model
    }
}

fn ints(bytes: &[u8]) -> Vec<u32> {
    assert!(bytes.len().is_multiple_of(4));
    bytes
        .as_chunks()
        .0
        .iter()
        .map(|four| u32::from_le_bytes(*four))
        .collect()
}

/// Name, content, children, and the remaining bytes.
fn chunk(bytes: &[u8]) -> (&[u8], &[u8], &[u8], &[u8]) {
    let (head, rest) = bytes.split_at(12);
    let lengths = ints(&head[4..]);
    let (content, rest) = rest.split_at(lengths[0] as usize);
    let (children, rest) = rest.split_at(lengths[1] as usize);
    (&head[..4], content, children, rest)
}
