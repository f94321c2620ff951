#![allow(clippy::unwrap_used)]

use super::tests::facts;
use super::{Comparison, Operand, Predicate};

fn columns(text: &str) -> Vec<String> {
    facts(text).columns
}

#[test]
fn tables_read_and_written_are_told_apart() {
    for (text, read, written) in [
        ("SELECT a FROM t JOIN s.u USING (id)", &["t", "s.u"][..], &[][..]),
        ("INSERT INTO t SELECT a FROM u", &["u"], &["t"]),
        ("UPDATE t SET a = u.a FROM u WHERE u.id = t.id", &["u"], &["t"]),
        ("DELETE FROM t USING u WHERE EXISTS (SELECT FROM t)", &["u", "t"], &["t"]),
        ("MERGE INTO t USING u ON t.id = u.id WHEN MATCHED THEN DELETE", &["u"], &["t"]),
        ("SELECT a INTO n FROM t", &["t"], &["n"]),
        ("WITH x AS (DELETE FROM t RETURNING a) INSERT INTO u SELECT a FROM x", &[], &["u", "t"]),
        ("EXPLAIN SELECT a FROM t", &["t"], &[]),
        ("VACUUM t", &[], &[]),
        ("LOCK t", &[], &[]),
    ] {
        let facts = facts(text);
        assert_eq!(facts.tables_read, read, "{text}");
        assert_eq!(facts.tables_written, written, "{text}");
    }
}

#[test]
fn columns_belong_to_the_relation_behind_their_alias() {
    assert_eq!(columns("SELECT o.id, total FROM shop.orders o"), ["shop.orders.id", "shop.orders.total"]);
    assert_eq!(
        columns("SELECT o.id, c.name, x FROM orders o JOIN customers c ON c.id = o.customer_id"),
        ["orders.id", "customers.name", "x", "customers.id", "orders.customer_id"]
    );
    assert_eq!(
        columns("SELECT id FROM orders o WHERE EXISTS (SELECT 1 FROM items i WHERE i.order_id = o.id)"),
        ["orders.id", "items.order_id"]
    );
    let none: [&str; 0] = [];
    assert_eq!(columns("WITH x AS (SELECT a FROM t) SELECT x.a FROM x"), ["t.a"]);
    assert_eq!(columns("SELECT q.n FROM (SELECT count(*) AS n FROM t) q"), none);
    assert_eq!(columns("SELECT a FROM t AS x(a, b)"), none);
    assert_eq!(columns("SELECT a AS n FROM t GROUP BY n ORDER BY n, b"), ["t.a", "t.b"]);
    assert_eq!(columns("SELECT a FROM t UNION SELECT b FROM u ORDER BY a"), ["t.a", "u.b"]);
    assert_eq!(columns("UPDATE t SET a = b WHERE t.c = 1"), ["t.b", "t.c"]);
    assert_eq!(
        columns(
            "INSERT INTO t AS x (a) VALUES (1) ON CONFLICT (a) DO UPDATE SET b = x.b + excluded.b RETURNING id"
        ),
        ["t.b", "t.id"]
    );
    assert_eq!(columns("SELECT s.t.a FROM s.t JOIN t ON true"), ["s.t.a"]);
    assert_eq!(columns("SELECT * FROM t"), none);
    assert_eq!(
        columns("SELECT id FROM a JOIN b USING (id, k) WHERE a.z"),
        ["id", "a.id", "b.id", "a.k", "b.k", "a.z"]
    );
}

#[test]
fn counts_of_queries() {
    for (text, subqueries, depth, unions) in [
        ("SELECT 1", 0, 1, 0),
        ("BEGIN", 0, 0, 0),
        ("SELECT a FROM (SELECT a FROM t WHERE b IN (SELECT c FROM u)) x", 2, 3, 0),
        ("WITH x AS (SELECT 1), y AS (SELECT 2) SELECT * FROM x, y", 2, 2, 0),
        ("SELECT 1 UNION SELECT 2 UNION ALL SELECT 3", 0, 1, 2),
        ("INSERT INTO t SELECT a FROM u WHERE EXISTS (SELECT 1)", 1, 2, 0),
        ("UPDATE t SET a = 1", 0, 1, 0),
        ("SELECT (SELECT 1 INTERSECT SELECT 2)", 1, 2, 1),
    ] {
        let facts = facts(text);
        assert_eq!((facts.subqueries, facts.depth, facts.unions), (subqueries, depth, unions), "{text}");
    }
    assert_eq!(facts("SELECT sum(a) OVER w, rank() OVER (ORDER BY b) FROM t WINDOW w AS ()").windows, 2);
}

