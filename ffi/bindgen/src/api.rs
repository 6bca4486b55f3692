//! The exported API as a text for review: each name and type that an app can see, ordered by name
//! and without documentation. Each change of the surface changes this text.

use std::fmt::Write;

use uniffi_bindgen::{
    ComponentInterface,
    interface::{
        Argument, AsType, Callable, DefaultValue, Enum, Field, Literal, Object, ObjectImpl, Type,
    },
};

/// The summary of one component.
pub(crate) fn summary(component: &ComponentInterface) -> String {
    let mut blocks = Vec::new();
    for function in component.function_definitions() {
        blocks.push(callable("", "fn", function.name(), function));
    }
    for object in component.object_definitions() {
        let mut text = format!("{} {}\n", kind_of(object), object.name());
        for constructor in object.constructors() {
            text += &callable("    ", "constructor", constructor.name(), constructor);
        }
        for method in object.methods() {
            text += &callable("    ", "fn", method.name(), method);
        }
        blocks.push(text);
    }
    for ty in component.iter_local_types() {
        if let Type::Custom { name, builtin, .. } = ty {
            blocks.push(format!("custom {name} = {}\n", type_text(builtin)));
        }
    }
    for listener in component.callback_interface_definitions() {
        let mut text = format!("callback {}\n", listener.name());
        for method in listener.methods() {
            text += &callable("    ", "fn", method.name(), method);
        }
        blocks.push(text);
    }
    for record in component.record_definitions() {
        let mut text = format!("record {}\n", record.name());
        for field in record.fields() {
            let _ = writeln!(text, "    {}", field_text(field));
        }
        blocks.push(text);
    }
    for definition in component.enum_definitions() {
        blocks.push(enumeration(component, definition));
    }
    blocks.sort();
    blocks.join("\n")
}

/// Whether an app or the library implements it.
fn kind_of(object: &Object) -> &'static str {
    match object.imp() {
        ObjectImpl::Struct => "object",
        ObjectImpl::Trait => "trait",
        ObjectImpl::CallbackTrait => "foreign trait",
    }
}

fn enumeration(component: &ComponentInterface, definition: &Enum) -> String {
    let is_error = component.is_name_used_as_error(definition.name());
    let kind = if is_error { "error" } else { "enum" };
    let mut text = format!("{kind} {}\n", definition.name());
    for variant in definition.variants() {
        let fields: Vec<_> = variant.fields().iter().map(field_text).collect();
        let fields = match fields.is_empty() {
            true => String::new(),
            false => format!(" {{ {} }}", fields.join(", ")),
        };
        let _ = writeln!(text, "    {}{fields}", variant.name());
    }
    text
}

fn callable(indent: &str, kind: &str, name: &str, callable: &dyn Callable) -> String {
    let arguments = callable.arguments();
    let arguments: Vec<_> = arguments
        .iter()
        .map(|argument: &&Argument| {
            let default = default_text(argument.default_value());
            let ty = type_text(&argument.as_type());
            format!("{}: {ty}{default}", argument.name())
        })
        .collect();
    let is_async = if callable.is_async() { "async " } else { "" };
    let mut text = format!("{indent}{is_async}{kind} {name}({})", arguments.join(", "));
    if let Some(result) = callable.return_type() {
        let _ = write!(text, " -> {}", type_text(result));
    }
    if let Some(error) = callable.throws_type() {
        let _ = write!(text, " throws {}", type_text(error));
    }
    text.push('\n');
    text
}

fn field_text(field: &Field) -> String {
    let default = default_text(field.default_value());
    format!("{}: {}{default}", field.name(), type_text(&field.as_type()))
}

/// The default value of a field or argument. It is compiled into bindings, so it is part of the
/// surface.
fn default_text(default: Option<&DefaultValue>) -> String {
    match default {
        None => String::new(),
        Some(DefaultValue::Default) => " = default".to_owned(),
        Some(DefaultValue::Literal(literal)) => format!(" = {}", literal_text(literal)),
    }
}

fn literal_text(literal: &Literal) -> String {
    match literal {
        Literal::Boolean(value) => value.to_string(),
        Literal::String(value) => format!("{value:?}"),
        Literal::UInt(value, ..) => value.to_string(),
        Literal::Int(value, ..) => value.to_string(),
        Literal::Float(value, _) => value.clone(),
        Literal::Enum(variant, _) => variant.clone(),
        Literal::EmptySequence => "[]".to_owned(),
        Literal::EmptyMap => "[:]".to_owned(),
        Literal::None => "none".to_owned(),
        Literal::Some { inner } => match inner.as_ref() {
            DefaultValue::Default => "some default".to_owned(),
            DefaultValue::Literal(literal) => format!("some {}", literal_text(literal)),
        },
    }
}

fn type_text(ty: &Type) -> String {
    match ty {
        Type::Object { name, .. }
        | Type::Record { name, .. }
        | Type::Enum { name, .. }
        | Type::CallbackInterface { name, .. }
        | Type::Custom { name, .. } => name.clone(),
        Type::Optional { inner_type } => format!("{}?", type_text(inner_type)),
        Type::Sequence { inner_type } => format!("[{}]", type_text(inner_type)),
        Type::Map {
            key_type,
            value_type,
        } => format!("[{}: {}]", type_text(key_type), type_text(value_type)),
        other => format!("{other:?}").to_lowercase(),
    }
}
