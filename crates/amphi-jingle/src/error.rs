//! Why an element was not understood.

/// Why an element was not understood. The text is fit for the peer that sent it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// Something that must be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A value is not what it must be.
    #[error("{0} is not valid")]
    Invalid(&'static str),
    /// More of something than is accepted.
    #[error("too many: {0}")]
    TooMany(&'static str),
    /// An action or a name that is not known.
    #[error("{0} is not known")]
    Unknown(&'static str),
}

pub(crate) type Result<T> = std::result::Result<T, ParseError>;
