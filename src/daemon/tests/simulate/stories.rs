//! Stories from files.

use crate::program::*;

/// A world unlike the built-in one, and a story of two steps.
const STORY: &str = "
loop = true

[world]
servers = 3
seed = 5
raid1 = [\"vg0/mail\"]
mirror = [\"vg1/www\"]

[[step]]
at = \"30s\"
do = \"refuse\"
server = \"c\"

[[step]]
at = \"90s\"
do = \"return\"
server = \"c\"

[[step]]
at = \"10m\"
do = \"advance\"
by = \"1h\"
";

#[tokio::test]
async fn a_story_from_a_file_is_told_and_begins_again() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("story.toml");
    std::fs::write(&file, STORY).unwrap();
    let mut program = Program::start(&["--scenario", file.to_str().unwrap(), "--speed", "10"]).await;
    let status = program.until(|status| status.mirrors.len() == 2).await;
    assert_eq!(status.servers.len(), 3);
    let mail = "/org/mirrorkeeper1/mirror/vg0_2fmail";
    assert_eq!(status.mirrors[mail].legs.len(), 3);

    for _ in 0..4 {
        program.advance(540).await;
    }
    while !in_order(&program.story, &["refuse c", "return c", "advance 3600s", "refuse c"]) {
        assert!(program.listen().await, "silence after {:?}", program.story);
    }
    for code in ["mirror-degraded", "mirror-redundant"] {
        program.until_told(code, mail).await;
    }
}
