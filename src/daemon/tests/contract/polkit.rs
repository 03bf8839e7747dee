//! Who may do what: a table of answers from a polkit of our own on the private bus, the questions it is asked, and the
//! policy that is installed.

use crate::support::*;
use futures_util::StreamExt;
use mirrorkeeper_core::input::Reply;
use mirrorkeeper_core::words::Operation;
use mirrorkeeperd::bus::auth::{Action, Polkit, Terms};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use zbus::message::Flags;
use zbus::{Connection, Message, MessageStream, OwnedVariant, fdo, interface};

/// What polkit answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Answer {
    Yes,
    No,
    /// Only if a person is asked.
    Challenge,
    Fails,
    Never,
}

/// A question: subject, its name, action, flags.
type Question = (String, String, String, u32);

struct FakePolkit {
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Question>>>,
    withdrawn: watch::Sender<Vec<String>>,
}

#[interface(name = "org.freedesktop.PolicyKit1.Authority")]
impl FakePolkit {
    async fn check_authorization(
        &self,
        subject: (String, HashMap<String, OwnedVariant>),
        action: String,
        details: HashMap<String, String>,
        flags: u32,
        id: String,
    ) -> fdo::Result<(bool, bool, HashMap<String, String>)> {
        assert!(details.is_empty() && !id.is_empty());
        let name = subject.1.get("name").map(|name| String::try_from(name.try_clone().unwrap()).unwrap());
        self.asked.lock().unwrap().push((subject.0, name.unwrap_or_default(), action, flags));
        let answer = *self.answer.lock().unwrap();
        match answer {
            Answer::Yes => Ok((true, false, HashMap::new())),
            Answer::No => Ok((false, false, HashMap::new())),
            Answer::Challenge => Ok((false, true, HashMap::new())),
            Answer::Fails => Err(fdo::Error::Failed("no rules today".to_owned())),
            Answer::Never => std::future::pending().await,
        }
    }

    fn cancel_check_authorization(&self, id: String) {
        self.withdrawn.send_modify(|withdrawn| withdrawn.push(id));
    }
}

/// A service that asks this polkit about everybody, since no caller has the uid that it takes for root.
struct Bench {
    service: Service,
    caller: Connection,
    answer: Arc<Mutex<Answer>>,
    asked: Arc<Mutex<Vec<Question>>>,
    withdrawn: watch::Receiver<Vec<String>>,
    _polkit: Connection,
}

const NOBODY: u32 = 4_000_000_000;

async fn bench(terms: Terms) -> Bench {
    let service = Service::start_for(world(), Arc::new(Polkit::new(terms))).await;
    let (answer, asked) = (Arc::new(Mutex::new(Answer::Yes)), Arc::default());
    let (withdrawn_in, withdrawn) = watch::channel(Vec::new());
    let fake = FakePolkit { answer: Arc::clone(&answer), asked: Arc::clone(&asked), withdrawn: withdrawn_in };
    let polkit = zbus::connection::Builder::address(service.bus.address().as_str())
        .serve_at("/org/freedesktop/PolicyKit1/Authority", fake)
        .name("org.freedesktop.PolicyKit1");
    let _polkit = polkit.build().await.unwrap();
    let caller = service.bus.client().await;
    Bench { service, caller, answer, asked, withdrawn, _polkit }
}

fn asking() -> Terms {
    Terms { root: NOBODY, ..Terms::default() }
}

/// Calls and gives back the name of the error, or `ok`.
async fn call<B>(caller: &Connection, interactive: bool, path: &str, interface: &str, method: &str, body: &B) -> String
where
    B: serde::Serialize + zbus::DynamicType,
{
    let flags = if interactive { Flags::ALLOW_INTERACTIVE_AUTH } else { Flags::empty() };
    let call = Message::method_call(path, method).destination("org.mirrorkeeper1");
    let call = call.interface(format!("org.mirrorkeeper1.{interface}")).with_flags(flags);
    let call = call.build(body).unwrap();
    let serial = call.primary_header().serial_num();
    let mut answers = MessageStream::from(caller);
    caller.send(&call).await.unwrap();
    loop {
        let answer = soon(answers.next()).await.unwrap().unwrap();
        if answer.header().reply_serial() == Some(serial) {
            return answer.header().error_name().map_or("ok".to_owned(), |name| name.to_string());
        }
    }
}

