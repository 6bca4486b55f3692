//! The voxel service by itself, over its local socket, and what it says that it offers.

#![allow(clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::path::Path;

use bowline_local::{Client, ClientOptions, Endpoint};
use bowline_testkit::world::{DaemonOptions, DaemonProcess};
use serde_json::{Value, json};
use tempfile::TempDir;
use uuid::Uuid;

type Result<T = ()> = std::result::Result<T, Box<dyn std::error::Error>>;

/// The service's daemon, and a connection to it.
struct World {
    _daemon: DaemonProcess,
    local: Client,
    _folder: TempDir,
}

impl World {
    async fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut options = DaemonOptions::new(folder.path().join("daemon"));
        options.program = "voxel-daemon";
        let daemon = DaemonProcess::start(options).await?;
        let status: Value = daemon.ask("status").await?;
        let endpoint = Endpoint::new(Path::new(status["socket"].as_str().unwrap_or_default()))?;
        let (local, _) = Client::listen(&endpoint, ClientOptions::default()).await?;
        Ok(Self {
            _daemon: daemon,
            local,
            _folder: folder,
        })
    }

    async fn ask(&self, method: &str, params: Value) -> Result<Value> {
        Ok(self.local.call(method, &params).await?)
    }

    async fn intent(&self, method: &str, mut params: Value) -> Result<Value> {
        params["intentId"] = json!(Uuid::now_v7().to_string());
        self.ask(method, params).await
    }

    async fn follow(&self, kind: &str, name: &str, project: &str) -> Result<Value> {
        let of = json!({"kind": kind, "name": name, "params": {"project": project}});
        self.ask("live.open", of).await
    }
}

#[tokio::test]
async fn layers_are_rows_and_edits_are_items() -> Result {
    let world = World::new().await?;
    for project in ["castle", "castle 2"] {
        let made = world.intent("voxel.create_project", json!({"project": project}));
        assert_eq!(made.await?, json!({"name": project, "layers": 0}));
    }
    let of = |layer: &str| json!({"project": "castle", "layer": layer});
    world.intent("voxel.add_layer", of("walls")).await?;
    let mut tower = of("tower");
    tower["colour"] = json!("deep_water");
    world.intent("voxel.add_layer", tower).await?;
    let mut paint = of("walls");
    (paint["colour"], paint["voxels"]) = (json!("grass"), json!(7));
    world.intent("voxel.paint_layer", paint).await?;
    let mut rename = of("tower");
    rename["to"] = json!("keep");
    world.intent("voxel.rename_layer", rename).await?;

    let followed = world.follow("table", "voxel.layers", "castle").await?;
    let keep = json!({"name": "keep", "colour": "deep_water", "voxels": 0});
    let walls = json!({"name": "walls", "colour": "grass", "voxels": 7});
    let rows = json!([
        {"key": "castle/keep", "value": keep},
        {"key": "castle/walls", "value": walls}
    ]);
    assert_eq!(followed["rows"], rows, "of that project alone");
    world.intent("voxel.remove_layer", of("walls")).await?;
    let listed = world.ask("voxel.list_projects", json!({})).await?;
    let castle = json!({"name": "castle", "layers": 1});
    assert_eq!(listed["projects"][0], castle);

    let followed = world.follow("log", "voxel.edits", "castle").await?;
    let items = followed["items"].as_array().ok_or("no items")?;
    let kinds: Vec<_> = items.iter().map(|item| &item["value"]["kind"]).collect();
    assert_eq!(kinds, ["added", "added", "painted", "renamed", "removed"]);
    Ok(())
}

#[tokio::test]
async fn names_that_would_lead_elsewhere_are_refused_and_change_nothing() -> Result {
    let world = World::new().await?;
    world
        .intent("voxel.create_project", json!({"project": "castle"}))
        .await?;
    let long = "x".repeat(65);
    for name in ["", "other/walls", "walls*", long.as_str()] {
        let of = json!({"project": "castle", "layer": name});
        let refused = world.intent("voxel.add_layer", of).await.unwrap_err();
        assert!(refused.to_string().contains("1 to 64 bytes"), "{refused}");
    }
    let followed = world.follow("table", "voxel.layers", "castle").await?;
    assert_eq!(followed["rows"], json!([]));
    Ok(())
}

/// The types of apps are generated from this file, by `cargo xtask types`, which also makes it.
#[test]
fn ld_7_the_schema_that_types_are_generated_from_is_that_of_the_service() -> Result {
    let program = std::process::Command::new(env!("CARGO_BIN_EXE_voxel-daemon"))
        .args(["describe", "--schema"])
        .output()?;
    let described: Value = serde_json::from_slice(&program.stdout)?;
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("voxel/app-types/voxel.schema.json");
    let kept: Value = serde_json::from_str(&std::fs::read_to_string(path)?)?;
    assert_eq!(kept, described, "run `cargo xtask types`");
    Ok(())
}
