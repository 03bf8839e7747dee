//! The loop with a scripted brain and a machine made of channels, in virtual time.

use super::*;
use crate::link::{self, Link};
use mirrorkeeper_core::input::Command;
use mirrorkeeper_core::snapshot::{Event, Object};
use mirrorkeeper_core::time::Wall;
use mirrorkeeper_core::words::{EventCode, Severity};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

/// Answers each input by asking the script, and says what it got.
struct Scripted<F> {
    script: F,
    inputs: UnboundedSender<Input>,
    snapshot: Arc<Snapshot>,
}

impl<F: FnMut(&Input, Now, &mut Snapshot) -> Vec<Effect>> Brain for Scripted<F> {
    fn step(&mut self, now: Now, input: Input) -> Vec<Effect> {
        let effects = (self.script)(&input, now, Arc::make_mut(&mut self.snapshot));
        let _ = self.inputs.send(input);
        effects
    }

    fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

/// Wakes when it is told to and keeps the work it was given. Its clock is tokio's.
struct Channels {
    start: Instant,
    wake_ups: UnboundedReceiver<WakeUp>,
    begun: UnboundedSender<Work>,
}

impl Machine for Channels {
    fn now(&self) -> Now {
        let micros = u64::try_from(self.start.elapsed().as_micros()).unwrap();
        Now { mono: Mono(micros), wall: Wall(micros), east: 0 }
    }

    async fn wake_up(&mut self, by: Mono) -> WakeUp {
        tokio::select! {
            Some(wake_up) = self.wake_ups.recv() => wake_up,
            () = sleep_until(self.start + Duration::from_micros(by.0)) => WakeUp::Time,
        }
    }

    fn observe(&mut self) -> KernelView {
        KernelView::default()
    }

    fn begin(&mut self, work: Work) {
        let _ = self.begun.send(work);
    }
}

/// The test's ends of everything.
struct Bench {
    inputs: UnboundedReceiver<Input>,
    wake: UnboundedSender<WakeUp>,
    begun: UnboundedReceiver<Work>,
    results: mpsc::Sender<Input>,
    configs: mpsc::Sender<Config>,
    signals: mpsc::Sender<Signal>,
    bus: Link,
    loop_: JoinHandle<()>,
}

fn bench(script: impl FnMut(&Input, Now, &mut Snapshot) -> Vec<Effect> + Send + 'static) -> Bench {
    let (inputs_in, inputs) = unbounded_channel();
    let (wake, wake_ups) = unbounded_channel();
    let (begun_in, begun) = unbounded_channel();
    let (results, results_out) = mpsc::channel(8);
    let (configs, configs_out) = mpsc::channel(8);
    let (signals, signals_out) = mpsc::channel(8);
    let (ours, bus) = link::pair();
    let brain = Scripted { script, inputs: inputs_in, snapshot: Arc::default() };
    let machine = Channels { start: Instant::now(), wake_ups, begun: begun_in };
    let ends = Ends {
        bus: ours,
        signals: signals_out,
        results: results_out,
        configs: configs_out,
        notifier: Notifier::new(),
        audience: Audience::journal(),
    };
    let loop_ = tokio::spawn(Reactor::new(brain, machine, ends).run());
    Bench { inputs, wake, begun, results, configs, signals, bus, loop_ }
}

impl Bench {
    async fn input(&mut self) -> Input {
        self.inputs.recv().await.unwrap()
    }

    async fn first_look(&mut self) {
        assert!(matches!(self.input().await, Input::Kernel(_)));
    }

