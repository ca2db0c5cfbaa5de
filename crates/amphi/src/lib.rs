//! The parts of the `amphi` binary: configuration, command line, logs, and the wiring of roles. Protocol rules live in the
//! crates below; nothing here knows a stanza.

mod acme;
pub mod admin;
mod bridge;
pub mod cli;
pub mod config;
pub mod ctl;
mod dashboard;
pub mod import;
pub mod logs;
mod page;
pub mod provision;
mod site;
pub mod wire;
