//! Waiting for the deadline of a core.

use std::time::Instant;

/// Ends at `deadline`; never, if there is none.
pub(crate) async fn until(deadline: Option<Instant>) {
    match deadline {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}
