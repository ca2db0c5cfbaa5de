//! Who goes where: the decision table of `spec/focus.md` 3.3, as a pure function.

/// What the decision depends on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// The client knows redirects.
    pub(crate) supported: bool,
    /// The client asked to be a visitor.
    pub(crate) requested: bool,
    /// The room waits for its host.
    pub(crate) not_live: bool,
    /// The user or its group is listed.
    pub(crate) preferred: bool,
    /// There is no list of participants, or the user is listed.
    pub(crate) allowed: bool,
    /// Visitors are switched on and the component that links nodes is there.
    pub(crate) visitors: bool,
    /// Nothing in the room speaks against visitors: no lobby, not switched off, no breakout room.
    pub(crate) room_allows_visitors: bool,
    /// The room has an audience already.
    pub(crate) audience_open: bool,
    /// The user was on stage a moment ago, or has a seat there already.
    pub(crate) returning: bool,
}

/// Why somebody goes to the audience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    Requested,
    NotListed,
    AudienceOpen,
    StageFull,
}

/// What to do when no seat is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WhenFull {
    /// The audience.
    Audience,
    /// A further seat: the user is listed.
    Extra,
    /// The stage all the same: the room judges.
    Stage,
}

/// Where a request leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// Wait until the room is live.
    NotLive,
    /// To the stage, given a seat.
    Stage(WhenFull),
    /// To the audience.
    Audience(Why),
}

pub(crate) fn decide(f: Facts) -> Decision {
    if f.supported && f.not_live && (f.requested || !f.allowed) {
        return Decision::NotLive;
    }
    if !f.supported || !f.visitors || !f.room_allows_visitors {
        return Decision::Stage(WhenFull::Stage);
    }
    if f.requested {
        Decision::Audience(Why::Requested)
    } else if f.preferred {
        Decision::Stage(WhenFull::Extra)
    } else if !f.allowed {
        Decision::Audience(Why::NotListed)
    } else if f.audience_open && !f.returning {
        Decision::Audience(Why::AudienceOpen)
    } else {
        Decision::Stage(WhenFull::Audience)
    }
}

/// Why somebody may go to the stage, in words.
pub(crate) fn because(f: Facts) -> &'static str {
    if !f.supported {
        "the client knows no audience"
    } else if !f.visitors {
        "there is no audience: visitors are off, or the main node has no visitors component"
    } else if !f.room_allows_visitors {
        "the room has no audience: it has a lobby, is a breakout room, or visitors are off there"
    } else if f.preferred {
        "the user is listed in the room"
    } else if f.returning {
        "the user was on stage a moment ago, or has a seat waiting"
    } else {
        "a seat on stage was free"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OPEN: Facts = Facts {
        supported: true,
        requested: false,
        not_live: false,
        preferred: false,
        allowed: true,
        visitors: true,
        room_allows_visitors: true,
        audience_open: false,
        returning: false,
    };

    #[test]
    fn the_table_row_by_row() {
        let rows = [
            (Facts { not_live: true, requested: true, ..OPEN }, Decision::NotLive),
            (Facts { not_live: true, requested: true, preferred: true, ..OPEN }, Decision::NotLive),
            (Facts { not_live: true, allowed: false, ..OPEN }, Decision::NotLive),
            (Facts { not_live: true, ..OPEN }, Decision::Stage(WhenFull::Audience)),
            (Facts { requested: true, ..OPEN }, Decision::Audience(Why::Requested)),
            (Facts { requested: true, preferred: true, ..OPEN }, Decision::Audience(Why::Requested)),
            (Facts { allowed: false, ..OPEN }, Decision::Audience(Why::NotListed)),
            (Facts { preferred: true, ..OPEN }, Decision::Stage(WhenFull::Extra)),
            (Facts { preferred: true, audience_open: true, ..OPEN }, Decision::Stage(WhenFull::Extra)),
            (Facts { audience_open: true, ..OPEN }, Decision::Audience(Why::AudienceOpen)),
            (Facts { audience_open: true, returning: true, ..OPEN }, Decision::Stage(WhenFull::Audience)),
            (OPEN, Decision::Stage(WhenFull::Audience)),
        ];
        for (facts, decision) in rows {
            assert_eq!(decide(facts), decision, "{facts:?}");
        }
    }

    #[test]
    fn whoever_cannot_be_redirected_goes_to_the_main_room() {
        for f in [
            Facts { supported: false, requested: true, not_live: true, allowed: false, audience_open: true, ..OPEN },
            Facts { visitors: false, requested: true, audience_open: true, ..OPEN },
            Facts { room_allows_visitors: false, requested: true, audience_open: true, ..OPEN },
        ] {
            assert_eq!(decide(f), Decision::Stage(WhenFull::Stage), "{f:?}");
        }
    }
}
