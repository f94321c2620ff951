//! From a settings file and flags to [`Settings`]: flags over the file, the file over defaults, every mistake at
//! once.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toml::de::{DeTable, DeValue};

use super::settings::{NAMED_SECTIONS, NAMED_SETTINGS, SECTIONS, SETTINGS, Settings};
use super::value::{Surroundings, Value};
use super::{certificates, files, lanes, policy_path};
use crate::document::{Problem, Problems, Source, entry, short, wrong_type};

/// A flag of the command line that sets a setting.
#[derive(Clone, Debug)]
pub struct Override {
    /// `--pool-size`
    pub flag: &'static str,
    /// `pool.pool_size`, or `listen` for one without a section.
    pub setting: &'static str,
    pub value: toml::Value,
}

/// Where a value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    Default,
    /// File and line.
    File(String, usize),
    Flag(&'static str),
}

/// One setting as it holds, for `check --print`.
#[derive(Clone, Debug)]
pub struct Shown {
    pub section: &'static str,
    /// Of a section that comes once for each name: which.
    pub name: Option<Box<str>>,
    pub key: &'static str,
    /// TOML, secrets starred out.
    pub value: String,
    pub origin: Origin,
}

/// What became of a file and flags. The settings are whole even if there are problems: what is wrong stands at
/// its default, so that the rest can be checked too. Run only without problems.
#[derive(Debug)]
pub struct Loaded {
    pub settings: Settings,
    pub shown: Vec<Shown>,
    /// Neither file nor flags name a primary. Not among `problems`.
    pub primary_missing: Option<Problem>,
    pub problems: Vec<Problem>,
}

/// Reads `file` (if given) and `flags`.
#[must_use]
pub fn load(file: Option<&Path>, flags: &[Override]) -> Loaded {
    let source = match file.map(files::read) {
        None => Source::new("", ""),
        Some(Ok(source)) => source,
        Some(Err(problem)) => {
            let mut loaded = load_text(&Source::new("", ""), Path::new("."), flags);
            loaded.primary_missing = None;
            loaded.problems.insert(0, problem);
            return loaded;
        }
    };
    let base = file.and_then(Path::parent).unwrap_or(Path::new(""));
    load_text(&source, base, flags)
}

/// [`load`] from a text; relative paths in it start at `base`.
#[must_use]
pub fn load_text(source: &Arc<Source>, base: &Path, flags: &[Override]) -> Loaded {
    let mut problems = Problems::new(source);
    let table = problems.parse(&source.text);
    refuse_unknown(&mut problems, table.get_ref());
    let mut reader = Reader {
        problems,
        of_flags: Vec::new(),
        table: table.get_ref(),
        flags,
        base,
        spans: HashMap::new(),
        shown: Vec::new(),
        primary_missing: None,
    };
    let settings = Settings::read(&mut reader);
    check_together(&settings, &mut reader);
    let Reader { problems, mut of_flags, shown, primary_missing, .. } = reader;
    let mut problems = problems.finish();
    problems.append(&mut of_flags);
    Loaded { settings, shown, primary_missing, problems }
}

fn refuse_unknown(problems: &mut Problems, table: &DeTable<'_>) {
    let keys_of = |section: &str| -> Vec<&'static str> {
        let all = SETTINGS.iter().chain(NAMED_SETTINGS);
        all.filter(|setting| setting.section == section).map(|setting| setting.key).collect()
    };
    let elsewhere = |key: &str| {
        let setting = SETTINGS.iter().chain(NAMED_SETTINGS).find(|setting| setting.key == key)?;
        Some(match setting.section {
            "" => format!("`{key}` stands above the first [section]"),
            section if NAMED_SECTIONS.iter().any(|named| named.name == section) => {
                format!("`{key}` belongs in [{section}.<name>]")
            }
            section => format!("`{key}` belongs in [{section}]"),
        })
    };
    let mut top = keys_of("");
    top.extend(SECTIONS.iter().chain(NAMED_SECTIONS).map(|section| section.name));
    problems.refuse_unknown_keys(table, "setting", &top, elsewhere);
    for section in SECTIONS {
        let Some(value) = entry(table, section.name) else { continue };
        match value.get_ref().as_table() {
            Some(inner) => problems.refuse_unknown_keys(inner, "setting", &keys_of(section.name), elsewhere),
            None => wrong_type(problems, value, section.name, &format!("a section, [{}]", section.name)),
        }
    }
    for section in NAMED_SECTIONS {
        let Some(value) = entry(table, section.name) else { continue };
        let written = format!("written as [{}.<name>]", section.name);
        let Some(names) = value.get_ref().as_table() else {
            wrong_type(problems, value, section.name, &written);
            continue;
        };
        for (name, value) in names.iter() {
            match value.get_ref().as_table() {
                Some(inner) => {
                    problems.refuse_unknown_keys(inner, "setting", &keys_of(section.name), elsewhere);
                }
                None => wrong_type(problems, value, &short(name.get_ref()), &written),
            }
        }
    }
}

