//! One block read past the page cache: does this disk answer, now?
//!
//! Asked of the other leg before a server that is gone is fenced, so only data that came from the disk after the
//! question count. That the disk says no, or has no such block, is an answer too; a disk that says nothing keeps this
//! waiting, which the deadline of the child ends.

use crate::error::{Error, Result};
use crate::{Roots, blockdev};
use nix::libc;
use serde::{Deserialize, Serialize};
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

/// What O_DIRECT wants of offset, length and memory, whatever the device's logical block size.
const BLOCK: usize = 4096;

#[repr(align(4096))]
struct Block([u8; BLOCK]);

/// How a direct read went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DirectRead {
    /// The disk gave data.
    Answered {
        /// Microseconds from opening the device until then.
        micros: u64,
    },
    /// It did not.
    Failed {
        /// The kernel's error number, where there was one.
        errno: Option<i32>,
        /// What was tried, on what, and what came back.
        why: String,
    },
}

/// Reads the block of `/dev/NAME` that holds the byte at `offset`. May wait for the device for ever.
///
/// # Errors
/// When the name is none of a block device. Everything else is part of the answer.
pub fn read(roots: &Roots, name: &str, offset: u64) -> Result<DirectRead> {
    let begun = Instant::now();
    match blockdev::open(roots, name, libc::O_DIRECT) {
        Ok(file) => Ok(answer(begun, read_block(&file, offset), &format!("direct read at {offset} of {name}"))),
        Err(error @ Error::Malformed { .. }) => Err(error),
        Err(error) => Ok(DirectRead::Failed { errno: errno(&error), why: error.to_string() }),
    }
}

fn answer(begun: Instant, read: io::Result<usize>, what: &str) -> DirectRead {
    match read {
        Ok(0) => DirectRead::Failed { errno: None, why: format!("{what}: beyond the end of the device") },
        Ok(_) => DirectRead::Answered { micros: begun.elapsed().as_micros().try_into().unwrap_or(u64::MAX) },
        Err(e) => DirectRead::Failed { errno: e.raw_os_error(), why: format!("{what}: {e}") },
    }
}

/// Bytes read; fewer than a block at the end of a device, none beyond.
fn read_block(file: &File, offset: u64) -> io::Result<usize> {
    let mut block = Box::new(Block([0; BLOCK]));
    loop {
        match file.read_at(&mut block.0, offset - offset % BLOCK as u64) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            ended => return ended,
        }
    }
}

fn errno(error: &Error) -> Option<i32> {
    match error {
        Error::Absent { source, .. } | Error::Denied { source, .. } | Error::Io { source, .. } => source.raw_os_error(),
        Error::Busy { .. } => Some(libc::EBUSY),
        Error::NotKept { .. } | Error::NotAll { .. } | Error::Malformed { .. } => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probe::direct_read;
    use crate::testing::TempDir;
    use nix::errno::Errno;
    use std::os::unix::fs::OpenOptionsExt;

    /// A file in the place of a device; `None`, and a word about it, where its file system has no direct I/O.
    fn device(dir: &TempDir, length: u64) -> Option<File> {
        let path = dir.path().join("device");
        File::create(&path).unwrap().set_len(length).unwrap();
        match File::options().read(true).custom_flags(libc::O_DIRECT).open(&path) {
            Err(e) if e.raw_os_error() == Some(libc::EINVAL) => {
                eprintln!("skipped: no direct I/O on {}", path.display());
                None
            }
            opened => Some(opened.unwrap()),
        }
    }

    #[test]
    fn any_byte_of_a_device_is_reached_and_none_beyond() {
        let dir = TempDir::new();
        let Some(file) = device(&dir, 3 * 4096 + 512) else { return };
        for (offset, wanted) in [(0, 4096), (1, 4096), (8191, 4096), (12_288, 512), (12_799, 512), (16_384, 0)] {
            assert_eq!(read_block(&file, offset).unwrap(), wanted, "{offset}");
        }
    }

    #[test]
    fn an_error_is_an_answer_with_its_number() {
        let dir = TempDir::new();
        dir.write("device", "");
        // The read itself fails: a descriptor for writing only.
        let file = File::options().write(true).open(dir.path().join("device")).unwrap();
        let DirectRead::Failed { errno, why } = answer(Instant::now(), read_block(&file, 0), "x") else { panic!() };
        assert_eq!((errno, why.as_str()), (Some(libc::EBADF), "x: Bad file descriptor (os error 9)"));
        // The offset is one that no file can have.
        assert!(matches!(read_block(&file, u64::MAX), Err(e) if e.raw_os_error() == Some(Errno::EINVAL as i32)));
    }

    #[test]
    fn a_disk_that_is_gone_is_an_answer_but_no_disk_is_none() {
        let dir = TempDir::new();
        dir.write("dev/file", "");
        let roots = Roots::under(dir.path());
        let gone = read(&roots, "sdq", 0).unwrap();
        assert!(matches!(gone, DirectRead::Failed { errno: Some(libc::ENOENT), .. }), "{gone:?}");
        assert!(read(&roots, "file", 0).unwrap_err().to_string().contains("no block device"));
        assert!(read(&roots, "../file", 0).unwrap_err().to_string().contains("not a kernel name"));
    }

    #[test]
    fn a_parent_understands_what_its_child_says() {
        for said in
            [DirectRead::Answered { micros: 812 }, DirectRead::Failed { errno: Some(5), why: "Input/output".into() }]
        {
            let mut output = Vec::new();
            super::super::print(&said, &mut output).unwrap();
            assert_eq!(direct_read(&output).unwrap(), said);
        }
        assert_eq!(direct_read(br#"{"answered":{"micros":1}}"#).unwrap(), DirectRead::Answered { micros: 1 });
        assert!(direct_read(b"").is_err() && direct_read(br#"{"answered":{}}"#).is_err());
    }

    #[test]
    fn beyond_the_end_nothing_answers() {
        let said = answer(Instant::now(), Ok(0), "direct read at 9 of sda");
        let why = "direct read at 9 of sda: beyond the end of the device".to_owned();
        assert_eq!(said, DirectRead::Failed { errno: None, why });
        assert!(matches!(answer(Instant::now(), Ok(512), "x"), DirectRead::Answered { .. }));
    }
}
