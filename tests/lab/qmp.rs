//! QEMU's monitor: as much of QMP as snapshots and resets need.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// Snapshots stop the guest for seconds; nothing here takes minutes.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A connection that has left negotiation mode.
pub struct Qmp {
    lines: BufReader<UnixStream>,
}

impl Qmp {
    /// Connects and greets.
    pub fn connect(socket: &Path) -> Result<Self> {
        let stream = UnixStream::connect(socket).with_context(|| format!("connecting to {}", socket.display()))?;
        stream.set_read_timeout(Some(TIMEOUT))?;
        let mut qmp = Self { lines: BufReader::new(stream) };
        qmp.read()?;
        qmp.call("qmp_capabilities", json!({}))?;
        Ok(qmp)
    }

    /// Runs a command; events that come in between are dropped.
    pub fn call(&mut self, command: &str, arguments: Value) -> Result<Value> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        self.lines.get_mut().write_all(line.as_bytes())?;
        loop {
            let mut answer = self.read()?;
            if let Some(value) = answer.get_mut("return") {
                return Ok(value.take());
            }
            if let Some(error) = answer.get("error") {
                bail!("QEMU refused {command}: {}", error["desc"].as_str().unwrap_or("no reason given"));
            }
        }
    }

    /// Runs a command of the human monitor. It reports errors as text, so any text is one.
    pub fn monitor(&mut self, line: &str) -> Result<()> {
        let text = self.call("human-monitor-command", json!({ "command-line": line }))?;
        match text.as_str().map(str::trim) {
            Some("") => Ok(()),
            text => bail!("QEMU's {line}: {}", text.unwrap_or("no text")),
        }
    }

    fn read(&mut self) -> Result<Value> {
        let mut line = String::new();
        if self.lines.read_line(&mut line).context("reading from QEMU's monitor")? == 0 {
            bail!("QEMU has gone");
        }
        serde_json::from_str(&line).context("QEMU's monitor speaks no JSON")
    }
}