    /// A later one, which the clock may tick before.
    async fn look(&mut self) {
        loop {
            match self.input().await {
                Input::Kernel(_) => return,
                input => assert_eq!(input, Input::Tick),
            }
        }
    }
}

fn ledger(generation: u64) -> Arc<Ledger> {
    Arc::new(Ledger { generation, ..Ledger::empty("boot") })
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_wake_ups_makes_one_observation_more_and_hints_keep_their_order() {
    let mut bench = bench(|_, _, _| Vec::new());
    bench.first_look().await;
    let hint = |sid| WakeUp::Iscsi(IscsiHint::Unbind { sid });
    let burst = (0..50).map(|_| WakeUp::Look).chain([hint(1), hint(2)]);
    burst.for_each(|wake_up| bench.wake.send(wake_up).unwrap());
    let started = Instant::now();
    assert_eq!(bench.input().await, Input::Iscsi(IscsiHint::Unbind { sid: 1 }));
    assert_eq!(bench.input().await, Input::Iscsi(IscsiHint::Unbind { sid: 2 }));
    let mut looks = 0;
    while started.elapsed() < Duration::from_secs(4) {
        looks += u32::from(matches!(bench.input().await, Input::Kernel(_)));
    }
    assert_eq!(looks, 1);
}

#[tokio::test(start_paused = true)]
async fn a_wake_up_right_after_a_look_that_was_due_is_answered_at_once() {
    let mut bench = bench(|input, now, _| match input {
        Input::Tick => vec![Effect::ObserveKernel],
        _ => vec![Effect::WakeAt(now.mono.after(Duration::from_secs(1)))],
    });
    bench.first_look().await;
    bench.look().await;
    let due = Instant::now();
    for answered in [Duration::ZERO, LOOK_GAP] {
        bench.wake.send(WakeUp::Look).unwrap();
        bench.look().await;
        assert_eq!(due.elapsed().as_millis(), answered.as_millis());
    }
}

#[tokio::test(start_paused = true)]
async fn the_loop_turns_when_the_engine_asked_and_at_least_at_its_heartbeat() {
    let mut asked = Some(Mono(7_000_000));
    let mut bench = bench(move |_, _, _| asked.take().map(Effect::WakeAt).into_iter().collect());
    let started = Instant::now();
    bench.first_look().await;
    let mut ticks = Vec::new();
    while started.elapsed() < Duration::from_secs(60) {
        assert_eq!(bench.input().await, Input::Tick);
        ticks.push(started.elapsed().as_secs());
    }
    // 5 s is the end of the grace for the bus.
    assert_eq!(ticks, [5, 7, 37, 67]);
}

#[tokio::test(start_paused = true)]
async fn an_observation_asked_for_is_made_without_a_wake_up() {
    let mut bench = bench(|input, _, _| match input {
        Input::OpEnded(..) => vec![Effect::ObserveKernel],
        _ => Vec::new(),
    });
    bench.first_look().await;
    bench.results.send(Input::OpEnded(OpId(1), mirrorkeeper_core::op::OpResult::Wrote)).await.unwrap();
    assert!(matches!(bench.input().await, Input::OpEnded(..)));
    let looks = async { while !matches!(bench.input().await, Input::Kernel(_)) {} };
    tokio::time::timeout(Duration::from_secs(1), looks).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn work_is_handed_over_and_its_result_reaches_the_engine() {
    let op = || Op::StartIscsid;
    let mut bench = bench(move |input, _, _| match input {
        Input::Kernel(_) => vec![Effect::ObserveLvm, Effect::ObserveNodes, Effect::Start(OpId(4), op())],
        _ => Vec::new(),
    });
    bench.first_look().await;
    for work in [Work::Lvm, Work::Nodes, Work::Op(OpId(4), op())] {
        assert_eq!(bench.begun.recv().await, Some(work));
    }
    bench.results.send(Input::Lvm(Err("no lvm".into()))).await.unwrap();
    assert_eq!(bench.input().await, Input::Lvm(Err("no lvm".into())));
}

#[tokio::test(start_paused = true)]
async fn a_reply_goes_to_whoever_asked() {
    let mut waiting = Vec::new();
    let bench = bench(move |input, _, _| match input {
        Input::Command(token, Command::Rescan) => {
            waiting.push(*token);
            Vec::new()
        }
        // The second is answered first.
        Input::Command(token, _) => [(*token, Err(Refusal::Busy("later".into()))), (waiting[0], Ok(Reply::Done))]
            .map(|(token, answer)| Effect::Reply(token, answer))
            .into(),
        _ => Vec::new(),
    });
    let (first, second) = (bench.bus.clone(), bench.bus.clone());
    let first = tokio::spawn(async move { first.ask(Command::Rescan).await });
    tokio::task::yield_now().await;
    let target = mirrorkeeper_core::ids::TargetKey::new("iqn.x:a", "10.0.0.1", 3260, "default");
    let refused = second.ask(Command::Reconnect { target, uid: 0 }).await;
    assert_eq!(refused, Ok(Err(Refusal::Busy("later".into()))));
    assert_eq!(first.await.unwrap(), Ok(Ok(Reply::Done)));
}

#[tokio::test(start_paused = true)]
async fn a_snapshot_goes_out_before_the_event_that_speaks_of_it_and_only_when_it_changed() {
    let bench = bench(|input, now, snapshot| match input {
        Input::Iscsi(_) => {
            snapshot.paused = Some("work".into());
            let (code, severity) = (EventCode::Held, Severity::Info);
            let details = Default::default();
            vec![Effect::Publish(Event { at: now.wall, code, severity, object: Object::Manager, details })]
        }
        _ => Vec::new(),
    });
    let (mut snapshots, mut events) = (bench.bus.snapshots(), bench.bus.events());
    bench.wake.send(WakeUp::Iscsi(IscsiHint::Overrun)).unwrap();
    assert_eq!(events.recv().await.unwrap().code, EventCode::Held);
    assert!(snapshots.has_changed().unwrap());
    assert_eq!(snapshots.borrow_and_update().paused.as_deref(), Some("work"));
    bench.wake.send(WakeUp::Iscsi(IscsiHint::Overrun)).unwrap();
    events.recv().await.unwrap();
    assert!(!snapshots.has_changed().unwrap());
}

#[tokio::test(start_paused = true)]
async fn a_stop_looks_on_and_waits_for_the_engine_but_not_for_ever() {
    for answered in [true, false] {
        let mut stopping = false;
        let mut bench = bench(move |input, _, _| {
            stopping |= *input == Input::Stopping;
            match input {
                // What is seen after the stop is remembered.
                Input::Kernel(_) if stopping => vec![Effect::Start(OpId(1), Op::StartIscsid)],
                Input::OpEnded(..) => vec![Effect::Save(ledger(9)), Effect::Stopped],
                _ => Vec::new(),
            }
        });
        bench.first_look().await;
        let started = Instant::now();
        bench.signals.send(Signal::Stop).await.unwrap();
        assert_eq!(bench.input().await, Input::Stopping);
        assert_eq!(bench.begun.recv().await, Some(Work::AskSystem));
        for _ in 0..3 {
            bench.look().await;
            assert!(matches!(bench.begun.recv().await, Some(Work::Op(..))));
            bench.wake.send(WakeUp::Look).unwrap();
        }
        assert!(!bench.loop_.is_finished());
        if answered {
            bench.results.send(Input::OpEnded(OpId(1), mirrorkeeper_core::op::OpResult::Wrote)).await.unwrap();
            let saved = async { while bench.begun.recv().await != Some(Work::Save(ledger(9))) {} };
            tokio::time::timeout(STOP_GRACE, saved).await.unwrap();
            // Done, but not safe yet.
            assert!(!bench.loop_.is_finished());
            bench.results.send(Input::LedgerSaved(9, Ok(()))).await.unwrap();
        }
        bench.loop_.await.unwrap();
        assert_eq!(started.elapsed() >= STOP_GRACE, !answered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stop_with_nothing_to_put_on_record_is_immediate_and_askers_are_told() {
    let mut bench = bench(|input, _, _| if *input == Input::Stopping { vec![Effect::Stopped] } else { Vec::new() });
    bench.first_look().await;
    let bus = bench.bus.clone();
    let asker = tokio::spawn(async move { bus.ask(Command::Rescan).await });
    assert_eq!(bench.input().await, Input::Command(1, Command::Rescan));
    let started = Instant::now();
    bench.signals.send(Signal::Stop).await.unwrap();
    bench.loop_.await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
    assert_eq!(asker.await.unwrap(), Err(crate::link::NotTaken::Stopping));
}

#[tokio::test(start_paused = true)]
async fn a_stop_of_the_system_ends_the_loop_at_its_own_turn_and_not_before() {
    let mut told = false;
    let mut bench = bench(move |input, _, _| match input {
        Input::Stopping if !told => {
            told = true;
            vec![Effect::Stopped]
        }
        _ => Vec::new(),
    });
    bench.first_look().await;
    // As the executor says when it finds the system stopping.
    bench.results.send(Input::Stopping).await.unwrap();
    assert_eq!(bench.input().await, Input::Stopping);
    bench.wake.send(WakeUp::Look).unwrap();
    bench.look().await;
    assert!(!bench.loop_.is_finished());
    let started = Instant::now();
    bench.signals.send(Signal::Stop).await.unwrap();
    assert_eq!(bench.input().await, Input::Stopping);
    bench.look().await;
    bench.loop_.await.unwrap();
    assert_eq!(started.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn settings_that_are_read_again_are_in_force_before_the_asker_is_told() {
    let mut bench = bench(|_, _, _| Vec::new());
    bench.first_look().await;
    let link = bench.bus.clone();
    let asker = tokio::spawn(async move { link.reload().await });
    assert_eq!(bench.begun.recv().await, Some(Work::Config));
    let mut config = Config::default();
    config.settings.gate = true;
    bench.configs.send(config.clone()).await.unwrap();
    assert_eq!(asker.await.unwrap(), Ok(Ok(())));
    loop {
        match bench.input().await {
            Input::Settings(settings) => break assert_eq!(*settings, config.settings),
            input => assert!(matches!(input, Input::Tick | Input::Kernel(_))),
        }
    }
    bench.signals.send(Signal::Reload).await.unwrap();
    assert_eq!(bench.begun.recv().await, Some(Work::Config), "SIGHUP is the same");
}

#[tokio::test(start_paused = true)]
async fn a_bad_configuration_changes_nothing_and_is_told_to_everybody() {
    let mut bench = bench(|_, _, _| Vec::new());
    bench.first_look().await;
    let mut events = bench.bus.events();
    let link = bench.bus.clone();
    let asker = tokio::spawn(async move { link.reload().await });
    assert_eq!(bench.begun.recv().await, Some(Work::Config));
    let place = config::Place { file: "/etc/mirrorkeeper.toml".into(), line: Some(3) };
    let problem = config::Problem { place, why: "settle: accepted are seconds: 1 to 600".to_owned() };
    let mut config = Config::default();
    (config.problems, config.settings.gate) = (vec![problem], true);
    bench.configs.send(config).await.unwrap();
    let complaint = "/etc/mirrorkeeper.toml:3: settle: accepted are seconds: 1 to 600";
    assert_eq!(asker.await.unwrap(), Ok(Err(complaint.to_owned())));
    let event = events.recv().await.unwrap();
    assert_eq!((event.code, event.details["reason"].to_string().as_str()), (EventCode::ConfigRefused, complaint));
    drop(bench.signals);
    while let Some(input) = bench.inputs.recv().await {
        assert!(!matches!(input, Input::Settings(_)));
        if input == Input::Stopping {
            break;
        }
    }
}
