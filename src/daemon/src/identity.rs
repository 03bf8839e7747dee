//! Which machine this is, and which boot of it. Read from memory or the root disk, without waiting.

/// The kernel's boot id. Unreadable reads as a boot of its own, which only makes old notes worthless.
pub fn boot_id() -> String {
    read("/proc/sys/kernel/random/boot_id")
}

/// What systemd calls this installation. Empty when unreadable: then no key of ours can be made or told from others'.
pub fn machine_id() -> String {
    read("/etc/machine-id")
}

fn read(path: &str) -> String {
    let id = std::fs::read_to_string(path);
    id.map(|id| id.trim().to_owned()).unwrap_or_else(|error| {
        tracing::warn!("{path} cannot be read: {error}");
        String::new()
    })
}
