//! Types as a text writes them: their usual names, and which change of type costs nothing.

use crate::guard::sql::parse::{ConstValue, Node, nodes};

/// A type as PostgreSQL's `format_type` writes it: `integer`, `character varying(20)`, `numeric(10,2)[]`.
pub(super) fn render(name: &nodes::TypeName) -> String {
    let mut parts: Vec<&str> = name.names().iter().filter_map(|part| part.sval()).collect();
    if parts.len() > 1 && parts.first() == Some(&"pg_catalog") {
        parts.remove(0);
    }
    let written = parts.join(".");
    let (before, after) = usual(&written);
    let modifiers: Option<Vec<String>> = name.typmods().iter().map(modifier).collect();
    let mut out = before.to_owned();
    match modifiers {
        Some(modifiers) if modifiers.is_empty() => {}
        // An interval's fields are a mask before its precision.
        _ if before == "interval" => out.push_str("(…)"),
        Some(modifiers) => out.push_str(&format!("({})", modifiers.join(","))),
        None => out.push_str("(…)"),
    }
    out.push_str(after);
    for _ in 0..name.array_bounds().len() {
        out.push_str("[]");
    }
    out
}

fn modifier(node: Node<'_>) -> Option<String> {
    match node {
        Node::A_Const(value) => match value.val()? {
            ConstValue::Integer(number) => Some(number.to_string()),
            ConstValue::String(text) => Some(text.to_owned()),
            _ => None,
        },
        Node::ColumnRef(column) => column.fields().iter().next_back()?.as_str().map(str::to_owned),
        _ => None,
    }
}

/// A type's usual name: what stands before its modifiers, and what behind.
fn usual(name: &str) -> (&str, &'static str) {
    match name {
        "int" | "int4" => ("integer", ""),
        "int2" => ("smallint", ""),
        "int8" => ("bigint", ""),
        "float4" => ("real", ""),
        "float8" => ("double precision", ""),
        "bool" => ("boolean", ""),
        "decimal" => ("numeric", ""),
        "varchar" => ("character varying", ""),
        "bpchar" => ("character", ""),
        "varbit" => ("bit varying", ""),
        "timestamptz" => ("timestamp", " with time zone"),
        "timestamp" => ("timestamp", " without time zone"),
        "timetz" => ("time", " with time zone"),
        "time" => ("time", " without time zone"),
        "serial4" => ("serial", ""),
        "serial2" => ("smallserial", ""),
        "serial8" => ("bigserial", ""),
        other => (other, ""),
    }
}

/// Types of PostgreSQL itself and of well-known extensions, by their usual names; never a domain with a check.
static BASE: &[&str] = &[
    "integer",
    "smallint",
    "bigint",
    "real",
    "double precision",
    "numeric",
    "boolean",
    "character varying",
    "character",
    "char",
    "name",
    "text",
    "bytea",
    "bit",
    "bit varying",
    "timestamp with time zone",
    "timestamp without time zone",
    "time with time zone",
    "time without time zone",
    "date",
    "interval",
    "uuid",
    "json",
    "jsonb",
    "jsonpath",
    "xml",
    "inet",
    "cidr",
    "macaddr",
    "macaddr8",
    "money",
    "oid",
    "point",
    "line",
    "lseg",
    "box",
    "path",
    "polygon",
    "circle",
    "tsvector",
    "tsquery",
    "pg_lsn",
    "int4range",
    "int8range",
    "numrange",
    "tsrange",
    "tstzrange",
    "daterange",
    "int4multirange",
    "int8multirange",
    "nummultirange",
    "tsmultirange",
    "tstzmultirange",
    "datemultirange",
    "citext",
    "hstore",
    "ltree",
    "geometry",
    "geography",
    "vector",
];

/// `serial` and its like: an integer with a sequence behind it.
pub(super) fn is_serial(rendered: &str) -> bool {
    matches!(rendered, "serial" | "smallserial" | "bigserial")
}

/// A type that is no domain: a column of it needs no look at its value. An array of anything is one.
pub(super) fn is_base(rendered: &str) -> bool {
    let (name, _) = parts(rendered);
    rendered.ends_with("[]") || is_serial(&name) || BASE.contains(&name.as_str())
}

/// `character varying(20)` is `character varying` and 20.
fn parts(rendered: &str) -> (String, Vec<i64>) {
    let Some((before, rest)) = rendered.split_once('(') else { return (rendered.to_owned(), Vec::new()) };
    let Some((inside, after)) = rest.split_once(')') else { return (rendered.to_owned(), Vec::new()) };
    let numbers: Option<Vec<i64>> = inside.split(',').map(|number| number.trim().parse().ok()).collect();
    // Modifiers that are no numbers are a name of their own: equal to themselves only.
    numbers.map_or_else(|| (rendered.to_owned(), Vec::new()), |numbers| (format!("{before}{after}"), numbers))
}

/// Whether a column can take another type without its table being written anew: every stored value is already one
/// of the new type.
pub fn widens(from: &str, to: &str) -> bool {
    if from == to {
        return true;
    }
    let ((old, from), (new, to)) = (parts(from), parts(to));
    let wider = |from: &[i64], to: &[i64]| match (from, to) {
        (_, []) => true,
        ([old], [new]) => new >= old,
        _ => false,
    };
    match (old.as_str(), new.as_str()) {
        ("character varying", "character varying") | ("bit varying", "bit varying") => wider(&from, &to),
        ("character varying", "text") | ("cidr", "inet") | ("xml", "text") => to.is_empty(),
        ("text", "character varying") => to.is_empty(),
        ("numeric", "numeric") => match (from.as_slice(), to.as_slice()) {
            (_, []) => true,
            ([old, scale], [new, same]) => new >= old && scale == same,
            // numeric(p) is numeric(p,0).
            ([old], [new]) => new >= old,
            ([old], [new, 0]) | ([old, 0], [new]) => new >= old,
            _ => false,
        },
        (
            "timestamp with time zone"
            | "timestamp without time zone"
            | "time with time zone"
            | "time without time zone",
            same,
        ) if same == old => wider(&from, &to),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wider_types_hold_what_was_there() {
        for (from, to) in [
            ("integer", "integer"),
            ("character varying(20)", "character varying(40)"),
            ("character varying(20)", "character varying"),
            ("character varying(20)", "text"),
            ("text", "character varying"),
            ("numeric(10,2)", "numeric(12,2)"),
            ("numeric(10,2)", "numeric"),
            ("numeric(10)", "numeric(12,0)"),
            ("timestamp(3) with time zone", "timestamp with time zone"),
            ("timestamp(3) without time zone", "timestamp(6) without time zone"),
            ("cidr", "inet"),
        ] {
            assert!(widens(from, to), "{from} to {to}");
        }
    }

    #[test]
    fn others_do_not() {
        for (from, to) in [
            ("integer", "bigint"),
            ("character varying(40)", "character varying(20)"),
            ("character varying", "character varying(20)"),
            ("text", "character varying(20)"),
            ("character(20)", "character(40)"),
            ("character(20)", "text"),
            ("numeric(10,2)", "numeric(12,4)"),
            ("numeric", "numeric(12,4)"),
            ("timestamp without time zone", "timestamp(3) without time zone"),
            ("timestamp without time zone", "timestamp with time zone"),
            ("inet", "cidr"),
            ("my_type", "text"),
            ("integer[]", "bigint[]"),
        ] {
            assert!(!widens(from, to), "{from} to {to}");
        }
    }
}
