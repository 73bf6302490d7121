//! Mesos' HTTP manners: what a request says, the forms of answers, and the endpoints that every server has.
//!
//! Answers are generic over their body: each server has a type of its own, which need only be `From<Bytes>`.

pub mod answer;
pub mod authentication;
pub mod cors;
pub mod endpoints;
pub mod help;
pub mod machine;
pub mod negotiate;
pub mod query;
pub mod request;
