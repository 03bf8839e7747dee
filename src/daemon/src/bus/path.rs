//! Object paths from names. The escaping is that of `sd_bus_path_encode(3)`, so that any client can get the name back.

use mirrorkeeper_core::ids::{JobId, TargetKey};
use mirrorkeeper_core::snapshot::Object;
use zbus::{ObjectPath, OwnedObjectPath};

/// The root object, which is the Manager and the ObjectManager.
pub const ROOT: &str = "/org/mirrorkeeper1";

/// One path element for any name: bytes outside `[A-Za-z0-9]` and a leading digit become `_xx` in lower-case hex, and
/// the empty name becomes `_`.
pub fn escape(name: &str) -> String {
    if name.is_empty() {
        return "_".to_owned();
    }
    let mut label = String::with_capacity(name.len() + 16);
    for (i, byte) in name.bytes().enumerate() {
        if byte.is_ascii_alphabetic() || (byte.is_ascii_digit() && i > 0) {
            label.push(char::from(byte));
        } else {
            label.push_str(&format!("_{byte:02x}"));
        }
    }
    label
}

/// The path of a target.
pub fn target(key: &TargetKey) -> OwnedObjectPath {
    escaped(&format!("{ROOT}/target/{}", escape(&key.to_string())))
}

/// The path of a mirror by its name on the bus.
pub fn mirror(name: &str) -> OwnedObjectPath {
    escaped(&format!("{ROOT}/mirror/{}", escape(name)))
}

/// The path of a server by its name.
pub fn server(name: &str) -> OwnedObjectPath {
    escaped(&format!("{ROOT}/server/{}", escape(name)))
}

/// The path of a job.
pub fn job(id: JobId) -> OwnedObjectPath {
    escaped(&format!("{ROOT}/job/{}", id.0))
}

/// The root object's path.
pub fn root() -> OwnedObjectPath {
    escaped(ROOT)
}

/// The path `/`, which stands for "none" on D-Bus.
pub fn none() -> OwnedObjectPath {
    escaped("/")
}

/// The path of what an event or a job is about.
pub fn object(object: &Object) -> OwnedObjectPath {
    match object {
        Object::Manager => root(),
        Object::Target(key) => target(key),
        Object::Mirror(name) => mirror(name),
        Object::Job(id) => job(*id),
        Object::Server(name) => server(name),
    }
}

/// Everything above writes constants, escaped names and decimal numbers only, which are valid in any path.
fn escaped(path: &str) -> OwnedObjectPath {
    ObjectPath::from_str_unchecked(path).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `sd_bus_path_decode(3)`, which the daemon itself never needs.
    fn unescape(label: &str) -> Option<String> {
        if label == "_" {
            return Some(String::new());
        }
        let mut bytes = Vec::new();
        let mut rest = label.as_bytes();
        while let Some((&first, tail)) = rest.split_first() {
            if first == b'_' {
                let hex = std::str::from_utf8(tail.get(..2)?).ok()?;
                bytes.push(u8::from_str_radix(hex, 16).ok()?);
                rest = &tail[2..];
            } else {
                bytes.push(first);
                rest = tail;
            }
        }
        String::from_utf8(bytes).ok()
    }

    #[test]
    fn names_are_escaped_as_systemd_does() {
        // Expected values from `sd_bus_path_encode` and the contract page.
        for (name, label) in [
            ("", "_"),
            ("vg0/testlv", "vg0_2ftestlv"),
            ("0vg/lv", "_30vg_2flv"),
            ("a_b", "a_5fb"),
            ("vg.x-y+z", "vg_2ex_2dy_2bz"),
            ("ü", "_c3_bc"),
            ("iqn.2024-01.org.x:a,[fe80::1]:3260", "iqn_2e2024_2d01_2eorg_2ex_3aa_2c_5bfe80_3a_3a1_5d_3a3260"),
        ] {
            assert_eq!(escape(name), label);
            assert_eq!(unescape(label).as_deref(), Some(name));
        }
    }

    #[test]
    fn every_legal_and_illegal_byte_survives_the_way_there_and_back() {
        let all: String = (0..=0x2ff).filter_map(char::from_u32).collect();
        for name in [all.as_str(), &"x".repeat(300), "__", "_5f", "9", "99"] {
            assert_eq!(unescape(&escape(name)).as_deref(), Some(name));
            assert!(ObjectPath::try_from(mirror(name).as_str()).is_ok(), "{name}");
        }
    }

    #[test]
    fn different_names_have_different_paths() {
        assert_ne!(mirror("a/b"), mirror("a_2fb"));
        assert_ne!(mirror(""), mirror("_"));
    }

    #[test]
    fn objects_are_found_under_the_root() {
        let key = TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default");
        assert_eq!(target(&key).as_str(), "/org/mirrorkeeper1/target/iqn_2ex_3aa_2c10_2e0_2e0_2e1_3a3260");
        assert_eq!(object(&Object::Job(JobId(7))).as_str(), "/org/mirrorkeeper1/job/7");
        assert_eq!(object(&Object::Server("10.0.0.1".into())).as_str(), "/org/mirrorkeeper1/server/_310_2e0_2e0_2e1");
        assert_eq!(object(&Object::Manager).as_str(), ROOT);
        assert_eq!(none().as_str(), "/");
    }
}
