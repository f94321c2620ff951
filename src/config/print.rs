//! The settings as text: `check --print`, and docs/CONFIG.md.

use std::fmt::Write;

use super::load::{Origin, Shown};
use super::settings::{NAMED_SECTIONS, NAMED_SETTINGS, SECTIONS, SETTINGS};

/// Every setting as TOML that can be read again (but for starred-out passwords), each with its origin.
#[must_use]
pub fn print(shown: &[Shown]) -> String {
    let mut out = String::new();
    let mut section = ("", &None);
    for Shown { section: of, name, key, value, origin } in shown {
        if (*of, name) != section {
            section = (of, name);
            match name {
                None => write!(out, "\n[{of}]\n"),
                Some(name) => write!(out, "\n[{of}.{}]\n", toml::Value::String(name.to_string())),
            }
            .unwrap_or_default();
        }
        let origin = match origin {
            Origin::Default => "default".to_owned(),
            Origin::File(file, line) => format!("{file}:{line}"),
            Origin::Flag(flag) => (*flag).to_owned(),
        };
        let _ = writeln!(out, "{:<48} # {origin}", format!("{key} = {value}"));
    }
    out
}

/// docs/CONFIG.md.
#[must_use]
pub fn documentation() -> String {
    let mut out = String::from(
        "# Settings\n\n\
         Generated from `src/config/settings.rs`; `UPDATE=1 cargo test` writes it again.\n\n\
         `pgsluice run FILE` reads a TOML file. Flags override the file, the file overrides the defaults;\n\
         `pgsluice check FILE --print` shows every value with its origin. Unknown keys are errors. Relative paths\n\
         start at the file's directory. Durations: `\"250ms\"`, `\"5s\"`, `\"10min\"`, `\"1h\"`, or a number of\n\
         seconds. Sizes: `\"64kB\"`, `\"16MB\"`, `\"1GB\"` (1 kB is 1024 bytes), or a number of bytes.\n",
    );
    heading(&mut out, "", "Above the first section", &[]);
    for section in SECTIONS {
        heading(&mut out, section.name, &format!("[{}]", section.name), section.doc);
    }
    for section in NAMED_SECTIONS {
        heading(&mut out, section.name, &format!("[{}.<name>]", section.name), section.doc);
    }
    out
}

fn heading(out: &mut String, section: &str, title: &str, doc: &[&str]) {
    let _ = write!(out, "\n## {title}\n");
    if !doc.is_empty() {
        let _ = writeln!(out, "{}", sentence(doc));
    }
    for setting in SETTINGS.iter().chain(NAMED_SETTINGS).filter(|setting| setting.section == section) {
        let default = match setting.default {
            "required" => " Required.".to_owned(),
            "" => String::new(),
            default => format!(" Default `{default}`."),
        };
        let _ = write!(
            out,
            "\n**`{}`**: {}.{default}\n{}\n",
            setting.key,
            setting.expected.split(" such as").next().unwrap_or_default().replace('"', "`"),
            sentence(setting.doc)
        );
    }
}

fn sentence(doc: &[&str]) -> String {
    doc.iter().map(|line| line.trim()).collect::<Vec<_>>().join("\n")
}
