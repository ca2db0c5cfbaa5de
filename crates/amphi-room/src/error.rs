//! Why a room refuses something, and how it says so on the wire. The only place that knows the wire form.

use amphi_stanza::{Condition, ErrorType, StanzaError, ns};

/// Why a stanza was refused. The text is what the sender reads; some texts are matched by clients and must not change.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs)]
pub enum RoomError {
    #[error("Room creation is restricted")]
    CreationRestricted,
    #[error("This room is reserved for health checks")]
    HealthRoom,
    #[error("Your domain has no access to this service")]
    NoAccess,
    #[error("{text}")]
    Token { code: &'static str, text: String },
    #[error("Invalid resource")]
    InvalidNick,
    #[error("Invalid anonymous user ID")]
    NotOwnNick,
    #[error("A nickname is required")]
    NoNick,
    #[error("Nick changes are not allowed")]
    NickChange,
    #[error("This nickname is reserved")]
    ReservedNick,
    #[error("This nickname is taken")]
    NickTaken,
    #[error("The room is full")]
    Full,
    #[error("Too many people are waiting; try again in a moment")]
    QueueFull,
    #[error("Membership is required")]
    MembersOnly,
    #[error("You are banned from this room")]
    Banned,
    #[error("A password is required")]
    Password,
    /// The way in is the lobby, or needs a name. `lobby`: its address, which old clients read beside the error.
    #[error("{error}")]
    Lobby { error: StanzaError, lobby: Option<amphi_stanza::BareJid> },
    /// Decided elsewhere, with its wire form.
    #[error("{0}")]
    Stanza(StanzaError),
    #[error("Sending group messages not allowed")]
    ChatRestricted,
    #[error("You are not currently connected to this chat")]
    NotInRoom,
    #[error("You are not in this room")]
    NotOccupant,
    #[error("There is nobody with this nickname")]
    NoSuchOccupant,
    #[error("There is no such room")]
    NoSuchRoom,
    #[error("You may not do this")]
    Forbidden,
    #[error("The focus cannot be changed")]
    FocusGuard,
    #[error("Only moderators may change the subject")]
    SubjectForModerators,
    #[error("Room modification disabled for guests")]
    GuestsMayNotConfigure,
    #[error("{0}")]
    BadRequest(&'static str),
    #[error("{0}")]
    BadValue(&'static str),
    #[error("{0}")]
    Unsupported(&'static str),
    #[error("{0}")]
    TooMuch(&'static str),
}

impl RoomError {
    /// Type and condition.
    pub fn condition(&self) -> (ErrorType, Condition) {
        use Condition as C;
        use ErrorType as T;
        match self {
            Self::CreationRestricted
            | Self::Token { .. }
            | Self::InvalidNick
            | Self::NotOwnNick
            | Self::NickChange
            | Self::ReservedNick
            | Self::ChatRestricted
            | Self::FocusGuard
            | Self::GuestsMayNotConfigure => (T::Cancel, C::NotAllowed),
            Self::HealthRoom | Self::Full => (T::Cancel, C::ServiceUnavailable),
            Self::NickTaken => (T::Cancel, C::Conflict),
            Self::NoNick => (T::Modify, C::JidMalformed),
            Self::QueueFull => (T::Wait, C::ResourceConstraint),
            Self::MembersOnly => (T::Auth, C::RegistrationRequired),
            Self::Banned | Self::Forbidden | Self::NoAccess | Self::SubjectForModerators => (T::Auth, C::Forbidden),
            Self::Password => (T::Auth, C::NotAuthorized),
            Self::NotInRoom | Self::NoSuchOccupant | Self::NoSuchRoom => (T::Cancel, C::ItemNotFound),
            Self::NotOccupant => (T::Cancel, C::NotAcceptable),
            Self::BadRequest(_) => (T::Modify, C::BadRequest),
            Self::BadValue(_) => (T::Modify, C::NotAcceptable),
            Self::Unsupported(_) => (T::Cancel, C::FeatureNotImplemented),
            Self::TooMuch(_) => (T::Cancel, C::ResourceConstraint),
            Self::Stanza(error) | Self::Lobby { error, .. } => (error.ty, error.condition),
        }
    }

    /// The `<error/>` element's content.
    pub fn stanza_error(&self) -> StanzaError {
        if let Self::Stanza(error) | Self::Lobby { error, .. } = self {
            return error.clone();
        }
        let (ty, condition) = self.condition();
        let e = StanzaError::new(ty, condition).text(self.to_string());
        match self {
            Self::Token { code, .. } => e.app(code, ns::JITMEET),
            _ => e,
        }
    }
}
