//! The command without a service.

use std::process::Command;

#[test]
fn without_a_bus_the_status_is_3_and_says_what_to_do() {
    let run = Command::new(env!("CARGO_BIN_EXE_mirrorkeeper"))
        .args(["--bus-address", "unix:path=/nonexistent/bus", "status"])
        .output()
        .unwrap();
    assert_eq!(run.status.code(), Some(3));
    assert!(run.stdout.is_empty());
    let message = String::from_utf8(run.stderr).unwrap();
    assert!(message.contains("not reachable") && message.contains("systemctl status mirrorkeeper"), "{message}");
}
