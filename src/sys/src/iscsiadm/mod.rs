//! open-iscsi's command line tool: node records and what its exit codes mean.
//!
//! It has no stable machine output, so only `-o show` is read, which is its own record format (`facts/iscsi.md` 3.3,
//! 3.7). Must never keep or print a line it has no use for: records hold CHAP secrets.

pub mod exit;
mod nodes;

pub use exit::{Exit, meaning};
pub use nodes::{Nodes, nodes_argv, parse_nodes};
