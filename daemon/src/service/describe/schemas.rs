//! The schemas of types as they are read and as they are written, in one set of names.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{
    Schema, SchemaGenerator,
    generate::{Contract, SchemaSettings},
    transform::RecursiveTransform,
};
use serde_json::Value;

use super::SchemaOf;

/// Where references to types lead that are read; none is left in a finished document.
const READ: &str = "#/components/read/";
/// Where references to types lead that are written.
const WRITTEN: &str = "#/components/schemas/";
/// What is added to the name of a type as it is read, if that differs from how it is written.
const INPUT: &str = "Input";

/// Longest default of a member in bytes of JSON; a longer one is left out, since a service may have
/// one of any size. So is one beside a reference, which generators take for a second type.
const LONGEST_DEFAULT: usize = 256;

/// Types by name.
pub(super) type Definitions = BTreeMap<String, Value>;

/// Collects schemas. A type that is read may have another form than when it is written: members
/// with a default may be absent.
pub(super) struct Schemas {
    read: SchemaGenerator,
    written: SchemaGenerator,
}

impl Schemas {
    pub(super) fn new() -> Self {
        let generator = |contract: Contract, path: &'static str| {
            let settings = SchemaSettings::draft07().with(|settings| {
                settings.contract = contract;
                settings.definitions_path = path.into();
                // Before a reference is wrapped for what stands beside it.
                let first = Box::new(RecursiveTransform(without_default));
                settings.transforms.insert(0, first);
            });
            SchemaGenerator::new(settings)
        };
        Self {
            read: generator(Contract::Deserialize, READ),
            written: generator(Contract::Serialize, WRITTEN),
        }
    }

    /// The schema of a type that is read.
    pub(super) fn read(&mut self, of: SchemaOf) -> Value {
        transformed(&mut self.read, of)
    }

    /// The schema of a type that is written.
    pub(super) fn written(&mut self, of: SchemaOf) -> Value {
        transformed(&mut self.written, of)
    }

    /// The definition that a schema refers to, if it does, of a type that is read.
    pub(super) fn resolved(&mut self, schema: &Value) -> Value {
        let name = reference(schema).and_then(|path| path.strip_prefix(READ));
        let found = name.and_then(|name| self.read.definitions().get(name));
        let found = found.and_then(|found| Schema::try_from(found.clone()).ok());
        found.map_or_else(
            || schema.clone(),
            |found| transformed(&mut self.read, |_| found),
        )
    }

    /// All types under one name each, and the references in `document` to them.
    pub(super) fn finish(mut self, document: &mut Value) -> Definitions {
        let mut types: Definitions = self.written.take_definitions(true).into_iter().collect();
        let read: Definitions = self.read.take_definitions(true).into_iter().collect();
        let names = names(&read, &types);
        let rename = |schema: &mut Value| {
            each_reference(schema, &mut |path| {
                let name = path.strip_prefix(READ).and_then(|name| names.get(name));
                if let Some(name) = name {
                    *path = format!("{WRITTEN}{name}");
                }
            });
        };
        for (name, mut schema) in read {
            rename(&mut schema);
            let name = names.get(&name).cloned().unwrap_or(name);
            types.entry(name).or_insert(schema);
        }
        rename(document);
        types
    }
}

fn without_default(schema: &mut Schema) {
    let default = schema.get("default");
    let is_long = default.is_some_and(|default| default.to_string().len() > LONGEST_DEFAULT);
    if is_long || schema.get("$ref").is_some() {
        schema.remove("default");
    }
}

fn transformed(
    generator: &mut SchemaGenerator,
    of: impl FnOnce(&mut SchemaGenerator) -> Schema,
) -> Value {
    let mut schema = of(generator);
    for transform in generator.transforms_mut() {
        transform.transform(&mut schema);
    }
    schema.to_value()
}

/// The name of each type that is read: its own, unless there is a written one of another form.
fn names(read: &Definitions, written: &Definitions) -> BTreeMap<String, String> {
    let mut differ = BTreeSet::new();
    // A type differs too if one differs that it refers to.
    loop {
        let differs = |(name, schema): (&String, &Value)| -> Option<String> {
            let same = written.get(name)?;
            let mut schema = schema.clone();
            each_reference(&mut schema, &mut |path| {
                if let Some(of) = path.strip_prefix(READ)
                    && !differ.contains(of)
                {
                    *path = format!("{WRITTEN}{of}");
                }
            });
            (schema != *same && !differ.contains(name)).then(|| name.clone())
        };
        let more: Vec<String> = read.iter().filter_map(differs).collect();
        if more.is_empty() {
            break;
        }
        differ.extend(more);
    }
    let mut given = BTreeSet::new();
    let named = |name: &String| {
        let mut new = name.clone();
        let is_taken = |new: &String| {
            read.contains_key(new) || written.contains_key(new) || given.contains(new)
        };
        while differ.contains(name) && is_taken(&new) {
            new.push_str(INPUT);
        }
        given.insert(new.clone());
        (name.clone(), new)
    };
    read.keys().map(named).collect()
}

fn reference(schema: &Value) -> Option<&str> {
    schema.get("$ref").and_then(Value::as_str)
}