#[test]
fn bounds_and_order() {
    for (text, limit, offset, order) in [
        ("SELECT a FROM t", None, Some(0), false),
        ("SELECT a FROM t ORDER BY a LIMIT 10 OFFSET 20", Some(10), Some(20), true),
        ("SELECT a FROM t LIMIT $1 OFFSET $2", None, None, false),
        (
            "SELECT a FROM t OFFSET 5000000000 ROWS FETCH NEXT ('7'::bigint) ROWS ONLY",
            Some(7),
            Some(5_000_000_000),
            false,
        ),
        ("SELECT a FROM t FETCH FIRST ROW ONLY", Some(1), Some(0), false),
        ("SELECT a FROM t LIMIT ALL OFFSET NULL", None, Some(0), false),
        ("SELECT a FROM t LIMIT 1 + 1", None, Some(0), false),
        ("SELECT 1 UNION SELECT 2 ORDER BY 1 LIMIT 3", Some(3), Some(0), true),
    ] {
        let facts = facts(text);
        assert_eq!((facts.limit, facts.offset, facts.order_by), (limit, offset, order), "{text}");
    }
    for (text, columns) in [
        ("SELECT a FROM t ORDER BY b, t.c DESC, lower(d), e", &["t.b", "t.c"][..]),
        ("SELECT a AS n FROM t ORDER BY n", &[]),
        ("SELECT a FROM (SELECT a FROM t ORDER BY b) x", &[]),
    ] {
        assert_eq!(facts(text).order_columns, columns, "{text}");
    }
    for (text, random) in [
        ("SELECT a FROM t ORDER BY random() LIMIT 1", true),
        ("SELECT a FROM t ORDER BY random() * weight", true),
        ("SELECT a FROM (SELECT a FROM t ORDER BY gen_random_uuid()) x", true),
        ("SELECT random() FROM t ORDER BY a", false),
    ] {
        assert_eq!(facts(text).order_by_random, random, "{text}");
    }
}

#[test]
fn cross_joins_are_relations_that_nothing_connects() {
    for (text, crossed) in [
        ("SELECT 1 FROM a, b", 1),
        ("SELECT 1 FROM a CROSS JOIN b", 1),
        ("SELECT 1 FROM a JOIN b ON true JOIN c ON 1 = 1", 2),
        ("SELECT 1 FROM a, b, c WHERE a.id = b.id", 1),
        ("SELECT 1 FROM a, b WHERE a.x = 1 AND b.x = 1", 1),
        ("SELECT 1 FROM a JOIN b ON a.x = 1", 1),
        ("DELETE FROM a USING b WHERE a.x = 1", 1),
        ("UPDATE a SET x = 1 FROM b", 1),
        ("SELECT 1 FROM (SELECT x FROM a, b) q", 1),
        ("SELECT 1 FROM a, b WHERE a.x IN (SELECT x FROM c WHERE y = 1)", 1),
        ("WITH w AS (SELECT x FROM c) SELECT 1 FROM a, w", 1),
    ] {
        assert_eq!(facts(text).cross_joins, crossed, "{text}");
    }
    for text in [
        "SELECT 1 FROM a JOIN b ON a.id = b.id",
        "SELECT 1 FROM a, b WHERE a.id = b.id",
        "SELECT 1 FROM a, b WHERE a.at BETWEEN b.since AND b.till",
        "SELECT 1 FROM a, b WHERE a.id = b.id OR a.id = b.other",
        "SELECT 1 FROM a, b WHERE st_intersects(a.geom, b.geom)",
        "SELECT 1 FROM a, b WHERE x = y",
        "SELECT 1 FROM a JOIN b USING (id) NATURAL JOIN c",
        "SELECT 1 FROM a, b, ab WHERE ab.a = a.id AND ab.b = b.id",
        "SELECT 1 FROM a, b WHERE EXISTS (SELECT 1 FROM ab WHERE ab.a = a.id AND ab.b = b.id)",
        "SELECT 1 FROM a, LATERAL (SELECT 1 FROM b) x",
        "SELECT 1 FROM a, generate_series(1, 3) n, unnest(a.list) u",
        "SELECT 1 FROM a, (VALUES (1), (2)) v",
        "SELECT 1 FROM a, (SELECT max(x) AS x FROM b) m",
        "WITH w AS (SELECT $1::int AS x) SELECT 1 FROM a, w",
        "SELECT 1 FROM a LEFT JOIN b ON a.id = b.id AND b.kind = 'x', (SELECT 1) one",
        "MERGE INTO a USING b ON a.id = b.id WHEN MATCHED THEN DELETE",
        "SELECT 1 FROM a WHERE id IN (SELECT b FROM b)",
        "SELECT 1 FROM a, a b, a c WHERE (a.x, b.x) = (b.y, c.y)",
    ] {
        assert_eq!(facts(text).cross_joins, 0, "{text}");
    }
}

