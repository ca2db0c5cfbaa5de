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
}
