//! Our answers and streams beside those of a real Mesos.

mod endpoints;
mod errors;
mod executor;
mod operator;
mod replay;
mod stream;
mod subscription;