fn one(condition: &str) -> Predicate {
    let mut facts = facts(&format!("SELECT 1 FROM orders o WHERE {condition}"));
    assert_eq!(facts.predicates.len(), 1, "{condition}: {:?}", facts.predicates);
    facts.predicates.remove(0)
}

#[test]
fn predicates_say_what_is_compared_how_and_with_what() {
    use {Comparison as C, Operand as O};
    for (condition, comparison, operand) in [
        ("id = 5", C::Equal, O::Number),
        ("5 = o.id", C::Equal, O::Number),
        ("id = '5'", C::Equal, O::Text),
        ("id = '5'::int", C::Equal, O::Literal),
        ("id = $1", C::Equal, O::Parameter),
        ("id IN (1, 2)", C::Equal, O::Number),
        ("id IN ('a', 'b')", C::Equal, O::Text),
        ("id IN (NULL, 'b')", C::Equal, O::Literal),
        ("id IN ($1, 2)", C::Equal, O::Value),
        ("id = ANY ($1::int[])", C::Equal, O::Parameter),
        ("id IN (SELECT x FROM u)", C::Equal, O::Subquery),
        ("id = (SELECT 1)", C::Equal, O::Subquery),
        ("id > now() - interval '1 day'", C::Range, O::Value),
        ("id BETWEEN 1 AND 2", C::Range, O::Number),
        ("id LIKE 'x%'", C::Like, O::Text),
        ("id ~ 'x'", C::Regex, O::Text),
        ("id SIMILAR TO 'x'", C::Regex, O::Value),
        ("id IS NULL", C::Null, O::None),
        ("id IS NOT NULL", C::Other, O::None),
        ("id <> 5", C::Other, O::Number),
        ("id NOT IN (1)", C::Other, O::Number),
        ("id NOT LIKE 'x'", C::Other, O::Text),
        ("paid", C::Equal, O::None),
        ("NOT paid", C::Equal, O::None),
        ("id @> '{}'", C::Other, O::Text),
        ("id IS DISTINCT FROM 5", C::Other, O::Number),
        ("id = CASE WHEN $1 THEN 1 END", C::Equal, O::Expression),
    ] {
        let found = one(condition);
        assert_eq!((found.table.as_str(), found.must_hold), ("orders", true), "{condition}");
        assert_eq!((found.comparison, found.operand), (comparison, operand), "{condition}");
        assert_eq!((found.function, found.cast), (None, None), "{condition}");
    }
    assert_eq!(one("id = $3").param, Some(3));
    for (condition, function, cast) in [
        ("lower(o.email) = $1", Some("lower"), None),
        ("$1 = lower(trim(email))", Some("lower"), None),
        ("data->>'k' = 'x'", Some("->>"), None),
        ("id::text = '5'", None, Some("text")),
        ("date_trunc('day', at) = $1", Some("date_trunc"), None),
        ("coalesce(email, '') = 'x'", Some("coalesce"), None),
        ("total * 2 > 5", Some("*"), None),
        ("starts_with(email, 'x')", Some("starts_with"), None),
    ] {
        let found = one(condition);
        assert_eq!((found.function.as_deref(), found.cast.as_deref()), (function, cast), "{condition}");
    }
}

