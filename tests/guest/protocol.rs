//! What the lab on the host and its agent in the guest say to each other: one JSON object a line over a
//! virtio-serial port. Shared by both programs as source, so that they cannot drift apart.

use serde::{Deserialize, Serialize};

/// Name of the virtio-serial port, as QEMU is told and as udev links it in `/dev/virtio-ports`.
pub const PORT: &str = "org.mirrorkeeper.lab.0";

/// One thing to do in the guest. Ids never repeat in the life of a guest, so an answer that was still on its way
/// when a snapshot was loaded is recognised and dropped.
#[derive(Debug, Serialize, Deserialize)]
pub struct Request {
    /// Chosen by the host.
    pub id: u64,
    /// What is asked.
    pub op: Op,
}

/// The closed list of things the agent does; everything else is a command line.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Op {
    /// Runs a program and waits for it, killing its process group at the deadline.
    Exec { argv: Vec<String>, stdin: Option<String>, timeout_ms: u64 },
    /// Writes a piece of a file (hexadecimal) at an offset; offset 0 truncates.
    Put { path: String, offset: u64, mode: u32, hex: String },
    /// Reads a piece of a file.
    Get { path: String, offset: u64, len: u64 },
}

/// The answer to the request of the same id.
#[derive(Debug, Serialize, Deserialize)]
pub struct Response {
    /// Copied from the request.
    pub id: u64,
    /// How it went.
    pub reply: Reply,
}

/// How a request went.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reply {
    /// The program ended, or was killed at its deadline.
    Exit(Exit),
    /// The piece was written.
    Done,
    /// A piece of a file in hexadecimal; empty at the end.
    Data { hex: String },
    /// It could not even be tried.
    Error { message: String },
}

/// How a program ended.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Exit {
    /// Exit status; 128 + n for a signal; 124 when its time was over, as `timeout(1)` says it.
    pub rc: i32,
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub stdout: String,
    /// Standard error, likewise.
    pub stderr: String,
}

/// Lower-case hexadecimal: twice the size of the data, but no escaping and no crate.
pub fn to_hex(data: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n)]);
    data.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// The reverse of [`to_hex`]; `None` for anything that is not hexadecimal.
pub fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    if !text.len().is_multiple_of(2) {
        return None;
    }
    text.as_bytes().chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hex_there_and_back() {
        let data: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&to_hex(&data)), Some(data));
        assert_eq!(from_hex("0"), None);
        assert_eq!(from_hex("zz"), None);
    }
}
