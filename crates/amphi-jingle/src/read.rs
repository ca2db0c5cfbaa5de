//! Reading attributes with bounds.

use std::str::FromStr;

use amphi_stanza::Element;

use crate::Limits;
use crate::error::{ParseError, Result};

/// An attribute that may be absent.
pub(crate) fn text(e: Element<'_>, name: &'static str, l: &Limits) -> Result<Option<String>> {
    match e.attr(name) {
        Some(v) if v.len() > l.value_bytes => Err(ParseError::Invalid(name)),
        v => Ok(v.map(|v| v.into_owned())),
    }
}

/// An attribute that must be there and say something.
pub(crate) fn need(e: Element<'_>, name: &'static str, l: &Limits) -> Result<String> {
    match text(e, name, l)? {
        Some(v) if !v.is_empty() => Ok(v),
        _ => Err(ParseError::Missing(name)),
    }
}

/// A number, or the like, that may be absent.
pub(crate) fn number<T: FromStr>(e: Element<'_>, name: &'static str) -> Result<Option<T>> {
    e.attr(name).map(|v| v.trim().parse().map_err(|_| ParseError::Invalid(name))).transpose()
}

/// Only `true` is true, in any case of letters (`spec/focus.md` 5.1).
pub(crate) fn flag(e: Element<'_>, name: &str) -> bool {
    e.attr(name).is_some_and(|v| v.eq_ignore_ascii_case("true"))
}

/// A flag that is true unless it is said to be something else.
pub(crate) fn flag_or_true(e: Element<'_>, name: &str) -> bool {
    e.attr(name).is_none_or(|v| v.eq_ignore_ascii_case("true"))
}

/// Appends within a bound.
pub(crate) fn push<T>(list: &mut Vec<T>, item: T, max: usize, what: &'static str) -> Result<()> {
    if list.len() >= max {
        return Err(ParseError::TooMany(what));
    }
    list.push(item);
    Ok(())
}
