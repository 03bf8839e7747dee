//! Random faults in random order: every promise is kept on every step, and once the faults stop everything becomes
//! redundant or says what it is waiting for.
//!
//! The same cases every time, so that a red build means a change; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` try others.

use crate::bench::machine::{A, B};
use crate::bench::{Bench, Fault};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

#[derive(Debug, Clone)]
enum Blow {
    Cut(usize),
    Kill(usize),
    Return(usize),
    PowerCycle(usize),
    Logout(usize),
    LoseSession(usize),
    RestartIscsid,
    RestartDaemon,
    Fault(&'static str, Fault),
    Wait(u64),
}

fn blow() -> impl Strategy<Value = Blow> {
    let server = || prop_oneof![Just(A), Just(B)];
    let code = prop::sample::select(vec![
        "quarantine",
        "check",
        "release",
        "repair",
        "rebuild",
        "readd-leg",
        "probe",
        "restore-missing",
    ]);
    let fault =
        prop_oneof![Just(Fault::Exit(5)), Just(Fault::Fail), Just(Fault::Slow(200)), Just(Fault::KilledSuspended)];
    prop_oneof![
        2 => server().prop_map(Blow::Cut),
        2 => server().prop_map(Blow::Kill),
        4 => server().prop_map(Blow::Return),
        2 => server().prop_map(Blow::PowerCycle),
        1 => server().prop_map(Blow::Logout),
        1 => server().prop_map(Blow::LoseSession),
        1 => Just(Blow::RestartIscsid),
        2 => Just(Blow::RestartDaemon),
        2 => (code, fault).prop_map(|(code, fault)| Blow::Fault(code, fault)),
        6 => (1u64..60).prop_map(Blow::Wait),
    ]
}

fn strike(bench: &mut Bench, blow: &Blow) {
    match blow {
        Blow::Cut(server) => bench.machine.down(*server, false),
        Blow::Kill(server) => bench.machine.down(*server, true),
        Blow::Return(server) => bench.machine.back(*server),
        Blow::PowerCycle(server) => bench.machine.power_cycle(*server),
        Blow::Logout(server) => bench.machine.logout(*server),
        Blow::LoseSession(server) => bench.machine.lose_session(*server),
        Blow::RestartIscsid => bench.machine.restart_iscsid(),
        Blow::RestartDaemon => bench.restart_daemon(),
        Blow::Fault(code, fault) => bench.faults.push_back((code, fault.clone())),
        Blow::Wait(seconds) => bench.run_for(*seconds),
    }
    bench.run_for(1);
}

/// 64 cases take about two seconds.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(1);
    }
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 64;
    }
    config
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn whatever_happens_ends_redundant_or_with_a_reason(blows in prop::collection::vec(blow(), 1..14)) {
        let mut bench = Bench::new(&["r1"], &["testlv"]);
        for server in [A, B] {
            bench.machine.session(server).tmo = Some(8);
            bench.machine.records[server] = Some(8);
        }
        bench.run_for(5);
        for blow in &blows {
            strike(&mut bench, blow);
        }
        bench.faults.clear();
        for server in [A, B] {
            bench.machine.back(server);
            if bench.machine.sessions[server].is_none() {
                bench.machine.login(server);
            }
        }
        for _ in 0..60 {
            bench.run_for(20);
            if bench.at_rest() {
                break;
            }
        }
        prop_assert!(bench.at_rest(), "{blows:?}\n{}", bench.story());
        prop_assert!(bench.anomalies.is_empty(), "{blows:?}\n{:#?}\n{}", bench.anomalies, bench.story());
    }
}
