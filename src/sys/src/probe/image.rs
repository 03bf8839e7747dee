//! For tests: a PV made byte by byte after lvm2's `lib/format_text/layout.h`.

use super::crc::{INITIAL, crc};
use super::leg::Source;
use mirrorkeeper_core::ids::LvmUuid;

/// What the PV looks like.
#[derive(Clone)]
pub struct Image {
    pub pv: LvmUuid,
    pub size: usize,
    pub label_sector: usize,
    pub data: u64,
    pub mda_size: u64,
    /// Offset of the text in its metadata area.
    pub text_at: u64,
    pub text: Vec<u8>,
    pub ignored: bool,
    /// What stands where, in bytes from the start of the data area.
    pub superblocks: Vec<(usize, Vec<u8>)>,
}

const PV: &str = "NkXull-Ejyz-AJ8b-BJGh-MLe4-dxuA-dWqJhq";
pub const VG: &str = "ImOQMl-sYe8-09u1-UxfS-8srV-yCcN-naeJUC";

impl Default for Image {
    fn default() -> Self {
        let text = format!(
            "vg0 {{\nid = \"{VG}\"\nseqno = 8\nformat = \"lvm2\"\n\
             tags = [\"mirrorkeeper.epoch.4\"]\nphysical_volumes {{\npv0 {{\nid = \"{PV}\"\n}}\n}}\n}}\n\
             creation_host = \"node\"\t# Linux node\n"
        );
        Self {
            pv: LvmUuid::parse(PV).unwrap(),
            size: 64 * 1024,
            label_sector: 1,
            data: 16 * 1024,
            mda_size: 8 * 1024,
            text_at: 512,
            text: text.into_bytes(),
            ignored: false,
            superblocks: Vec::new(),
        }
    }
}

impl Image {
    pub fn bytes(&self) -> Vec<u8> {
        let mut image = vec![0; self.size];
        let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
        self.label(&mut put);
        self.metadata(&mut put);
        for (at, bytes) in &self.superblocks {
            put(self.data as usize + at, bytes);
        }
        image
    }

    fn label(&self, put: &mut impl FnMut(usize, &[u8])) {
        let mut sector = [0_u8; 512];
        let mut set = |at: usize, bytes: &[u8]| sector[at..at + bytes.len()].copy_from_slice(bytes);
        set(0, b"LABELONE");
        set(8, &(self.label_sector as u64).to_le_bytes());
        set(20, &32_u32.to_le_bytes());
        set(24, b"LVM2 001");
        set(32, self.pv.compact().as_bytes());
        set(64, &(self.size as u64).to_le_bytes());
        set(72, &self.data.to_le_bytes());
        // Size 0 = to the end; then the end of the list, and the metadata areas.
        set(104, &4096_u64.to_le_bytes());
        set(112, &self.mda_size.to_le_bytes());
        let sum = crc(INITIAL, &sector[20..]);
        sector[16..20].copy_from_slice(&sum.to_le_bytes());
        put(self.label_sector * 512, &sector);
    }

    fn metadata(&self, put: &mut impl FnMut(usize, &[u8])) {
        let mut header = [0_u8; 512];
        let mut set = |at: usize, bytes: &[u8]| header[at..at + bytes.len()].copy_from_slice(bytes);
        set(4, b" LVM2 x[5A%r0N*>");
        set(20, &1_u32.to_le_bytes());
        set(24, &4096_u64.to_le_bytes());
        set(32, &self.mda_size.to_le_bytes());
        set(40, &self.text_at.to_le_bytes());
        set(48, &(self.text.len() as u64).to_le_bytes());
        set(56, &crc(INITIAL, &self.text).to_le_bytes());
        set(60, &u32::from(self.ignored).to_le_bytes());
        let sum = crc(INITIAL, &header[4..]);
        header[..4].copy_from_slice(&sum.to_le_bytes());
        put(4096, &header);
        let first = self.text.len().min((self.mda_size - self.text_at) as usize);
        put(4096 + self.text_at as usize, &self.text[..first]);
        put(4096 + 512, &self.text[first..]);
    }
}

/// A device in memory.
pub struct Memory(pub Vec<u8>);

impl Source for Memory {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read(&mut self, offset: u64, length: usize) -> Result<Vec<u8>, String> {
        let at = usize::try_from(offset).map_err(|e| e.to_string())?;
        let end = at.checked_add(length).ok_or("overflow")?;
        self.0.get(at..end).map(<[u8]>::to_vec).ok_or_else(|| format!("{offset}+{length} is beyond the end"))
    }
}
