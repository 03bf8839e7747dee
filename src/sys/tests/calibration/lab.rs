//! The lab's machine: servers a and b, `r1` with leg 0 on a and leg 1 on b, `testlv` a core-log mirror.

use mirrorkeeper_core::observation::{DmTarget, LegHealth, RaidStatus, SyncAction};
use mirrorkeeper_sys::sim::clock::Happening;
use mirrorkeeper_sys::sim::content::{ALL, BLOCKS};
use mirrorkeeper_sys::sim::server::Fault;
use mirrorkeeper_sys::sim::world::Quirks;
use mirrorkeeper_sys::sim::{Plan, SECOND, World};

pub const A: usize = 0;
pub const B: usize = 1;
pub const R1: usize = 0;

/// Nobody writes unless a test does.
fn quiet(mut world: World) -> World {
    world.queue.drop_if(|what| matches!(what, Happening::Burst { .. } | Happening::WriteBack { .. }));
    world
}

/// `r1` alone in the VG, 6.1.
pub fn r1() -> World {
    quiet(World::new(&Plan::lab(&["r1"], &[]), 1))
}

/// The same on 6.12.
pub fn r1_on_6_12(seed: u64) -> World {
    let quirks = Quirks { shallow_recovery: true, ..Quirks::default() };
    quiet(World::new(&Plan { quirks, ..Plan::lab(&["r1"], &[]) }, seed))
}

/// `r1` and `testlv`.
pub fn both() -> World {
    quiet(World::new(&Plan::lab(&["r1"], &["testlv"]), 1))
}

/// The volume's raid status as dmsetup prints it: letters, and the action.
pub fn status(world: &World, volume: usize) -> (String, SyncAction) {
    let status = raid_status(world, volume);
    let letter = |health: &LegHealth| match health {
        LegHealth::InSync => 'A',
        LegHealth::Syncing => 'a',
        LegHealth::Dead => 'D',
        LegHealth::Absent | LegHealth::Other(_) => '?',
    };
    (status.health.iter().map(letter).collect(), status.action)
}

pub fn letters(world: &World, volume: usize) -> String {
    status(world, volume).0
}

pub fn raid_status(world: &World, volume: usize) -> RaidStatus {
    let name = &world.volumes[volume].names.dm;
    let view = world.kernel_view();
    match view.dm.iter().find(|dm| dm.name == *name).map(|dm| dm.targets.clone()).as_deref() {
        Some([DmTarget::Raid { status, .. }]) => status.clone(),
        other => panic!("{name} is no raid volume: {other:?}"),
    }
}

/// The `write_mostly` words of the table.
pub fn flags(world: &World, volume: usize) -> Vec<i32> {
    let name = &world.volumes[volume].names.dm;
    match world.kernel_view().dm.iter().find(|dm| dm.name == *name).map(|dm| dm.targets.clone()).as_deref() {
        Some([DmTarget::Raid { table, .. }]) => table.write_mostly.clone(),
        other => panic!("{name} is no raid volume: {other:?}"),
    }
}

/// Writes some blocks; with fsync.
pub fn write(world: &mut World, volume: usize, blocks: u8) {
    world.write(volume, blocks, true);
}

/// Everything is written once, so that an old block can be told from a new one, and the bitmap is clean again.
pub fn fill(world: &mut World, volume: usize) {
    write(world, volume, ALL);
    pass(world, 20);
}

pub fn pass(world: &mut World, seconds: u64) {
    world.run_for(seconds * SECOND);
}

/// A server's target is killed, and its recovery timeout passes under a writer.
pub fn lose(world: &mut World, server: usize) {
    world.down(server, Fault::Refused);
    pass(world, 8);
}

/// It comes back, and its session with it.
pub fn give_back(world: &mut World, server: usize) {
    world.up(server);
    pass(world, 8);
}

/// Blocks of a volume that differ between two PVs.
pub fn differing(world: &World, volume: usize) -> usize {
    let v = &world.volumes[volume];
    let luns = &world.vgs[v.vg].luns;
    let blocks = |pv: usize| world.luns[luns[pv]].cached.areas[v.lv].blocks;
    (0..BLOCKS).filter(|block| blocks(0)[*block] != blocks(1)[*block]).count()
}

/// Whether every read gives what was written last.
pub fn reads_right(world: &World, volume: usize) -> bool {
    let v = &world.volumes[volume];
    let readers = v.readers();
    (0..v.legs.len()).filter(|leg| readers >> leg & 1 == 1).all(|leg| {
        let lun = world.lun_of(v.legs[leg].disk).expect("a reader has a disk");
        v.truth.held_by(&world.luns[lun].cached.areas[v.lv].blocks)
    })
}

/// `events` and `failed_devices` on a PV.
pub fn superblock(world: &World, volume: usize, pv: usize) -> (u64, u64) {
    let v = &world.volumes[volume];
    let sb = world.luns[world.vgs[v.vg].luns[pv]].cached.areas[v.lv].sb.expect("a superblock");
    (sb.events, sb.failed)
}

/// Sequence number on one PV, and the PVs it flags.
pub fn text(world: &World, pv: usize) -> (u64, u32) {
    let text = world.luns[world.vgs[0].luns[pv]].cached.text.as_ref().expect("metadata");
    (text.seqno, text.missing)
}

/// An image of a LUN is kept.
pub fn keep_image(world: &mut World, lun: usize) {
    let image = world.luns[lun].cached.clone();
    world.luns[lun].images.push(image);
}
