//! What every host answers by itself: ping, service discovery, TURN credentials, the old session request, and the
//! announcement at bind. Pure functions over data; called by the router for IQs to a host or to the sender's own account.

mod answer;
mod external;
mod host;
#[cfg(test)]
mod tests;

pub use external::{Credentials, ExternalService, ServiceAttributes};
pub use host::{HostServices, Identity, Item, RoomHints};