async fn rescan(caller: &Connection, interactive: bool) -> String {
    call(caller, interactive, "/org/mirrorkeeper1", "Manager", "Rescan", &()).await
}

#[tokio::test]
async fn every_answer_of_polkit_has_its_consequence() {
    const DENIED: &str = "org.freedesktop.DBus.Error.AccessDenied";
    const INTERACTION: &str = "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired";
    let mut bench = bench(asking()).await;
    for (answer, interactive, expected) in [
        (Answer::Yes, false, "ok"),
        (Answer::Yes, true, "ok"),
        (Answer::No, false, DENIED),
        (Answer::No, true, DENIED),
        (Answer::Challenge, false, INTERACTION),
        (Answer::Challenge, true, DENIED),
        (Answer::Fails, false, DENIED),
        (Answer::Fails, true, DENIED),
    ] {
        *bench.answer.lock().unwrap() = answer;
        let called = if answer == Answer::Yes {
            tokio::join!(rescan(&bench.caller, interactive), bench.service.answer(Ok(Reply::Done))).0
        } else {
            rescan(&bench.caller, interactive).await
        };
        assert_eq!(called, expected, "{answer:?}, interactive: {interactive}");
        let name = bench.caller.unique_name().unwrap().to_string();
        let question = bench.asked.lock().unwrap().pop().unwrap();
        let expected =
            ("system-bus-name".to_owned(), name, "org.mirrorkeeper1.heal".to_owned(), u32::from(interactive));
        assert_eq!(question, expected, "who sent the message, and whether a person may be asked");
        assert!(bench.service.requests.try_recv().is_err(), "the loop hears of nothing that is not allowed");
    }
}

#[tokio::test]
async fn root_is_never_asked_about_and_without_polkit_only_root_may() {
    let own = nix::unistd::getuid().as_raw();
    let mut as_root = bench(Terms { root: own, ..Terms::default() }).await;
    *as_root.answer.lock().unwrap() = Answer::No;
    let (called, _) = tokio::join!(rescan(&as_root.caller, false), as_root.service.answer(Ok(Reply::Done)));
    assert_eq!((called.as_str(), as_root.asked.lock().unwrap().len()), ("ok", 0));

    let alone = Service::start_for(world(), Arc::new(Polkit::new(asking()))).await;
    let denied = rescan(&alone.bus.client().await, true).await;
    assert_eq!(denied, "org.freedesktop.DBus.Error.AccessDenied");
}

#[tokio::test]
async fn a_question_nobody_answers_is_withdrawn_and_few_may_wait() {
    let (answer, person) = (Duration::from_millis(50), Duration::from_secs(600));
    let bench = bench(Terms { root: NOBODY, answer, person }).await;
    *bench.answer.lock().unwrap() = Answer::Never;
    assert_eq!(rescan(&bench.caller, false).await, "org.freedesktop.DBus.Error.AccessDenied");
    let mut withdrawn = bench.withdrawn.clone();
    assert_eq!(soon(withdrawn.wait_for(|ids| !ids.is_empty())).await.unwrap().len(), 1);

    // A person thinks about each: of one user, eight may wait, on however many connections.
    let mut callers = Vec::new();
    for _ in 0..2 {
        let caller = bench.service.bus.client().await;
        for _ in 0..4 {
            let caller = caller.clone();
            callers.push(tokio::spawn(async move { rescan(&caller, true).await }));
        }
    }
    while bench.asked.lock().unwrap().len() < 9 {
        tokio::task::yield_now().await;
    }
    let third = bench.service.bus.client().await;
    assert_eq!(rescan(&third, true).await, "org.mirrorkeeper1.Error.LimitsExceeded");
    assert!(callers.iter().all(|caller| !caller.is_finished()));
}

