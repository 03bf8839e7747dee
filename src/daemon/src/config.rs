//! The configuration: `/etc/mirrorkeeper.toml`, then `mirrorkeeper.toml.d/*.toml` by name; a later file wins key by key.
//!
//! The fragments of `/usr/lib`, `/run` and `/etc` are read as if they were in one directory; of one name only the one that
//! comes last of these counts (systemd does it so).
//!
//! Every key may be left out. A file that cannot be read in full as it was meant is never used in part: with one problem
//! anywhere the built-in values are in force, all problems are told with file, line and key, and nothing is guessed. Only
//! an `exclude = true` that was understood stays: to touch a volume that was to be left alone would be worse than any
//! number. No file is written, and nothing but the root disk is read.

pub mod key;

use key::{Key, POLICY, SERVER, SETTINGS, Value};
use mirrorkeeper_core::settings::{MirrorPolicy, ServerPolicy, Settings};
use mirrorkeeper_core::snapshot::{Details, Event, Object};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Severity};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fmt::{self, Write};
use std::fs::File;
use std::io::{self, ErrorKind, Read};
use std::ops::Range;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Where the administrator writes. The directory of fragments has the same name with `.d` behind it.
pub const PATH: &str = "/etc/mirrorkeeper.toml";

/// Fragments of packages, and of what is so until the next boot. They go with [`PATH`] only.
const VENDOR_DIRS: [&str; 2] = ["/usr/lib/mirrorkeeper.toml.d", "/run/mirrorkeeper.toml.d"];

/// Said wherever the state is shown.
pub const REFUSED: &str = "configuration refused, built-in values in force";

/// The same when it was read again.
pub const STALE: &str = "new configuration refused, the one before is in force";

/// More than this is not a configuration.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {why}")]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What is wrong, with the key and what it accepts.
    pub why: String,
}

/// A line of a file, or a file as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub file: PathBuf,
    /// From 1; `None` when it is about the whole file.
    pub line: Option<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        self.line.map_or(Ok(()), |line| write!(f, ":{line}"))
    }
}

/// What is in force, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Config {
    /// For the engine.
    pub settings: Settings,
    /// What was found wrong. With anything in here, `settings` are the built-in ones but for exclusions.
    pub problems: Vec<Problem>,
    /// Where each key that is not built in was last given, by `(table, key)`.
    origins: BTreeMap<(String, &'static str), Place>,
}

impl Config {
    /// Reads `main` and the fragments that go with it. What is absent says nothing.
    pub fn load(main: &Path) -> Self {
        let mut own = main.as_os_str().to_owned();
        own.push(".d");
        let vendor = VENDOR_DIRS.iter().map(PathBuf::from).filter(|_| main == Path::new(PATH));
        Self::load_from(main, &vendor.chain([own.into()]).collect::<Vec<_>>())
    }

    /// The directories from the weakest to the strongest.
    fn load_from(main: &Path, dirs: &[PathBuf]) -> Self {
        let mut read = Self::default();
        for file in files(main, dirs, &mut read.problems) {
            let earlier = read.problems.len();
            match text(&file) {
                Ok(Some(text)) => read.take(&file, &text),
                Ok(None) => {}
                Err(error) => read.problem(&file, None, format!("cannot be read: {error}")),
            }
            // Found key by key; a person reads line by line.
            read.problems[earlier..].sort_by_key(|problem| problem.place.line);
        }
        if read.problems.is_empty() {
            return read;
        }
        let excluded = read.settings.mirrors.into_iter().filter(|(_, policy)| policy.exclude);
        let excluded = excluded.map(|(name, _)| (name, MirrorPolicy { exclude: true, ..MirrorPolicy::default() }));
        let settings = Settings { mirrors: excluded.collect(), ..Settings::default() };
        read.origins.retain(|(_, key), _| *key == "exclude");
        Self { settings, ..read }
    }

    /// Everything that is wrong, in one line; empty when nothing is.
    pub fn complaint(&self) -> String {
        self.problems.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }

