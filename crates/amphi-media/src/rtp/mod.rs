//! RTP packets (RFC 3550) and header extensions (RFC 8285): telling datagrams apart, strict views without a copy, and the layout of headers that
//! are prepared once and patched per receiver. Payloads are the business of `codec`, protection that of `srtp`. The media plane calls it for
//! every datagram.

mod classify;
mod extension;
mod view;
mod write;

pub use classify::{Datagram, classify, is_rtcp};
pub use extension::{ExtensionForm, ExtensionKind, ExtensionMap, ExtensionValues, Extensions, MAX_URI_LEN};
pub use view::{Header, Packet};
pub use write::{HeaderFields, Layout, pad, patch, write_header};

/// Length of a header without CSRCs and extensions.
pub const FIXED_HEADER_LEN: usize = 12;

/// Why a packet is refused, or a header cannot be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RtpError {
    /// Shorter than its header says.
    #[error("packet is truncated")]
    Truncated,
    /// Not version 2.
    #[error("version is not 2")]
    Version,
    /// Padding of length zero, or longer than the payload.
    #[error("padding does not fit the payload")]
    Padding,
    /// An extension element reaches beyond the extension block.
    #[error("an extension element does not fit the extension block")]
    Extension,
    /// The buffer to write into is too small.
    #[error("no room in the buffer")]
    NoRoom,
    /// An extension id of zero, used twice, or an URI that is too long.
    #[error("extension id {0} cannot be used")]
    ExtensionId(u8),
}

/// Big endian, or [`RtpError::Truncated`].
pub(crate) fn be16(data: &[u8], at: usize) -> Result<u16, RtpError> {
    let bytes = data.get(at..).and_then(|d| d.first_chunk::<2>()).ok_or(RtpError::Truncated)?;
    Ok(u16::from_be_bytes(*bytes))
}

/// Big endian, or [`RtpError::Truncated`].
pub(crate) fn be32(data: &[u8], at: usize) -> Result<u32, RtpError> {
    let bytes = data.get(at..).and_then(|d| d.first_chunk::<4>()).ok_or(RtpError::Truncated)?;
    Ok(u32::from_be_bytes(*bytes))
}