#[tokio::test]
async fn each_method_asks_for_the_action_of_the_contract_and_reading_for_none() {
    const PV: &str = "HCFMtb-9fTl-9bBP-Xe3Y-pNsV-SkRL-eXm1cJ";
    let mut bench = bench(asking()).await;
    *bench.answer.lock().unwrap() = Answer::No;
    let (root, caller) = ("/org/mirrorkeeper1", &bench.caller);
    let denied = [
        call(caller, false, root, "Manager", "Rescan", &()).await,
        call(caller, false, root, "Manager", "Forget", &"vg0").await,
        call(caller, false, root, "Manager", "Reload", &()).await,
        call(caller, false, root, "Manager", "Pause", &"why").await,
        call(caller, false, root, "Manager", "Resume", &()).await,
        call(caller, false, SERVER, "Server", "EnterMaintenance", &()).await,
        call(caller, false, SERVER, "Server", "LeaveMaintenance", &()).await,
        call(caller, false, TARGET, "Target", "Reconnect", &()).await,
        call(caller, false, TARGET, "Target", "SetReplacementTimeout", &10_u32).await,
        call(caller, false, MIRROR, "Mirror", "Heal", &()).await,
        call(caller, false, MIRROR, "Mirror", "Resolve", &PV).await,
        call(caller, false, MIRROR, "Mirror", "Activate", &()).await,
        call(caller, false, MIRROR, "Mirror", "Check", &()).await,
        call(caller, false, MIRROR, "Mirror", "SetResyncLimit", &0_u64).await,
        call(caller, false, JOB, "Job", "Cancel", &()).await,
    ];
    assert!(denied.iter().all(|error| error == "org.freedesktop.DBus.Error.AccessDenied"), "{denied:?}");
    let asked: Vec<String> = bench.asked.lock().unwrap().drain(..).map(|question| question.2).collect();
    let expected = "heal maintain heal heal heal maintain maintain heal tune heal resolve maintain heal tune heal";
    let expected: Vec<_> = expected.split(' ').map(|action| format!("org.mirrorkeeper1.{action}")).collect();
    assert_eq!(asked, expected);

    let by_name = [("GetMirror", "vg0/lv"), ("GetTarget", "iqn.2026-01.org.example:disk"), ("GetServer", "10.0.0.1")];
    for (method, name) in by_name {
        assert_eq!(call(caller, false, root, "Manager", method, &name).await, "ok");
    }
    assert_eq!(call(caller, false, root, "Manager", "History", &(0_u64, 0_u32)).await, "ok");
    let plan = call(caller, false, MIRROR, "Mirror", "PlanHeal", &());
    assert_eq!(tokio::join!(plan, bench.service.answer(Ok(Reply::Plan(Vec::new())))).0, "ok");
    let found = call(caller, false, root, "Manager", "Diagnose", &());
    assert_eq!(tokio::join!(found, bench.service.answer(Ok(Reply::Findings(Vec::new())))).0, "ok");
    let safe = call(caller, false, root, "Manager", "SafeToTakeDown", &"10.0.0.1");
    assert_eq!(tokio::join!(safe, bench.service.answer(Ok(Reply::Obstacles(Vec::new())))).0, "ok");
    assert_eq!(bench.asked.lock().unwrap().len(), 0);
}

#[test]
fn a_job_is_cancelled_with_the_right_to_begin_it() {
    let actions: BTreeMap<_, _> = Operation::ALL.iter().map(|o| (o.word(), Action::from(*o).id())).collect();
    for (operation, action) in actions {
        let expected = match operation {
            "reconnect" | "heal" | "check" => "heal",
            "resolve" => "resolve",
            _ => "maintain",
        };
        assert_eq!(action, format!("org.mirrorkeeper1.{expected}"), "{operation}");
    }
}

#[test]
fn the_policy_is_that_of_the_contract() {
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../packaging/polkit/org.mirrorkeeper1.policy");
    let text = std::fs::read_to_string(file).unwrap();
    let between = |text: &str, tag: &str| {
        let (_, rest) = text.split_once(&format!("<{tag}>")).unwrap();
        rest.split_once(&format!("</{tag}>")).unwrap().0.to_owned()
    };
    let mut actions = BTreeMap::new();
    for action in text.split("<action id=\"").skip(1) {
        let (id, rest) = action.split_once('"').unwrap();
        assert!(!between(rest, "description").is_empty() && !between(rest, "message").is_empty());
        actions.insert(id, ["allow_any", "allow_inactive", "allow_active"].map(|tag| between(rest, tag)));
    }
    let (admin, keep) = ("auth_admin", "auth_admin_keep");
    let contract = BTreeMap::from([
        (Action::Heal.id(), [admin, admin, keep].map(str::to_owned)),
        (Action::Tune.id(), [admin, admin, keep].map(str::to_owned)),
        (Action::Maintain.id(), [admin, admin, keep].map(str::to_owned)),
        (Action::Resolve.id(), [admin, admin, admin].map(str::to_owned)),
    ]);
    assert_eq!(actions, contract);
}
