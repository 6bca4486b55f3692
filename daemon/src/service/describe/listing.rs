//! What a daemon offers, in lines for people.

use serde_json::Value;

/// One method, table, log or topic.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) name: String,
    /// `query`, `intent`, `call`, `table`, `log` or `topic`.
    pub(crate) kind: String,
    /// Who may ask: a role, or `local socket`.
    pub(crate) who: String,
    pub(crate) params: String,
    /// The result, or what is followed.
    pub(crate) value: String,
}

/// The lines of a document, in the order of the names.
pub(crate) fn lines(document: &Value) -> Vec<Line> {
    let list = |of: &Value, name: &str| at(of, name).as_array().cloned().unwrap_or_default();
    let methods = list(document, "/methods").into_iter().map(|method| {
        let is_local = at(&method, "/x-bowline/access") != "sessions";
        let who = if is_local {
            "local socket"
        } else {
            text(&method, "/x-bowline/role")
        };
        Line {
            name: text(&method, "/name").to_owned(),
            kind: text(&method, "/x-bowline/kind").to_owned(),
            who: who.to_owned(),
            params: members(at(&method, "/params")),
            value: type_name(at(&method, "/result/schema")),
        }
    });
    let live = list(document, "/x-bowline/live")
        .into_iter()
        .map(|one| Line {
            name: text(&one, "/name").to_owned(),
            kind: text(&one, "/kind").to_owned(),
            who: text(&one, "/role").to_owned(),
            params: type_name(at(&one, "/params")),
            value: type_name(at(&one, "/value")),
        });
    let mut all: Vec<_> = methods.chain(live).collect();
    all.sort_by(|one, other| one.name.cmp(&other.name));
    all
}

fn at<'a>(of: &'a Value, pointer: &str) -> &'a Value {
    of.pointer(pointer).unwrap_or(&Value::Null)
}

fn text<'a>(of: &'a Value, pointer: &str) -> &'a str {
    at(of, pointer).as_str().unwrap_or_default()
}

fn members(params: &Value) -> String {
    let all = params.as_array().into_iter().flatten();
    let names = all.map(|one| {
        let mark = if at(one, "/required") == true {
            ""
        } else {
            "?"
        };
        format!("{}{mark}", text(one, "/name"))
    });
    names.collect::<Vec<_>>().join(" ")
}

/// The name of a type, or the kind of JSON if it has none.
fn type_name(schema: &Value) -> String {
    let name = schema.get("$ref").and_then(Value::as_str);
    let name = name.and_then(|path| path.rsplit('/').next());
    let name = name.or_else(|| schema.get("type").and_then(Value::as_str));
    match (name, schema.get("items")) {
        (Some("array"), Some(items)) => format!("[{}]", type_name(items)),
        (Some(name), _) => name.to_owned(),
        (None, _) => "any".to_owned(),
    }
}
