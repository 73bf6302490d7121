//! The authors of frameworks: what they want, and how they go about it.

pub mod guest;
pub mod keeper;
pub mod storage;
