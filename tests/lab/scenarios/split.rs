//! Split brain: the older leg is activated by hand while the newer one is away, and written to. Nothing may be copied
//! in either direction until a person has chosen, and then everything in the direction chosen.

use anyhow::{Context, Result, ensure};

use crate::check::{Errors, final_check, wrong};
use crate::fault::{Fault, Server};
use crate::guest::Guest;
use crate::install::UNIT;
use crate::lun::Image;
use crate::mirror::wait_for_mounts;
use crate::reboot::switch_on;
use crate::scenarios::boot::boot_with_b_alone;
use crate::stage::Stage;
use crate::stock::{self, VOLUMES, wait_for_units};
use crate::wait::{Look, wait_until};

/// What is written on b alone.
const OTHER: &str = "/mnt/r1/other";
const OTHER_LEDGER: &str = "/root/other.ledger";
const OTHER_SLOTS: u64 = 64;

/// The leg to keep is not the active one: that is refused while the volume is mounted, and done when it is not.
pub fn keep_a(stage: &mut Stage<'_>) -> Result<()> {
    split(stage)?;
    let pv = stage.guest().pv_on(Server::A)?;
    let refusal = stage.guest().start_job("vg0/r1", &format!("Resolve string:{pv}"))?;
    ensure!(
        refusal.as_ref().is_err_and(|name| name == "org.mirrorkeeper1.Error.Busy"),
        "to keep a while b is mounted gave {refusal:?}, not Busy"
    );
    stage.guest().sh("umount /mnt/r1")?;
    stage.resolve("vg0/r1", Server::A)?;
    stage.wait_for_redundancy("the end of the job")?;
    wait_for_mounts(stage)?;
    ensure!(stage.guest().exec(&["test", "-e", OTHER])?.rc != 0, "{OTHER}, written on b, is on the kept leg");
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// The active leg is kept, with the volume mounted all the time. What only a knew of `r1` is gone, as chosen; the only
/// good copy of `testlv` is on a and stays.
pub fn keep_b(stage: &mut Stage<'_>) -> Result<()> {
    split(stage)?;
    stage.resolve("vg0/r1", Server::B)?;
    stage.wait_for_redundancy("the end of the job")?;
    wait_for_mounts(stage)?;
    let result = stage.guest().judge(&format!("verify --file {OTHER} --ledger {OTHER_LEDGER} --threads 4"))?;
    ensure!(wrong(&result) == 0, "the leg that was kept lost what it had: {result}");
    stage.guest().sh("cp /root/r1.before /root/r1.ledger")?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Another mirror on the same PVs, which nobody activated on b: the verdict about b's PV holds for it too, and one
/// decision settles both.
pub fn two_mirrors(stage: &mut Stage<'_>) -> Result<()> {
    let guest = stage.guest();
    let (a, b) = (guest.disk_of('a')?, guest.disk_of('b')?);
    guest.sh(&format!(
        "lvcreate -y --type raid1 -m1 -L 32M -n r2 vg0 /dev/{a} /dev/{b}
         mke2fs -q -t ext4 -E lazy_itable_init=0,lazy_journal_init=0 /dev/vg0/r2
         mkdir /mnt/r2; mount /dev/vg0/r2 /mnt/r2
         head -c 8M /dev/urandom > /mnt/r2/file; sync; md5sum /mnt/r2/file > /root/r2.md5; umount /mnt/r2"
    ))?;
    stock::wait_for_whole(guest, "vg0/r2")?;
    stage.wait_for_state("vg0/r2", &["redundant"], crate::stage::HEAL_LIMIT)?;
    split(stage)?;
    stage.wait_for_hold("vg0/r2", &["split-brain", "stale-leg", "needs-operator"])?;
    stage.guest().sh("umount /mnt/r1")?;
    let job = stage.begin_to_resolve("vg0/r1", Server::A)?;
    // LVM has activated the others with both legs, and the disk of the one given up must fail for a while.
    stage.wait_for_hold("vg0/r1", &["unmanaged-user"])?;
    stage.step("the other volumes on that PV make way");
    stage.guest().sh("! mountpoint -q /mnt/testlv || umount /mnt/testlv; lvchange -an vg0/r2 vg0/testlv")?;
    stage.follow(&job)?;
    stage.guest().sh("lvchange -ay vg0/r2 vg0/testlv")?;
    stage.wait_for_redundancy("the end of the job")?;
    stage.wait_for_state("vg0/r2", &["redundant"], crate::stage::HEAL_LIMIT)?;
    stage.guest().sh("mount /dev/vg0/r2 /mnt/r2; echo 3 > /proc/sys/vm/drop_caches; md5sum --quiet -c /root/r2.md5
         umount /mnt/r2")?;
    wait_for_mounts(stage)?;
    stage.start_writers()?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// Another machine wrote the metadata on a while b was away. b's leg is accused as this machine would accuse it, and nothing
/// else tells that somebody else went on with a.
pub fn another_machine(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    Fault::Cut.strike(stage.guest(), Server::B)?;
    super::quick::lose(stage)?;
    stage.step("another machine writes the metadata on a");
    let elsewhere = "unshare --uts sh -c 'hostname elsewhere; vgchange --addtag elsewhere vg0'";
    stage.guest().sh(&format!("systemctl stop {UNIT}; {elsewhere}; systemctl start {UNIT}"))?;
    Fault::Cut.undo(stage.guest(), Server::B)?;
    for volume in VOLUMES {
        stage.wait_for_hold(volume, &["split-brain"])?;
        let details = stage.guest().hold_details(volume)?;
        ensure!(details["written-by"]["data"] == "elsewhere", "nobody says who wrote the metadata: {details}");
        let plan = stage.guest().planned_commands(volume)?;
        ensure!(plan.is_empty(), "held, and yet this would be run: {plan:?}");
    }
    // What is decided about b's PV settles the other volume as well.
    stage.resolve("vg0/r1", Server::A)?;
    stage.wait_for_redundancy("the end of the job")?;
    final_check(stage, Errors::Forbidden)?;
    stage.check_daemon(0)
}

/// From a client with only b, held, to both legs there, b active and mounted, and neither touched.
fn split(stage: &mut Stage<'_>) -> Result<()> {
    // `r1` lies before `testlv`, which is linear on a alone after the loss: LVM activates it as soon as a is back.
    let table = stage.guest().sh("dmsetup table vg0-testlv_mimage_0")?;
    let r1 = table.split_whitespace().nth(4).context("a linear table without a start")?.parse()?;
    boot_with_b_alone(stage)?;
    stage.step("somebody activates the older leg and writes to it");
    // systemd may be faster with the mount.
    stage.guest().sh("lvchange -ay --activationmode degraded vg0/r1; mount /mnt/r1 || mountpoint -q /mnt/r1")?;
    write_other(stage.guest())?;
    let before = Image::sum_of_first(stage.guest(), Server::A, r1)?;
    switch_on(stage, Server::A)?;
    wait_for_units(stage.guest(), &["lab-target@a"])?;
    wait_until("the disk of server a", crate::stage::HEAL_LIMIT, || stage.guest().disk_of('a').map(Look::Done))?;
    stage.wait_for_hold("vg0/r1", &["split-brain"])?;
    let plan = stage.guest().planned_commands("vg0/r1")?;
    ensure!(plan.is_empty(), "held, and yet this would be run: {plan:?}");
    let after = Image::sum_of_first(stage.guest(), Server::A, r1)?;
    ensure!(after == before, "a's leg or its metadata was written to while the mirror is held");
    Ok(())
}

fn write_other(guest: &Guest) -> Result<()> {
    guest.judge(&format!("prepare --file {OTHER} --slots {OTHER_SLOTS}"))?;
    // What `prepare` wrote, in the words of a writer's ledger: sequence number, slot.
    guest.sh(&format!("seq 0 {} | awk '{{ print 1, $1, 0, 0 }}' > {OTHER_LEDGER}", OTHER_SLOTS - 1)).map(drop)
}
