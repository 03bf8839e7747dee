//! Helpers for tests only: a directory that goes away, and the recorded fixtures laid out as the kernel shows them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

/// A directory that is removed with the value.
pub struct TempDir(PathBuf);

impl TempDir {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let n = COUNT.fetch_add(1, Ordering::Relaxed);
        let dir = std::env::temp_dir().join(format!("mirrorkeeper-sys-{}-{n}", std::process::id()));
        let _ = fs::remove_dir_all(&dir);
        fs::create_dir_all(&dir).unwrap();
        Self(dir)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    /// Writes a file, making its directories.
    pub fn write(&self, path: &str, text: &str) {
        let path = self.0.join(path.trim_start_matches('/'));
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Makes a link to a directory inside, making both.
    pub fn link(&self, link: &str, target: &str) {
        let link = self.0.join(link.trim_start_matches('/'));
        let target = self.0.join(target.trim_start_matches('/'));
        fs::create_dir_all(link.parent().unwrap()).unwrap();
        fs::create_dir_all(&target).unwrap();
        symlink(target, link).unwrap();
    }

    /// Lays out a fixture's `sysfs.tsv`. Disks get the `device` link that the kernel gives them.
    pub fn sysfs(&self, fixture: &str) {
        let text = fixture_text(fixture, "sysfs.tsv");
        let lines = || text.lines().filter_map(|l| l.split_once('\t'));
        for (path, target) in lines().filter_map(|(p, t)| Some((p.strip_suffix(" ->")?, t))) {
            self.link(path, target);
            if path.starts_with("/sys/block/") {
                let scsi = Path::new(target).parent().unwrap().parent().unwrap();
                self.link(&format!("{target}/device"), scsi.to_str().unwrap());
            }
        }
        // What the recorder's cat could not read has no file here; sockets that are not connected, all of them.
        for (path, value) in lines().filter(|(p, v)| !p.ends_with(" ->") && !p.contains(',') && !v.starts_with("cat: "))
        {
            let value = if path.ends_with("/wwid") { unhex_text(value) } else { value.to_owned() };
            self.write(path, &value);
        }
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// Where the recorded fixtures are.
pub fn fixtures() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fixtures"))
}

/// One recorded file.
pub fn fixture_text(fixture: &str, file: &str) -> String {
    fs::read_to_string(fixtures().join(fixture).join(file)).unwrap()
}

/// One recorded binary file.
pub fn fixture_bytes(fixture: &str, file: &str) -> Vec<u8> {
    fs::read(fixtures().join(fixture).join(file)).unwrap()
}

/// Every fixture that has a file of that name, with the text.
pub fn each_fixture(file: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(fixtures()).unwrap() {
        let dir = entry.unwrap().path();
        if let Ok(text) = fs::read_to_string(dir.join(file)) {
            found.push((dir.file_name().unwrap().to_str().unwrap().to_owned(), text));
        }
    }
    assert!(!found.is_empty(), "no fixture has {file}");
    found.sort();
    found
}

/// Bytes written in hexadecimal.
pub fn unhex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|c| u8::from_str_radix(std::str::from_utf8(c).unwrap(), 16).unwrap()).collect()
}

fn unhex_text(text: &str) -> String {
    String::from_utf8(unhex(text)).unwrap()
}
