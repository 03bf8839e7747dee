//! The public contract as data: every member with its types, every closed list of words. What is not served yet is listed
//! with it, so that neither a member nor a gap can come or go unnoticed.

use mirrorkeeper_core::words::*;
use std::collections::BTreeSet;
use zbus_xml::{Annotation, Arg, ArgDirection, Interface, Node};

/// Interfaces and their members: `property TYPE [annotation]`, `Method(TYPE name, …) → TYPE name, …`, `signal …`.
const PAGE: [(&str, &str); 5] = [
    (
        "Manager",
        "
        Version s const
        State s
        Mirrors u
        MirrorsRedundant u
        Targets u
        TargetsLoggedIn u
        Paused b
        PauseReason s
        Rescan()
        Reload()
        Pause(s reason)
        Resume()
        Forget(s vg) → o job
        GetMirror(s name) → o mirror
        GetTarget(s iqn) → o target
        GetServer(s name) → o server
        SafeToTakeDown(s server) → b safe, a(ss) reasons
        Diagnose() → a(ssoa{sv}) findings
        History(t since_usec, u limit) → a(tssoa{sv}) entries
        signal Event(t at_usec, s code, s severity, o object, a{sv} details)
        ",
    ),
    (
        "Server",
        "
        Name s
        Portals as
        State s
        Targets ao
        Mirrors ao
        Maintenance b
        FlapCount u
        HeldUntilAtUSec t
        SinceUSec t
        EnterMaintenance() → o job
        LeaveMaintenance() → o job
        ",
    ),
    (
        "Target",
        "
        Iqn s
        Portal s
        Interface s
        Server o
        State s
        SinceUSec t
        SessionId i
        Disks as
        Startup s
        Managed b
        ReplacementTimeoutSec i
        ConfiguredReplacementTimeoutSec i
        TimeoutReason s
        DetectTimeoutUSec t
        StallEstimateUSec t
        LastError s
        NextAttemptAtUSec t
        Attempts u
        Reconnect() → o job
        SetReplacementTimeout(u seconds)
        ",
    ),
    (
        "Mirror",
        "
        Name s
        Uuid s
        Type s
        Log s
        SizeBytes t
        State s
        CopiesWanted u
        CopiesInSync u
        SyncAction s
        SyncRatio d
        SyncRateBytes t
        SyncRemainingUSec t
        Legs a(ssosda{sv})
        MismatchCount t
        LastCheckAtUSec t
        DegradedSinceUSec t
        Hold s
        HoldDetails a{sv}
        Managed b
        UnmanagedReason s
        ObservedAtUSec t false
        Heal() → o job
        PlanHeal() → a(ssas) steps
        Check() → o job
        Resolve(s keep_pv_uuid) → o job
        Activate() → o job
        SetResyncLimit(t bytes_per_second)
        ",
    ),
    (
        "Job",
        "
        Operation s
        Object o
        State s
        Progress d
        ProgressValid b
        RateBytes t
        StartedAtUSec t
        ExpectedEndAtUSec t
        StartedByUID u
        Steps a(sssis)
        Error s
        Cancel()
        signal Completed(b success, s error)
        ",
    ),
];

/// Members of the contract that are not served yet, as `Interface.Member`.
const NOT_SERVED: [&str; 0] = [];

/// Words of the contract that nothing says yet.
const NOT_SAID: [&str; 0] = [];

/// The members of an interface of the contract that are served.
pub fn served(interface: &str) -> BTreeSet<String> {
    let (_, members) = PAGE.iter().find(|(name, _)| *name == interface).unwrap();
    let members = members.lines().map(str::trim).filter(|line| !line.is_empty());
    let absent = |line: &str| NOT_SERVED.iter().any(|gap| *gap == format!("{interface}.{}", name_of(line)));
    members.filter(|line| !absent(line)).map(str::to_owned).collect()
}

fn name_of(line: &str) -> &str {
    let line = line.trim_start_matches("signal ");
    line.split(['(', ' ']).next().unwrap_or_default()
}

/// The members of an interface in the notation of the page.
pub fn members(interface: &Interface<'_>) -> BTreeSet<String> {
    let args = |args: &[Arg<'_>], direction: ArgDirection| {
        let named = args.iter().filter(|arg| arg.direction().unwrap_or(ArgDirection::In) == direction);
        named.map(|arg| format!("{} {}", arg.ty(), arg.name().unwrap_or("?"))).collect::<Vec<_>>().join(", ")
    };
    let emits = |notes: &[Annotation<'_>]| {
        let emits = notes.iter().find(|note| note.name() == "org.freedesktop.DBus.Property.EmitsChangedSignal");
        emits.map(|note| format!(" {}", note.value())).filter(|value| value != " true").unwrap_or_default()
    };
    let properties = interface.properties().map(|p| format!("{} {}{}", p.name(), p.ty(), emits(p.annotations())));
    let methods = interface.methods().map(|method| {
        let answer = args(method.args(), ArgDirection::Out);
        let answer = if answer.is_empty() { answer } else { format!(" → {answer}") };
        format!("{}({}){answer}", method.name(), args(method.args(), ArgDirection::In))
    });
    // Arguments of signals have no direction, or go out.
    let signals = interface.signals().map(|signal| {
        let args = signal.args().iter().map(|arg| format!("{} {}", arg.ty(), arg.name().unwrap_or("?")));
        format!("signal {}({})", signal.name(), args.collect::<Vec<_>>().join(", "))
    });
    properties.chain(methods).chain(signals).collect()
}

