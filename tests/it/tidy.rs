//! The house rules that a compiler does not know. Sizes are a ratchet: old offenders are listed with their
//! size, and the list may only shrink.

use std::path::{Path, PathBuf};

const FILE_LINES: usize = 500;
const FUNCTION_LINES: usize = 70;

/// Files longer than [`FILE_LINES`], with their length.
const LONG_FILES: &[(&str, usize)] = &[];

/// Functions longer than [`FUNCTION_LINES`], as `path::name`, with their length.
const LONG_FUNCTIONS: &[(&str, usize)] = &[];

/// Rooms that turn values into values.
const PURE: [&str; 9] = [
    "src/wire/",
    "src/session/",
    "src/guard/",
    "src/document/",
    "src/replay/",
    "src/admin/commands.rs",
    "src/admin/ask.rs",
    "src/admin/talk.rs",
    "src/admin/sheet.rs",
];

/// What a pure room must not name, and why.
const IMPURE: [(&str, &str); 24] = [
    ("tokio", "the caller waits, not we"),
    ("std::net", "no sockets"),
    ("std::fs", "no files"),
    ("std::io", "no streams"),
    ("std::env", "settings come as arguments"),
    ("std::process", "no processes"),
    ("std::thread", "no threads"),
    ("thread_local!", "no globals"),
    ("Instant::now", "the time comes as an argument"),
    ("SystemTime", "the time comes as an argument"),
    ("ring::rand", "randomness comes as an argument"),
    ("RandomState::new", "hash with fixed seeds or with one that was passed in"),
    ("static mut", "no globals"),
    ("OnceLock", "no globals"),
    ("LazyLock", "no globals"),
    ("Mutex<", "no shared state"),
    ("RwLock<", "no shared state"),
    ("println!", "no output"),
    ("tracing::", "no log; return what is worth saying"),
    ("metrics::", "no metrics; return what is worth counting"),
    ("crate::proxy", "an IO room"),
    ("crate::pool", "an IO room"),
    ("crate::control", "an IO room"),
    ("crate::observe", "an IO room"),
];

