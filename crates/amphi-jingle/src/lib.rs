//! Jingle, compact JSON sources and colibri2: the types and their wire forms.
//!
//! The focus writes what the bridge reads, and the other way round; both speak to clients and foreign parts with the same forms. Nothing
//! here keeps state or knows what a conference is.