#[test]
fn the_xml_files_are_what_the_contract_says() {
    let absent: Vec<&str> = NOT_SERVED.iter().copied().filter(|gap| !gap.contains('.')).collect();
    for (name, _) in PAGE.iter().filter(|(name, _)| !absent.contains(name)) {
        let file = format!("{}/../../dbus/org.mirrorkeeper1.{name}.xml", env!("CARGO_MANIFEST_DIR"));
        let node = Node::from_reader(std::fs::File::open(&file).unwrap()).unwrap();
        assert_eq!(members(&node.interfaces()[0]), served(name), "left: {file}, right: the contract less the gaps");
    }
    for gap in NOT_SERVED {
        let (interface, member) = gap.split_once('.').unwrap_or((gap, ""));
        let found = PAGE.iter().find(|(name, _)| *name == interface).unwrap();
        assert!(member.is_empty() || found.1.lines().any(|line| name_of(line.trim()) == member), "{gap}: not a member");
    }
}

#[test]
fn the_words_are_those_of_the_contract() {
    let lists: [(&str, Vec<&str>, &str); 12] = [
        (
            "mirror states",
            MirrorState::ALL.iter().map(|w| w.word()).collect(),
            "redundant verifying resyncing degraded inactive failed unknown",
        ),
        (
            "leg states",
            LegState::ALL.iter().map(|w| w.word()).collect(),
            "in-sync probation rebuilding failed missing returned stale foreign error",
        ),
        (
            "target states",
            TargetState::ALL.iter().map(|w| w.word()).collect(),
            "logged-in blocked offline connecting logged-out auth-failed not-found",
        ),
        (
            "timeout reasons",
            TimeoutReason::ALL.iter().map(|w| w.word()).collect(),
            "configured quick anchor last-good-leg resyncing probation shared maintenance override multipath unmanaged",
        ),
        (
            "holds",
            Hold::ALL.iter().map(|w| w.word()).collect(),
            "settling flapping paused maintenance last-server split-brain stale-leg rolled-back-leg identity-mismatch \
             blank-device no-history device-blocked vg-busy vg-incomplete back-off queued unreadable \
             ledger-unwritable unverified-only needs-operator unmanaged-user",
        ),
        (
            "unmanaged reasons",
            UnmanagedReason::ALL.iter().map(|w| w.word()).collect(),
            "shared-vg foreign-vg exported read-only integrity cluster-log converting pvmove split hidden \
             duplicate-pv unsupported excluded forgotten",
        ),
        (
            "event codes",
            EventCode::ALL.iter().map(|w| w.word()).collect(),
            "target-lost target-offline target-fenced target-returned target-login-failed leg-lost leg-returned \
             leg-rejected leg-verified mirror-degraded mirror-failed resync-started resync-stalled resync-finished \
             verify-started mirror-redundant mirror-activated-degraded split-brain timeout-changed held released \
             maintenance-entered maintenance-left check-finished mismatch-found server-flapping all-servers-lost \
             iscsid-down monitoring-missing stale-leg-active lv-resumed ledger-damaged config-refused paused resumed",
        ),
        ("server states", ServerState::ALL.iter().map(|w| w.word()).collect(), "up partial down maintenance unknown"),
        (
            "reasons not to take a server down",
            Obstacle::ALL.iter().map(|w| w.word()).collect(),
            "last-good-leg source-of-resync other-leg-unverified not-in-sync held other-user",
        ),
        ("findings", Concern::ALL.iter().map(|w| w.word()).collect(), "error warning hint"),
        ("severities", Severity::ALL.iter().map(|w| w.word()).collect(), "info warning error critical"),
        (
            "operations",
            Operation::ALL.iter().map(|w| w.word()).collect(),
            "reconnect heal check resolve activate enter-maintenance leave-maintenance forget",
        ),
    ];
    let (_, _, codes) = lists.iter().find(|(list, ..)| *list == "event codes").unwrap();
    let with_id: BTreeSet<&str> = mirrorkeeperd::journal::MESSAGE_IDS.iter().map(|(code, _)| *code).collect();
    assert_eq!(with_id, codes.split_whitespace().collect(), "each code has its MESSAGE_ID, which has its catalog text");
    let mut unsaid = BTreeSet::from(NOT_SAID);
    for (list, ours, contract) in lists {
        let ours: BTreeSet<&str> = ours.into_iter().collect();
        let contract: BTreeSet<&str> = contract.split_whitespace().collect();
        assert_eq!(ours.difference(&contract).collect::<Vec<_>>(), Vec::<&&str>::new(), "{list}: not in the contract");
        for missing in contract.difference(&ours) {
            assert!(unsaid.remove(missing), "{list}: {missing} is in the contract only");
        }
    }
    assert_eq!(unsaid, BTreeSet::new(), "said by now");
    assert_eq!(
        JobState::ALL.iter().map(|w| w.word()).collect::<Vec<_>>().join(" "),
        "queued running succeeded failed cancelled"
    );
}
