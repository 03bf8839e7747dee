//! What a reader must get: per block the write that was acknowledged last. The model's own knowledge; no part of the
//! machine and no daemon can see it.
//!
//! A volume that goes on from an older leg begins another history. The one it left is not gone while a leg anywhere still
//! holds it, and nobody but a person may have that leg overwritten.

use super::content::{BLOCKS, Blocks, Mask};

/// Writes that a block may hold. More than one after a crash: a write that was not acknowledged may have happened or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
struct Allowed {
    ids: [u32; 4],
    more: usize,
    /// More than there is room for: any will do.
    any: bool,
}

impl Allowed {
    fn only(id: u32) -> Self {
        Self { ids: [id, 0, 0, 0], ..Self::default() }
    }

    fn has(&self, id: u32) -> bool {
        self.any || self.ids[..=self.more].contains(&id)
    }

    fn add(&mut self, id: u32) {
        if self.has(id) {
            return;
        }
        match self.ids.get_mut(self.more + 1) {
            Some(place) => (*place, self.more) = (id, self.more + 1),
            None => self.any = true,
        }
    }
}

/// One history of a volume.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct History([Allowed; BLOCKS]);

impl History {
    /// The history that goes on from these blocks.
    pub fn of(blocks: &Blocks) -> Self {
        Self(blocks.map(Allowed::only))
    }

    /// A write was acknowledged: nothing else will do from now on.
    pub fn acknowledge(&mut self, block: usize, id: u32) {
        self.0[block] = Allowed::only(id);
    }

    /// This will do too.
    pub fn widen(&mut self, block: usize, id: u32) {
        self.0[block].add(id);
    }

    /// Whether a block holds what it should.
    pub fn allows(&self, block: usize, id: u32) -> bool {
        self.0[block].has(id)
    }

    /// The blocks that do not hold what they should.
    pub fn wrong(&self, blocks: &Blocks) -> Mask {
        let mut wrong = 0;
        for (block, id) in blocks.iter().enumerate() {
            if !self.0[block].has(*id) {
                wrong |= 1 << block;
            }
        }
        wrong
    }

    /// Whether another history allows all that this one does.
    pub fn within(&self, other: &Self) -> bool {
        self.0
            .iter()
            .zip(&other.0)
            .all(|(own, other)| other.any || !own.any && own.ids[..=own.more].iter().all(|id| other.has(*id)))
    }

    /// Whether all blocks hold what they should.
    pub fn held_by(&self, blocks: &Blocks) -> bool {
        self.wrong(blocks) == 0
    }
}
