//! A catalog as people write it, in JSON or TOML: all that [`Catalog`] has, and short forms for what is mostly so.

use serde_json::{Map, Value};

use super::catalog::Catalog;

/// A catalog from a text: JSON if it begins with a brace or a bracket, else TOML.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<Catalog, String> {
    if text.trim_start().starts_with(['{', '[']) && !text.trim_start().starts_with("[[") {
        let value = serde_json::from_str(text).map_err(|error| format!("not JSON: {error}"))?;
        return from_json(value);
    }
    let table: toml::Table = text.parse().map_err(|error: toml::de::Error| format!("not TOML: {error}"))?;
    from_json(serde_json::to_value(table).map_err(|error| error.to_string())?)
}

/// A catalog from a list of tables, or from all that a catalog has. A table is in `public` if nothing else is said; a
/// column may be its name alone, an index its columns alone.
///
/// # Errors
/// What is wrong with it.
pub fn from_json(value: Value) -> Result<Catalog, String> {
    let mut whole = match value {
        Value::Array(tables) => Map::from_iter([("tables".to_owned(), Value::Array(tables))]),
        Value::Object(one) if one.contains_key("name") && !one.contains_key("tables") => {
            Map::from_iter([("tables".to_owned(), Value::Array(vec![Value::Object(one)]))])
        }
        Value::Object(whole) => whole,
        _ => return Err("a list of tables is expected".to_owned()),
    };
    for table in whole.get_mut("tables").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Some(table) = table.as_object_mut() {
            complete(table);
        }
    }
    let mut catalog: Catalog =
        serde_json::from_value(Value::Object(whole)).map_err(|error| error.to_string())?;
    catalog.seal();
    Ok(catalog)
}

fn complete(table: &mut Map<String, Value>) {
    let mut preset = |key: &str, value: &str| {
        table.entry(key).or_insert_with(|| value.into());
    };
    preset("schema", "public");
    preset("kind", "table");
    for column in table.get_mut("columns").and_then(Value::as_array_mut).into_iter().flatten() {
        if let Value::String(name) = column {
            *column = serde_json::json!({ "name": name });
        }
    }
    for index in table.get_mut("indexes").and_then(Value::as_array_mut).into_iter().flatten() {
        match index {
            Value::String(columns) => {
                let columns: Vec<&str> = columns.split(',').map(str::trim).collect();
                *index = serde_json::json!({ "columns": columns, "method": "btree", "valid": true });
            }
            Value::Object(given) => {
                given.entry("valid").or_insert(true.into());
                given.entry("method").or_insert_with(|| "btree".into());
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn short_forms_stand_for_what_is_mostly_so() {
        let text = "[[tables]]\nname = 'orders'\nrows = 7\ncolumns = ['id', { name = 'state', type = 'text' }]\n\
                    indexes = ['id', 'state, id', { columns = ['note'], valid = false }]\n";
        let catalog = parse(text).unwrap();
        let orders = catalog.table("orders").unwrap();
        assert_eq!((orders.rows, orders.columns.len()), (Some(7), 2));
        assert!(orders.is_indexed("id") && orders.is_indexed("state") && !orders.is_indexed("note"));
        assert!(catalog.table("public.orders").is_some() && catalog.table("other").is_none());
        for same in
            ["[{\"name\": \"orders\"}]", "{\"name\": \"orders\"}", "{\"tables\": [{\"name\": \"orders\"}]}"]
        {
            assert!(parse(same).unwrap().table("orders").is_some(), "{same}");
        }
    }

    #[test]
    fn what_is_wrong_is_told() {
        for (text, part) in [
            ("[1]", "invalid type"),
            ("{", "not JSON"),
            ("a = ", "not TOML"),
            ("[{\"nam\": 1}]", "unknown field"),
        ] {
            let why = parse(text).unwrap_err();
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
