//! The lab's own honesty: what it must call wrong, it does.

use anyhow::{Result, ensure};

use crate::check::{Errors, final_check, legs_alike, records_kept};
use crate::stage::Stage;

/// A spoilt record, a record set back, and a block changed on one leg alone: each must turn a check red.
pub fn sees_corruption(stage: &mut Stage<'_>) -> Result<()> {
    stage.start_writers()?;
    stage.wait_for_progress("vg0/r1", 30)?;
    final_check(stage, Errors::Forbidden)?;
    let guest = stage.guest();

    // One byte in the middle of record 7.
    let spoil = "printf X | dd of=/mnt/r1/records bs=1 seek=$((7 * 4096 + 2000)) conv=notrunc,fsync status=none";
    guest.sh(&format!("cp /mnt/r1/records /root/good; {spoil}"))?;
    ensure!(records_kept(guest, "vg0/r1").is_err(), "a torn record was not noticed");

    // Record 9 was acknowledged a second time, under a number that never reached the volume.
    guest.sh("cp /root/good /mnt/r1/records; sync; cp /root/r1.ledger /root/true.ledger; echo 999999 9 0 0 >> /root/r1.ledger")?;
    ensure!(records_kept(guest, "vg0/r1").is_err(), "an older record was not noticed");
    guest.sh("cp /root/true.ledger /root/r1.ledger")?;
    records_kept(guest, "vg0/r1")?;

    // Behind the mirror's back, through server b.
    legs_alike(guest, "vg0/r1")?;
    guest.sh("at=$(( $(dmsetup table vg0-r1_rimage_1 | cut -d' ' -f5) * 512 + 64 * 1048576 ))
         printf X | dd of=/srv/lab/b.img bs=1 seek=$at conv=notrunc,fsync status=none")?;
    ensure!(legs_alike(guest, "vg0/r1").is_err(), "legs that differ were not noticed");
    stage.figure("torn, older and differing all seen");
    Ok(())
}
