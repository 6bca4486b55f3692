//! Parses parameters from JSON into a method's type, with `intentId` separate.

use bowline_protocol::{IntentId, error::RpcError};
use serde::{
    Deserialize, Deserializer,
    de::{DeserializeOwned, DeserializeSeed, IntoDeserializer, MapAccess, Visitor},
};
use serde_json::value::RawValue;

/// The member with the intent's id.
const INTENT_ID: &str = "intentId";

/// The typed parameters; absent parameters count as `{}`.
///
/// # Errors
/// −32602 with the position and kind of the mistake.
pub(crate) fn plain<P: DeserializeOwned>(params: Option<&RawValue>) -> Result<P, RpcError> {
    serde_json::from_str(text(params)).map_err(|error| RpcError::invalid_params(error.to_string()))
}

/// The `intentId` and the other parameters. The type gets `intentId` only if it has such a field,
/// so a type that refuses unknown members need not declare it.
///
/// # Errors
/// −32602.
pub(super) fn intent<P: DeserializeOwned>(
    params: Option<&RawValue>,
) -> Result<(IntentId, P), RpcError> {
    let text = text(params);
    let invalid = |error: serde_json::Error| RpcError::invalid_params(error.to_string());
    let mut id = None;
    let mut json = serde_json::Deserializer::from_str(text);
    let rest = P::deserialize(Split {
        json: &mut json,
        id: &mut id,
    })
    .map_err(invalid)?;
    let id = match id {
        Some(id) => id,
        None => id_of(text)?,
    };
    Ok((id, rest))
}

pub(super) fn text(params: Option<&RawValue>) -> &str {
    params.map_or("{}", RawValue::get)
}

fn id_of(text: &str) -> Result<IntentId, RpcError> {
    #[derive(Deserialize)]
    struct Only {
        #[serde(rename = "intentId")]
        intent_id: Option<IntentId>,
    }
    let only: Only =
        serde_json::from_str(text).map_err(|error| RpcError::invalid_params(error.to_string()))?;
    only.intent_id.ok_or_else(|| {
        RpcError::invalid_params(
            "`intentId` is missing: every request that changes something needs a new UUID",
        )
    })
}

/// Deserialises a type from the members of an object without `intentId`, which goes to `id`.
struct Split<'a, D> {
    json: D,
    id: &'a mut Option<IntentId>,
}

impl<'de, D: Deserializer<'de>> Deserializer<'de> for Split<'_, D> {
    type Error = D::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, D::Error> {
        let Self { json, id } = self;
        json.deserialize_map(Object { visitor, id })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        if fields.contains(&INTENT_ID) {
            // Not `deserialize_struct`, which would take positions of an array as well.
            return self.json.deserialize_map(visitor);
        }
        self.deserialize_any(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        visitor: V,
    ) -> Result<V::Value, D::Error> {
        // `RawValue` is a newtype with a special name; other newtypes deserialise as their content.
        if name.starts_with("$serde_json::") {
            return self.json.deserialize_newtype_struct(name, visitor);
        }
        visitor.visit_newtype_struct(self)
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit unit_struct
        seq tuple tuple_struct map enum identifier ignored_any
    }
}

/// Visits an object through [`Members`].
struct Object<'a, V> {
    visitor: V,
    id: &'a mut Option<IntentId>,
}

impl<'de, V: Visitor<'de>> Visitor<'de> for Object<'_, V> {
    type Value = V::Value;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with `intentId`")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<V::Value, A::Error> {
        let Self { visitor, id } = self;
        visitor.visit_map(Members { members, id })
    }
}

