//! Counters of the focus. Gauges are read from [`crate::Focus::nodes`] and [`crate::Focus::conferences`].

macro_rules! counters {
    ($($(#[doc = $doc:literal])+ $name:ident,)*) => {
        /// Counters; they only grow while the process lives.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: u64,)*
        }

        impl Metrics {
            /// Every counter: its name, its comment, its value.
            pub fn each(&self) -> Vec<(&'static str, &'static str, u64)> {
                vec![$((stringify!($name), concat!($($doc),+), self.$name)),*]
            }
        }
    };
}

counters! {
    /// Conference requests received, over XMPP and HTTP.
    conference_requests,
    /// Requests that created a conference.
    conference_requests_new,
    /// Requests refused with an error.
    conference_requests_failed,
    /// Requests answered `ready=false` because of the admission rate or another limit.
    conference_requests_deferred,
    /// Requests answered `ready=false` because no node had room for a visitor.
    no_capacity,
    /// Requests told that the room is not live.
    not_live,
    /// Conferences whose main room was joined; health checks are not counted.
    conferences_created,
    /// Conferences that ended; health checks are not counted.
    conferences_ended,
    /// Members seen on stage.
    participants,
    /// Visitors seen.
    visitors,
    /// Sent to the stage.
    admitted_to_stage,
    /// Sent back to the stage because they were there before.
    returned_to_stage,
    /// Redirected: the client asked to be a visitor.
    redirected_requested,
    /// Redirected: the room lists its participants and this is none of them.
    redirected_not_listed,
    /// Redirected: the room has an audience already.
    redirected_audience_open,
    /// Redirected: the stage is full.
    redirected_stage_full,
    /// Seats that were not taken in time.
    seats_expired,
    /// Shadow rooms linked.
    vrooms_linked,
    /// Shadow rooms that could not be opened.
    vrooms_failed,
    /// Connections to nodes lost.
    xmpp_disconnects,
    /// IQs that were not answered in time.
    iq_timeouts,
    /// Stanzas refused.
    bad_stanzas,
    /// Jingle requests received.
    jingle_received,
    /// Jingle requests refused.
    jingle_refused,
    /// Jingle and mute requests sent.
    jingle_sent,
    /// Offers sent.
    session_initiate_sent,
    /// Offers accepted.
    sessions_accepted,
    /// Offers answered with an error.
    offers_refused,
    /// Changes of sources sent.
    source_changes_sent,
    /// Requests to bridges.
    colibri_requests,
    /// Requests to bridges sent again because they were not answered.
    colibri_repeated,
    /// Endpoints asked for.
    endpoints_allocated,
    /// Endpoints that could not be had.
    allocations_failed,
    /// Endpoints that a bridge did not know any more.
    endpoints_lost,
    /// Endpoints ended because their bridge refused what their clients had said.
    endpoints_refused,
    /// Times that no bridge could be chosen.
    no_bridge,
    /// Conferences taken off a bridge that failed them.
    bridges_removed,
    /// Bridges that left the brewery.
    bridges_lost,
    /// Participants moved to another bridge.
    participants_moved,
    /// Endpoints moved to relieve bridges.
    endpoints_redistributed,
    /// Clients that reported that they could not connect.
    participants_ice_failed,
    /// Clients that asked for another session.
    participants_restart_requested,
    /// Restarts in place that clients asked for.
    ice_restarts_requested,
    /// Restarts in place passed on to clients.
    ice_restarts_relayed,
    /// Restarts in place that the bridge did not need.
    ice_restarts_not_needed,
    /// Restarts in place that the bridge refused.
    ice_restarts_failed,
    /// Cascades that were joined again.
    cascade_repairs,
    /// Health checks that were not answered twice.
    health_timeouts,
    /// Health checks that a bridge failed.
    health_failures,
}
