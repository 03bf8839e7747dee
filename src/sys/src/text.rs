//! Reading small attribute files. Used on sysfs and procfs only: these answer from memory, never from storage.

use crate::error::{Error, Result};
use std::fs;
use std::io::Read;
use std::path::Path;

/// More than any attribute holds (sysfs gives at most one page); a limit so that a wrong path cannot fill memory.
const MOST: u64 = 64 * 1024;

/// The text of a file without surrounding white space.
///
/// # Errors
/// When it cannot be opened or read. Bytes that are not UTF-8 are replaced, not refused.
pub fn read(path: &Path) -> Result<String> {
    let fail = |e| Error::io(format!("read {}", path.display()), e);
    let mut bytes = Vec::new();
    fs::File::open(path).map_err(fail)?.take(MOST).read_to_end(&mut bytes).map_err(fail)?;
    Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
}

/// As [`read`], but an absent file, an empty one and the kernel's `(null)` are all `None`.
pub fn optional(path: &Path) -> Result<Option<String>> {
    match read(path) {
        Ok(text) if text.is_empty() || text == "(null)" => Ok(None),
        Ok(text) => Ok(Some(text)),
        Err(Error::Absent { .. }) => Ok(None),
        Err(e) => Err(e),
    }
}

/// Reads a file and parses what it says.
pub fn parsed<T>(path: &Path, parse: impl FnOnce(&str) -> Option<T>, wanted: &str) -> Result<T> {
    let text = read(path)?;
    parse(&text).ok_or_else(|| not(path, &text, wanted))
}

/// The error for a file that says something else than it should. The text is shortened to 80 characters.
pub fn not(path: &Path, text: &str, wanted: &str) -> Error {
    let text: String = text.chars().take(80).collect();
    Error::malformed(path.display().to_string(), format!("{text:?} is not {wanted}"))
}

/// The names in a directory, sorted; empty when there is no such directory.
pub fn names(dir: &Path) -> Result<Vec<String>> {
    let fail = |e| Error::io(format!("list {}", dir.display()), e);
    let entries = match fs::read_dir(dir).map_err(fail) {
        Err(Error::Absent { .. }) => return Ok(Vec::new()),
        other => other?,
    };
    let mut names = Vec::new();
    for entry in entries {
        if let Ok(name) = entry.map_err(fail)?.file_name().into_string() {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