/// The members of an object except one.
struct Members<'a, A> {
    members: A,
    id: &'a mut Option<IntentId>,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Members<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        while let Some(key) = self.members.next_key::<String>()? {
            if key != INTENT_ID {
                return seed.deserialize(key.into_deserializer()).map(Some);
            }
            if self.id.is_some() {
                return Err(serde::de::Error::duplicate_field(INTENT_ID));
            }
            *self.id = Some(self.members.next_value()?);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        self.members.next_value_seed(seed)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::Value;

    use super::*;

    const ID: &str = "0198a1b2-c3d4-7e5f-8a9b-0c1d2e3f4a5b";

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Strict {
        name: String,
        #[serde(default)]
        size: Option<u32>,
    }

    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Knowing {
        intent_id: IntentId,
        name: String,
    }

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    fn said<P: DeserializeOwned>(text: &str) -> Result<(IntentId, P), String> {
        intent(Some(&raw(text))).map_err(|error| {
            assert_eq!(error.code, bowline_protocol::error::code::INVALID_PARAMS);
            error.message
        })
    }

    #[test]
    fn a_strict_type_need_not_know_of_intents() {
        let text = format!(r#"{{"name":"x","intentId":"{ID}","size":3}}"#);
        let (id, strict) = said::<Strict>(&text).unwrap();
        assert_eq!(id.to_string(), ID);
        assert_eq!((strict.name.as_str(), strict.size), ("x", Some(3)));
        let text = format!(r#"{{"intentId":"{ID}","name":"x","sise":3}}"#);
        let error = said::<Strict>(&text).unwrap_err();
        assert!(error.contains("`sise`"), "{error}");
    }

    #[test]
    fn a_type_that_has_the_field_sees_it() {
        let text = format!(r#"{{"intentId":"{ID}","name":"x"}}"#);
        let (id, knowing) = said::<Knowing>(&text).unwrap();
        assert_eq!((id, &*knowing.name), (knowing.intent_id, "x"));
    }

    /// The order of a type's fields is no part of the protocol.
    #[test]
    fn bx_1_positions_are_no_parameters_of_an_intent() {
        let text = format!(r#"["{ID}","x"]"#);
        assert!(said::<Knowing>(&text).is_err_and(|error| error.contains("sequence")));
        assert!(said::<Strict>(&text).is_err_and(|error| error.contains("sequence")));
    }

    #[test]
    fn every_shape_of_type_is_served() {
        let text = format!(r#"{{"intentId":"{ID}","a":1,"b":[true,null]}}"#);
        let (_, map) = said::<BTreeMap<String, Value>>(&text).unwrap();
        assert_eq!(map.keys().collect::<Vec<_>>(), ["a", "b"]);
        let (_, value) = said::<Value>(&text).unwrap();
        assert_eq!(value["b"][0], true);
        let (_, whole) = said::<Box<RawValue>>(&text).unwrap();
        assert_eq!(whole.get(), text, "as sent");
        let (_, _) = said::<bowline_protocol::methods::Empty>(&text).unwrap();
        #[derive(Deserialize)]
        #[serde(tag = "a")]
        enum Tagged {
            #[serde(rename = "x")]
            X { n: u8 },
        }
        let text = format!(r#"{{"intentId":"{ID}","a":"x","n":7}}"#);
        let (_, Tagged::X { n }) = said::<Tagged>(&text).unwrap();
        assert_eq!(n, 7);
        #[derive(Deserialize)]
        struct New(Strict);
        let text = format!(r#"{{"intentId":"{ID}","name":"x"}}"#);
        assert_eq!(said::<New>(&text).unwrap().1.0.name, "x");
    }

    #[test]
    fn what_is_missing_or_wrong_is_said() {
        let error = |text: &str| said::<Strict>(text).unwrap_err();
        assert!(error(r#"{"name":"x"}"#).contains("`intentId` is missing"));
        assert!(error(r#"{"name":"x","intentId":null}"#).contains("null"));
        assert!(error(r#"{"name":"x","intentId":"7"}"#).contains("intentId"));
        assert!(error(r#"["x"]"#).contains("an object with `intentId`"));
        let twice = format!(r#"{{"intentId":"{ID}","name":"x","intentId":"{ID}"}}"#);
        assert!(error(&twice).contains("duplicate"));
        let none: Result<(IntentId, Strict), _> = intent(None);
        assert!(none.is_err());
    }

    #[test]
    fn absent_parameters_are_an_empty_object_and_positions_count() {
        #[derive(Deserialize)]
        struct Pair {
            a: u8,
            #[serde(default)]
            b: u8,
        }
        let plain = |text: &str| super::plain::<Pair>(Some(&raw(text)));
        assert_eq!(plain(r#"{"a":1}"#).unwrap().a, 1);
        let pair = plain("[1,2]").unwrap();
        assert_eq!((pair.a, pair.b), (1, 2));
        assert!(super::plain::<Pair>(None).is_err());
        assert!(super::plain::<bowline_protocol::methods::Empty>(None).is_ok());
    }
}
