//! The app as a whole, without a window.
#![allow(missing_docs)]

mod access;
mod keeping;
mod pictures;
mod saving;
mod soak;
mod stopping;
mod story;
mod typing;
mod views;
