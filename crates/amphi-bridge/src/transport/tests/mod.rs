//! Peers in virtual time: against each other, and against str0m as the client.

mod client;
mod hostile;
mod pair;
mod pool;
mod restart;
mod size;
mod world;