    /// What is told when anything is wrong.
    pub fn refusal(&self, at: Wall) -> Option<Event> {
        let details = Details::from([("reason", self.complaint().into())]);
        let (code, severity, object) = (EventCode::ConfigRefused, Severity::Error, Object::Manager);
        (!self.problems.is_empty()).then_some(Event { at, code, severity, object, details })
    }

    /// The values in force as a configuration file, each with its origin.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let mut table = "";
        for key in &SETTINGS {
            if key.table != table {
                let gap = if table.is_empty() { "" } else { "\n" };
                let _ = writeln!(out, "{gap}[{}]", key.table);
                table = key.table;
            }
            self.line(&mut out, table, key.name, (key.get)(&self.settings));
        }
        for (name, policy) in &self.settings.mirrors {
            let _ = writeln!(out, "\n[mirrors.\"{name}\"]");
            POLICY.iter().for_each(|key| self.line(&mut out, name, key.name, (key.get)(policy)));
        }
        for (name, policy) in &self.settings.servers {
            let _ = writeln!(out, "\n[servers.\"{name}\"]");
            SERVER.iter().for_each(|key| self.line(&mut out, &origin(name), key.name, (key.get)(policy)));
        }
        out
    }

    fn line(&self, out: &mut String, table: &str, name: &'static str, value: Option<Value>) {
        let Some(value) = value else { return };
        let origin = self.origins.get(&(table.to_owned(), name)).map_or("built in".to_owned(), Place::to_string);
        let _ = writeln!(out, "{:28} # {origin}", format!("{name} = {value}"));
    }

    fn take(&mut self, file: &Path, text: &str) {
        let at = |span: Range<usize>| Some(1 + text.bytes().take(span.start).filter(|b| *b == b'\n').count());
        let document = match DeTable::parse(text) {
            Ok(document) => document.into_inner(),
            Err(error) => return self.problem(file, error.span().and_then(at), error.message().to_owned()),
        };
        for (name, value) in &document {
            let (table, line) = (name.get_ref().as_ref(), at(name.span()));
            let Some(keys) = inner(value) else {
                self.problem(file, line, format!("{table}: keys stand in tables; {}", tables()));
                continue;
            };
            if table == "mirrors" {
                self.take_mirrors(file, keys, &at);
            } else if table == "servers" {
                self.take_servers(file, keys, &at);
            } else if SETTINGS.iter().any(|key| key.table == table) {
                let known = SETTINGS.iter().filter(|key| key.table == table).collect::<Vec<_>>();
                let mut settings = std::mem::take(&mut self.settings);
                self.take_keys(file, table, &known, keys, &mut settings, &at);
                self.settings = settings;
            } else {
                self.problem(file, line, format!("[{table}]: no such table; {}", tables()));
            }
        }
    }

    fn take_mirrors(&mut self, file: &Path, mirrors: &DeTable<'_>, at: &impl Fn(Range<usize>) -> Option<usize>) {
        let known = POLICY.iter().collect::<Vec<_>>();
        for (name, value) in mirrors {
            let (mirror, line) = (name.get_ref().as_ref(), at(name.span()));
            match inner(value) {
                Some(keys) if is_name(mirror) => {
                    let mut policy = self.settings.mirrors.get(mirror).cloned().unwrap_or_default();
                    self.take_keys(file, mirror, &known, keys, &mut policy, at);
                    self.settings.mirrors.insert(mirror.to_owned(), policy);
                }
                _ => self.problem(file, line, format!("mirrors.{mirror:?}: write [mirrors.\"VG/LV\"]")),
            }
        }
    }

    fn take_servers(&mut self, file: &Path, servers: &DeTable<'_>, at: &impl Fn(Range<usize>) -> Option<usize>) {
        let known = SERVER.iter().collect::<Vec<_>>();
        let legal =
            |name: &str| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"._:-".contains(&b));
        for (name, value) in servers {
            let (server, line) = (name.get_ref().as_ref(), at(name.span()));
            match inner(value) {
                Some(keys) if legal(server) => {
                    let mut policy = self.settings.servers.get(server).cloned().unwrap_or_default();
                    self.take_keys(file, &origin(server), &known, keys, &mut policy, at);
                    let shared = |(other, theirs): (&String, &ServerPolicy)| {
                        let both = theirs.portals.iter().find(|portal| policy.portals.contains(portal))?;
                        (other != server).then(|| format!("portals: {both} is given to {other} too"))
                    };
                    if let Some(why) = self.settings.servers.iter().find_map(shared) {
                        self.problem(file, line, why);
                    }
                    self.settings.servers.insert(server.to_owned(), policy);
                }
                _ => self.problem(
                    file,
                    line,
                    format!("servers.{server:?}: write [servers.NAME], in letters, digits and ._:-"),
                ),
            }
        }
    }

    fn take_keys<T>(
        &mut self,
        file: &Path,
        table: &str,
        known: &[&Key<T>],
        given: &DeTable<'_>,
        into: &mut T,
        at: &impl Fn(Range<usize>) -> Option<usize>,
    ) {
        for (name, value) in given {
            let line = at(name.span());
            let Some(key) = known.iter().find(|key| key.name == name.get_ref().as_ref()) else {
                let names: Vec<_> = known.iter().map(|key| key.name).collect();
                let why = format!("{}: no such key; [{table}] has {}", name.get_ref(), names.join(", "));
                self.problem(file, line, why);
                continue;
            };
            match key.accepts.read(value.get_ref()) {
                Some(value) => {
                    (key.set)(into, value);
                    let place = Place { file: file.to_owned(), line };
                    self.origins.insert((table.to_owned(), key.name), place);
                }
                None => self.problem(file, line, format!("{}: accepted are {}{}", key.name, key.accepts, key.why())),
            }
        }
    }

    fn problem(&mut self, file: &Path, line: Option<usize>, why: String) {
        self.problems.push(Problem { place: Place { file: file.to_owned(), line }, why });
    }
}