#[test]
fn an_equality_counts_where_it_must_hold() {
    for (text, equal) in [
        ("SELECT 1 FROM t WHERE a = 1 AND (b = 2 AND c IN (1, 2))", &["t.a", "t.b", "t.c"][..]),
        ("SELECT 1 FROM t WHERE a = 1 OR b = 2", &[]),
        ("SELECT 1 FROM t WHERE NOT a = 1", &[]),
        ("SELECT 1 FROM t WHERE a > 1 AND b IS NULL AND c IS NOT NULL", &["t.b"]),
        ("SELECT 1 FROM t WHERE lower(a) = 'x' AND b::text = 'x'", &[]),
        ("SELECT 1 FROM t WHERE a = a AND b = t.c", &[]),
        ("SELECT 1 FROM t WHERE (a, b) = (1, 2)", &["t.a", "t.b"]),
        ("SELECT 1 FROM t WHERE CASE WHEN a = 1 THEN true END", &[]),
        ("SELECT 1 FROM t WHERE (a = 1) = (b = 2)", &[]),
        ("SELECT 1 FROM t WHERE EXISTS (SELECT 1 FROM u WHERE u.x = 1 AND t.a = 1)", &["u.x"]),
        ("SELECT 1 FROM t WHERE t.a NOT IN (SELECT 1 FROM u WHERE u.x = 1)", &["u.x"]),
        ("SELECT 1 FROM t LEFT JOIN u ON t.a = 1 AND u.b = 2", &["u.b"]),
        ("SELECT 1 FROM t RIGHT JOIN u ON t.a = 1 AND u.b = 2", &["t.a"]),
        ("SELECT 1 FROM t FULL JOIN u ON t.a = 1 AND u.b = 2", &[]),
        ("SELECT 1 FROM t JOIN u ON t.a = 1 AND u.b = 2", &["t.a", "u.b"]),
        (
            "SELECT 1 FROM t LEFT JOIN (u JOIN v ON u.b = 2 AND v.c = 3) ON true WHERE t.a = 1",
            &["u.b", "v.c", "t.a"],
        ),
        ("SELECT 1 FROM t JOIN u USING (k)", &["t.k", "u.k"]),
        ("SELECT 1 FROM t LEFT JOIN u USING (k)", &["u.k"]),
        ("UPDATE t SET a = 1 WHERE b = 2", &["t.b"]),
        ("DELETE FROM t x WHERE x.b = ANY ($1)", &["t.b"]),
        ("SELECT count(*) FROM t HAVING count(*) = 1", &[]),
        ("SELECT 1 FROM t, u WHERE a = 1", &["a"]),
        ("MERGE INTO t USING u ON t.a = 1 WHEN NOT MATCHED THEN INSERT DEFAULT VALUES", &[]),
    ] {
        assert_eq!(facts(text).equality_columns, equal, "{text}");
    }
}

#[test]
fn the_same_table_twice_is_two_relations() {
    let facts = facts("SELECT 1 FROM t a, t b WHERE a.k = 1 AND a.id = b.id");
    assert_eq!(facts.relations.len(), 2);
    let about: Vec<_> = facts.predicates.iter().map(|p| (p.relation, p.column.as_str())).collect();
    assert_eq!(about, [(Some(0), "k"), (Some(0), "id"), (Some(1), "id")]);
    assert_eq!(facts.predicates[1].other, Some((1, "id".to_owned())));
}

