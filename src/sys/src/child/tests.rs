use super::*;

const LONG: Duration = Duration::from_secs(60);
/// Long enough for a shell to start and set its trap on a busy machine.
const DEADLINE: Duration = Duration::from_secs(2);

fn limits(deadline: Duration, on_deadline: OnDeadline) -> Limits {
    Limits { deadline, on_deadline, max_output: 1000 }
}

/// Tests use a shell to make a program with the wanted habits; the daemon never does.
fn sh(script: &str) -> Vec<String> {
    ["sh", "-c", script].map(str::to_owned).to_vec()
}

async fn run_sh(script: &str) -> Ended {
    match run(&sh(script), limits(LONG, OnDeadline::Kill), None).await {
        Outcome::Ended(ended) => ended,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn exit_code_and_both_outputs_come_back() {
    let ended = run_sh("echo out; echo err >&2; exit 5").await;
    assert_eq!((ended.code, ended.truncated), (5, false));
    assert_eq!((&ended.stdout[..], &ended.stderr[..]), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(ended.last_line(), "err");
    assert_eq!(run_sh("echo out; echo; exit 0").await.last_line(), "out");
    assert_eq!(run_sh("kill -TERM $$").await.code, 128 + 15);
}

#[tokio::test]
async fn pipes_are_drained_far_beyond_what_is_kept() {
    // 300 KiB on each, which neither pipe holds; written alternately, so that draining one only would hang.
    let script = "i=0; while [ $i -lt 3000 ]; do
        printf '%0100d' $i; printf '%0100d' $i >&2; i=$((i+1)); done; echo; echo the end >&2";
    let ended = run_sh(script).await;
    assert_eq!((ended.code, ended.truncated), (0, true));
    assert_eq!((ended.stdout.len(), ended.stderr.len()), (1000, 1000));
    assert!(ended.stdout.starts_with(b"0000000000"), "head of standard output");
    assert_eq!(ended.last_line().chars().rev().take(7).collect::<String>(), "dne eht", "tail of standard error");
}

#[tokio::test]
async fn the_environment_is_ours_alone() {
    let ended = run_sh("env | sort | cut -d= -f1 | tr '\\n' ' '").await;
    let names = String::from_utf8(ended.stdout).unwrap();
    let foreign: Vec<_> = names
        .split_whitespace()
        .filter(|n| !["LC_ALL", "PATH", "LVM_SUPPRESS_FD_WARNINGS", "PWD", "OLDPWD", "SHLVL", "_"].contains(n))
        .collect();
    assert_eq!(foreign, [""; 0]);
    assert!(names.contains("LVM_SUPPRESS_FD_WARNINGS") && names.contains("LC_ALL"), "{names}");
}

#[tokio::test]
async fn standard_input_is_given_or_empty() {
    let argv = ["cat".to_owned()];
    let limits = limits(LONG, OnDeadline::Kill);
    let Outcome::Ended(given) = run(&argv, limits, Some(b"request".to_vec())).await else { panic!() };
    assert_eq!(given.stdout, b"request");
    let Outcome::Ended(empty) = run(&argv, limits, None).await else { panic!() };
    assert_eq!(empty.stdout, b"");
}

#[tokio::test]
async fn a_reader_past_its_deadline_is_killed_with_all_its_children() {
    let dir = crate::testing::TempDir::new();
    let pipe = dir.path().join("alive");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // The grandchild holds the write end; reading ends when all holders are dead.
    let script = format!("trap '' TERM; exec 3>{}; (sleep 1000) & wait", pipe.display());
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    let limits = limits(DEADLINE, OnDeadline::Kill);
    let mut child = spawn(&sh(&script), limits, None);
    assert_eq!(child.next().await, Some(Outcome::TimedOut));
    assert_eq!(child.next().await, None);
    assert_eq!(reader.await.unwrap().unwrap(), b"");
}

#[tokio::test]
async fn a_writer_past_its_deadline_is_asked_once_and_waited_for() {
    let dir = crate::testing::TempDir::new();
    let gate = dir.path().join("gate");
    nix::unistd::mkfifo(&gate, nix::sys::stat::Mode::S_IRWXU).unwrap();
    // It notes each SIGTERM, and ends when the gate is opened. (A signal interrupts the read, hence the loop.)
    let script = format!("trap 'echo term' TERM; until read line < {}; do :; done; exit 7", gate.display());
    let limits = limits(DEADLINE, OnDeadline::TermAndWait);
    let mut child = spawn(&sh(&script), limits, None);
    assert_eq!(child.next().await, Some(Outcome::TimedOut));
    let opener = tokio::task::spawn_blocking(move || std::fs::write(gate, "go\n"));
    let Some(Outcome::Ended(ended)) = child.next().await else { panic!() };
    assert_eq!((ended.code, &ended.stdout[..]), (7, &b"term\n"[..]));
    assert_eq!(child.next().await, None);
    opener.await.unwrap().unwrap();
}

#[tokio::test]
async fn output_is_not_waited_for_when_a_grandchild_holds_it() {
    let started = Instant::now();
    let ended = run_sh("echo done; sleep 30 & exit 0").await;
    assert_eq!((ended.code, &ended.stdout[..]), (0, &b"done\n"[..]));
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn what_cannot_be_started_says_why() {
    let limits = limits(LONG, OnDeadline::Kill);
    let run = async |argv: &[&str]| run(&argv.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>(), limits, None).await;
    assert_eq!(run(&[]).await, Outcome::NotStarted("empty command line".into()));
    let Outcome::NotStarted(why) = run(&["no-such-program"]).await else { panic!() };
    assert_eq!(why, "no-such-program: not found in /usr/sbin:/usr/bin:/sbin:/bin");
    assert!(matches!(run(&["/no/such/program"]).await, Outcome::NotStarted(_)));
}

#[tokio::test]
async fn a_child_nobody_waits_for_is_still_looked_after() {
    let dir = crate::testing::TempDir::new();
    let pipe = dir.path().join("alive");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = format!("exec 3>{}; sleep 1000", pipe.display());
    drop(spawn(&sh(&script), limits(DEADLINE, OnDeadline::Kill), None));
    let reader = tokio::task::spawn_blocking(move || std::fs::read(pipe));
    assert_eq!(reader.await.unwrap().unwrap(), b"", "killed at its deadline");
}

#[tokio::test]
async fn a_child_does_not_die_of_a_closed_pipe() {
    // Should the daemon die, a writer must not be killed by its next line of output.
    let ended = run_sh("grep SigIgn /proc/self/status").await;
    let line = String::from_utf8(ended.stdout).unwrap();
    let ignored = u64::from_str_radix(line.trim().rsplit('\t').next().unwrap(), 16).unwrap();
    assert_ne!(ignored & (1 << (Signal::SIGPIPE as u32 - 1)), 0, "{line}");
}
