//! Puts replacement timeouts back as they were found: of live sessions in sysfs, and in node records for those to come.
//!
//! A session that is down takes no value (EBUSY, `facts/iscsi.md` 1.4); it keeps ours until it is logged out, and its node
//! record is right for the next one.

use super::{Report, Tools, attempt};
use mirrorkeeper_core::observation::{NodeObs, SessionState};
use mirrorkeeper_core::op::{OnDeadline, Op};
use mirrorkeeper_sys::iscsiadm;
use serde::Deserialize;
use std::collections::BTreeMap;

/// What the ledger has of a target, in seconds: values from before ours, and from before an override by a person.
#[derive(Debug, Default, Deserialize)]
pub struct Found {
    #[serde(default)]
    raised_from: Option<u32>,
    #[serde(default)]
    node_from: Option<u32>,
    #[serde(default)]
    override_from: Option<u32>,
}

impl Found {
    fn session(&self) -> Option<u32> {
        self.raised_from.or(self.override_from)
    }

    fn node(&self) -> Option<u32> {
        self.node_from.or(self.override_from)
    }
}

/// Does it for every target that the ledger has a value of, by its name there.
pub async fn restore(targets: &BTreeMap<String, Found>, tools: &mut impl Tools) -> Report {
    let mut report = Report::default();
    for session in tools.sessions() {
        let name = session.target.name.as_str();
        let Some(seconds) = targets.get(name).and_then(Found::session) else { continue };
        if session.recovery_tmo == Some(seconds) {
            continue;
        }
        let what = format!("replacement timeout of {name}, session {}: {seconds} s", session.sid);
        report = report.and(if session.state == SessionState::LoggedIn {
            match tools.set_recovery_tmo(session.sid, seconds) {
                Ok(()) => Report::done(what),
                Err(why) => Report::failed(format!("{what}: {why}")),
            }
        } else {
            Report::failed(format!("{what}: the session is down"))
        });
    }
    if targets.values().all(|found| found.node().is_none()) {
        return report;
    }
    let nodes = match nodes(tools).await {
        Ok(nodes) => nodes,
        Err(why) => return report.and(Report::failed(format!("the node records cannot be read: {why}"))),
    };
    for node in nodes {
        let Some(seconds) = targets.get(node.target.name.as_str()).and_then(Found::node) else { continue };
        if node.replacement_timeout != i32::try_from(seconds).ok() {
            let argv = Op::UpdateNode { target: node.target, seconds }.argv().unwrap_or_default();
            report = report.and(attempt(argv, tools).await);
        }
    }
    report
}

async fn nodes(tools: &mut impl Tools) -> Result<Vec<NodeObs>, String> {
    let ended = tools.run(iscsiadm::nodes_argv(), OnDeadline::Kill).await?;
    Ok(iscsiadm::parse_nodes(&String::from_utf8_lossy(&ended.stdout)).nodes)
}
