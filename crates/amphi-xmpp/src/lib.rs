//! placeholder

pub mod link;
pub mod s2s;
