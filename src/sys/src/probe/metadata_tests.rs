use super::*;
use crate::probe::image::Image;
use proptest::prelude::*;

fn area(image: &Image) -> Area {
    Area { offset: 4096, size: image.mda_size }
}

fn header(image: &Image) -> Vec<u8> {
    image.bytes()[4096..4096 + HEADER].to_vec()
}

#[test]
fn the_text_is_placed_in_one_run_or_round_the_end_of_the_ring() {
    let image = Image { text_at: 1024, ..Image::default() };
    let length = image.text.len() as u64;
    let place = place(&header(&image), area(&image)).unwrap().unwrap();
    assert_eq!(place.runs, [Area { offset: 4096 + 1024, size: length }]);

    let image = Image { text_at: image.mda_size - 10, ..image };
    let place = super::place(&header(&image), area(&image)).unwrap().unwrap();
    assert_eq!(
        place.runs,
        [
            Area { offset: 4096 + image.mda_size - 10, size: 10 },
            Area { offset: 4096 + HEADER as u64, size: length - 10 }
        ]
    );
}

#[test]
fn an_orphan_and_an_ignored_area_have_no_text() {
    let orphan = Image { text: Vec::new(), text_at: 0, ..Image::default() };
    assert_eq!(place(&header(&orphan), area(&orphan)), Ok(None));
    let ignored = Image { ignored: true, ..Image::default() };
    assert_eq!(place(&header(&ignored), area(&ignored)), Ok(None));
}

#[test]
fn headers_that_cannot_be_are_refused() {
    let image = Image::default();
    let good = header(&image);
    assert!(place(&good[..511], area(&image)).is_err());
    let mut bytes = good.clone();
    bytes[100] ^= 1;
    assert_eq!(place(&bytes, area(&image)).unwrap_err(), "metadata area header: checksum is wrong");
    let elsewhere = Area { offset: 8192, ..area(&image) };
    assert_eq!(place(&good, elsewhere).unwrap_err(), "metadata area header belongs elsewhere");
    for (at, length) in [(100, 10), (image.mda_size, 10), (1024, u64::MAX), (u64::MAX, u64::MAX)] {
        let mut bytes = good.clone();
        bytes[40..48].copy_from_slice(&at.to_le_bytes());
        bytes[48..56].copy_from_slice(&length.to_le_bytes());
        let sum = crc(INITIAL, &bytes[4..]);
        bytes[..4].copy_from_slice(&sum.to_le_bytes());
        assert!(place(&bytes, area(&image)).is_err(), "{at} {length}");
    }
}

#[test]
fn a_text_is_read_when_its_checksum_is_right() {
    let text = Image::default().text;
    let sum = crc(INITIAL, &text);
    assert_eq!(read(&text, sum).unwrap().seqno, 8);
    assert_eq!(read(&text, sum ^ 1).unwrap_err(), "VG metadata: checksum is wrong");
    let cut = &text[..20];
    assert_eq!(read(cut, crc(INITIAL, cut)).unwrap_err(), "VG metadata: a quote without its end, before byte 11");
}

#[test]
fn what_somebody_typed_need_not_be_utf_8() {
    let mut text = Image::default().text;
    text.extend(b"description = \"vgchange --addtag \xfc\"\n\0");
    assert!(read(&text, crc(INITIAL, &text)).is_ok());
    let at = text.iter().position(|b| *b == b'\n').unwrap();
    text.splice(at..at, *b" x = \"\xfc\"");
    assert!(read(&text, crc(INITIAL, &text)).is_ok());
}

proptest! {
    #[test]
    fn no_header_panics(bytes in proptest::collection::vec(any::<u8>(), 512..513), offset: u64, size: u64, honest: bool) {
        let mut bytes = bytes;
        if honest {
            bytes[4..20].copy_from_slice(MAGIC);
            bytes[20..24].copy_from_slice(&VERSION.to_le_bytes());
            bytes[24..32].copy_from_slice(&offset.to_le_bytes());
            let sum = crc(INITIAL, &bytes[4..]);
            bytes[..4].copy_from_slice(&sum.to_le_bytes());
        }
        if let Ok(Some(place)) = place(&bytes, Area { offset, size }) {
            prop_assert!(place.runs.iter().map(|r| r.size).sum::<u64>() <= LARGEST_TEXT);
        }
    }
}
