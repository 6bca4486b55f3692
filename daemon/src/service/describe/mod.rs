//! Describes what a daemon offers: `rpc.discover`, and the documents that programs print (LD-7).

mod document;
mod listing;
mod schemas;

use std::sync::{Arc, PoisonError, RwLock};

use bowline_protocol::{
    Role,
    error::RpcError,
    live::LiveKind,
    methods::{Empty, name},
};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

pub(crate) use self::listing::{Line, lines};
use super::{Access, Methods, Service, live::LiveData};
use crate::rpc::answer;

/// Makes the schema of a type.
pub(super) type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// What a method does for its callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Kind {
    /// Reads.
    Query,
    /// Changes something, exactly once for each `intentId`.
    Intent,
    /// Anything else.
    Call,
}

/// The types of a method.
#[derive(Clone, Copy)]
pub(crate) struct Types {
    pub(super) kind: Kind,
    pub(super) params: SchemaOf,
    pub(super) result: SchemaOf,
}

impl Types {
    pub(crate) fn of<P: JsonSchema, R: JsonSchema>(kind: Kind) -> Self {
        Self {
            kind,
            params: SchemaGenerator::subschema_for::<P>,
            result: SchemaGenerator::subschema_for::<R>,
        }
    }
}

/// A method, as it is described.
#[derive(Clone, Copy)]
pub(super) struct MethodEntry {
    pub(super) name: &'static str,
    pub(super) access: Access,
    pub(super) role: Role,
    pub(super) types: Types,
}

/// A table, log or topic, as it is described.
#[derive(Clone, Copy)]
pub(super) struct LiveEntry {
    pub(super) kind: LiveKind,
    pub(super) name: &'static str,
    pub(super) role: Role,
    pub(super) params: SchemaOf,
    pub(super) value: SchemaOf,
}

/// What a program says about itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct About {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) about: &'static str,
}

impl About {
    /// A daemon that was started without a [`Program`](crate::Program).
    pub(crate) const BOWLINE: Self = Self {
        name: "bowline-daemon",
        version: crate::VERSION,
        about: "Bowline's daemon: keeps the sessions of your apps with this machine",
    };
}

/// All that a daemon offers. Clones share it.
#[derive(Clone)]
pub(super) struct Catalog(Arc<Shared>);

struct Shared {
    live: LiveData,
    rest: RwLock<Rest>,
}

struct Rest {
    about: About,
    methods: Vec<MethodEntry>,
    /// The document, once it was asked for.
    made: Option<Document>,
}

/// An OpenRPC document as JSON.
#[derive(Clone, Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Document(Arc<RawValue>);

impl JsonSchema for Document {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "OpenRpc".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        schemars::json_schema!({ "type": "object", "description": "An OpenRPC document" })
    }
}

impl Catalog {
    pub(super) fn new(live: LiveData) -> Self {
        let (about, methods, made) = (About::BOWLINE, Vec::new(), None);
        let rest = RwLock::new(Rest {
            about,
            methods,
            made,
        });
        Self(Arc::new(Shared { live, rest }))
    }

    /// Says whose document it is.
    pub(super) fn title(&self, about: About) {
        let mut rest = self.0.rest.write().unwrap_or_else(PoisonError::into_inner);
        (rest.about, rest.made) = (about, None);
    }

    pub(super) fn add(&self, method: MethodEntry) {
        let mut rest = self.0.rest.write().unwrap_or_else(PoisonError::into_inner);
        rest.methods.push(method);
        rest.made = None;
    }

    /// The methods, and the tables, logs and topics, each in the order of their names.
    fn entries(&self) -> (About, Vec<MethodEntry>, Vec<LiveEntry>) {
        let rest = self.0.rest.read().unwrap_or_else(PoisonError::into_inner);
        let (about, mut methods) = (rest.about, rest.methods.clone());
        drop(rest);
        methods.sort_by_key(|method| method.name);
        let mut live = self.0.live.entries();
        live.sort_by_key(|one| one.name);
        (about, methods, live)
    }

    /// The document as a value.
    pub(super) fn document(&self) -> serde_json::Value {
        let (about, methods, live) = self.entries();
        document::whole(about, &methods, &live)
    }

    /// The types of services alone, as one JSON Schema.
    pub(super) fn schema(&self) -> serde_json::Value {
        let (about, methods, live) = self.entries();
        document::types_of_services(about, &methods, &live)
    }

    fn made(&self) -> Result<Document, RpcError> {
        let rest = self.0.rest.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(made) = &rest.made {
            return Ok(made.clone());
        }
        drop(rest);
        let made = Document(answer(&self.document())?.into());
        let mut rest = self.0.rest.write().unwrap_or_else(PoisonError::into_inner);
        rest.made = Some(made.clone());
        Ok(made)
    }

    fn discover(&self, _: Empty) -> Result<Document, RpcError> {
        self.made()
    }
}

impl Service for Catalog {
    fn methods(methods: &mut Methods<Self>) {
        methods.now(name::RPC_DISCOVER, Self::discover);
    }
}
