//! What may be subscribed to (`spec/signaling.md` 4.11, `spec/client.md` 15.1 and 15.5). Clients write addresses and ids into
//! destinations as they are, without URL encoding: a `%` belongs to the name of the room.

/// The HTTP path that a connection came on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// `/visitor/websocket`: the audience that waits, and moderators who see how many.
    Visitor,
    /// `/visitors-list/websocket`: who is in the audience.
    List,
}

impl Endpoint {
    /// The endpoint of a path.
    pub fn of_path(path: &str) -> Option<Self> {
        match path {
            "/visitor/websocket" => Some(Self::Visitor),
            "/visitors-list/websocket" => Some(Self::List),
            _ => None,
        }
    }
}

/// A destination, with the words that the client put into it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To be told when the room is live.
    Live {
        /// Address of the room, as clients know it.
        room: String,
    },
    /// How many wait for the room.
    State {
        /// Address of the room.
        room: String,
    },
    /// The whole list, once.
    List {
        /// Unique id of the meeting.
        meeting: String,
        /// Who asks: its nick in the room.
        endpoint: String,
    },
    /// Changes of the list.
    Changes {
        /// Unique id of the meeting.
        meeting: String,
    },
}

/// No destination of this endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no such destination here")]
pub struct BadDestination;

impl Destination {
    /// Reads a destination of an endpoint.
    ///
    /// # Errors
    /// If the endpoint has no such destination.
    pub fn parse(endpoint: Endpoint, text: &str) -> Result<Self, BadDestination> {
        let rest = text.strip_prefix("/secured/conference/").ok_or(BadDestination)?;
        let word = |s: &str| if s.is_empty() || s.contains('/') { Err(BadDestination) } else { Ok(s.to_owned()) };
        match endpoint {
            Endpoint::Visitor => {
                if let Some(room) = rest.strip_prefix("visitor/topic.") {
                    return Ok(Self::Live { room: word(room)? });
                }
                let room = rest.strip_prefix("state/topic.").ok_or(BadDestination)?;
                Ok(Self::State { room: word(room)? })
            }
            Endpoint::List => {
                if let Some(meeting) = rest.strip_prefix("visitors-list/topic/") {
                    return Ok(Self::Changes { meeting: word(meeting)? });
                }
                let ids = rest.strip_prefix("visitors-list/queue/").ok_or(BadDestination)?;
                let (meeting, endpoint) = ids.split_once('/').ok_or(BadDestination)?;
                Ok(Self::List { meeting: word(meeting)?, endpoint: word(endpoint)? })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stock_clients_destinations_are_known_each_on_its_endpoint() {
        let live = "/secured/conference/visitor/topic.raum%c3%a4@conference.meet.example";
        assert_eq!(
            Destination::parse(Endpoint::Visitor, live),
            Ok(Destination::Live { room: "raum%c3%a4@conference.meet.example".into() })
        );
        assert!(Destination::parse(Endpoint::List, live).is_err());
        let list = "/secured/conference/visitors-list/queue/m-1/abcd";
        assert_eq!(
            Destination::parse(Endpoint::List, list),
            Ok(Destination::List { meeting: "m-1".into(), endpoint: "abcd".into() })
        );
        assert!(Destination::parse(Endpoint::Visitor, list).is_err());
        assert!(Destination::parse(Endpoint::Visitor, "/secured/conference/state/topic.r@c").is_ok());
        assert!(Destination::parse(Endpoint::List, "/secured/conference/visitors-list/topic/m-1").is_ok());
        for bad in ["", "/secured/conference/visitor/topic.", "/topic/x", "/secured/conference/state/topic.a/b"] {
            assert!(Destination::parse(Endpoint::Visitor, bad).is_err(), "{bad}");
        }
        for bad in ["m-1", "m-1/", "/abcd", "m-1/a/b"] {
            let text = ["/secured/conference/visitors-list/queue/", bad].concat();
            assert!(Destination::parse(Endpoint::List, &text).is_err(), "{bad}");
        }
    }
}
