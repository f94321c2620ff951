//! The facts of a statement: the only list. docs/FACTS.md is made of it.

use super::change::Change;
use super::locks::TableLock;
use super::predicates::{Predicate, Relation};
use super::security::Unions;
use crate::guard::fact::fact_table;
use crate::guard::{Effects, Kind};

fact_table! {
    /// The facts of one statement. Names are PostgreSQL's; lists hold each name once, in order of appearance.
    /// What a statement carries (`EXPLAIN`, `PREPARE`, `DECLARE CURSOR`, `COPY (…)`, `CREATE TABLE AS`) counts as its own.
    #[derive(Clone, Debug, PartialEq, serde::Serialize)]
    pub struct Facts {
        /// `select`, `insert`, `update`, `delete`, `merge`, `copy`, `ddl`, `transaction`, `set`, `show`, `utility`,
        /// `unparsed`.
        always kind: Kind = Kind::Unparsed;
        /// `begin` (also `START TRANSACTION`), `commit`, `rollback`, `savepoint`, `release savepoint`, `rollback to savepoint`,
        /// `prepare transaction`, `commit prepared`, `rollback prepared`; empty of any other kind.
        fact transaction: &'static str = "";
        /// Provably changes nothing: no data-modifying CTE, `INTO`, row lock, function not known to be harmless.
        always read_only: bool = false;
        /// Why it is not provably read-only: `insert`, `update`, `delete`, `merge`, `data-modifying with`, `select into`,
        /// `row lock`, `function F`, `sequence F`, `advisory lock F`, `operator`, `sampling method`, `copy from`,
        /// `copy to stdout`, `copy to file`, `copy to program`, `explain analyze`, `do`, `call`, `execute`, `ddl`,
        /// `transaction`, `set`, `function call` (the protocol's message), `unparsed`, `other`. Empty if it is.
        always not_read_only: Vec<String> = vec!["unparsed".to_owned()];
        /// Relations as written, schema-qualified where the text does so; CTE names left out.
        fact tables: Vec<String> = Vec::new();
        /// Those it reads.
        fact tables_read: Vec<String> = Vec::new();
        /// Those it writes: targets of `INSERT`, `UPDATE`, `DELETE`, `MERGE`, `COPY FROM`, `TRUNCATE`, `INTO`, and what a
        /// definition creates, changes or drops.
        fact tables_written: Vec<String> = Vec::new();
        /// Columns it reads, as `table.column` where an alias or a single relation tells the table, else as written.
        fact columns: Vec<String> = Vec::new();
        /// Columns it writes: of `INSERT (…)`, `SET`, `COPY t (…) FROM`, as `table.column`.
        fact columns_written: Vec<String> = Vec::new();
        /// `*` or `t.*` in a target list or `RETURNING`; not `count(*)`, not inside `EXISTS`.
        fact select_star: bool = false;
        /// An `UPDATE` or `DELETE` without `WHERE` anywhere in it: in a `WITH`, under `EXPLAIN`, `PREPARE`, `COPY (…)`.
        fact unfiltered_write: bool = false;
        /// The statement itself (not a subquery) has a `WHERE` clause.
        fact has_where: bool = false;
        /// The statement itself has a `LIMIT` or `FETCH FIRST` other than `ALL` or `NULL`.
        fact has_limit: bool = false;
        /// Its `LIMIT`, where it is a plain number.
        fact limit: Option<u64> = None;
        /// Its `OFFSET`, where it is a plain number; 0 without one. Unknown for a parameter or an expression.
        fact offset: Option<u64> = Some(0);
        /// The statement itself has an `ORDER BY`.
        fact order_by: bool = false;
        /// Columns that the statement itself is ordered by, as `table.column` where the table is told; empty if it is
        /// ordered by anything else first.
        fact order_columns: Vec<String> = Vec::new();
        /// An `ORDER BY random()` at any level.
        fact order_by_random: bool = false;
        /// Joins written as `JOIN`, plus one for each further comma-separated relation in a `FROM`.
        fact joins: u32 = 0;
        /// Pairs of relations in one `FROM` that no condition of `ON`, `USING` or `WHERE` connects.
        fact cross_joins: u32 = 0;
        /// Subqueries at any level, `WITH` queries included.
        fact subqueries: u32 = 0;
        /// Deepest nesting of queries; 1 for a query without subqueries.
        fact depth: u32 = 0;
        /// Arms of `UNION`, `INTERSECT`, `EXCEPT` beyond the first, at all levels.
        fact unions: u32 = 0;
        /// Calls of aggregate functions.
        fact aggregates: u32 = 0;
        /// `count(*)` (or `count(1)`) in a target list of the statement itself.
        fact count_star: bool = false;
        /// Any query level has a `GROUP BY`.
        fact group_by: bool = false;
        /// Any query level has `DISTINCT`.
        fact distinct: bool = false;
        /// Calls with `OVER`.
        fact windows: u32 = 0;
        /// Elements of the longest `IN (…)` list or `ANY (ARRAY[…])`.
        fact in_list: u32 = 0;
        /// A `NOT IN (SELECT …)`.
        fact not_in_subquery: bool = false;
        /// An `OR` whose sides compare different columns, none of them constant.
        fact or_across_columns: bool = false;
        /// Functions called, lower case as PostgreSQL folds them, schema-qualified where the text does so.
        fact functions: Vec<String> = Vec::new();
        /// Row locks: `FOR UPDATE`, `FOR NO KEY UPDATE`, `FOR SHARE`, `FOR KEY SHARE`.
        fact for_update: bool = false;
        /// A row lock says `NOWAIT` or `SKIP LOCKED`, every one of them.
        fact lock_no_wait: bool = false;
        /// A `LIKE`, `ILIKE` or `~~` whose pattern is a literal that starts with `%` or `_`.
        fact leading_wildcard: bool = false;
        /// Column compared in the first such pattern, or with the first of `like_params`; for messages.
        inner like_column: Option<String> = None;
        /// Parameters ($n) that stand as `LIKE` patterns.
        inner like_params: Vec<u16> = Vec::new();
        /// A regular expression (`~`, `~*`, `SIMILAR TO`, `regexp_…`) stands in a filter over a column.
        fact regex: bool = false;
        /// Columns that a filter compares through a function or an expression: `lower(orders.email)` gives `orders.email`.
        fact function_columns: Vec<String> = Vec::new();
        /// Columns that a filter compares through a cast of the column.
        fact cast_columns: Vec<String> = Vec::new();
        /// Columns that a filter compares by equality (`=`, `IN`, `= ANY`, `IS NULL`) with something else than their own
        /// row, where it must hold: not under `OR` or `NOT`, nor on the kept side of an outer join.
        fact equality_columns: Vec<String> = Vec::new();
        /// Columns that a filter compares at all.
        fact filter_columns: Vec<String> = Vec::new();
        /// Every comparison of a filter, for detectors.
        inner predicates: Vec<Predicate> = Vec::new();
        /// Every relation in a `FROM` or as target, as often as it is named, for detectors.
        #[serde(skip)]
        inner relations: Vec<Relation> = Vec::new();
        /// The `WHERE` of the statement itself, or of an `UPDATE` or `DELETE` in it, holds for every row: `true`, `1 = 1`.
        fact always_true: bool = false;
        /// An `OR` has a side that is always true: `OR 1=1`, `OR 'a'='a'`, `OR true`.
        fact tautology: bool = false;
        /// Rows of the longest `VALUES`.
        fact rows: u32 = 0;
        /// Another query or relation decides how many rows are written: `INSERT … SELECT … FROM`, `UPDATE … FROM`,
        /// `DELETE … USING`, `MERGE`.
        inner bulk_source: bool = false;
        /// A `LIMIT` stands at any level.
        inner any_limit: bool = false;
        /// An `INSERT` names no columns.
        fact insert_without_columns: bool = false;
        /// It has an `ON CONFLICT`.
        fact on_conflict: bool = false;
        /// It has a `RETURNING`.
        fact returning: bool = false;
        /// Strongest lock on a table that it takes: `access share`, `row share`, `row exclusive`,
        /// `share update exclusive`, `share`, `share row exclusive`, `exclusive`, `access exclusive`; empty: none. Tables
        /// that the same text makes do not count.
        fact lock: String = String::new();
        /// The locks of its definitions, table by table.
        inner table_locks: Vec<TableLock> = Vec::new();
        /// It stands under `EXPLAIN`.
        fact explain: bool = false;
        /// It stands under `EXPLAIN ANALYZE`: it runs.
        fact analyze: bool = false;
        /// Where a `COPY` goes: `to stdout`, `from stdin`, `to file`, `from file`, `to program`, `from program`; else empty.
        fact copy: String = String::new();
        /// What it defines or changes, one entry for each: docs/RULES.md has the words (`add column`, `drop table`, …).
        fact changes: Vec<String> = Vec::new();
        /// The same with their particulars, for detectors.
        inner ddl: Vec<Change> = Vec::new();
        /// A definition that rewrites a whole table.
        fact rewrites: bool = false;
        /// It says `CONCURRENTLY`.
        fact concurrently: bool = false;
        /// It runs or defines code that is not seen: `DO`, `CALL`, a function's body given as a string, `LOAD`,
        /// `CREATE EXTENSION`, a function that runs SQL given as text (`dblink`, `query_to_xml`); all that is unparsed.
        always opaque: bool = true;
        /// A column, relation or function that only the catalogs have: `pg_…`, `information_schema`.
        fact catalog: bool = false;
        /// Highest parameter number.
        fact params: u16 = 0;
        /// Comments in the text of the statements together.
        fact comments: u32 = 0;
        /// The text ends in a comment: `--` without a line break behind it, or a `/*` block.
        fact trailing_comment: bool = false;
        /// Tags of a sqlcommenter comment, as `key=value`, percent-decoded.
        fact tags: Vec<String> = Vec::new();
        /// How many statements its text holds.
        always statements: u32 = 1;
        /// Size of the text in bytes.
        always bytes: u32 = 0;
        /// Settings of the session that it sets or resets by name, lower case; not those of `SET LOCAL`.
        fact settings: Vec<String> = Vec::new();
        /// Settings that it sets, resets or reads in any way (`SET`, `SHOW`, `set_config`, `ALTER … SET`), lower case;
        /// `all` of `RESET ALL`, `?` where the text does not show the name.
        fact settings_named: Vec<String> = Vec::new();
        /// Changes of roles and rights: `grant`, `revoke`, `create role`, `alter role`, `drop role`, `set role`,
        /// `set session authorization`, `alter default privileges`, `alter owner`, `drop owned`, `security definer`,
        /// `row security`, `user mapping`.
        fact privileges: Vec<String> = Vec::new();
        /// The arms of its unions, for detectors.
        inner union_arms: Unions = Unions::default();
        /// What follows a `--` that ends the text, and whether it stands right behind a literal; for detectors.
        #[serde(skip)]
        inner line_comment: Option<(bool, String)> = None;
        /// Settings of the application's own that it names, to set or to read.
        #[serde(skip)]
        inner custom_settings: Vec<Box<str>> = Vec::new();
        /// Names in SQL `PREPARE`, `EXECUTE`, `DEALLOCATE`; true: deallocated.
        #[serde(skip)]
        inner prepared: Vec<(Box<str>, bool)> = Vec::new();
        /// Session state the statement may leave behind.
        #[serde(skip)]
        inner effects: Effects = super::effects::UNREAD;
    }
}

impl Facts {
    /// Nothing is known of it: not read-only, may leave any session state.
    #[must_use]
    pub fn unparsed(bytes: usize) -> Self {
        Self { bytes: u32::try_from(bytes).unwrap_or(u32::MAX), ..Self::blank() }
    }
}
