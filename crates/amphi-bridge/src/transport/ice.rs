//! ice
