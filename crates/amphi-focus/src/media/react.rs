//! What follows from a bridge's answer, or from its silence (`spec/focus.md` 5.7).

use amphi_jingle::colibri2::{ColibriError, ErrorReason};
use amphi_stanza::Stanza;

/// What became of an IQ.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Reply<'a> {
    Result(&'a Stanza),
    Error(&'a Stanza),
    Timeout,
    /// The connection that it went over is a new one now.
    Lost,
}

/// What a bridge is from now on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    Nothing,
    NotOperational,
    GracefulShutdown,
}

/// What follows for the conference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reaction {
    /// Read the answer.
    Done,
    /// Ask once more.
    Again,
    /// The member is given up for a while; others stay.
    GiveUp,
    /// The conference's session on the bridge is over; everybody on it is invited again.
    SessionFailed(Mark),
    /// The bridge has lost one endpoint: that one is invited again.
    EndpointLost(String),
    Ignore,
}

/// After a request for a new endpoint.
pub(crate) fn to_allocation(reply: Reply<'_>) -> Reaction {
    use Reaction::{Done, GiveUp, SessionFailed};
    let e = match reply {
        Reply::Result(_) => return Done,
        Reply::Timeout => return SessionFailed(Mark::NotOperational),
        Reply::Lost => return SessionFailed(Mark::Nothing),
        Reply::Error(stanza) => ColibriError::parse(stanza),
    };
    match (e.condition.as_str(), e.reason) {
        ("bad-request", _) | ("item-not-found", None) => GiveUp,
        ("item-not-found", Some(ErrorReason::ConferenceNotFound)) => SessionFailed(Mark::Nothing),
        ("conflict", _) => SessionFailed(Mark::Nothing),
        ("service-unavailable", Some(ErrorReason::GracefulShutdown)) => SessionFailed(Mark::GracefulShutdown),
        _ => SessionFailed(Mark::NotOperational),
    }
}

/// After any other request. `idempotent`: it can be sent again. A silent bridge would otherwise know something else than
/// the focus does. `single`: all of it came from one endpoint, which then bears what the bridge does not like.
pub(crate) fn to_change(reply: Reply<'_>, idempotent: bool, single: bool) -> Reaction {
    match reply {
        Reply::Result(_) => Reaction::Done,
        Reply::Timeout | Reply::Lost if idempotent => Reaction::Again,
        Reply::Timeout => Reaction::SessionFailed(Mark::NotOperational),
        // Media go on without us; what was asked may have been done.
        Reply::Lost => Reaction::Ignore,
        Reply::Error(stanza) => {
            let e = ColibriError::parse(stanza);
            match (e.reason, e.endpoint) {
                (Some(ErrorReason::UnknownEndpoint), Some(id)) => Reaction::EndpointLost(id),
                _ if single && e.condition == "bad-request" => Reaction::GiveUp,
                _ => Reaction::SessionFailed(Mark::Nothing),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn error(condition: &str, reason: &str, more: &str) -> Stanza {
        let reason = if reason.is_empty() {
            String::new()
        } else {
            format!("<error xmlns='jitsi:colibri2' reason='{reason}'/>")
        };
        let xml = format!(
            "<iq type='error'><error type='cancel'><{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>{reason}{more}</error></iq>"
        );
        Stanza::authored(xml.into())
    }

    #[test]
    fn the_table_of_reactions_to_an_allocation() {
        use Mark::*;
        use Reaction::*;
        let cases = [
            ("bad-request", "", GiveUp),
            ("item-not-found", "conference_not_found", SessionFailed(Nothing)),
            ("item-not-found", "", GiveUp),
            ("conflict", "", SessionFailed(Nothing)),
            ("conflict", "conference_already_exists", SessionFailed(Nothing)),
            ("conflict", "unspecified", SessionFailed(Nothing)),
            ("service-unavailable", "graceful_shutdown", SessionFailed(GracefulShutdown)),
            ("service-unavailable", "", SessionFailed(NotOperational)),
            ("internal-server-error", "unspecified", SessionFailed(NotOperational)),
            ("recipient-unavailable", "", SessionFailed(NotOperational)),
        ];
        for (condition, reason, expected) in cases {
            let e = error(condition, reason, "");
            assert_eq!(to_allocation(Reply::Error(&e)), expected, "{condition} {reason}");
        }
        assert_eq!(to_allocation(Reply::Timeout), SessionFailed(NotOperational));
        assert_eq!(to_allocation(Reply::Lost), SessionFailed(Nothing));
    }

    #[test]
    fn a_silent_bridge_is_asked_again_before_it_is_given_up() {
        assert_eq!(to_change(Reply::Timeout, true, true), Reaction::Again);
        assert_eq!(to_change(Reply::Timeout, false, true), Reaction::SessionFailed(Mark::NotOperational));
        let e = error("item-not-found", "unknown_endpoint", "<endpoint xmlns='jitsi:colibri2' id='a'/>");
        assert_eq!(to_change(Reply::Error(&e), true, true), Reaction::EndpointLost("a".into()));
    }

    #[test]
    fn what_one_endpoint_said_wrong_is_its_own_concern() {
        let e = error("bad-request", "", "");
        assert_eq!(to_change(Reply::Error(&e), true, true), Reaction::GiveUp);
        assert_eq!(to_change(Reply::Error(&e), true, false), Reaction::SessionFailed(Mark::Nothing));
        let e = error("item-not-found", "conference_not_found", "");
        assert_eq!(to_change(Reply::Error(&e), true, true), Reaction::SessionFailed(Mark::Nothing));
    }
}
