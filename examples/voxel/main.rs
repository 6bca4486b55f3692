//! A voxel editor's daemon for apps in any language: projects, their layers as a live table, and
//! their edits as a live log. Its types are in [`types`], from which those of the apps are
//! generated.
//!
//! `cargo run -p bowline-examples --bin voxel-daemon -- run` starts it, and `describe` shows what
//! it offers.

mod types;

use std::process::ExitCode;

use bowline_daemon::{
    Program,
    ledger::{Log, Reader, Table, Tx},
    service::{Methods, Scope, Service},
};
use bowline_protocol::{Role, RpcReason, error::RpcError, methods::Empty};

use self::types::{
    Edit, Layer, LayerName, Named, NewLayer, OfProject, Paint, Project, Projects, Rename,
};

/// Projects by name.
const PROJECTS: Table<Project> = Table::new("voxel.projects");
/// Layers by `project/layer`, so that those of a project can be followed together.
const LAYERS: Table<Layer> = Table::new("voxel.layers");
/// What was done to a project, by its name.
const EDITS: Log<Edit> = Log::new("voxel.edits").keeping(1_000, 1 << 20);
/// What clients can make the daemon remember has bounds.
const MOST_PROJECTS: u64 = 1_000;
const MOST_LAYERS: u32 = 64;
/// Projects in one answer.
const PAGE: usize = 100;
/// Longest name of a project or a layer in bytes.
const LONGEST: usize = 64;

struct Voxel;

impl Service for Voxel {
    fn methods(methods: &mut Methods<Self>) {
        methods.read("voxel.list_projects", Self::list_projects);
        methods.intent("voxel.create_project", Self::create_project);
        methods
            .intent("voxel.add_layer", Self::add_layer)
            .role(Role::Operator);
        methods
            .intent("voxel.rename_layer", Self::rename_layer)
            .role(Role::Operator);
        methods
            .intent("voxel.paint_layer", Self::paint_layer)
            .role(Role::Operator);
        methods
            .intent("voxel.remove_layer", Self::remove_layer)
            .role(Role::Operator);
        methods.table(&PROJECTS, |_: Empty| Ok(Scope::all()));
        methods.table(&LAYERS, |of: OfProject| Scope::under(&of.project));
        methods.log(&EDITS, |of: OfProject| Scope::row(&of.project));
    }
}

impl Voxel {
    fn list_projects(&self, reader: &Reader<'_>, page: Named) -> Result<Projects, RpcError> {
        let after = page.after.unwrap_or_default();
        let rows = PROJECTS.page(reader, &after, PAGE)?.into_iter();
        Ok(Projects {
            projects: rows.map(|(_, project)| project).collect(),
        })
    }

    fn create_project(&self, tx: &mut Tx<'_>, new: OfProject) -> Result<Project, RpcError> {
        check_name(&new.project)?;
        if PROJECTS.get(tx, &new.project)?.is_some() {
            return Err(RpcError::invalid_params("there is such a project already"));
        }
        room(PROJECTS.count(tx)? < MOST_PROJECTS)?;
        let project = Project {
            name: new.project,
            layers: 0,
        };
        PROJECTS.put(tx, &project.name, &project)?;
        Ok(project)
    }

    fn add_layer(&self, tx: &mut Tx<'_>, new: NewLayer) -> Result<Layer, RpcError> {
        check_name(&new.layer)?;
        let mut project = PROJECTS.need(tx, &new.project)?;
        let key = key(&new.project, &new.layer);
        if LAYERS.get(tx, &key)?.is_some() {
            return Err(RpcError::invalid_params("there is such a layer already"));
        }
        room(project.layers < MOST_LAYERS)?;
        project.layers = project.layers.saturating_add(1);
        PROJECTS.put(tx, &new.project, &project)?;
        let layer = Layer {
            name: new.layer,
            colour: new.colour,
            voxels: 0,
        };
        LAYERS.put(tx, &key, &layer)?;
        let edit = Edit::Added {
            layer: layer.name.clone(),
        };
        EDITS.append(tx, &new.project, &edit)?;
        Ok(layer)
    }

    fn rename_layer(&self, tx: &mut Tx<'_>, of: Rename) -> Result<Layer, RpcError> {
        check_name(&of.to)?;
        let (from, to) = (key(&of.project, &of.layer), key(&of.project, &of.to));
        let mut layer = LAYERS.need(tx, &from)?;
        if LAYERS.get(tx, &to)?.is_some() {
            return Err(RpcError::invalid_params("there is such a layer already"));
        }
        layer.name = of.to.clone();
        LAYERS.remove(tx, &from)?;
        LAYERS.put(tx, &to, &layer)?;
        let edit = Edit::Renamed {
            layer: of.layer,
            to: of.to,
        };
        EDITS.append(tx, &of.project, &edit)?;
        Ok(layer)
    }

    fn paint_layer(&self, tx: &mut Tx<'_>, of: Paint) -> Result<Layer, RpcError> {
        let key = key(&of.project, &of.layer);
        let mut layer = LAYERS.need(tx, &key)?;
        layer.colour = of.colour;
        layer.voxels = layer.voxels.saturating_add(of.voxels);
        LAYERS.put(tx, &key, &layer)?;
        let edit = Edit::Painted {
            layer: of.layer,
            voxels: of.voxels,
        };
        EDITS.append(tx, &of.project, &edit)?;
        Ok(layer)
    }

    fn remove_layer(&self, tx: &mut Tx<'_>, of: LayerName) -> Result<Empty, RpcError> {
        let mut project = PROJECTS.need(tx, &of.project)?;
        let key = key(&of.project, &of.layer);
        LAYERS.need(tx, &key)?;
        LAYERS.remove(tx, &key)?;
        project.layers = project.layers.saturating_sub(1);
        PROJECTS.put(tx, &of.project, &project)?;
        EDITS.append(tx, &of.project, &Edit::Removed { layer: of.layer })?;
        Ok(Empty {})
    }
}

fn key(project: &str, layer: &str) -> String {
    format!("{project}/{layer}")
}

/// A name is a part of a key: a slash would put a layer into another project.
fn check_name(name: &str) -> Result<(), RpcError> {
    if name.is_empty() || name.len() > LONGEST || name.contains(['/', '*']) {
        return Err(RpcError::invalid_params(format!(
            "a name has 1 to {LONGEST} bytes, without `/` and `*`"
        )));
    }
    Ok(())
}

fn room(there_is: bool) -> Result<(), RpcError> {
    let full = RpcError::new(
        RpcReason::Unsupported,
        "there is no room for more: remove something first",
    );
    there_is.then_some(()).ok_or(full)
}

fn main() -> ExitCode {
    let program = Program::new("voxel-daemon", env!("CARGO_PKG_VERSION"));
    bowline_daemon::run(
        program
            .about("Keeps voxel projects for apps")
            .service(Voxel),
    )
}
