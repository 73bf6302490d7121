//! The allocator by itself, feature by feature.

mod features;