#[test]
fn what_stands_out_in_filters() {
    let is = |text: &str, fact: fn(&super::Facts) -> bool| fact(&facts(text));
    for text in [
        "SELECT 1 FROM t WHERE a ~ 'x'",
        "SELECT 1 FROM t WHERE a !~* 'x' OR b",
        "SELECT 1 FROM t WHERE a SIMILAR TO 'x'",
        "SELECT 1 FROM t WHERE regexp_replace(a, 'x', '') = 'y'",
        "SELECT 1 FROM t JOIN u ON t.a ~ u.b",
    ] {
        assert!(is(text, |facts| facts.regex), "{text}");
    }
    for text in [
        "SELECT a ~ 'x' FROM t",
        "SELECT 1 FROM t WHERE 'x' ~ $1",
        "SELECT regexp_replace(a, 'x', '') FROM t",
    ] {
        assert!(!is(text, |facts| facts.regex), "{text}");
    }
    for text in [
        "SELECT 1 FROM t WHERE a NOT IN (SELECT b FROM u)",
        "SELECT 1 FROM t WHERE NOT (a IN (SELECT b FROM u))",
        "SELECT 1 FROM t WHERE a <> ALL (SELECT b FROM u)",
    ] {
        assert!(is(text, |facts| facts.not_in_subquery), "{text}");
    }
    for text in [
        "SELECT 1 FROM t WHERE a NOT IN (1, 2)",
        "SELECT 1 FROM t WHERE a IN (SELECT b FROM u)",
        "SELECT 1 FROM t WHERE NOT EXISTS (SELECT b FROM u)",
        "SELECT 1 FROM t WHERE a NOT IN (VALUES (1), (2))",
    ] {
        assert!(!is(text, |facts| facts.not_in_subquery), "{text}");
    }
    for text in [
        "SELECT 1 FROM t WHERE a = 1 OR b = 2",
        "SELECT 1 FROM t, u WHERE t.a = u.a AND (t.b = $1 OR u.b = $1)",
        "SELECT 1 FROM t WHERE a = 1 OR (a = 2 AND b = 3) OR c IS NULL",
    ] {
        assert!(is(text, |facts| facts.or_across_columns), "{text}");
    }
    for text in [
        "SELECT 1 FROM t WHERE a = 1 OR a = 2",
        "SELECT 1 FROM t WHERE a = 1 OR (t.a = 2 AND b = 3)",
        "SELECT 1 FROM t WHERE a = $1 OR $1 IS NULL",
        "SELECT 1 FROM t WHERE a = 1 OR true",
        "SELECT a = 1 OR b = 2 FROM t",
    ] {
        assert!(!is(text, |facts| facts.or_across_columns), "{text}");
    }
}

#[test]
fn lists_counts_and_locks() {
    for (text, in_list) in [
        ("SELECT 1 FROM t WHERE a IN (1, 2, 3) OR a IN (4)", 3),
        ("SELECT 1 FROM t WHERE a = ANY (ARRAY[1, 2])", 2),
        ("SELECT 1 FROM t WHERE a NOT IN ('a', 'b')", 2),
        ("SELECT 1 FROM t WHERE a IN (VALUES (1), (2))", 2),
        ("SELECT 1 FROM t WHERE a IN (SELECT 1)", 0),
    ] {
        assert_eq!(facts(text).in_list, in_list, "{text}");
    }
    for (text, counts) in [
        ("SELECT count(*) FROM t", true),
        ("SELECT count(1) FROM t", true),
        ("SELECT count(a) FROM t", false),
        ("SELECT count(DISTINCT 1) FROM t", false),
        ("SELECT count(*) OVER () FROM t", false),
        ("SELECT (SELECT count(*) FROM t)", false),
    ] {
        assert_eq!(facts(text).count_star, counts, "{text}");
    }
    for (text, waits) in [
        ("SELECT 1 FROM t FOR UPDATE SKIP LOCKED", true),
        ("SELECT 1 FROM t, u FOR UPDATE OF t NOWAIT FOR SHARE OF u", false),
        ("SELECT 1 FROM t FOR UPDATE", false),
        ("SELECT 1 FROM t", false),
    ] {
        assert_eq!(facts(text).lock_no_wait, waits, "{text}");
    }
    for (text, always) in [
        ("SELECT 1 FROM t WHERE 1 = 1", true),
        ("DELETE FROM t WHERE true", true),
        ("WITH x AS (UPDATE t SET a = 1 WHERE 'a' = 'a' RETURNING 1) SELECT 1 FROM x", true),
        ("SELECT 1 FROM t WHERE 1 = 1 AND a = 5", false),
        ("SELECT 1 FROM t", false),
        ("DELETE FROM t WHERE a IN (SELECT 1 WHERE true)", false),
    ] {
        assert_eq!(facts(text).always_true, always, "{text}");
    }
}