/// What no single setting can tell.
fn check_together(settings: &Settings, reader: &mut Reader<'_>) {
    let pool = &settings.pool;
    if pool.min_pool_size > pool.pool_size {
        reader.refuse("pool", "min_pool_size", &format!("must not be above pool_size, {}", pool.pool_size));
    }
    certificates::check(settings, reader);
    if settings.metrics.top_fingerprints > settings.metrics.tracked_fingerprints {
        reader.refuse("metrics", "top_fingerprints", "must not be above tracked_fingerprints");
    }
    check_named(settings, reader);
    lanes::check(settings, reader);
    if settings.replicas.iter().any(|url| !url.more_hosts.is_empty()) {
        reader.refuse("", "replicas", "takes one host in each URL");
    }
    if settings.replicas.contains(&settings.primary) {
        reader.refuse("", "replicas", "names the primary too");
    }
}

/// Pools below their own minimum, and beyond the cap over all.
fn check_named(settings: &Settings, reader: &mut Reader<'_>) {
    let most = settings.pool.pool_size;
    for (name, database) in &settings.databases {
        let size = database.pool_size.unwrap_or(most);
        if database.pool_size.is_some_and(|size| size > most) {
            let message = format!("must not be above pool.pool_size, {most}");
            reader.refuse_named("databases", name, "pool_size", &message);
        }
        if database.min_pool_size.is_some_and(|least| least > size) {
            let message = format!("must not be above pool_size, {size}");
            reader.refuse_named("databases", name, "min_pool_size", &message);
        }
    }
    for (name, _) in settings.users.iter().filter(|(_, user)| user.pool_size.is_some_and(|n| n > most)) {
        let message = format!("must not be above pool.pool_size, {most}");
        reader.refuse_named("users", name, "pool_size", &message);
    }
}

/// Hands each setting its value.
pub(super) struct Reader<'a> {
    problems: Problems,
    of_flags: Vec<Problem>,
    table: &'a DeTable<'a>,
    flags: &'a [Override],
    base: &'a Path,
    spans: HashMap<(&'static str, &'static str), Range<usize>>,
    shown: Vec<Shown>,
    primary_missing: Option<Problem>,
}

impl Reader<'_> {
    /// The value from the flags, the file or the default, in that order. Mistakes are noted at their place.
    pub(super) fn value<T: Value>(
        &mut self,
        section: &'static str,
        key: &'static str,
        default: &'static str,
    ) -> T {
        let name = if section.is_empty() { key.to_owned() } else { format!("{section}.{key}") };
        let (value, origin) = self
            .of_flag::<T>(&name, key)
            .or_else(|| self.of_file(section, key))
            .unwrap_or_else(|| (self.of_default(key, default), Origin::Default));
        self.shown.push(Shown { section, name: None, key, value: value.show(), origin });
        value
    }

    fn of_flag<T: Value>(&mut self, name: &str, key: &str) -> Option<(T, Origin)> {
        let flag = self.flags.iter().find(|flag| flag.setting == name)?;
        let text = flag.value.to_string();
        let value = DeValue::parse(&text).ok()?;
        match T::read(value.get_ref(), &Surroundings { base: Path::new("") }) {
            Ok(value) => Some((value, Origin::Flag(flag.flag))),
            Err(faults) => {
                let say =
                    |(_, message): &(_, String)| Problem::new(format!("{} (`{key}`) {message}", flag.flag));
                self.of_flags.extend(faults.0.iter().map(say));
                None
            }
        }
    }

    fn of_file<T: Value>(&mut self, section: &'static str, key: &'static str) -> Option<(T, Origin)> {
        let table = match section {
            "" => self.table,
            section => entry(self.table, section)?.get_ref().as_table()?,
        };
        let value = entry(table, key)?;
        self.spans.insert((section, key), value.span());
        match T::read(value.get_ref(), &Surroundings { base: self.base }) {
            Ok(good) => {
                let source = &self.problems.source;
                Some((good, Origin::File(source.name.to_string(), source.place(value.span().start).0)))
            }
            Err(faults) => {
                for (span, message) in faults.0 {
                    self.problems
                        .add(span.unwrap_or(value.span()), format!("`{key}` {}", short_lines(&message)));
                }
                None
            }
        }
    }

    /// A test reads every default, so that none can fail here.
    fn of_default<T: Value>(&mut self, key: &str, default: &str) -> T {
        if default == "required" {
            // The name stands in the file but its value is wrong: that has been said already.
            if !self.spans.keys().any(|(_, seen)| *seen == key) {
                let problem = Problem::new(format!("`{key}` is not set"));
                self.primary_missing = Some(problem.cure(format!(
                    "give --{key} postgres://user:password@host:5432/database, or `{key} = \"…\"` in a settings file"
                )));
            }
            return T::absent().expect("only types with an absent value are required");
        }
        let value = DeValue::parse(default).expect("defaults are TOML");
        match T::read(value.get_ref(), &Surroundings { base: Path::new("") }) {
            Ok(value) => value,
            Err(faults) => panic!("the default of {key}: {faults:?}"),
        }
    }

    /// Notes that a value is not possible: at its place in the file, or by its name.
    pub(super) fn refuse(&mut self, section: &'static str, key: &'static str, message: &str) {
        let text = format!("`{key}` {message}");
        let by_flag = self.shown.iter().find(|shown| (shown.section, shown.key) == (section, key));
        match (by_flag.map(|shown| &shown.origin), self.spans.get(&(section, key))) {
            (Some(Origin::File(..)), Some(span)) => {
                self.problems.add(span.clone(), text);
            }
            (Some(Origin::Flag(flag)), _) => self.of_flags.push(Problem::new(format!("{flag}: {text}"))),
            _ => self.of_flags.push(Problem::new(text)),
        }
    }
}

