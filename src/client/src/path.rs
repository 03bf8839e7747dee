//! Names back from object paths. The escaping is that of `sd_bus_path_encode(3)`.

/// The plain name of the object at `path`: a mirror's `VG/LV`, a target's `IQN,PORTAL`, a server's, a job's number; `None`
/// for the root object and for paths of others.
pub fn name(path: &str) -> Option<String> {
    let below = path.strip_prefix(super::ROOT)?.strip_prefix('/')?;
    let (_, label) = below.split_once('/')?;
    if below.starts_with("job/") {
        return Some(label.to_owned());
    }
    unescape(label)
}

fn unescape(label: &str) -> Option<String> {
    if label == "_" {
        return Some(String::new());
    }
    let mut parts = label.split('_');
    let mut bytes = parts.next()?.as_bytes().to_vec();
    for part in parts {
        let (hex, plain) = part.split_at_checked(2)?;
        bytes.push(u8::from_str_radix(hex, 16).ok()?);
        bytes.extend(plain.bytes());
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_back_from_paths() {
        for (path, expected) in [
            ("/org/mirrorkeeper1/mirror/vg0_2ftestlv", Some("vg0/testlv")),
            ("/org/mirrorkeeper1/mirror/_30vg_2fa_5fb", Some("0vg/a_b")),
            ("/org/mirrorkeeper1/target/iqn_2ex_3aa_2c10_2e0_2e0_2e1_3a3260", Some("iqn.x:a,10.0.0.1:3260")),
            ("/org/mirrorkeeper1/server/_310_2e0_2e0_2e1", Some("10.0.0.1")),
            ("/org/mirrorkeeper1/server/_", Some("")),
            ("/org/mirrorkeeper1/job/12", Some("12")),
            ("/org/mirrorkeeper1/mirror/bad_2", None),
            ("/org/mirrorkeeper1/mirror/bad_zz", None),
            ("/org/mirrorkeeper1/mirror/bad_\u{e4}", None),
            ("/org/mirrorkeeper1/mirror/_ff", None),
            ("/org/mirrorkeeper1", None),
            ("/", None),
        ] {
            assert_eq!(name(path).as_deref(), expected, "{path}");
        }
    }
}
