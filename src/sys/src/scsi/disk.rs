//! A SCSI disk that commands can be sent to: the SG_IO ioctl (Linux `include/scsi/sg.h`). Waits for the disk.

use super::registration::Target;
use super::reservation::Cdb;
use super::sense::{self, Refusal};
use crate::error::Result;
use crate::{Roots, blockdev};
use nix::libc;
use std::ffi::{c_int, c_uchar, c_uint, c_ushort, c_void};
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::ptr;

/// How long the kernel lets one command take, in milliseconds. A target answers these from memory; the child that asks
/// has 20 s for all of them.
const TIMEOUT: c_uint = 10_000;
/// Room for sense data: what the kernel itself keeps (`SCSI_SENSE_BUFFERSIZE`).
const SENSE: usize = 96;
const TO_DEVICE: c_int = -2;
const FROM_DEVICE: c_int = -3;

/// `sg_io_hdr`.
#[repr(C)]
struct Header {
    interface_id: c_int,
    direction: c_int,
    cdb_length: c_uchar,
    sense_room: c_uchar,
    iovec_count: c_ushort,
    length: c_uint,
    data: *mut c_void,
    cdb: *const c_uchar,
    sense: *mut c_uchar,
    timeout: c_uint,
    flags: c_uint,
    pack_id: c_int,
    user: *mut c_void,
    status: c_uchar,
    masked_status: c_uchar,
    msg_status: c_uchar,
    sense_length: c_uchar,
    host_status: c_ushort,
    driver_status: c_ushort,
    residual: c_int,
    duration: c_uint,
    info: c_uint,
}

nix::ioctl_readwrite_bad!(sg_io, 0x2285, Header);

/// An open disk.
#[derive(Debug)]
pub struct Disk(File);

impl Disk {
    /// Opens `/dev/NAME` without waiting for the medium. For reading: what is sent here is let through by privilege
    /// (CAP_SYS_RAWIO).
    ///
    /// # Errors
    /// As [`blockdev::open`].
    pub fn open(roots: &Roots, name: &str) -> Result<Self> {
        blockdev::open(roots, name, libc::O_NONBLOCK).map(Self)
    }

    /// One command with its data, of which this many bytes were moved.
    fn run(&self, cdb: &Cdb, direction: c_int, data: &mut [u8]) -> std::result::Result<usize, Refusal> {
        let mut sense = [0; SENSE];
        let mut header = Header {
            interface_id: c_int::from(b'S'),
            direction,
            cdb_length: cdb.len() as c_uchar,
            sense_room: SENSE as c_uchar,
            iovec_count: 0,
            length: c_uint::try_from(data.len()).map_err(io::Error::other)?,
            data: data.as_mut_ptr().cast(),
            cdb: cdb.as_ptr(),
            sense: sense.as_mut_ptr(),
            timeout: TIMEOUT,
            flags: 0,
            pack_id: 0,
            user: ptr::null_mut(),
            status: 0,
            masked_status: 0,
            msg_status: 0,
            sense_length: 0,
            host_status: 0,
            driver_status: 0,
            residual: 0,
            duration: 0,
            info: 0,
        };
        // SAFETY: the header is the kernel's sg_io_hdr; its three pointers lead to live memory of the lengths given with
        // them, of which the kernel writes `data` and `sense` only, both borrowed mutably here, before it returns.
        unsafe { sg_io(self.0.as_raw_fd(), &mut header) }.map_err(io::Error::from)?;
        let told = sense.get(..usize::from(header.sense_length)).unwrap_or(&sense);
        sense::ending(header.status, header.host_status, header.driver_status, told)?;
        // A residual that makes no sense counts as nothing moved.
        let residual = usize::try_from(header.residual).unwrap_or(data.len());
        Ok(data.len().saturating_sub(residual))
    }
}

impl Target for Disk {
    fn read(&mut self, cdb: &Cdb, most: u16) -> std::result::Result<Vec<u8>, Refusal> {
        let mut data = vec![0; usize::from(most)];
        let moved = self.run(cdb, FROM_DEVICE, &mut data)?;
        data.truncate(moved);
        Ok(data)
    }

    fn write(&mut self, cdb: &Cdb, parameters: &[u8]) -> std::result::Result<(), Refusal> {
        self.run(cdb, TO_DEVICE, &mut parameters.to_vec()).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_is_as_long_as_the_kernels() {
        // On i386 64, on 64 bit 88.
        let words = if size_of::<usize>() == 8 { 88 } else { 64 };
        assert_eq!(size_of::<Header>(), words);
    }
}
