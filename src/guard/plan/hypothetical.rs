//! What the planner says of an index that nobody made, by the extension `hypopg`: what is asked, and what follows.

use super::{Advice, PlanFacts};

/// An index is worth its room if it saves at least this share of the cost.
const WORTH: f64 = 0.1;

/// Makes the index that is advised, where `hypopg` is in the schema: known to this session alone, and written nowhere.
#[must_use]
pub fn imagine(schema: &str, advice: &Advice) -> String {
    let definition = advice.definition();
    // With backslashes doubled too, it means the same whatever `standard_conforming_strings` is.
    let literal = definition.replace('\\', "\\\\").replace('\'', "''");
    call(schema, &format!("hypopg_create_index(E'{literal}')"))
}

/// Forgets all that was made so.
#[must_use]
pub fn forget(schema: &str) -> String {
    call(schema, "hypopg_reset()")
}

fn call(schema: &str, function: &str) -> String {
    format!("SELECT FROM \"{}\".{function}", schema.replace('"', "\"\""))
}

/// The advice with what the planner says of it: `None` if it would not use the index, or would save next to nothing.
#[must_use]
pub fn kept(advice: &Advice, before: &PlanFacts, with: &PlanFacts) -> Option<Advice> {
    // hypopg calls its indexes `<13543>btree_orders_email`.
    let used = with.indexes.iter().any(|index| index.starts_with('<'));
    let (cost, less) = (before.total_cost, with.total_cost);
    (used && less < cost * (1.0 - WORTH)).then(|| Advice { checked: Some((cost, less)), ..advice.clone() })
}

/// `12,345`.
pub(super) fn grouped(number: f64) -> String {
    let digits = format!("{:.0}", number.max(0.0));
    let mut out = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn advice() -> Advice {
        Advice {
            table: "it's".into(),
            columns: vec!["email".into()],
            method: "btree",
            statement: String::new(),
            why: String::new(),
            checked: None,
            equal: 1,
        }
    }

    fn plan(total_cost: f64, index: &str) -> PlanFacts {
        let indexes = if index.is_empty() { Vec::new() } else { vec![index.to_owned()] };
        PlanFacts { total_cost, indexes, ..PlanFacts::blank() }
    }

    #[test]
    fn advice_stays_if_the_planner_would_use_the_index_and_save_by_it() {
        let before = plan(12_345.0, "");
        let found = kept(&advice(), &before, &plan(8.0, "<13543>btree_orders_email")).unwrap();
        assert_eq!(found.checked, Some((12_345.0, 8.0)));
        assert_eq!(kept(&advice(), &before, &plan(8.0, "orders_pkey")), None, "not by this one");
        assert_eq!(kept(&advice(), &before, &plan(12_345.0, "")), None, "it would not be used");
        assert_eq!(kept(&advice(), &before, &plan(12_000.0, "<1>x")), None, "too little");
        assert_eq!(kept(&advice(), &plan(0.0, ""), &plan(0.0, "<1>x")), None);
    }

    #[test]
    fn questions_are_quoted() {
        let advice = advice();
        let call = "SELECT FROM \"my \"\"s\".hypopg_create_index(E'CREATE INDEX ON \"it''s\" (email)')";
        assert_eq!(imagine("my \"s", &advice), call);
        assert_eq!(forget("my \"s"), "SELECT FROM \"my \"\"s\".hypopg_reset()");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, text) in
            [(0.0, "0"), (8.4, "8"), (999.0, "999"), (12_345.6, "12,346"), (1e9, "1,000,000,000")]
        {
            assert_eq!(grouped(number), text);
        }
    }
}
