//! Several masters: who leads when a leader goes, in whatever way, and what each event of ZooKeeper does.

mod alone;
mod challenge;
mod events;
mod frozen;
mod guards;
mod ipv6;
pub(crate) mod policy;
mod standby;
mod takeover;
