//! Texts of about a megabyte that are made to hurt: for `truth.rs`, and for the figures of `benches/guard.rs`.

/// Bytes that the longest may have.
pub const MOST: usize = 1 << 20;

fn fill(piece: &str) -> String {
    piece.repeat(MOST / piece.len() - 64)
}

fn half(piece: &str) -> String {
    piece.repeat(MOST / 2 / piece.len() - 64)
}

/// A text that goes on with a new number until the megabyte is nearly full.
fn counted(begin: &str, piece: impl Fn(usize) -> String) -> String {
    let mut text = begin.to_owned();
    for n in 0.. {
        let piece = piece(n);
        if text.len() + piece.len() > MOST - 64 {
            break;
        }
        text += &piece;
    }
    text
}

/// All of them.
pub fn texts() -> Vec<(&'static str, String)> {
    let mut all = strange();
    all.extend(much_to_read());
    all.extend(much_to_do());
    all
}

/// What makes a reader work more than its length says.
fn strange() -> Vec<(&'static str, String)> {
    vec![
        ("one string", format!("SELECT '{}'", fill("x"))),
        ("quotes", format!("SELECT '{}'", fill("''"))),
        ("a list", format!("SELECT a FROM t WHERE b IN (1{})", fill(", 1"))),
        ("values", format!("INSERT INTO t VALUES (1){}", fill(", (1)"))),
        ("nested comments", format!("{}{} SELECT 1", half("/*"), half("*/"))),
        ("open comments", format!("SELECT 1 {}", fill("/*"))),
        ("many comments", format!("SELECT 1 {}", fill("/**/ -- x\n"))),
        ("continued strings", format!("SELECT 'a'{}", fill("\n--\n'a'"))),
        ("operators", format!("SELECT 1 {} 1", fill("+"))),
        ("operators and comments", format!("SELECT 1 {} 1", fill("+/**/"))),
        ("signs", format!("SELECT {}1", fill("- "))),
        ("parentheses", format!("SELECT {}1{}", half("("), half(")"))),
        ("lone parentheses", format!("SELECT {}", fill("("))),
        ("brackets", format!("SELECT a{}", fill("[1]"))),
        ("casts", format!("SELECT 1{}", fill("::int"))),
        ("dots", format!("SELECT a{}", fill(".a"))),
        ("conditions", format!("SELECT a FROM t WHERE a = 1{}", fill(" OR 1 = 2"))),
        ("mixed conditions", format!("SELECT a FROM t WHERE a = 1{}", fill(" OR a AND b"))),
        ("unions", format!("SELECT 1{}", fill(" UNION SELECT 1"))),
        ("joins", format!("SELECT a FROM t{}", fill(" CROSS JOIN t"))),
        ("relations", format!("SELECT a FROM t{}", fill(", t"))),
        ("functions", format!("SELECT f(1){}", fill(", f(1)"))),
        (
            "settings",
            format!(
                "SELECT 1{}",
                (0..20_000).map(|n| format!(", set_config('a{n}', 'b', true)")).collect::<String>()
            ),
        ),
        ("names", format!("SELECT 1{}", (0..60_000).map(|n| format!(", f{n}(a{n})")).collect::<String>())),
        ("tables", format!("SELECT 1 FROM t{}", (0..60_000).map(|n| format!(", t{n}")).collect::<String>())),
        ("statements", fill("SELECT 1;")),
        ("semicolons", fill(";")),
        ("dollars", format!("SELECT {}", fill("$a"))),
        ("dollar quotes", format!("SELECT {}", (0..80_000).map(|n| format!("$a{n}$")).collect::<String>())),
        ("cases", format!("SELECT {}", fill("CASE WHEN a THEN "))),
        ("subqueries", format!("SELECT {}1{}", "(SELECT ".repeat(900), ")".repeat(900))),
        (
            "with",
            format!(
                "WITH a AS (SELECT 1){} SELECT 1",
                (0..20_000).map(|n| format!(", a{n} AS (SELECT 1 FROM a)")).collect::<String>()
            ),
        ),
        ("tags", format!("SELECT 1 /*a='1'{}*/", fill(",a='1'"))),
        ("percent", format!("SELECT 1 /*a='{}'*/", fill("%41"))),
        ("letters beyond ASCII", format!("SELECT {}", fill("ä"))),
    ]
}

