//! Nothing is wrong: nothing is done.

use crate::bench::Bench;

#[test]
fn healthy_is_idle() {
    let mut bench = Bench::settled(&["r1"], &["testlv"]);
    assert!(bench.redundant(), "{}", bench.story());
    bench.run_for(3600);
    assert!(bench.ran.is_empty(), "{}", bench.story());
    assert_eq!(bench.saves, 0, "ledger written for nothing");
    assert!(bench.wakes <= 120, "woke {} times in an hour", bench.wakes);
    assert!(bench.events.is_empty());
}
