//! Definitions that lock or rewrite what others use.

use super::names::{bare, is_like};
use super::{Finding, Opt, Options, Subject, rules};
use crate::guard::facts::{Change, ColumnDefault, Facts, Lock, TableLock, widens};

rules! {
    "ddl":
    "table-rewrite" => table_rewrite,
    "adding-field-with-default" | "add-column-with-volatile-default" => adding_field_with_default,
    "adding-required-field" | "add-column-not-null" => adding_required_field,
    "adding-not-nullable-field" | "set-not-null" => adding_not_nullable_field,
    "adding-foreign-key-constraint" | "add-foreign-key-without-not-valid" => adding_foreign_key_constraint,
    "constraint-missing-not-valid" | "add-check-without-not-valid" => constraint_missing_not_valid,
    "adding-serial-primary-key-field" | "add-primary-key" => adding_serial_primary_key_field,
    "disallowed-unique-constraint" | "add-unique-constraint" | "add-exclusion-constraint" => disallowed_unique_constraint,
    "changing-column-type" | "change-column-type" => changing_column_type,
    "renaming-column" | "rename-column" => renaming_column,
    "renaming-table" | "rename-table" => renaming_table,
    "renaming-enum-value" | "rename-enum-value" => renaming_enum_value,
    "renaming-schema" | "rename-schema" => renaming_schema,
    "ban-drop-column" | "drop-column" => ban_drop_column,
    "ban-drop-table" | "drop-table" => ban_drop_table,
    "ban-drop-database" | "drop-database" => ban_drop_database,
    "ban-drop-not-null" | "drop-not-null" => ban_drop_not_null,
    "ban-truncate-cascade" | "truncate-cascade" => ban_truncate_cascade,
    "require-concurrent-index-creation" | "create-index-without-concurrently" => require_concurrent_index_creation,
    "require-concurrent-index-deletion" | "drop-index-without-concurrently" => require_concurrent_index_deletion,
    "require-concurrent-reindex" | "reindex-without-concurrently" => require_concurrent_reindex,
    "require-concurrent-partition-detach" | "detach-partition-without-concurrently" => require_concurrent_partition_detach,
    "ban-concurrent-index-creation-in-transaction" | "concurrently-in-transaction" => ban_concurrent_index_creation_in_transaction,
    "require-lock-timeout" | "lock-without-lock-timeout" | "require-timeout-settings" => require_lock_timeout,
    "require-statement-timeout" | "lock-without-statement-timeout" => require_statement_timeout,
    "ban-alter-domain-with-add-constraint" => ban_alter_domain_with_add_constraint,
    "ban-create-domain-with-constraint" => ban_create_domain_with_constraint,
    "prefer-repack" | "vacuum-full" | "cluster" => prefer_repack,
    "maintenance-in-working-hours" => maintenance_in_working_hours,
    "ddl-in-long-transaction" => ddl_in_long_transaction,
    "ban-char-field" | "char-column" => ban_char_field,
    "prefer-timestamp-tz" | "prefer-timestamptz" | "timestamp-without-time-zone" => prefer_timestamp_tz,
    "prefer-identity" | "serial-column" => prefer_identity,
    "prefer-bigint-over-int" | "integer-column" => prefer_bigint_over_int,
    "prefer-bigint-over-smallint" | "smallint-column" => prefer_bigint_over_smallint,
    "prefer-text-field" | "varchar-column" => prefer_text_field,
    "prefer-jsonb" | "json-column" => prefer_jsonb,
    "prefer-robust-stmts" => prefer_robust_stmts,
    "require-table-schema" => require_table_schema,
    "require-enum-value-ordering" => require_enum_value_ordering,
    "identifier-too-long" => identifier_too_long,
    "wide-index" | "index-of-many-columns" => wide_index,
}

/// Small tables are locked or written anew in no time.
const MIN_ROWS: Opt =
    Opt::int("min_rows", 0, "tables of fewer rows, as the catalog estimates them, are left alone");

/// The first such change of something that was there before this text, and is not small.
fn first<'a>(subject: &Subject<'a>, options: &Options, is: impl Fn(&Change) -> bool) -> Option<&'a Change> {
    let small = |change: &Change| rows(subject, change).is_some_and(|rows| rows < least(options));
    subject.facts.ddl.iter().find(|change| !change.new_object && is(change) && !small(change))
}

fn least(options: &Options) -> u64 {
    u64::try_from(options.int("min_rows")).unwrap_or(0)
}

/// Rows of the table that is changed, as far as the catalog knows it.
fn rows(subject: &Subject<'_>, change: &Change) -> Option<u64> {
    subject.around.catalog?.table(&change.object)?.rows
}

/// ` (about 5000 rows)`, where that is known.
fn size(subject: &Subject<'_>, change: &Change) -> String {
    rows(subject, change).map_or_else(String::new, |rows| format!(" (about {rows} rows)"))
}

/// Whether a change rewrites its table, the type that a column has now taken into account.
fn rewrites(subject: &Subject<'_>, change: &Change) -> bool {
    let known = || {
        let column = subject.around.catalog?.table(&change.object)?.column(change.name.as_deref()?)?;
        Some((column.type_name.as_str(), change.type_name.as_deref()?))
    };
    let free = change.what == "alter column type"
        && !change.using
        && known().is_some_and(|(from, to)| widens(from, to));
    change.rewrites && !free
}

/// Which columns a rule about types is about.
const COLUMNS: Opt =
    Opt::texts("columns", &["*"], "names of the columns it is about; `*` stands for any characters");

/// The first column, new or changed, whose type is such.
fn any_column<'a>(subject: &Subject<'a>, is: impl Fn(&str) -> bool) -> Option<&'a Change> {
    columns(subject).find(|change| change.type_name.as_deref().is_some_and(&is))
}

/// As [`any_column`], of the columns that the option names.
fn any_column_among<'a>(
    subject: &Subject<'a>,
    options: &Options,
    is: impl Fn(&str) -> bool,
) -> Option<&'a Change> {
    let among = |name: &str| options.texts("columns").iter().any(|pattern| is_like(pattern, name));
    columns(subject).find(|change| {
        change.type_name.as_deref().is_some_and(&is) && change.name.as_deref().is_some_and(among)
    })
}

fn columns<'a>(subject: &Subject<'a>) -> impl Iterator<Item = &'a Change> {
    let columns = ["define column", "add column", "alter column type"];
    subject.facts.ddl.iter().filter(move |change| columns.contains(&change.what))
}

/// The strongest lock that others queue behind while the statement waits for it.
fn waits_for(facts: &Facts) -> Option<&TableLock> {
    let strong = facts.table_locks.iter().filter(|lock| lock.lock.stops_writes());
    let lock = strong.max_by_key(|lock| lock.lock)?;
    // It waits for others first, under a lock that stops nobody.
    let waits_first = facts.concurrently && facts.ddl.iter().all(|change| change.concurrently);
    (!waits_first || lock.lock == Lock::Exclusive).then_some(lock)
}