struct Source {
    /// From the root of the package, with forward slashes.
    name: String,
    text: String,
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every text file of the package that people write.
fn sources(extensions: &[&str]) -> Vec<Source> {
    let mut sources = Vec::new();
    let mut directories: Vec<PathBuf> = vec![root().to_owned()];
    while let Some(directory) = directories.pop() {
        for entry in std::fs::read_dir(directory).unwrap().flatten() {
            let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            if path.is_dir() {
                if !name.starts_with('.') && name != "target" || name == ".ci" {
                    directories.push(path);
                }
            } else if extensions.iter().any(|e| name.ends_with(e)) && name != "Cargo.lock" {
                let name = path.strip_prefix(root()).unwrap().to_string_lossy().into_owned();
                sources.push(Source { name, text: std::fs::read_to_string(&path).unwrap() });
            }
        }
    }
    assert!(!sources.is_empty());
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

/// The code of a file without comments and without its tests.
fn code(source: &Source) -> impl Iterator<Item = (usize, &str)> {
    let is_test = source.name.ends_with("tests.rs") || source.name.ends_with("testing.rs");
    let lines = source.text.lines().take_while(|l| l.trim() != "#[cfg(test)]");
    let code = lines.map(|l| l.split("//").next().unwrap_or_default());
    code.enumerate().map(|(n, l)| (n + 1, l)).filter(move |_| !is_test)
}

fn fail_with(complaints: &[String]) {
    assert!(complaints.is_empty(), "\n{}\n", complaints.join("\n"));
}

#[test]
fn pure_rooms_stay_pure() {
    let mut complaints = Vec::new();
    for source in sources(&[".rs"]).iter().filter(|s| PURE.iter().any(|p| s.name.starts_with(p))) {
        for (n, line) in code(source) {
            for (word, why) in IMPURE.iter().filter(|(word, _)| line.contains(word)) {
                complaints.push(format!("{}:{n}: `{word}` in a pure room: {why}", source.name));
            }
            let global = line.trim_start().trim_start_matches("pub ").starts_with("static ");
            if global && ["Atomic", "Cell"].iter().any(|w| line.contains(w)) {
                complaints.push(format!("{}:{n}: a global that changes, in a pure room", source.name));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn files_are_short() {
    let sizes = sources(&[".rs"]).iter().map(|s| (s.name.clone(), s.text.lines().count())).collect();
    ratchet(sizes, FILE_LINES, LONG_FILES);
}

#[test]
fn functions_are_short() {
    ratchet(sources(&[".rs"]).iter().flat_map(functions).collect(), FUNCTION_LINES, LONG_FUNCTIONS);
}

/// Every function with its length in lines. Leans on rustfmt: a body ends at a brace as far in as its `fn`.
fn functions(source: &Source) -> Vec<(String, usize)> {
    let lines: Vec<_> = source.text.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let indent = line.len() - line.trim_start().len();
        let Some(name) = function_name(line.trim_start()) else { continue };
        let end_of_body = format!("{}}}", " ".repeat(indent));
        let rest = lines[start..].iter();
        let one_line = line.ends_with('}') || line.ends_with(';');
        let length = if one_line { 1 } else { rest.take_while(|l| **l != end_of_body).count() + 1 };
        found.push((format!("{}::{name}", source.name), length));
    }
    found
}

/// `pub(crate) async fn name<…>(…` -> `name`.
fn function_name(line: &str) -> Option<&str> {
    let (before, after) = line.split_once("fn ")?;
    let modifiers = ["", "pub", "pub(crate)", "pub(super)", "const", "async", "unsafe", "default"];
    if !before.split(' ').all(|word| modifiers.contains(&word)) {
        return None;
    }
    let end = after.find(|c: char| !c.is_alphanumeric() && c != '_')?;
    (end > 0).then(|| &after[..end])
}

fn ratchet(sizes: Vec<(String, usize)>, limit: usize, known: &[(&str, usize)]) {
    let mut complaints = Vec::new();
    for (name, size) in &sizes {
        let listed = known.iter().find(|(k, _)| k == name).map(|(_, s)| *s);
        match listed {
            None if *size > limit => {
                complaints.push(format!("{name}: {size} lines, {limit} are allowed: split it"))
            }
            Some(old) if *size > old => complaints.push(format!("{name}: grew from {old} to {size} lines")),
            Some(old) if *size < old && *size > limit => {
                complaints.push(format!("{name}: shrank to {size} lines: lower its entry from {old}"))
            }
            _ => {}
        }
    }
    let gone = known.iter().filter(|(k, s)| *s <= limit || !sizes.iter().any(|(name, _)| name == k));
    complaints.extend(gone.map(|(k, _)| format!("{k}: is no offender any more: take its entry out")));
    fail_with(&complaints);
}

#[test]
fn every_rule_has_documentation_and_both_kinds_of_test() {
    let mut complaints = Vec::new();
    let rules: Vec<_> = sources(&[".rs"])
        .into_iter()
        .filter(|s| s.name.starts_with("src/guard/rules/"))
        .filter(|s| !["mod.rs", "testing.rs", "options.rs", "names.rs"].iter().any(|n| s.name.ends_with(n)))
        .collect();
    for rule in &rules {
        let calls =
            |name: &str| ["(", "_in("].iter().any(|open| rule.text.contains(&format!("{name}{open}")));
        let has = |what: &str, yes: bool| (!yes).then(|| format!("{}: {what}", rule.name));
        complaints.extend(has("does not begin with its documentation", rule.text.starts_with("//! ")));
        complaints.extend(has("no test says what it flags", calls("flags")));
        complaints.extend(has("no test says what it lets pass", calls("passes")));
    }
    fail_with(&complaints);
}

#[test]
fn nothing_unfinished_and_nothing_of_anybodys_machine() {
    // In pieces, so that this file does not find itself.
    let unfinished =
        [concat!("to", "do!("), concat!("unimpl", "emented!("), concat!("db", "g!("), concat!("FIX", "ME")];
    let places = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut complaints = Vec::new();
    for source in sources(&[".rs", ".md", ".toml", ".sh", ".py", "Makefile", ".ci/run"]) {
        for (n, line) in source.text.lines().enumerate() {
            for word in unfinished.iter().chain(&places).filter(|w| line.contains(**w)) {
                complaints.push(format!("{}:{}: `{word}`", source.name, n + 1));
            }
        }
    }
    fail_with(&complaints);
}

#[test]
fn every_dependency_and_every_allowance_has_a_reason() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let mut complaints = Vec::new();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains(" = ") && !line.contains(" # ") {
            complaints.push(format!("Cargo.toml: no reason beside `{line}`"));
        }
    }
    for source in sources(&[".rs"]) {
        let mut before = "";
        for (n, line) in source.text.lines().enumerate() {
            let unsafe_code = line.contains(concat!("allow(unsafe", "_code"));
            let reason =
                line.contains("reason") || line.contains("//") || before.trim_start().starts_with("//");
            if unsafe_code && !reason {
                complaints.push(format!("{}:{}: unsafe code without a reason", source.name, n + 1));
            }
            before = line;
        }
    }
    fail_with(&complaints);
}

/// A file that no `mod` line names is not compiled, and nobody notices.
#[test]
fn no_file_is_dead() {
    let sources = sources(&[".rs"]);
    let mut complaints = Vec::new();
    for source in &sources {
        let (directory, file) = source.name.rsplit_once('/').unwrap_or(("", &source.name));
        let (parent, module) = match file {
            "main.rs" | "lib.rs" => continue,
            "mod.rs" => directory.rsplit_once('/').unwrap_or(("", directory)),
            _ => (directory, file.trim_end_matches(".rs")),
        };
        let parent_file = format!("{parent}.rs");
        let near = sources
            .iter()
            .filter(|s| s.name.rsplit_once('/').is_some_and(|(d, _)| d == parent) || s.name == parent_file);
        // The rules' list makes its `mod` lines itself.
        let named = [format!("mod {module};"), format!("\"{file}\""), format!("=> {module},")];
        let is_target = ["benches", "tests", "fuzz/fuzz_targets"].contains(&parent);
        if !is_target && !near.into_iter().any(|s| named.iter().any(|n| s.text.contains(n))) {
            complaints.push(format!("{}: no `mod {module};` leads here", source.name));
        }
    }
    fail_with(&complaints);
}

#[test]
fn the_checks_themselves_see_what_they_look_for() {
    assert_eq!(function_name("pub(crate) async fn name<T>(x: T) {"), Some("name"));
    assert_eq!(function_name("let f = |x| fn_name(x);"), None);
    let text = "fn long() {\n    one();\n    if x {\n    }\n}\n\nfn short() {}\n".to_owned();
    let source = Source { name: "x.rs".into(), text };
    assert_eq!(functions(&source), [("x.rs::long".into(), 5), ("x.rs::short".into(), 1)]);
}
