//! C (stamps), 0.4, 5 (another LUN under the same target): what VG metadata and labels tell.

use crate::lab::{A, B, R1, differing, fill, give_back, keep_image, letters, lose, pass, r1, text, write};
use mirrorkeeper_sys::sim::World;
use mirrorkeeper_sys::sim::content::{Area, Image, Label};
use mirrorkeeper_sys::sim::truth_keeper::Actor::Admin;
use mirrorkeeper_sys::sim::world::LUN;

fn stamp(w: &mut World, n: u64) {
    w.write_text(0, |text| text.stamps = vec![n]);
}

#[test]
fn a_stamp_at_a_loss_flags_the_lost_pv_and_makes_a_refresh_refused() {
    let mut w = r1();
    lose(&mut w, B);
    stamp(&mut w, 2);
    assert_eq!((text(&w, A), text(&w, B)), ((6, 0b10), (5, 0)), "fixture deb13-leg-lost-stamped");
    give_back(&mut w, B);
    assert_eq!(w.refresh(R1, Admin), Err("Refusing refresh of partial LV"), "fixture deb13-returned-after-stamp");
    assert!(w.write_mostly(R1, 1 << B, 0, Admin).is_err());
    assert_eq!(w.restore_missing(0, B), Ok(()));
    assert_eq!((text(&w, A), text(&w, B)), ((7, 0), (7, 0)));
    assert_eq!(w.write_mostly(R1, 1 << B, 0, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!((letters(&w, R1).as_str(), text(&w, B).0), ("AA", 8), "fixture deb13-on-probation: seqno 8");
}

#[test]
fn the_merged_view_is_that_of_the_highest_seqno_and_calls_the_old_pv_missing() {
    let mut w = r1();
    lose(&mut w, B);
    stamp(&mut w, 2);
    give_back(&mut w, B);
    let view = w.lvm_view();
    assert_eq!(view.vgs[0].seqno, 6);
    assert_eq!(
        view.vgs[0].pvs.iter().map(|pv| (pv.missing, pv.device.is_some())).collect::<Vec<_>>(),
        [(false, true), (true, true)]
    );
}

#[test]
fn rolled_back_while_off_differs_by_seqno_and_is_activated_all_the_same() {
    let mut w = r1();
    w.volumes[R1].open = false;
    assert_eq!(w.deactivate(R1), Ok(()));
    keep_image(&mut w, B);
    stamp(&mut w, 2);
    assert_eq!(w.activate(R1, false, Admin), Ok(()));
    fill(&mut w, R1);
    w.volumes[R1].open = false;
    assert_eq!(w.deactivate(R1), Ok(()));
    w.roll_back(B);
    assert_eq!((text(&w, A).0, text(&w, B)), (6, (5, 0)), "fixture deb13-rolled-back-while-off: not flagged");
    assert_eq!(w.activate(R1, false, Admin), Ok(()));
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AA");
    assert!(differing(&w, R1) > 0, "nothing copied");
    stamp(&mut w, 3);
    assert_eq!(text(&w, B).0, 7, "the next command wipes the evidence");
}

fn swapped(image: &Image) -> World {
    let mut w = r1();
    fill(&mut w, R1);
    lose(&mut w, B);
    w.swap(B, image);
    give_back(&mut w, B);
    w
}

fn empty(label: Label) -> Image {
    Image { label, size: LUN, text: None, areas: vec![Area::default()] }
}

#[test]
fn a_blank_or_foreign_lun_leaves_the_pv_missing_and_everything_refused() {
    for label in [Label::Blank, Label::Foreign, Label::Garbage] {
        let mut w = swapped(&empty(label));
        assert!(w.lvm_view().vgs[0].pvs[1].device.is_none(), "{label:?}");
        assert_eq!(w.refresh(R1, Admin), Err("Refusing refresh of partial LV"), "{label:?}");
        assert_eq!(text(&w, A), (5, 0), "nobody wrote metadata");
    }
}

#[test]
fn a_smaller_lun_looks_normal_until_it_is_rescanned() {
    let small = Image { size: LUN / 2, ..r1().luns[B].cached.clone() };
    let mut w = swapped(&small);
    let size = |w: &World| w.disks().find(|disk| disk.lun == B).map(|disk| disk.size);
    assert_eq!(size(&w), Some(LUN), "open-iscsi does not rescan");
    assert_eq!(w.refresh(R1, Admin), Ok(()), "rc 0, recovers");
    pass(&mut w, 20);
    assert_eq!(letters(&w, R1), "AA");
}

#[test]
fn a_write_after_a_loss_is_missing_from_the_returned_metadata_until_it_is_written_again() {
    let mut w = r1();
    lose(&mut w, B);
    write(&mut w, R1, 1);
    give_back(&mut w, B);
    assert_eq!((text(&w, A), text(&w, B)), ((5, 0), (5, 0)), "raid losses write no metadata");
    stamp(&mut w, 2);
    assert_eq!((text(&w, A), text(&w, B)), ((6, 0), (6, 0)));
}