fn inner<'v, 'i>(value: &'v Spanned<DeValue<'i>>) -> Option<&'v DeTable<'i>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(table),
        _ => None,
    }
}

/// What a server's keys are known by among the origins; a name alone might be that of a table.
fn origin(server: &str) -> String {
    format!("servers.{server}")
}

fn tables() -> String {
    let mut names: Vec<_> = SETTINGS.iter().map(|key| format!("[{}]", key.table)).collect();
    names.dedup();
    format!("there are {}, [servers.NAME] and [mirrors.\"VG/LV\"]", names.join(", "))
}

/// `VG/LV` in the characters that LVM allows (`lvm(8)`, VALID NAMES).
fn is_name(name: &str) -> bool {
    let legal = |part: &str| {
        !part.is_empty()
            && !part.starts_with('-')
            && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"+_.-".contains(&b))
    };
    name.split_once('/').is_some_and(|(vg, lv)| legal(vg) && legal(lv))
}

/// The files in the order in which they are read.
fn files(main: &Path, dirs: &[PathBuf], problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut fragments = BTreeMap::new();
    for dir in dirs {
        let listed = std::fs::read_dir(dir).and_then(|entries| entries.map(|e| Ok(e?.path())).collect());
        let found: Vec<PathBuf> = listed.unwrap_or_else(|error: io::Error| {
            if error.kind() != ErrorKind::NotFound {
                let place = Place { file: dir.clone(), line: None };
                problems.push(Problem { place, why: format!("cannot be listed: {error}") });
            }
            Vec::new()
        });
        let hidden = |name: &OsStr| name.as_encoded_bytes().starts_with(b".");
        for path in found.into_iter().filter(|path| path.extension().is_some_and(|e| e == "toml")) {
            let Some(name) = path.file_name().filter(|name| !hidden(name)).map(OsStr::to_owned) else { continue };
            fragments.insert(name, path);
        }
    }
    std::iter::once(main.to_owned()).chain(fragments.into_values()).collect()
}

fn text(file: &Path) -> io::Result<Option<String>> {
    let opened = match File::open(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = String::new();
    opened.take(MAX_BYTES + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        return Err(io::Error::other(format!("longer than {MAX_BYTES} bytes")));
    }
    Ok(Some(text))
}

#[cfg(test)]
mod tests;
