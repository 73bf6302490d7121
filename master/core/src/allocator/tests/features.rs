//! Feature by feature.
