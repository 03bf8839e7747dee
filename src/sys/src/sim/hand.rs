//! What a person may do to the machine from outside, and what it takes to run the model beside a real clock: the side of
//! `mirrorkeeperd --simulate`. Nothing in here chooses anything; chance stays with the nemesis.

use super::content::{Area, Image, Label};
use super::daemon::EPOCH;
use super::world::{LUN, World};
use mirrorkeeper_core::input::Input;
use mirrorkeeper_core::settings::Settings;
use mirrorkeeper_core::time::Wall;

/// What may stand where the LUNs of a server were.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Swap {
    /// New disks.
    Blank,
    /// Somebody else's PVs.
    Foreign,
    /// The right content on LUNs of half the size.
    Smaller,
    /// An older image of themselves; see [`World::keep_images`].
    RolledBack,
    /// The right LUNs again.
    Original,
}

impl World {
    /// When the next thing happens, in microseconds of virtual time.
    pub fn next_at(&self) -> Option<u64> {
        [self.queue.next_at(), self.daemon.wake()].into_iter().flatten().min()
    }

    /// What the daemon's wall clock shows now.
    pub fn wall(&self) -> Wall {
        #[expect(clippy::cast_sign_loss, reason = "wraps into the past or the future as the clock does")]
        let jump = self.wall_jump as u64;
        Wall((EPOCH + self.now).wrapping_add(jump))
    }

    /// Sets the daemon's wall clock.
    pub fn set_wall(&mut self, wall: Wall) {
        #[expect(clippy::cast_possible_wrap, reason = "undone by `wall`")]
        let jump = wall.0.wrapping_sub(EPOCH + self.now) as i64;
        self.wall_jump = jump;
    }

    /// Takes out what was traced since the last time.
    pub fn take_trace(&mut self) -> Vec<String> {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The daemon gets other settings, now and whenever it starts.
    pub fn configure(&mut self, settings: Settings) {
        self.daemon.settings = settings.clone();
        self.daemon.inputs.push_back(Input::Settings(Box::new(settings)));
        self.attend();
    }

    /// Keeps an image of every LUN, for [`Swap::RolledBack`].
    pub fn keep_images(&mut self) {
        self.luns.iter_mut().for_each(|lun| lun.images = vec![lun.cached.clone()]);
    }

    /// Something else stands where a server's LUNs were. Only for a server that does not answer: no target lives through
    /// that.
    pub fn exchange(&mut self, server: usize, what: Swap) {
        self.note(|_| format!("# LUNs of server {server}: {what:?}"));
        for lun in self.luns_of(server) {
            let blank = |label| {
                let areas = vec![Area::default(); self.luns[lun].cached.areas.len()];
                Image { label, size: LUN, text: None, areas }
            };
            let image = match what {
                Swap::Blank => Some(blank(Label::Blank)),
                Swap::Foreign => Some(blank(Label::Foreign)),
                Swap::Smaller => Some(Image { size: LUN / 2, ..self.luns[lun].cached.clone() }),
                Swap::RolledBack | Swap::Original => None,
            };
            match image {
                // What was put away first is the original.
                Some(image) if self.luns[lun].away.is_some() => self.luns[lun].replace(&image),
                Some(image) => self.swap(lun, &image),
                None if what == Swap::Original => self.restore(lun),
                None => self.roll_back(lun),
            }
            self.luns[lun].forget_keys();
            self.doubt_lun(lun);
            self.excuse(lun);
        }
        self.servers[server].restarted = true;
    }

    /// Another machine goes on alone with what a lost server has. Returns whether there was anything to go on with.
    pub fn use_elsewhere(&mut self, server: usize) -> bool {
        let mut used = false;
        for lun in self.luns_of(server) {
            if self.activated_elsewhere(lun) {
                used = true;
                self.excuse(lun);
            }
        }
        used
    }

    /// The choices of people that the ledger on disk has are the truth for the checker too.
    pub fn heed_choices(&mut self) {
        for volume in 0..self.volumes.len() {
            let Some(kept) = self.kept(volume).filter(|_| self.volumes[volume].resolving.is_none()) else { continue };
            let pvs = &self.vgs[self.volumes[volume].vg].pvs;
            if let Some(pv) = pvs.iter().position(|pv| *pv == kept) {
                self.choose(volume, pv);
            }
        }
    }

    fn luns_of(&self, server: usize) -> Vec<usize> {
        (0..self.luns.len()).filter(|lun| self.luns[*lun].server == server).collect()
    }
}
