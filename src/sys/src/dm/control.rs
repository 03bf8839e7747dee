//! `/dev/mapper/control`: the ioctls that only read.
//!
//! None of these issues I/O, so they answer while every disk hangs (measured: `facts/lab.md` 10).

use super::{status, wire};
use crate::Roots;
use crate::error::{Error, Result};
use mirrorkeeper_core::ids::DevNo;
use mirrorkeeper_core::observation::{DmObs, DmTarget};
use nix::libc;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

/// First buffer for a list: holds some 100 devices.
const LIST_BUFFER: usize = 16 * 1024;
/// First buffer for one device: holds any status line of ours, and a dozen linear segments. The kernel copies all of
/// it, three times a device and reading, so it is kept small.
const DEVICE_BUFFER: usize = 2 * 1024;
/// The kernel asks for 100 to 300 bytes a device, so this is far beyond any machine's list.
const LARGEST_BUFFER: usize = 16 * 1024 * 1024;
/// Table and status are two calls; a table swapped between them makes them differ. Swaps do not come in rows.
const TRIES: usize = 3;

/// The commands used here, by their numbers in `dm-ioctl.h`. There are deliberately no others.
#[derive(Debug, Clone, Copy)]
enum Command {
    Version = 0,
    ListDevices = 2,
    TableDeps = 11,
    TableStatus = 12,
    ArmPoll = 16,
}

/// An open device-mapper control node. Readable once something happened since the last [`Control::arm_poll`].
#[derive(Debug)]
pub struct Control {
    file: File,
}

impl Control {
    /// Opens `mapper/control` below the device directory.
    ///
    /// # Errors
    /// [`Error::Absent`] when device-mapper is not in this kernel, [`Error::Denied`] without the right to open it.
    pub fn open(roots: &Roots) -> Result<Self> {
        let path = roots.dev.join("mapper/control");
        let file = File::open(&path).map_err(|e| Error::io(format!("open {}", path.display()), e))?;
        Ok(Self { file })
    }

    /// Version of the kernel's interface; the first number is always 4.
    ///
    /// # Errors
    /// When the ioctl fails.
    pub fn version(&self) -> Result<[u32; 3]> {
        Ok(self.call(Command::Version, 0, None)?.0.version)
    }

    /// From now on the descriptor becomes readable with the next event. Arm first, then read everything: what happens
    /// in between is then seen twice rather than never.
    ///
    /// # Errors
    /// When the ioctl fails; before Linux 4.14 there is none.
    pub fn arm_poll(&self) -> Result<()> {
        self.call(Command::ArmPoll, 0, None).map(drop)
    }

    /// All devices, with uuids where the kernel lists them.
    ///
    /// # Errors
    /// When the ioctl fails or its answer breaks the format.
    pub fn list(&self) -> Result<Vec<wire::Listed>> {
        let (header, buffer) = self.call(Command::ListDevices, wire::WITH_UUID, None)?;
        wire::list(&buffer[header.data])
    }

    /// Everything about every device. One that cannot be read carries a single `Unreadable` target; one that goes
    /// away meanwhile is left out.
    ///
    /// # Errors
    /// When the list itself cannot be read.
    pub fn devices(&self) -> Result<Vec<DmObs>> {
        let mut found = Vec::new();
        for listed in self.list()? {
            match self.device(listed.dev) {
                Ok(device) => found.push(device),
                Err(Error::Absent { .. }) => {}
                Err(e) => found.push(DmObs {
                    name: listed.name.into(),
                    uuid: listed.uuid.unwrap_or_default().into(),
                    dev: listed.dev,
                    event_nr: listed.event_nr.unwrap_or_default(),
                    suspended: false,
                    open_count: 0,
                    targets: vec![DmTarget::Unreadable { kind: String::new(), why: e.to_string() }],
                    deps: Vec::new(),
                }),
            }
        }
        Ok(found)
    }

    /// Everything about one device. Name and uuid come with the status, also on kernels that do not list uuids.
    fn device(&self, dev: DevNo) -> Result<DmObs> {
        let mut tries = 0;
        let (header, targets) = loop {
            let (_, table) = self.lines(dev, wire::STATUS_TABLE)?;
            let (header, info) = self.lines(dev, 0)?;
            tries += 1;
            if status::same_shape(&table, &info) || tries == TRIES {
                break (header, status::targets(&table, &info));
            }
        };
        let (answer, buffer) = self.call(Command::TableDeps, 0, Some(dev))?;
        Ok(DmObs {
            name: header.name.into(),
            uuid: header.uuid.into(),
            dev,
            event_nr: header.event_nr,
            suspended: header.flags & wire::SUSPENDED != 0,
            open_count: header.open_count,
            targets,
            deps: wire::deps(&buffer[answer.data])?,
        })
    }

    fn lines(&self, dev: DevNo, flags: u32) -> Result<(wire::Header, Vec<wire::Line>)> {
        let (header, buffer) = self.call(Command::TableStatus, flags | wire::NOFLUSH, Some(dev))?;
        let lines = wire::lines(&buffer[header.data.clone()], header.target_count)?;
        Ok((header, lines))
    }

    /// One ioctl, repeated with a larger buffer while the kernel says that the answer does not fit.
    fn call(&self, command: Command, flags: u32, dev: Option<DevNo>) -> Result<(wire::Header, Vec<u8>)> {
        let code = nix::request_code_readwrite!(0xfd, command as u8, wire::HEADER);
        let mut size = if dev.is_some() { DEVICE_BUFFER } else { LIST_BUFFER };
        loop {
            let mut buffer = wire::request(size, flags, dev);
            // SAFETY: the buffer is writable for `size` bytes, and its `data_size` field tells the kernel so; the
            // descriptor is open for as long as `self`.
            let rc = unsafe { libc::ioctl(self.file.as_raw_fd(), code as _, buffer.as_mut_ptr()) };
            if rc < 0 {
                let on = dev.map_or_else(String::new, |d| format!(" of {d}"));
                return Err(Error::io(format!("device-mapper {command:?}{on}"), io::Error::last_os_error()));
            }
            let header = wire::header(&buffer)?;
            if header.flags & wire::BUFFER_FULL == 0 {
                return Ok((header, buffer));
            }
            if size >= LARGEST_BUFFER {
                return Err(Error::malformed(format!("device-mapper {command:?}"), "answer larger than 16 MiB"));
            }
            size *= 2;
        }
    }
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

impl AsRawFd for Control {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::TempDir;

    #[test]
    fn a_machine_without_device_mapper_is_told_apart() {
        let dir = TempDir::new();
        assert!(Control::open(&Roots::under(dir.path())).unwrap_err().is_absent());
    }

    #[test]
    fn an_ioctl_on_something_else_is_an_error_not_an_answer() {
        let dir = TempDir::new();
        dir.write("dev/mapper/control", "");
        let control = Control::open(&Roots::under(dir.path())).unwrap();
        let error = control.list().unwrap_err().to_string();
        assert!(error.starts_with("device-mapper ListDevices: "), "{error}");
    }
}
