//! The allocator by itself: beside an oracle that is slow and obvious, and feature by feature.

mod features;
mod model;
mod oracle;
mod walk;
