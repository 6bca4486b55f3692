//! The OpenRPC document (`docs/protocol.md` §4), and the JSON Schema of a program's own types.

use bowline_protocol::{
    PROTOCOL_VERSION, Role, RpcReason, error::code, extension::is_extension,
    methods::name::SYSTEM_PING,
};
use serde_json::{Map, Value, json};

use super::{
    About, Kind, LiveEntry, MethodEntry,
    schemas::{Definitions, Schemas, reachable, referred},
};
use crate::service::Access;

/// The version of OpenRPC that the document follows.
const OPENRPC: &str = "1.3.2";
/// JSON-RPC's own errors, which have a code and no reason.
const STANDARD: [(&str, i32, &str); 3] = [
    (
        "method_not_found",
        code::METHOD_NOT_FOUND,
        "There is no such method",
    ),
    (
        "invalid_params",
        code::INVALID_PARAMS,
        "The parameters do not match the method",
    ),
    (
        "internal_error",
        code::INTERNAL_ERROR,
        "A defect of the daemon, or of a service",
    ),
];

/// Where references in the schema of a program's own types lead.
const DEFINITIONS: &str = "#/definitions/";

/// The whole document.
pub(super) fn whole(about: About, methods: &[MethodEntry], live: &[LiveEntry]) -> Value {
    let mut schemas = Schemas::new();
    let methods: Vec<Value> = methods
        .iter()
        .map(|one| method(&mut schemas, one))
        .collect();
    let live: Vec<Value> = live
        .iter()
        .map(|one| followable(&mut schemas, one))
        .collect();
    let mut document = json!({
        "openrpc": OPENRPC,
        "info": { "title": about.name, "version": about.version, "description": about.about },
        "methods": methods,
        "x-bowline": { "protocol": PROTOCOL_VERSION, "live": live },
    });
    let types = schemas.finish(&mut document);
    if let Value::Object(members) = &mut document {
        let components = json!({ "schemas": types, "errors": errors() });
        members.insert("components".to_owned(), components);
    }
    document
}

/// The types of services, without those of the daemon that they do not use.
pub(super) fn types_of_services(
    about: About,
    methods: &[MethodEntry],
    live: &[LiveEntry],
) -> Value {
    let mut schemas = Schemas::new();
    let mut used = Vec::new();
    for method in methods.iter().filter(|one| is_extension(one.name)) {
        used.push(schemas.read(method.types.params));
        used.push(schemas.written(method.types.result));
    }
    for one in live.iter().filter(|one| is_extension(one.name)) {
        used.push(schemas.read(one.params));
        used.push(schemas.written(one.value));
    }
    let mut used = Value::Array(used);
    let types = schemas.finish(&mut used);
    let used = used.as_array_mut().map(std::mem::take).unwrap_or_default();
    let mut types = reachable(&mut { used }, &types, DEFINITIONS);
    // Generators have no type for an object without members, unless another type has one.
    let referred = referred(&types, DEFINITIONS);
    types.retain(|name, schema| {
        let is_object = schema.get("type").is_some_and(|kind| kind == "object");
        let has_members = ["properties", "additionalProperties"]
            .into_iter()
            .any(|members| schema.get(members).is_some());
        has_members || !is_object || referred.contains(name)
    });
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": about.name,
        "definitions": types,
    })
}

fn method(schemas: &mut Schemas, entry: &MethodEntry) -> Value {
    let params = schemas.read(entry.types.params);
    let result = schemas.written(entry.types.result);
    let (members, kind) = members(schemas, entry, &params);
    json!({
        "name": entry.name,
        "paramStructure": "by-name",
        "params": members,
        "result": { "name": "result", "schema": result },
        "errors": errors_of(entry, kind),
        "x-bowline": { "kind": kind, "role": entry.role, "access": access(entry), "params": params },
    })
}

/// The members of the parameters, those that are required first, as OpenRPC wants it.
fn members(schemas: &mut Schemas, entry: &MethodEntry, params: &Value) -> (Vec<Value>, Kind) {
    let none = Map::new();
    let schema = schemas.resolved(params);
    let members = schema.get("properties").and_then(Value::as_object);
    let members = members.unwrap_or(&none);
    let required = schema.get("required").and_then(Value::as_array);
    let is_required = |name: &str| required.is_some_and(|list| list.iter().any(|one| one == name));
    let one = |name: &str, required: bool, schema: &Value| {
        // A reference has no description beside it.
        let mut schema = schema.clone();
        let said = schema
            .as_object_mut()
            .and_then(|of| of.remove("description"));
        let mut one = Map::from_iter([
            ("name".to_owned(), name.into()),
            ("required".to_owned(), required.into()),
            ("schema".to_owned(), schema),
        ]);
        if let Some(said) = said {
            one.insert("description".to_owned(), said);
        }
        Value::Object(one)
    };
    let mut listed: Vec<Value> = Vec::new();
    // Some read it themselves.
    let kind = match entry.types.kind {
        Kind::Call if members.contains_key(INTENT_ID) => Kind::Intent,
        kind => kind,
    };
    if kind == Kind::Intent && !members.contains_key(INTENT_ID) {
        listed.push(one(
            INTENT_ID,
            true,
            &json!({ "type": "string", "format": "uuid" }),
        ));
    }
    for wanted in [true, false] {
        let these = members
            .iter()
            .filter(|(name, _)| is_required(name) == wanted);
        listed.extend(these.map(|(name, schema)| one(name, wanted, schema)));
    }
    (listed, kind)
}

/// The member of parameters that makes a request an intent.
const INTENT_ID: &str = "intentId";

const fn access(entry: &MethodEntry) -> &'static str {
    match entry.access {
        Access::Probes | Access::Sessions => "sessions",
        Access::Local => "local",
        Access::Owner => "owner",
    }
}

/// The errors that a method has because of what it is.
fn errors_of(entry: &MethodEntry, kind: Kind) -> Vec<Value> {
    let mut names = vec!["invalid_params", "internal_error"];
    let mut may = |condition: bool, reasons: &[RpcReason]| {
        if condition {
            names.extend(reasons.iter().map(|reason| reason.as_str()));
        }
    };
    let is_local = matches!(entry.access, Access::Local | Access::Owner);
    may(entry.name != SYSTEM_PING, &[RpcReason::Overloaded]);
    may(is_local, &[RpcReason::Forbidden]);
    may(
        !is_local && entry.role > Role::Viewer,
        &[RpcReason::NotGranted],
    );
    let of_intents = [
        RpcReason::IntentConflict,
        RpcReason::RateLimited,
        RpcReason::QuotaExceeded,
        RpcReason::StorageUnavailable,
    ];
    may(kind == Kind::Intent, &of_intents);
    let reference = |name| json!({ "$ref": format!("#/components/errors/{name}") });
    names.into_iter().map(reference).collect()
}

fn errors() -> Definitions {
    let standard = STANDARD.iter().map(|(name, code, message)| {
        (
            (*name).to_owned(),
            json!({ "code": code, "message": message }),
        )
    });
    let reasons = RpcReason::ALL.iter().map(|reason| {
        let name = reason.as_str();
        let error = json!({
            "code": reason.code(),
            "message": name,
            "data": { "reason": name },
            "x-bowline": { "retry": reason.retry() },
        });
        (name.to_owned(), error)
    });
    standard.chain(reasons).collect()
}

fn followable(schemas: &mut Schemas, entry: &LiveEntry) -> Value {
    json!({
        "kind": entry.kind,
        "name": entry.name,
        "role": entry.role,
        "params": schemas.read(entry.params),
        "value": schemas.written(entry.value),
    })
}
