//! A result whose JSON exists already, described as its type.

use std::{borrow::Cow, marker::PhantomData};

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde_json::value::RawValue;

/// The JSON of an `R`, for a method whose result was serialised before, such as the outcome of an
/// intent. It is described as `R` (LD-7).
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub struct Made<R> {
    json: Box<RawValue>,
    of: PhantomData<fn() -> R>,
}

impl<R> From<Box<RawValue>> for Made<R> {
    fn from(json: Box<RawValue>) -> Self {
        Self {
            json,
            of: PhantomData,
        }
    }
}

impl<R: JsonSchema> JsonSchema for Made<R> {
    fn inline_schema() -> bool {
        R::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        R::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        R::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        R::json_schema(generator)
    }
}
