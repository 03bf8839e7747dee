use super::*;
use crate::probe::image::Image;
use proptest::prelude::*;

#[test]
fn a_label_is_found_in_any_of_the_first_four_sectors() {
    for sector in 0..4 {
        let image = Image { label_sector: sector, ..Image::default() };
        let Found::Label(label) = find(&image.bytes()) else { panic!("sector {sector}") };
        assert_eq!((&label.pv, label.device_size), (&image.pv, image.size as u64));
        assert_eq!(label.data, [Area { offset: image.data, size: 0 }]);
        assert_eq!(label.metadata, [Area { offset: 4096, size: image.mda_size }]);
    }
    let image = Image { label_sector: 4, ..Image::default() };
    assert_eq!(find(&image.bytes()), Found::Blank);
}

#[test]
fn zeros_are_blank_and_anything_else_is_foreign() {
    assert_eq!(find(&[0; 4096]), Found::Blank);
    let mut bytes = vec![0; 4096];
    bytes[510] = 0x55;
    assert_eq!(find(&bytes), Found::Foreign);
}

#[test]
fn a_damaged_label_is_neither() {
    let image = Image::default().bytes();
    let mut bytes = image.clone();
    bytes[512 + 40] ^= 1;
    assert_eq!(find(&bytes), Found::Damaged("LVM label in sector 1: checksum is wrong".into()));
    // A damaged one does not hide a whole one behind it.
    bytes[1536..2048].copy_from_slice(&Image { label_sector: 3, ..Image::default() }.bytes()[1536..2048]);
    assert!(matches!(find(&bytes), Found::Label(_)));
    // A whole label, copied one sector on.
    let mut bytes = vec![0; 4096];
    bytes[1024..1536].copy_from_slice(&image[512..1024]);
    assert_eq!(find(&bytes), Found::Damaged("LVM label in sector 2: belongs into another sector".into()));
}

proptest! {
    #[test]
    fn no_bytes_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2100)) {
        find(&bytes);
    }

    /// Damage that has a right checksum gets past the first check and must be stood all the same.
    #[test]
    fn no_damage_panics(at in 20_usize..512, damage in proptest::collection::vec(any::<u8>(), 1..40)) {
        let mut bytes = Image::default().bytes();
        let end = (512 + at + damage.len()).min(1024);
        bytes[512 + at..end].copy_from_slice(&damage[..end - 512 - at]);
        let sum = crc(INITIAL, &bytes[532..1024]);
        bytes[528..532].copy_from_slice(&sum.to_le_bytes());
        find(&bytes);
    }
}
