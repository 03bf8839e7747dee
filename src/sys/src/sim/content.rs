//! What stands on a LUN: label, VG metadata text, and for each volume a leg's blocks with its dm-raid superblock and
//! bitmap. Blocks are not bytes but the number of the write that they hold; 0 was there before anybody wrote.

use std::rc::Rc;

/// Blocks of a volume: enough to tell dirty regions from clean ones.
pub const BLOCKS: usize = 8;

/// A set of blocks.
pub type Mask = u8;

/// All blocks.
pub const ALL: Mask = Mask::MAX;

/// Number of the write that each block holds.
pub type Blocks = [u32; BLOCKS];

/// dm-raid superblock of a leg.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Super {
    /// Rises on failures and sync actions.
    pub events: u64,
    /// Legs it knows to have failed, one bit each.
    pub failed: u64,
    /// Which leg it is.
    pub position: usize,
    /// How many there are.
    pub devices: usize,
    /// A copy onto it has ended.
    pub complete: bool,
}

/// A leg's place on a PV.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Area {
    /// Data.
    pub blocks: Blocks,
    /// Write-intent bitmap.
    pub bitmap: Mask,
    /// Superblock; `None` = zeros.
    pub sb: Option<Super>,
}

/// Kind of a volume by its metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// dm-raid.
    Raid1,
    /// dm-mirror with a core log.
    Mirror,
    /// One leg.
    Linear,
}

/// A volume in the metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LvText {
    /// Segment type.
    pub kind: Kind,
    /// PVs of its legs in order, numbered within the VG.
    pub legs: Vec<usize>,
    /// PVs whose legs are write-mostly, one bit each.
    pub write_mostly: u32,
    /// LVM activates it at boot.
    pub autoactivation: bool,
}

/// VG metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// Sequence number.
    pub seqno: u64,
    /// PVs flagged MISSING, one bit each.
    pub missing: u32,
    /// Numbers of the daemon's stamps.
    pub stamps: Vec<u64>,
    /// Another machine wrote it.
    pub foreign: bool,
    /// Volumes.
    pub lvs: Vec<LvText>,
}

/// What the first sectors say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Label {
    /// PV, numbered over all VGs.
    Pv(usize),
    /// PV of a VG that is none of ours.
    Foreign,
    /// No label.
    Garbage,
    /// Zeros.
    Blank,
}

/// Everything on a LUN.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Whose it is.
    pub label: Label,
    /// Bytes.
    pub size: u64,
    /// VG metadata on it.
    pub text: Option<Rc<Text>>,
    /// By volume of the VG.
    pub areas: Vec<Area>,
}

impl Image {
    /// Takes over another's content without giving memory back and asking for it again.
    pub fn copy_from(&mut self, other: &Self) {
        (self.label, self.size) = (other.label, other.size);
        self.text.clone_from(&other.text);
        self.areas.clone_from(&other.areas);
    }
}

/// Keys registered with a LUN's target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Keys {
    /// The command is known.
    pub supported: bool,
    /// They outlive a power loss (PTPL_A).
    pub persists: bool,
    /// Rises with every change.
    pub generation: u32,
    /// Registered.
    pub keys: Vec<u64>,
}

/// A LUN: what a reader gets, and what is left of it after a power loss.
#[derive(Debug, Clone)]
pub struct Lun {
    /// Server that exports it.
    pub server: usize,
    /// VG whose PV belongs here.
    pub vg: usize,
    /// That PV within its VG.
    pub pv: usize,
    /// With what is in the cache.
    pub cached: Image,
    /// Without.
    pub durable: Image,
    /// The two differ.
    pub dirty: bool,
    /// Images somebody keeps.
    pub images: Vec<Image>,
    /// What belongs here while something else stands in its place.
    pub away: Option<Image>,
    /// Deleted under the session: I/O fails and nothing says so (`facts/lab.md` 13).
    pub gone: bool,
    /// Registrations.
    pub keys: Keys,
    /// Shows the WWID of this LUN instead of its own.
    pub wwid_of: Option<usize>,
    /// It is older than it was, and no label, metadata or superblock shows it.
    pub unseen: bool,
    /// When it lost what was in its cache.
    pub lost_at: Option<u64>,
    /// When something else was last put in its place.
    pub changed_at: Option<u64>,
    /// A write-back is foreseen.
    pub write_back: bool,
}

impl Lun {
    /// Writes the cache out.
    pub fn flush(&mut self) {
        if self.dirty {
            self.durable.copy_from(&self.cached);
            self.dirty = false;
        }
    }

    /// The target restarts: registrations go.
    pub fn forget_keys(&mut self) {
        if !self.keys.persists {
            (self.keys.generation, self.keys.keys) = (0, Vec::new());
        }
    }

    /// Something else stands here from now on.
    pub fn replace(&mut self, image: &Image) {
        self.cached.copy_from(image);
        self.durable.copy_from(image);
        self.dirty = false;
    }
}