/// Calls a function for every reference in a schema.
pub(super) fn each_reference(schema: &mut Value, change: &mut impl FnMut(&mut String)) {
    match schema {
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::String(path) if name == "$ref" => change(path),
                    _ => each_reference(member, change),
                }
            }
        }
        Value::Array(list) => {
            for one in list {
                each_reference(one, change);
            }
        }
        _ => {}
    }
}

/// The names of the types that others refer to, with references below `at`.
pub(super) fn referred(types: &Definitions, at: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for schema in types.values() {
        each_reference(&mut schema.clone(), &mut |path| {
            found.extend(path.strip_prefix(at).map(str::to_owned));
        });
    }
    found
}

/// The types that a schema refers to, and those that they refer to, with references below `at`.
pub(super) fn reachable(from: &mut [Value], types: &Definitions, at: &str) -> Definitions {
    let mut found = Definitions::new();
    let mut left: Vec<String> = Vec::new();
    let note = |left: &mut Vec<String>, schema: &mut Value| {
        each_reference(schema, &mut |path| {
            if let Some(name) = path.strip_prefix(WRITTEN).map(str::to_owned) {
                *path = format!("{at}{name}");
                left.push(name);
            }
        });
    };
    for schema in from {
        note(&mut left, schema);
    }
    while let Some(name) = left.pop() {
        if let Some(schema) = types.get(&name).filter(|_| !found.contains_key(&name)) {
            let mut schema = schema.clone();
            note(&mut left, &mut schema);
            found.insert(name, schema);
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::{Deserialize, Serialize};
    use serde_json::json;

    use super::*;

    #[derive(JsonSchema, Serialize, Deserialize)]
    struct Plain {
        name: String,
    }

    #[derive(JsonSchema, Serialize, Deserialize)]
    struct Lenient {
        #[serde(default)]
        size: u32,
    }

    #[derive(JsonSchema, Serialize, Deserialize)]
    struct Around {
        plain: Plain,
        lenient: Lenient,
    }

    #[test]
    fn ld_7_a_type_has_two_names_only_if_it_is_read_in_another_form() {
        let mut schemas = Schemas::new();
        let around: SchemaOf = SchemaGenerator::subschema_for::<Around>;
        let mut document = json!([schemas.read(around), schemas.written(around)]);
        let types = schemas.finish(&mut document);
        assert_eq!(
            document,
            json!([
                { "$ref": "#/components/schemas/AroundInput" },
                { "$ref": "#/components/schemas/Around" }
            ])
        );
        let names: Vec<_> = types.keys().map(String::as_str).collect();
        let expected = ["Around", "AroundInput", "Lenient", "LenientInput", "Plain"];
        assert_eq!(names, expected);
        let member = |of: &str, member: &str| types[of]["properties"][member]["$ref"].clone();
        for (of, of_member) in [("Around", "Lenient"), ("AroundInput", "LenientInput")] {
            assert_eq!(member(of, "lenient"), format!("{WRITTEN}{of_member}"));
            assert_eq!(member(of, "plain"), format!("{WRITTEN}Plain"));
        }
        assert_eq!(types["Lenient"]["required"], json!(["size"]));
        assert_eq!(types["LenientInput"].get("required"), None);
    }

    /// As [`LenientInput`] would be named for its reader.
    #[derive(JsonSchema, Serialize, Deserialize)]
    struct LenientInput {
        #[serde(default)]
        name: String,
    }

    #[test]
    fn ld_7_no_two_types_get_one_name() {
        let mut schemas = Schemas::new();
        let both = [
            SchemaGenerator::subschema_for::<Lenient> as SchemaOf,
            SchemaGenerator::subschema_for::<LenientInput>,
        ];
        let read = both.map(|of| schemas.read(of));
        let written = both.map(|of| schemas.written(of));
        let mut document = json!([read, written]);
        let types = schemas.finish(&mut document);
        assert_eq!(types.len(), 4);
        let member = |name: &str| {
            let paths = document.as_array().into_iter().flatten();
            let mut paths = paths.flat_map(|list| list.as_array().into_iter().flatten());
            let has = |path: &&Value| {
                let name_of = reference(path).and_then(|path| path.strip_prefix(WRITTEN));
                types[name_of.unwrap()]["properties"].get(name).is_some()
            };
            paths.by_ref().filter(has).count()
        };
        assert_eq!((member("size"), member("name")), (2, 2));
    }

    #[test]
    fn ld_7_only_what_is_referred_to_is_reachable() {
        let mut schemas = Schemas::new();
        let lenient = schemas.written(SchemaGenerator::subschema_for::<Lenient>);
        let around = schemas.written(SchemaGenerator::subschema_for::<Around>);
        let types = schemas.finish(&mut Value::Null);
        let found = reachable(&mut [around], &types, "#/definitions/");
        assert_eq!(
            found.keys().collect::<Vec<_>>(),
            ["Around", "Lenient", "Plain"]
        );
        let path = &found["Around"]["properties"]["plain"]["$ref"];
        assert_eq!(path, "#/definitions/Plain");
        assert_eq!(reachable(&mut [lenient], &types, "#/").len(), 1);
    }
}
