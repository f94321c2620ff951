//! ### What it does
//! Finds statements with more joins than `max`, at all levels together.
//!
//! ### Why it hurts
//! PostgreSQL tries orders of joins up to `join_collapse_limit` (8) exhaustively and takes those beyond it as written;
//! each estimate multiplies the error of the one before. Such statements plan slowly and are the ones whose plan
//! changes over night.
//!
//! ### Example
//! ```sql
//! SELECT … FROM a JOIN b … JOIN c … JOIN d … JOIN e … JOIN f … JOIN g … JOIN h … JOIN i … JOIN j … JOIN k …;
//! ```
//!
//! ### Instead
//! Two statements, of which the first finds the rows and the second what belongs to them; a materialised view, or a
//! table of what is asked every day.
//!
//! ### How to silence
//! Raise `with = { max = 15 }`, or name who may: `unless = { users = ["report"] }`.

use super::{Finding, Opt, Options, Subject, Kind};

pub(super) const READS: &[&str] = &["query.joins", "query.kind", "query.tables"];
pub(super) const OPTIONS: &[Opt] = &[Opt::int("max", 10, "Joins that are not too many.")];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if i64::from(facts.joins) <= options.int("max") || facts.kind == Kind::Ddl {
        return None;
    }
    Some(Finding {
        message: format!("This joins {} relations.", facts.joins.saturating_add(1)),
        hint: "Ask for less at once, join first what filters most in a WITH … AS MATERIALIZED, or keep the result in a table.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes};

    #[test]
    fn flags_more_than_max() {
        let joins = (0..11).map(|n| format!(" JOIN t{n} ON t{n}.id = a.id")).collect::<String>();
        let found = flags("too-many-joins", &format!("SELECT 1 FROM a{joins}"));
        assert_eq!(found.message, "This joins 12 relations.");
        let few = Around::with("too-many-joins", |with| with.set("max", Given::Int(1)));
        let _ = flags_in("too-many-joins", "SELECT 1 FROM a, b, c WHERE a.id = b.id AND b.id = c.id", &few);
    }

    #[test]
    fn passes_a_few() {
        passes("too-many-joins", "SELECT 1 FROM a JOIN b USING (id) JOIN c USING (id)");
        passes("too-many-joins", "SELECT 1");
    }
}
