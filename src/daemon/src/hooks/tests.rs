//! Hooks that behave and hooks that do not.

use super::*;
use mirrorkeeper_core::ids::TargetKey;
use mirrorkeeper_core::snapshot::Details;
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Severity};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use tempfile::TempDir;

/// A directory with hooks in it: name, mode, what the shell is to do in the directory above.
fn hooks(scripts: &[(&str, u32, &str)]) -> (TempDir, PathBuf) {
    let dir = TempDir::new().unwrap();
    let hooks = dir.path().join("hooks.d");
    std::fs::create_dir(&hooks).unwrap();
    for (name, mode, script) in scripts {
        let text = format!("#!/bin/sh\ncd {}\n{script}\n", dir.path().display());
        std::fs::write(hooks.join(name), text).unwrap();
        std::fs::set_permissions(hooks.join(name), Permissions::from_mode(*mode)).unwrap();
    }
    (dir, hooks)
}

fn written(dir: &TempDir, name: &str) -> String {
    std::fs::read_to_string(dir.path().join(name)).unwrap_or_default()
}

fn event() -> Event {
    let details = Details::from([("leg", "a \"leg\"".into()), ("copies-in-sync", Value::U32(1))]);
    let object = Object::Mirror("vg0/lv".into());
    Event { at: Wall(7), code: EventCode::LegLost, severity: Severity::Error, object, details }
}

#[tokio::test]
async fn each_gets_the_event_and_a_clean_environment_in_the_order_of_names() {
    let (dir, hooks) = hooks(&[
        ("20-second", 0o755, "cat > second; echo second >> order"),
        ("10-first", 0o700, "cat > first; echo first >> order; env > env; pwd >> env"),
    ]);
    let input = document(&event());
    call_all(&hooks, &input, DEADLINE).await;
    assert_eq!(written(&dir, "order"), "first\nsecond\n");
    assert_eq!(
        [written(&dir, "first"), written(&dir, "second")],
        [(); 2].map(|()| String::from_utf8_lossy(&input).into_owned())
    );
    let env = written(&dir, "env");
    let names: Vec<_> = env.lines().filter_map(|line| line.split_once('=')).map(|(name, _)| name).collect();
    let expected = ["PATH", "LC_ALL", "LVM_SUPPRESS_FD_WARNINGS", "PWD", "OLDPWD", "_", "SHLVL"];
    assert!(names.contains(&"PATH") && names.iter().all(|name| expected.contains(name)), "{env}");
}

#[test]
fn the_event_is_one_line_of_json() {
    let text = String::from_utf8(document(&event())).unwrap();
    assert_eq!(text.matches('\n').count(), 1);
    let told: serde_json::Value = serde_json::from_str(&text).unwrap();
    let expected = json!({
        "at_usec": 7, "code": "leg-lost", "severity": "error",
        "object": "/org/mirrorkeeper1/mirror/vg0_2flv", "name": "vg0/lv",
        "details": {"leg": "a \"leg\"", "copies-in-sync": 1},
    });
    assert_eq!(told, expected);
    let target = Object::Target(TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default"));
    let text = document(&Event { object: target, ..event() });
    assert!(String::from_utf8(text).unwrap().contains("\"name\":\"iqn.x:a,10.0.0.1:3260\""));
}

#[tokio::test]
async fn one_that_hangs_fails_or_does_not_listen_takes_nothing_from_the_next() {
    let (dir, hooks) = hooks(&[
        ("10-hangs", 0o755, "trap '' TERM; echo $$ > hung; sleep 1000; sleep 1000"),
        ("20-fails", 0o755, "exit 3"),
        ("30-is-no-program", 0o755, ""),
        ("40-deaf", 0o755, "exec <&-"),
        ("50-good", 0o755, "cat > good"),
    ]);
    std::fs::write(hooks.join("30-is-no-program"), "\u{7f}ELF and nothing else").unwrap();
    let input = vec![b'x'; 1 << 20];
    let begun = std::time::Instant::now();
    call_all(&hooks, &input, Duration::from_secs(2)).await;
    assert!(begun.elapsed() < Duration::from_secs(60), "killed long before it would have ended");
    assert_eq!(written(&dir, "good").len(), input.len());
    let hung = format!("/proc/{}", written(&dir, "hung").trim());
    while Path::new(&hung).exists() && begun.elapsed() < Duration::from_secs(60) {
        tokio::task::yield_now().await;
    }
    assert_ne!(hung, "/proc/", "it ran");
    assert!(!Path::new(&hung).exists(), "killed, whatever it thinks of SIGTERM");
}

#[test]
fn only_programs_of_root_are_called() {
    let (_dir, hooks) = hooks(&[
        ("good", 0o755, ""),
        ("also.sh", 0o500, ""),
        ("text", 0o644, ""),
        ("others-write", 0o757, ""),
        ("group-writes", 0o775, ""),
        (".hidden", 0o755, ""),
        ("backup~", 0o755, ""),
        ("old.dpkg-old", 0o755, ""),
    ]);
    std::fs::create_dir(hooks.join("directory")).unwrap();
    std::os::unix::fs::symlink("good", hooks.join("link")).unwrap();
    std::os::unix::fs::symlink("nowhere", hooks.join("dangling")).unwrap();
    let names: Vec<_> =
        list(&hooks).unwrap().iter().filter_map(|p| p.file_name()?.to_str().map(str::to_owned)).collect();
    assert_eq!(names, ["also.sh", "good", "link"]);
    assert_eq!(list(&hooks.join("absent")).unwrap(), Vec::<PathBuf>::new());
    assert!(list(&hooks.join("good")).is_err());
}

#[tokio::test]
async fn events_that_come_faster_than_hooks_are_called_are_missed_and_hold_nobody_up() {
    let (_dir, hooks) = hooks(&[]);
    let hooks = Hooks::start(hooks);
    // The task has not run yet, as if a hook hung.
    (0..QUEUE + 3).for_each(|_| hooks.note(&event()));
    assert_eq!(hooks.missed.load(Ordering::Relaxed), 3);
    Hooks::none().note(&event());
}
