//! Control plane: colibri2, conferences, the bridge channel, brewery presence, REST.

pub mod message;
