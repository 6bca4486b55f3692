//! A voxel editor's daemon, whole: durable projects of layers, edited by paired devices and local
//! scripts, exported as MagicaVoxel `.vox`. `docs/services.md` walks through it;
//! `cargo run -p bowline-daemon --example voxel` starts it.

use std::{collections::BTreeMap, num::NonZeroU8, process::ExitCode, sync::Arc};

use bowline_daemon::{
    Program,
    ledger::{ByteTable, Log, Reader, Stored, Table, Topic, Tx},
    service::{Methods, Request, Scope, Service},
};
use bowline_protocol::{BlobHash, Role, RpcReason, error::RpcError, methods::Empty};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use uuid::Uuid;

const PROJECTS: Table<Project> = Table::new("voxel.projects");
const EDITED: Topic<Value> = Topic::new("voxel.edited"); // by project
const NOTES: Log<Note> = Log::new("voxel.notes"); // by project
const VOXELS: ByteTable = ByteTable::new("voxel.voxels"); // by project/layer; x y z colour, four bytes each
const MAX_PROJECTS: u64 = 10_000;
const MAX_LAYERS: usize = 64;
const MAX_VOXELS: usize = 131_072; // of a project, so that its export fits into one answer

#[derive(Serialize, Deserialize, JsonSchema)]
struct Project {
    plan: Plan,
    layers: Vec<Layer>,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Plan {
    name: String,
    size: [NonZeroU8; 3],
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Layer {
    name: String,
    voxels: usize,
}

#[derive(Serialize, Deserialize, JsonSchema)]
struct Note {
    by: String,
    text: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    picture: Option<BlobHash>, // put by the device that adds the note
}

#[derive(Deserialize, JsonSchema)]
struct OfProject {
    project: String,
}

#[derive(Deserialize, JsonSchema)]
struct OfLayer {
    project: String,
    layer: String,
}

#[derive(Deserialize, JsonSchema)]
struct NewNote {
    project: String,
    #[serde(flatten)]
    note: Note,
}

#[derive(Deserialize, JsonSchema)]
struct MoreNote {
    project: String,
    index: u64,
    text: String,
}

#[derive(Deserialize, JsonSchema)]
struct SetVoxels {
    project: String,
    layer: String,
    voxels: Vec<[u8; 4]>, // x y z colour; the colour is RRRGGGBB, and 0 is none
}

struct Voxel;

impl Service for Voxel {
    fn methods(methods: &mut Methods<Self>) {
        methods.intent("voxel.create_project", Self::create_project);
        methods.read("voxel.list_layers", Self::list_layers);
        methods
            .intent("voxel.add_layer", Self::add_layer)
            .role(Role::Operator);
        methods
            .intent("voxel.remove_layer", Self::remove_layer)
            .role(Role::Operator);
        methods
            .intent("voxel.set_voxels", Self::set_voxels)
            .role(Role::Operator);
        methods.intent("voxel.add_note", Self::add_note);
        methods.intent("voxel.extend_note", Self::extend_note);
        methods.table(&PROJECTS, |of: OfProject| Scope::row(&of.project));
        methods.topic(&EDITED, |of: OfProject| Scope::row(&of.project));
        methods.log(&NOTES, |of: OfProject| Scope::row(&of.project));
        methods
            .method("voxel.export", Self::export)
            .role(Role::Viewer);
    }
}

impl Voxel {
    fn create_project(&self, tx: &mut Tx<'_>, plan: Plan) -> Result<Value, RpcError> {
        room(PROJECTS.count(tx)? < MAX_PROJECTS)?;
        let (id, layers) = (Uuid::now_v7().to_string(), Vec::new());
        PROJECTS.put(tx, &id, &Project { plan, layers })?;
        Ok(json!({ "project": id }))
    }

    fn list_layers(&self, reader: &Reader<'_>, of: OfProject) -> Result<Value, RpcError> {
        Ok(json!({ "layers": PROJECTS.need(reader, &of.project)?.layers }))
    }

    fn add_layer(&self, tx: &mut Tx<'_>, new: OfLayer) -> Result<Empty, RpcError> {
        let (mut project, name) = (PROJECTS.need(tx, &new.project)?, new.layer);
        if project.layer(&name).is_ok() {
            return Err(RpcError::invalid_params("there is such a layer already"));
        }
        room(project.layers.len() < MAX_LAYERS)?;
        EDITED.emit(tx, &new.project, &json!({ "added": name }))?;
        project.layers.push(Layer { name, voxels: 0 });
        changed(tx, &new.project, &project)
    }

    fn remove_layer(&self, tx: &mut Tx<'_>, of: OfLayer) -> Result<Empty, RpcError> {
        let mut project = PROJECTS.need(tx, &of.project)?;
        project.layer(&of.layer)?;
        project.layers.retain(|layer| layer.name != of.layer);
        VOXELS.remove(tx, &format!("{}/{}", of.project, of.layer))?;
        EDITED.emit(tx, &of.project, &json!({ "removed": of.layer }))?;
        changed(tx, &of.project, &project)
    }

    fn set_voxels(&self, tx: &mut Tx<'_>, set: SetVoxels) -> Result<Empty, RpcError> {
        let mut project = PROJECTS.need(tx, &set.project)?;
        let key = format!("{}/{}", set.project, set.layer);
        let mut grid = grid(tx, &key)?;
        let [width, depth, height] = project.plan.size.map(NonZeroU8::get);
        for [x, y, z, colour] in set.voxels {
            if x >= width || y >= depth || z >= height {
                return Err(RpcError::invalid_params("a voxel outside of the project"));
            }
            grid.insert([x, y, z], colour);
        }
        grid.retain(|_, colour| *colour != 0);
        project.layer(&set.layer)?.voxels = grid.len();
        room(project.layers.iter().map(|l| l.voxels).sum::<usize>() <= MAX_VOXELS)?;
        VOXELS.put(tx, &key, &packed(&grid))?;
        changed(tx, &set.project, &project)
    }

    fn add_note(&self, tx: &mut Tx<'_>, new: NewNote) -> Result<Value, RpcError> {
        PROJECTS.need(tx, &new.project)?;
        let index = NOTES.append(tx, &new.project, &new.note)?;
        NOTES.keep_blobs(tx, &new.project, index, new.note.picture.as_slice())?;
        Ok(json!({ "index": index }))
    }

    fn extend_note(&self, tx: &mut Tx<'_>, more: MoreNote) -> Result<Empty, RpcError> {
        NOTES.grow(tx, &more.project, more.index, &more.text)?;
        Ok(Empty {})
    }

    /// All layers as one model, later ones over earlier ones, encoded on a thread that may take its
    /// time.
    async fn export(self: Arc<Self>, request: Request, of: OfProject) -> Result<Value, RpcError> {
        let read = request.read(move |reader| {
            let Project { plan, layers } = PROJECTS.need(reader, &of.project)?;
            let mut model = Grid::new();
            for layer in layers {
                model.extend(grid(reader, &format!("{}/{}", of.project, layer.name))?);
            }
            Ok((plan.size, model))
        });
        let (size, model) = read.await?;
        let vox = tokio::task::spawn_blocking(move || vox(size, &model)).await;
        let vox = vox.map_err(|error| RpcError::internal(error.to_string()))?;
        Ok(json!({ "format": "vox", "data": data_encoding::BASE64.encode(&vox) }))
    }
}

impl Project {
    fn layer(&mut self, name: &str) -> Result<&mut Layer, RpcError> {
        let found = self.layers.iter_mut().find(|layer| layer.name == name);
        found.ok_or_else(|| RpcError::new(RpcReason::NotFound, "no such layer"))
    }
}

/// Stores a project, and so tells those who follow its row.
fn changed(tx: &mut Tx<'_>, id: &str, project: &Project) -> Result<Empty, RpcError> {
    PROJECTS.put(tx, id, project).map(|()| Empty {})
}

fn room(there_is: bool) -> Result<(), RpcError> {
    let full = RpcError::new(RpcReason::Overloaded, "there is no room for more");
    there_is.then_some(()).ok_or(full)
}

type Grid = BTreeMap<[u8; 3], u8>; // colour by place

fn grid(from: &impl Stored, key: &str) -> Result<Grid, RpcError> {
    let bytes = VOXELS.get(from, key)?.unwrap_or_default();
    let voxels = bytes.as_chunks().0.iter();
    Ok(voxels.map(|&[x, y, z, c]| ([x, y, z], c)).collect())
}

fn packed(grid: &Grid) -> Vec<u8> {
    let voxels = grid.iter();
    voxels.flat_map(|([x, y, z], c)| [*x, *y, *z, *c]).collect()
}

/// MagicaVoxel's format 150: chunks of a name, two lengths, content, children. The palette begins
/// with colour 1.
fn vox(size: [NonZeroU8; 3], grid: &Grid) -> Vec<u8> {
    let int = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    let chunk = |name: &[u8], content: &[u8], children: &[u8]| {
        let lengths = [int(content.len()), int(children.len())].concat();
        [name, &lengths, content, children].concat()
    };
    let size = size.map(|side| int(side.get().into())).concat();
    let voxels = [&int(grid.len())[..], &packed(grid)].concat();
    let level = |bits: u8, most: u8| bits * (255 / most);
    let rgba = |c: u8| [level(c >> 5, 7), level(c >> 2 & 7, 7), level(c & 3, 3), 255];
    let palette: Vec<u8> = (1..=255).chain([0]).flat_map(rgba).collect();
    let children = [("SIZE", size), ("XYZI", voxels), ("RGBA", palette)];
    let children = children.map(|(name, content)| chunk(name.as_bytes(), &content, &[]));
    let main = chunk(b"MAIN", &[], &children.concat());
    [&b"VOX "[..], &int(150), &main].concat()
}

fn main() -> ExitCode {
    let program = Program::new("voxel", env!("CARGO_PKG_VERSION"));
    bowline_daemon::run(program.about("Keeps voxel projects").service(Voxel))
}