/// One section of those that come once for each name.
pub(super) struct Entry<'r, 'a> {
    reader: &'r mut Reader<'a>,
    section: &'static str,
    name: &'r str,
}

impl<'a> Reader<'a> {
    /// Reads the section of each name.
    pub(super) fn each<T>(
        &mut self,
        section: &'static str,
        mut read: impl FnMut(&mut Entry<'_, 'a>) -> T,
    ) -> BTreeMap<Box<str>, T> {
        let names = entry(self.table, section).and_then(|value| value.get_ref().as_table());
        let names = names.into_iter().flat_map(|table| table.keys());
        let names: Vec<Box<str>> = names.map(|name| Box::from(name.get_ref().as_ref())).collect();
        let each = |name: Box<str>| {
            let value = read(&mut Entry { reader: &mut *self, section, name: &name });
            (name, value)
        };
        names.into_iter().map(each).collect()
    }

    fn named(&self, section: &str, name: &str, key: &str) -> Option<&'a toml::Spanned<DeValue<'a>>> {
        let names = entry(self.table, section)?.get_ref().as_table()?;
        entry(entry(names, name)?.get_ref().as_table()?, key)
    }

    pub(super) fn refuse_named(&mut self, section: &str, name: &str, key: &str, message: &str) {
        if let Some(value) = self.named(section, name, key) {
            self.problems.add(value.span(), format!("`{key}` {message}"));
        }
    }

    /// Notes that a section cannot be as it is, for all that its keys say; with a cure.
    pub(super) fn refuse_section(&mut self, section: &str, name: &str, message: String, cure: &str) {
        let names = entry(self.table, section).and_then(|value| value.get_ref().as_table());
        let key = names.and_then(|names| names.keys().find(|key| key.get_ref() == name));
        let span = key.map_or(0..0, toml::Spanned::span);
        self.problems.add(span, message).cure = Some(cure.to_owned());
    }

    /// The file says something of that key, be it good or not.
    pub(super) fn names(&self, section: &str, name: &str, key: &str) -> bool {
        self.named(section, name, key).is_some()
    }
}

impl Entry<'_, '_> {
    /// The value, if there is one that can be read. Mistakes are noted at their place.
    pub(super) fn value<T: Value>(&mut self, key: &'static str) -> Option<T> {
        let value = self.reader.named(self.section, self.name, key)?;
        match T::read(value.get_ref(), &Surroundings { base: self.reader.base }) {
            Ok(good) => {
                let source = &self.reader.problems.source;
                let origin = Origin::File(source.name.to_string(), source.place(value.span().start).0);
                let (section, name) = (self.section, Some(Box::from(self.name)));
                self.reader.shown.push(Shown { section, name, key, value: good.show(), origin });
                Some(good)
            }
            Err(faults) => {
                for (span, message) in faults.0 {
                    let text = format!("`{key}` {}", short_lines(&message));
                    self.reader.problems.add(span.unwrap_or(value.span()), text);
                }
                None
            }
        }
    }

    pub(super) fn refuse(&mut self, key: &str, message: &str) {
        self.reader.refuse_named(self.section, self.name, key, message);
    }
}

fn short_lines(message: &str) -> String {
    if message.len() > 400 { short(message) } else { message.to_owned() }
}

/// Policy files as texts. Directories give their `*.toml` files, the name of a pack gives the pack.
///
/// # Errors
/// Each file that cannot be read.
pub fn policy_sources(paths: &[PathBuf]) -> Result<Vec<Arc<Source>>, Vec<Problem>> {
    let (mut sources, mut problems) = (Vec::new(), Vec::new());
    for path in paths {
        if let Some(pack) = policy_path::pack(path) {
            sources.push(pack.source());
            continue;
        }
        let files = policy_files(path).unwrap_or_else(|problem| {
            problems.push(problem);
            Vec::new()
        });
        for file in files {
            match files::read(&file) {
                Ok(source) => sources.push(source),
                Err(problem) => problems.push(problem),
            }
        }
    }
    if problems.is_empty() { Ok(sources) } else { Err(problems) }
}

/// The files a path of `policies` stands for; none for a pack.
///
/// # Errors
/// A directory that cannot be read or has none.
pub fn policy_files(path: &Path) -> Result<Vec<PathBuf>, Problem> {
    if policy_path::is_pack(path) { Ok(Vec::new()) } else { files::policies_in(path) }
}

/// A small text file.
///
/// # Errors
/// Why it cannot be read.
pub fn text_file(path: &Path) -> Result<Arc<Source>, Problem> {
    files::read(path)
}
