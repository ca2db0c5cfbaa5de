//! Counters of the focus. Gauges are read from [`crate::Focus::nodes`] and [`crate::Focus::conferences`].

/// Counters; they only grow while the process lives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Metrics {
    /// Conference requests received, over XMPP and HTTP.
    pub conference_requests: u64,
    /// Requests that created a conference.
    pub conference_requests_new: u64,
    /// Requests refused with an error.
    pub conference_requests_failed: u64,
    /// Requests answered `ready=false` because of the admission rate or another limit.
    pub conference_requests_deferred: u64,
    /// Requests answered `ready=false` because no node had room for a visitor.
    pub no_capacity: u64,
    /// Requests told that the room is not live.
    pub not_live: u64,
    /// Conferences whose main room was joined; health checks are not counted.
    pub conferences_created: u64,
    /// Conferences that ended; health checks are not counted.
    pub conferences_ended: u64,
    /// Members seen on stage.
    pub participants: u64,
    /// Visitors seen.
    pub visitors: u64,
    /// Sent to the stage.
    pub admitted_to_stage: u64,
    /// Sent back to the stage because they were there before.
    pub returned_to_stage: u64,
    /// Redirected: the client asked to be a visitor.
    pub redirected_requested: u64,
    /// Redirected: the room lists its participants and this is none of them.
    pub redirected_not_listed: u64,
    /// Redirected: the room has an audience already.
    pub redirected_audience_open: u64,
    /// Redirected: the stage is full.
    pub redirected_stage_full: u64,
    /// Seats that were not taken in time.
    pub seats_expired: u64,
    /// Shadow rooms linked.
    pub vrooms_linked: u64,
    /// Shadow rooms that could not be opened.
    pub vrooms_failed: u64,
    /// Connections to nodes lost.
    pub xmpp_disconnects: u64,
    /// IQs that were not answered in time.
    pub iq_timeouts: u64,
    /// Stanzas refused.
    pub bad_stanzas: u64,
    /// Jingle requests received.
    pub jingle_received: u64,
    /// Jingle requests refused.
    pub jingle_refused: u64,
    /// Jingle and mute requests sent.
    pub jingle_sent: u64,
    /// Offers sent.
    pub session_initiate_sent: u64,
    /// Offers accepted.
    pub sessions_accepted: u64,
    /// Offers answered with an error.
    pub offers_refused: u64,
    /// Changes of sources sent.
    pub source_changes_sent: u64,
    /// Requests to bridges.
    pub colibri_requests: u64,
    /// Requests to bridges sent again because they were not answered.
    pub colibri_repeated: u64,
    /// Endpoints asked for.
    pub endpoints_allocated: u64,
    /// Endpoints that could not be had.
    pub allocations_failed: u64,
    /// Endpoints that a bridge did not know any more.
    pub endpoints_lost: u64,
    /// Times that no bridge could be chosen.
    pub no_bridge: u64,
    /// Conferences taken off a bridge that failed them.
    pub bridges_removed: u64,
    /// Bridges that left the brewery.
    pub bridges_lost: u64,
    /// Participants moved to another bridge.
    pub participants_moved: u64,
    /// Endpoints moved to relieve bridges.
    pub endpoints_redistributed: u64,
    /// Clients that reported that they could not connect.
    pub participants_ice_failed: u64,
    /// Clients that asked for another session.
    pub participants_restart_requested: u64,
    /// Restarts in place that clients asked for.
    pub ice_restarts_requested: u64,
    /// Restarts in place passed on to clients.
    pub ice_restarts_relayed: u64,
    /// Restarts in place that the bridge did not need.
    pub ice_restarts_not_needed: u64,
    /// Restarts in place that the bridge refused.
    pub ice_restarts_failed: u64,
    /// Cascades that were joined again.
    pub cascade_repairs: u64,
    /// Health checks that were not answered twice.
    pub health_timeouts: u64,
    /// Health checks that a bridge failed.
    pub health_failures: u64,
}
