//! Containers: isolation, images.

mod registries;