/// Much of one thing in a select.
fn much_to_read() -> Vec<(&'static str, String)> {
    vec![
        ("and chain", format!("SELECT a FROM t WHERE a = 1{}", fill(" AND a = 1"))),
        ("and chain of names", counted("SELECT a FROM t WHERE a = 1", |n| format!(" AND b{n} = 1"))),
        ("like chain", format!("SELECT a FROM t WHERE a = 1{}", fill(" AND b LIKE '%x'"))),
        ("null tests", format!("SELECT a FROM t WHERE a = 1{}", fill(" AND a IS NULL"))),
        ("list of one", format!("SELECT a FROM t WHERE a = 1{}", fill(" OR a IN (1)"))),
        ("columns", format!("SELECT a{} FROM t", fill(", a"))),
        ("named columns", counted("SELECT a", |n| format!(", a{n}"))),
        ("qualified columns", format!("SELECT a{} FROM t", fill(", t.a"))),
        ("columns of two tables", counted("SELECT a", |n| format!(", a{n}.b"))),
        ("aliases", format!("SELECT 1{}", fill(" x, 1"))),
        ("named calls", counted("SELECT 1", |n| format!(", f{n}(1)"))),
        ("calls of calls", format!("SELECT 1{}", fill(", f(g(1))"))),
        ("windows", format!("SELECT 1{}", fill(", f(1) OVER ()"))),
        ("casts in a list", format!("SELECT 1{}", fill(", 1::int"))),
        ("typed literals", format!("SELECT 1{}", fill(", int '1'"))),
        ("sums", format!("SELECT 1{}", fill(", 1 + 1"))),
        ("texts", format!("SELECT 1{}", fill(", 'a'"))),
        ("parameters", counted("SELECT 1", |n| format!(", ${}", n % 60_000 + 1))),
        ("an array", format!("SELECT ARRAY[1{}]", fill(",1"))),
        ("rows", format!("SELECT ROW(1){}", fill(", (1,1)"))),
        ("order", format!("SELECT 1 ORDER BY a{}", fill(", a"))),
        ("groups", format!("SELECT 1 GROUP BY a{}", fill(", a"))),
        ("small subqueries", format!("SELECT 1{}", fill(", (SELECT 1)"))),
        ("exists chain", format!("SELECT a FROM t WHERE a = 1{}", fill(" AND EXISTS (SELECT FROM t)"))),
        ("whens", format!("SELECT CASE{} END", fill(" WHEN a THEN 1"))),
        ("quoted names", counted("SELECT a", |n| format!(", \"a{n}\""))),
        ("two arms and many columns", format!("SELECT 1{0} UNION SELECT 1{0}", half(",a"))),
        ("joins of two", format!("SELECT a FROM t{}", " JOIN t ON t.a = t.b".repeat(3_900))),
    ]
}

/// Much of one thing elsewhere.
fn much_to_do() -> Vec<(&'static str, String)> {
    vec![
        ("wide values", format!("INSERT INTO t VALUES (1{})", fill(",1"))),
        ("values of texts", format!("INSERT INTO t VALUES (1, 'x'){}", fill(", (1, 'x')"))),
        ("settings of columns", counted("UPDATE t SET a = 1", |n| format!(", a{n} = 1"))),
        ("target columns", counted("INSERT INTO t (a", |n| format!(", a{n}")) + ") VALUES (1)"),
        ("many columns added", counted("ALTER TABLE t ADD a int", |n| format!(", ADD c{n} int"))),
        ("a table of many columns", format!("CREATE TABLE t (a int{})", fill(", a int"))),
        ("tables dropped", counted("DROP TABLE t", |n| format!(", t{n}"))),
        ("rights", counted("GRANT SELECT ON t", |n| format!(", t{n}")) + " TO x"),
        ("begins", fill("BEGIN;")),
        ("selects of a table", fill("SELECT a FROM t WHERE b = 1;")),
        ("settings set", counted("", |n| format!("SET a.b{n} = 1;"))),
        ("inserts", fill("INSERT INTO t VALUES (1, 'x');")),
        ("deletes", fill("DELETE FROM t;")),
        ("tables made", counted("", |n| format!("CREATE TABLE t{n} (a int);"))),
        (
            "a script",
            fill("UPDATE t SET a = a + 1, b = 'x' WHERE id IN (1, 2, 3) AND lower(c) = 'y'; COMMIT; "),
        ),
    ]
}
